/** Checkouts and archives, without the rest of a build. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkOut } from "#gpu-agent/builds/git-checkout";
import { unpackFromRegistry } from "#gpu-agent/builds/registry-pack";
import { StepLog } from "#gpu-agent/builds/step-log";
import { BuildBench, missingPrograms, zipOf } from "#test/gpu-agent/builds/build-fixtures";

const hasGit = missingPrograms()?.includes("git") !== true;
const never = new AbortController().signal;

let bench: BuildBench;
let log: StepLog;
let folder: string;
beforeEach(() => {
  bench = new BuildBench();
  folder = join(bench.root, "pack");
  log = new StepLog(join(bench.root, "step.log"), { [bench.root]: "<here>" }, () => undefined);
});
afterEach(() => {
  log.close();
  bench.close();
});

function around() {
  const environment = { PATH: process.env.PATH ?? "" };
  return { environment, log, childFile: join(bench.root, "child.json"), signal: never };
}

describe.skipIf(!hasGit)("a checkout", () => {
  it("is of the commit that is named, not of the newest, and has no other", async () => {
    const old = bench.repository("pack", { "node.py": "old" });
    const { url } = bench.repository("pack", { "node.py": "new" });
    await checkOut({ repository: url, commit: old.commit, folder }, true, around());
    expect(readFileSync(join(folder, "node.py"), "utf8")).toBe("old");
    expect(bench.git(folder, "rev-list", "--all", "--count", "HEAD")).toBe("1");
  });

  it("replaces what was there", async () => {
    const { url, commit } = bench.repository("pack", { "node.py": "x" });
    mkdirSync(folder);
    writeFileSync(join(folder, "left-over.py"), "x");
    await checkOut({ repository: url, commit, folder }, true, around());
    expect(existsSync(join(folder, "left-over.py"))).toBe(false);
  });

  it("has its submodules at the commits that it pins", async () => {
    const inner = bench.repository("inner", { "inner.py": "pinned" });
    const outer = bench.repository("outer", { "outer.py": "x" });
    bench.git(outer.folder, "submodule", "--quiet", "add", "../inner", "parts/inner");
    bench.git(outer.folder, "commit", "--quiet", "--message=with a submodule");
    bench.repository("inner", { "inner.py": "newer" });
    const commit = bench.git(outer.folder, "rev-parse", "HEAD");
    bench.git(outer.folder, "config", "--file", ".gitmodules", "submodule.parts/inner.url", "../inner");
    await checkOut({ repository: outer.url, commit, folder }, true, around());
    expect(readFileSync(join(folder, "parts", "inner", "inner.py"), "utf8")).toBe("pinned");
    expect(bench.git(join(folder, "parts", "inner"), "rev-parse", "HEAD")).toBe(inner.commit);
  });

  it("runs no hook that the machine's owner or a template has set", async () => {
    const { url, commit } = bench.repository("pack", { "node.py": "x" });
    const template = join(bench.root, "template", "hooks");
    mkdirSync(template, { recursive: true });
    const ran = join(bench.root, "ran");
    writeFileSync(join(template, "post-checkout"), `#!/bin/sh\ntouch ${ran}\n`, { mode: 0o755 });
    const surroundings = around();
    const environment = { ...surroundings.environment, GIT_TEMPLATE_DIR: join(bench.root, "template") };
    await checkOut({ repository: url, commit, folder }, true, { ...surroundings, environment });
    expect(existsSync(join(folder, ".git", "hooks", "post-checkout"))).toBe(true);
    expect(existsSync(ran)).toBe(false);
  });

  it("of a repository that is not there fails with git's words", async () => {
    const repository = `file://${join(bench.root, "nowhere")}`;
    const made = checkOut({ repository, commit: "0".repeat(40), folder }, true, around());
    await expect(made).rejects.toThrow(/^The repository file:.*nowhere cannot be fetched\.\n(?:.*\n)*.*does not/);
  });
});

describe("a pack of the registry", () => {
  let server: Server;
  let answers: Record<string, { status?: number; location?: string; body?: string | Buffer }>;
  let url: string;
  beforeEach(async () => {
    answers = {};
    server = createServer((request, response) => {
      const answer = answers[request.url ?? ""];
      response.writeHead(answer === undefined ? 404 : (answer.status ?? 200), {
        ...(answer?.location === undefined ? {} : { location: answer.location }),
      });
      response.end(answer?.body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    url = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  const pack = { name: "nice", id: "nice-pack", registryVersion: "1.2.3" };
  const version = "/nodes/nice-pack/versions/1.2.3";
  const bring = (reach: "loopback" | "public" = "loopback") => unpackFromRegistry(pack, folder, { url, reach }, never);

  it("is unpacked from where the registry says, redirects followed", async () => {
    answers[version] = { body: JSON.stringify({ version: "1.2.3", downloadUrl: `${url}/moved` }) };
    answers["/moved"] = { status: 302, location: "/pack.zip" };
    answers["/pack.zip"] = { body: zipOf({ "__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "lib/a.py": "a" }) };
    expect(await bring()).toMatch(/^[0-9a-f]{64}$/);
    expect(readFileSync(join(folder, "lib", "a.py"), "utf8")).toBe("a");
  });

  it("that the registry does not have is named", async () => {
    await expect(bring()).rejects.toThrow("The registry has no nice-pack 1.2.3.");
  });

  it.each(["../outside.py", "/etc/outside.py", "a/../../outside.py", "a\\b.py"])(
    "with a file called %s is refused",
    async (name) => {
      answers[version] = { body: JSON.stringify({ downloadUrl: `${url}/pack.zip` }) };
      answers["/pack.zip"] = { body: zipOf({ [name]: "x" }) };
      await expect(bring()).rejects.toThrow(/The archive of nice-pack 1\.2\.3 is not taken: it holds a file called/);
      expect(existsSync(join(bench.root, "outside.py"))).toBe(false);
    },
  );

  it("that is no archive, or a broken one, is refused", async () => {
    answers[version] = { body: JSON.stringify({ downloadUrl: `${url}/pack.zip` }) };
    answers["/pack.zip"] = { body: "<html>" };
    await expect(bring()).rejects.toThrow("The archive of nice-pack 1.2.3 is not taken: The zip is cut off");
  });

  it("at a private address is not fetched", async () => {
    await expect(bring("public")).rejects.toThrow("nice-pack 1.2.3 is at an address that is not taken.");
    answers[version] = { body: JSON.stringify({ downloadUrl: "https://169.254.169.254/latest" }) };
    await expect(bring()).rejects.toThrow("nice-pack 1.2.3 is at an address that is not taken.");
  });
});
