import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { killLeftovers, processesOf } from "#cli/local/leftovers";
import { makeToyProject } from "#test/cli/toy/project";
import { runToyServer, type ToyServer } from "#test/cli/toy/running-server";
import { until } from "#test/until";

let project: Awaited<ReturnType<typeof makeToyProject>>;
let state: string;
const servers: ToyServer[] = [];

beforeAll(async () => {
  project = await makeToyProject();
});
afterAll(() => project.remove());
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), "pilotlight-state-"));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill("SIGTERM");
  await killLeftovers(state, "runtime");
  await rm(state, { recursive: true, force: true });
});

async function start(port = 0): Promise<ToyServer> {
  const server = await runToyServer(project.root, state, port);
  servers.push(server);
  return server;
}

const get = async (server: { url: string }, path: string): Promise<unknown> =>
  (await fetch(`${server.url}${path}`)).json();
const portOf = (server: { url: string }) => Number(new URL(server.url).port);

/** Ids of workerd processes of this state folder. */
const runtimes = () => processesOf(state, "runtime");

describe("the local server", () => {
  it("starts with an empty folder and makes a workspace with one admin key, of which only the hash is stored", async () => {
    const server = await start();
    expect(server.isFirstStart).toBe(true);
    expect(await get(server, "/keys")).toEqual([
      {
        name: "first key",
        hash: createHash("sha256").update(server.key).digest("hex"),
        hint: `pl_…${server.key.slice(-4)}`,
        scopes: '["read","run","deploy","admin"]',
      },
    ]);
    expect(await get(server, "/settings")).toMatchObject({
      loopback: "false",
      secret: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(await (await fetch(`${server.url}/hello.txt`)).text()).toBe("hello");
  });

  it("closes its files to other users", async () => {
    await start();
    const modeOf = async (name: string) => ((await stat(join(state, name))).mode & 0o777).toString(8);
    expect(await Promise.all(["secrets.json", "credentials.json", "server.json"].map(modeOf))).toEqual([
      "600",
      "600",
      "600",
    ]);
    expect(await Promise.all([".", "data"].map(modeOf))).toEqual(["700", "700"]);
  });

  it("goes on with its objects, catalog, store, key and secret after a kill -9", async () => {
    const first = await start();
    expect(await get(first, "/count")).toBe(1);
    const stored = await fetch(`${first.url}/store`, { method: "PUT", body: "kept" });
    expect(stored.status).toBe(201);
    const settings = await get(first, "/settings");
    await first.kill("SIGKILL");
    // workerd lives on without its parent and holds the port.
    expect(await get(first, "/count")).toBe(2);
    const second = await start(portOf(first));
    expect(second.url).toBe(first.url);
    expect(second.reports.join("\n")).toContain("Ended what a killed server left behind");
    expect(second).toMatchObject({ isFirstStart: false, key: first.key });
    expect(await get(second, "/count")).toBe(3);
    expect(await get(second, "/settings")).toEqual(settings);
    expect(await (await fetch(`${second.url}/store`)).text()).toBe("kept");
    expect(await get(second, "/keys")).toHaveLength(1);
  });

  it("answers again at the same address after a kill -9 of workerd", async () => {
    const server = await start();
    expect(await get(server, "/count")).toBe(1);
    const before = await runtimes();
    expect(before).toHaveLength(1);
    for (const pid of before) process.kill(pid, "SIGKILL");
    expect(await until("workerd answers again", async () => get(server, "/count"))).toBe(2);
    expect(await runtimes()).not.toEqual(before);
  });

  it("leaves no process behind when it is asked to stop", async () => {
    const server = await start();
    await server.kill("SIGTERM");
    await until("workerd has ended", async () => ((await runtimes()).length === 0 ? true : undefined));
  });

  it("refuses a folder that another server has, and names that server", async () => {
    const first = await start();
    await expect(start()).rejects.toThrow(`The server at ${first.url} (process ${first.process.pid}) uses ${state}`);
    expect(await get(first, "/count")).toBe(1);
  });

  it("takes the next port when another program has the wanted one, and says so", async () => {
    const foreign = createServer();
    await new Promise<void>((resolve) => foreign.listen(0, "127.0.0.1", resolve));
    const { port } = foreign.address() as AddressInfo;
    try {
      const server = await start(port);
      expect(portOf(server)).toBeGreaterThan(port);
      expect(server.reports.join("\n")).toContain(`Port ${port} is taken by another program; using ${portOf(server)}`);
    } finally {
      foreign.close();
    }
  });

  it("goes on when the kill came before the catalog knew the key", async () => {
    const first = await start();
    await first.kill("SIGKILL");
    await killLeftovers(state, "runtime");
    await rm(join(state, "data"), { recursive: true });
    const second = await start();
    expect(second.key).toBe(first.key);
    expect(await get(second, "/keys")).toHaveLength(1);
  });

  it("starts after kills at any moment of earlier starts", async () => {
    // The moments differ from run to run with the machine's speed; at none of them may the next start fail.
    for (const afterMs of [40, 120, 250, 400, 550, 700]) {
      const starting = runToyServer(project.root, state, 0, AbortSignal.timeout(afterMs));
      await starting.then(
        (server) => server.kill("SIGKILL"),
        () => {},
      );
    }
    const server = await start();
    expect(await get(server, "/count")).toBe(1);
    expect(await get(server, "/keys")).toHaveLength(1);
  });

  it("finds what a killed server left when its folder is reached by another name", async () => {
    const first = await start();
    await first.kill("SIGKILL");
    const other = `${state}-link`;
    await symlink(state, other);
    try {
      const second = await runToyServer(project.root, other, portOf(first));
      servers.push(second);
      expect(second.url).toBe(first.url);
    } finally {
      await rm(other);
    }
  });

  it("says which file is damaged instead of making a new key", async () => {
    await (await start()).kill("SIGTERM");
    await writeFile(join(state, "credentials.json"), '{"key": ');
    await expect(start()).rejects.toThrow("credentials.json is damaged");
  });
});

describe("the Worker's bundle", () => {
  const bundles = async () =>
    (await readdir(join(project.root, "dist/worker"))).filter((name) => !name.startsWith(".")).sort();

  it("is built once for the same sources, anew when they change, and again when it is damaged", async () => {
    await (await start()).kill("SIGTERM");
    const [built, ...others] = await bundles();
    expect(others).toEqual([]);
    const script = join(project.root, "dist/worker", built ?? "", "main.js");
    const longAgo = new Date(0);
    await utimes(script, longAgo, longAgo);
    await (await start()).kill("SIGTERM");
    expect((await stat(script)).mtimeMs).toBe(0);

    await writeFile(join(project.root, "worker/version.ts"), "export const version = 2;\n");
    const changed = await start();
    expect(await get(changed, "/settings")).toMatchObject({ version: 2 });
    await changed.kill("SIGTERM");
    expect(await bundles()).toHaveLength(2);

    for (const name of await bundles()) await rm(join(project.root, "dist/worker", name, "config.json"));
    expect(await get(await start(), "/settings")).toMatchObject({ version: 2 });
  });

  it("that does not build is an error with the builder's own words", async () => {
    await writeFile(join(project.root, "worker/version.ts"), "export const version = ;\n");
    try {
      await expect(start()).rejects.toThrow(/does not build[\s\S]*worker\/version\.ts/);
    } finally {
      await writeFile(join(project.root, "worker/version.ts"), "export const version = 1;\n");
    }
  });
});
