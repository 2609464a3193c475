import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BuildManifest } from "#contract/build";
import { BuildFailed } from "#gpu-agent/builds/build-failed";
import type { BuildStore, HeldBuild } from "#gpu-agent/builds/build-store";
import { modelsFrom } from "#gpu-agent/builds/model-source";
import { ModelStore } from "#gpu-agent/models/model-store";
import { processIdentity } from "#gpu-agent/process-identity";
import { BuildBench, missingPrograms, noModels, tinySafetensors } from "#test/gpu-agent/builds/build-fixtures";
import { comesTrue } from "#test/gpu-agent/quick-timings";

const missing = missingPrograms();
if (missing !== null) process.stderr.write(`builds are not tested: this machine has no ${missing}\n`);

let bench: BuildBench;
beforeEach(() => {
  bench = new BuildBench();
});
afterEach(() => bench.close());

const GREETER = "from greetings import hello\nclass Greeter:\n    pass\nNODE_CLASS_MAPPINGS = {'Greeter': Greeter}\n";
const never = new AbortController().signal;

function prepare(
  store: BuildStore,
  build: { digest: string; manifest: BuildManifest },
  steps: string[] = [],
  signal = never,
): Promise<HeldBuild> {
  return store.prepare(build.digest, build.manifest, { signal, onStep: (step) => steps.push(step) });
}

async function failure(promise: Promise<unknown>): Promise<BuildFailed> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof BuildFailed)) throw new Error(`no BuildFailed, but ${String(error)}`, { cause: error });
  return error;
}

/** A build with one of everything. */
async function wholeBuild(more: Partial<BuildManifest> = {}) {
  const pack = bench.repository("greeter", { "__init__.py": GREETER });
  const wheel = bench.wheel("greetings", "1.2.0", "def hello():\n    return 'hello'\n");
  const model = bench.model("checkpoints", "sd/tiny.safetensors", "weights");
  const build = await bench.manifest({
    customNodes: [{ name: "greeter", repository: pack.url, gitRef: pack.commit }],
    pipDependencies: [`${wheel.line} --hash=sha256:${wheel.sha256}`],
    models: [model],
    ...more,
  });
  return { build, pack, wheel, model };
}

/** A build without packages, which take most of the time. */
async function plainBuild(more: Partial<BuildManifest> = {}) {
  return bench.manifest({ models: [bench.model("checkpoints", "tiny.safetensors", "weights")], ...more });
}

describe.skipIf(missing !== null)("a build", () => {
  it("is made of its checkouts, its environment and its models, each step timed, logged and said", async () => {
    const { build, pack } = await wholeBuild();
    const steps: string[] = [];
    const held = await prepare(bench.store(), build, steps);
    expect(steps).toEqual(["comfyui", "nodes", "python", "models"]);
    const folder = join(bench.builds, build.digest);
    expect(held.comfyui).toBe(join(folder, "comfyui"));
    expect(bench.git(held.comfyui, "rev-parse", "HEAD")).toBe(build.manifest.comfyCommit);
    expect(bench.git(join(held.comfyui, "custom_nodes", "greeter"), "rev-parse", "HEAD")).toBe(pack.commit);
    const say = "import greetings, sys; print(greetings.hello(), sys.prefix)";
    expect(execFileSync(held.python, ["-c", say], { encoding: "utf8" }).trim()).toBe(`hello ${join(folder, "venv")}`);
    expect(readFileSync(join(held.comfyui, "models", "checkpoints", "sd", "tiny.safetensors"), "utf8")).toBe("weights");
    expect(lstatSync(join(held.comfyui, "models", "checkpoints", "sd", "tiny.safetensors")).nlink).toBe(2);
    expect(readdirSync(join(folder, "log")).toSorted()).toEqual([
      "comfyui.log",
      "models.log",
      "nodes.log",
      "python.log",
    ]);
    expect(held.marker.steps.map(({ step }) => step)).toEqual([
      "comfyui",
      "nodes/greeter",
      "nodes",
      "python",
      "models",
    ]);
    expect(held.marker.facts.packages).toContain("greetings==1.2.0");
    expect(readdirSync(bench.builds).filter((name) => name.startsWith(".making-"))).toEqual([]);
  });

  it("has scripts that run where it ends up, not where it was made", async () => {
    const { build } = await wholeBuild();
    const held = await prepare(bench.store(), build);
    const script = join(bench.builds, build.digest, "venv", "bin", "greetings");
    expect(readFileSync(script, "utf8")).toContain(held.python);
    expect(readFileSync(script, "utf8")).not.toContain(".making-");
    expect(execFileSync(script, { encoding: "utf8" }).trim()).toBe("greetings");
  });

  it("is made once: the second asks for nothing, not even for the sources", async () => {
    const { build, pack } = await wholeBuild();
    const store = bench.store();
    (await prepare(store, build)).release();
    const madeAt = statSync(join(bench.builds, build.digest, "venv")).ctimeMs;
    execFileSync("rm", ["-rf", pack.folder]);
    const steps: string[] = [];
    await prepare(bench.store(), build, steps);
    expect(steps).toEqual([]);
    expect(statSync(join(bench.builds, build.digest, "venv")).ctimeMs).toBe(madeAt);
    expect(await store.list()).toEqual([build.digest]);
  });

  it("is made once by two that want it at one time, and the one that waits hears of the steps", async () => {
    const build = await plainBuild();
    const [one, other]: [string[], string[]] = [[], []];
    const held = await Promise.all([prepare(bench.store(), build, one), prepare(bench.store(), build, other)]);
    expect(held[0].comfyui).toBe(held[1].comfyui);
    const [maker, waiter] = one.length >= other.length ? [one, other] : [other, one];
    expect(maker).toEqual(["comfyui", "nodes", "python", "models"]);
    expect(maker).toEqual(expect.arrayContaining(waiter));
    expect(bench.log.lines.filter(({ event }) => event === "build_made")).toHaveLength(1);
  });

  it("has its models from the machine's store: one file, with a name in each build that needs it", async () => {
    const model = bench.model("loras", "styles/one.safetensors", tinySafetensors(7));
    const wrong = { ...bench.model("vae", "two.safetensors", tinySafetensors(8)), sha256: "0".repeat(64) };
    const store = await ModelStore.open({
      folder: join(bench.root, "state", "models"),
      allowFiles: true,
      reserveBytes: 0,
    });
    try {
      const builds = bench.store({}, modelsFrom(store));
      const told: string[] = [];
      const build = await bench.manifest({ models: [model] });
      const held = await builds.prepare(build.digest, build.manifest, {
        signal: never,
        onStep: () => undefined,
        onDoing: (doing) => told.push(doing),
      });
      const other = await prepare(
        builds,
        await bench.manifest({ models: [model], launch: { flags: [], cache: "classic" } }),
      );
      const places = [held, other].map(({ comfyui }) => join(comfyui, "models", "loras", "styles", "one.safetensors"));
      const [first, second] = places.map((path) => statSync(path));
      expect([first?.ino, first?.nlink, first?.size]).toEqual([second?.ino, 3, model.sizeBytes]);
      expect(told).toContain("fetching ComfyUI");
      expect(told.at(-1)).toBe("one.safetensors is here");
      const error = await failure(prepare(builds, await bench.manifest({ models: [wrong] })));
      expect(error.fault).toBe("model_failed");
      expect(error.message).toContain(wrong.sha256);
    } finally {
      store.close();
    }
  });

  it("whose manifest says another thing than its digest is refused", async () => {
    const build = await plainBuild();
    const other = { ...build, digest: "0".repeat(64) };
    expect((await failure(prepare(bench.store(), other))).message).toContain(build.digest);
    expect(existsSync(join(bench.builds, other.digest))).toBe(false);
  });

  it("for another kind of machine is refused before anything is fetched", async () => {
    const environment = { os: "linux", arch: "aarch64", pythonVersion: "3.11", torch: null };
    const build = await plainBuild({ environment });
    const store = bench.store({ machine: { platform: "linux", arch: "x64" } });
    const error = await failure(prepare(store, build));
    expect([error.fault, error.message]).toEqual([
      "wrong_platform",
      "The build is for linux on aarch64; this machine is linux on x86_64.",
    ]);
  });

  it.each([
    ["--listen", "--listen"],
    ["--port=80", "--port"],
    ["--output-directory", "--output-directory"],
    ["--extra-model-paths-config", "--extra-model-paths-config"],
    // ComfyUI takes the beginning of a flag's name for the flag.
    ["--liste", "--listen"],
    ["--out=/elsewhere", "--output-directory"],
  ])("that sets %s, which keeps it apart from others, is refused", async (flag, named) => {
    const build = await plainBuild({ launch: { flags: [flag], cache: "default" } });
    const error = await failure(prepare(bench.store(), build));
    expect(error.fault).toBe("manifest_refused");
    expect(error.message).toContain(named);
  });

  it("from file:// addresses is refused by an agent that is not told to take them", async () => {
    const { build } = await wholeBuild();
    const { sources } = { sources: { allowFiles: false } };
    const store = bench.store({
      sources: {
        models: noModels,
        registry: { url: "https://registry.example.org", reach: "public" },
        pythons: [],
        ...sources,
      },
    });
    expect((await failure(prepare(store, build))).fault).toBe("manifest_refused");
  });
});

describe.skipIf(missing !== null)("a build that cannot be made", () => {
  it("names the commit that its repository does not have", async () => {
    const { build, pack } = await wholeBuild();
    const commit = "1234567890123456789012345678901234567890";
    const wrong = await bench.manifest({
      ...build.manifest,
      customNodes: [{ name: "greeter", repository: pack.url, gitRef: commit }],
    });
    const error = await failure(prepare(bench.store(), wrong));
    expect([error.fault, error.message.split("\n")[0]]).toEqual([
      "commit_missing",
      `The repository ${pack.url} has no commit ${commit}.`,
    ]);
    expect(existsSync(join(bench.builds, wrong.digest))).toBe(false);
  });

  it("is no build when pip fails: the error has pip's last words, and the log the rest", async () => {
    const { build, wheel } = await wholeBuild();
    writeFileSync(wheel.path, "not a wheel");
    const error = await failure(prepare(bench.store(), build));
    expect(error.fault).toBe("install_failed");
    expect(error.message).toMatch(/^The Python packages cannot be installed: (pip|uv) ended with exit code \d+\.\n/);
    expect(error.message).toMatch(/hash|HASH/);
    const log = readFileSync(join(bench.builds, `.making-${build.digest}`, "log", "python.log"), "utf8");
    expect(log).toMatch(/hash/i);
    expect(existsSync(join(bench.builds, build.digest))).toBe(false);
  });

  it("is no build when a wheel's bytes are not those of the lock", async () => {
    const { wheel } = await wholeBuild();
    const build = await bench.manifest({ pipDependencies: [`${wheel.line} --hash=sha256:${"0".repeat(64)}`] });
    const error = await failure(prepare(bench.store(), build));
    expect(error.fault).toBe("install_failed");
    expect(error.message).toContain(wheel.sha256);
  });

  it("is no build when a model's bytes are not those of the manifest", async () => {
    const model = { ...bench.model("vae", "v.safetensors", "other bytes"), sha256: "0".repeat(64) };
    const wrong = await bench.manifest({ models: [model] });
    const error = await failure(prepare(bench.store(), wrong));
    expect(error.fault).toBe("model_failed");
    expect(error.message).toContain("vae/v.safetensors");
    expect(error.message).toContain("0".repeat(64));
  });

  it("wants a Python that is not here, and says which are", async () => {
    const environment = { os: "any", arch: "any", pythonVersion: "3.2", torch: null };
    const build = await plainBuild({ environment });
    const error = await failure(prepare(bench.store(), build));
    expect(error.fault).toBe("python_missing");
    expect(error.message).toMatch(/^The build wants Python 3\.2; on this machine .*python3 is 3\.\d+\.\d+/);
  });

  it("is no ComfyUI: a repository without main.py", async () => {
    const other = bench.repository("other", { "README.md": "x" });
    const build = await bench.manifest({ comfyRepository: other.url, comfyCommit: other.commit });
    expect((await failure(prepare(bench.store(), build))).message).toContain("no main.py");
  });

  it("shows no password and no folder of the machine in its error", async () => {
    const lock = [`broken @ ${pathToFileURL(join(bench.root, "nowhere-0-py3-none-any.whl")).href}`];
    const wrong = await bench.manifest({ pipDependencies: lock });
    const store = bench.store({
      environment: { PATH: process.env.PATH ?? "", PIP_INDEX_URL: "https://me:hunter2@x.invalid/" },
    });
    const error = await failure(prepare(store, wrong));
    const log = readFileSync(join(bench.builds, `.making-${wrong.digest}`, "log", "python.log"), "utf8");
    for (const text of [error.message, log]) {
      expect(text).not.toContain("hunter2");
      expect(text).not.toContain(bench.builds);
    }
  });

  it("can be made after what was wrong is mended, without the steps that had ended", async () => {
    const { build, wheel } = await wholeBuild();
    const bytes = readFileSync(wheel.path);
    writeFileSync(wheel.path, "not a wheel");
    await failure(prepare(bench.store(), build));
    writeFileSync(wheel.path, bytes);
    const steps: string[] = [];
    const held = await prepare(bench.store(), build, steps);
    expect(steps).toEqual(["python", "models"]);
    expect(held.marker.facts.packages).toContain("greetings==1.2.0");
  });

  it("does not fetch again the packs that had come before one failed", async () => {
    const [first, second] = ["first", "second"].map((name) => bench.repository(name, { "__init__.py": "" }));
    if (first === undefined || second === undefined) throw new Error("no repositories");
    const build = await plainBuild({
      customNodes: [
        { name: "first", repository: first.url, gitRef: first.commit },
        { name: "second", repository: second.url, gitRef: second.commit },
      ],
    });
    renameSync(second.folder, `${second.folder}.away`);
    expect((await failure(prepare(bench.store(), build))).fault).toBe("fetch_failed");
    renameSync(`${second.folder}.away`, second.folder);
    renameSync(first.folder, `${first.folder}.away`);
    const held = await prepare(bench.store(), build);
    expect(readdirSync(join(held.comfyui, "custom_nodes")).toSorted()).toEqual([".keep", "first", "second"]);
  });

  it("that is given up ends its programs and frees its place for the next", async () => {
    const build = await plainBuild();
    const giveUp = new AbortController();
    const made = storeWithoutEnd(giveUp);
    await expect(prepare(made, build, [], giveUp.signal)).rejects.toThrow("given up");
    await prepare(bench.store(), build);
  });
});

/** A store whose models never come; asking for one gives up. */
function storeWithoutEnd(giveUp: AbortController): BuildStore {
  const models = {
    ...noModels,
    ensureModel: (_model: unknown, { signal }: { signal: AbortSignal }) =>
      new Promise<void>((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        giveUp.abort(new Error("given up"));
      }),
  };
  return bench.store({}, models);
}

describe.skipIf(missing !== null)("a full disk", () => {
  it("is noticed before a build begins", async () => {
    const build = await plainBuild();
    const store = bench.store({ freeBytes: () => Promise.resolve(100 * 1024 ** 2), freeBytesMin: 1024 ** 3 });
    const error = await failure(prepare(store, build));
    expect([error.fault, error.message]).toEqual([
      "disk_full",
      "Free disk space is 0.1 GiB, below the 1.2 GiB that the build may need.",
    ]);
  });

  it("in the middle of a step is a failure that says so, and leaves no half-made step", async () => {
    const build = await plainBuild();
    const full = Object.assign(new Error("write failed"), { code: "ENOSPC" });
    const models = { ...noModels, ensureModel: () => Promise.reject(full) };
    const error = await failure(prepare(bench.store({}, models), build));
    expect([error.fault, error.message.split("\n")[0]]).toEqual([
      "disk_full",
      "The disk is full: the step models of the build did not end.",
    ]);
    await prepare(bench.store(), build);
  });

  it("makes room by removing the builds that were used longest ago, never one in use or used lately", async () => {
    const hour = 3_600_000;
    let now = Date.now();
    let room = 10 * 1024 ** 4;
    const store = bench.store({ now: () => now, freeBytes: () => Promise.resolve(room) });
    const builds: { digest: string; manifest: BuildManifest }[] = [];
    for (const name of ["a", "b", "c", "d"]) {
      const launch = { flags: [`--name-${name}`], cache: "default" as const };
      builds.push(await bench.manifest({ launch }));
    }
    const [a, b, c, d] = builds;
    if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error("no builds");
    now -= 10 * hour;
    const inUse = await prepare(store, a);
    now += hour;
    (await prepare(store, c)).release();
    now += hour;
    (await prepare(store, b)).release();
    now += 8 * hour;
    (await prepare(store, d)).release();
    room = 0;
    expect(await store.collectGarbage(1)).toEqual([c.digest, b.digest]);
    expect((await store.list()).toSorted()).toEqual([a.digest, d.digest].toSorted());
    inUse.release();
    expect(await store.collectGarbage(1)).toEqual([a.digest]);
  });
});

describe.skipIf(missing !== null)("an agent that is killed while it makes a build", () => {
  /** Another process that makes a build, and is killed without a word. */
  const maker = join(import.meta.dirname, "make-and-hang.ts");

  it("leaves its successor the steps that ended, no program that runs, and no lock", async () => {
    const { build } = await wholeBuild();
    const wheelServer = join(bench.root, "slow-python");
    // A python that hangs where pip would install: the step is cut off in its middle.
    writeFileSync(
      wheelServer,
      `#!/bin/sh\ncase "$*" in "-m venv"*) for last; do :; done; mkdir -p "$last/bin"; touch "$last/half-made"; exec sleep 600;; esac\nexec python3 "$@"\n`,
      { mode: 0o755 },
    );
    mkdirSync(bench.builds, { recursive: true });
    const plan = join(bench.root, "plan.json");
    writeFileSync(plan, JSON.stringify({ folder: bench.builds, python: wheelServer, ...build }));
    const { spawn } = await import("node:child_process");
    // Where uv is installed, it would make the environment, and not hang.
    const bin = join(bench.root, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, "uv"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
    const child = spawn(process.execPath, [maker, plan], { stdio: "inherit", env });
    const making = join(bench.builds, `.making-${build.digest}`);
    const venv = join(making, "venv");
    await comesTrue("the step is in its middle", () => existsSync(join(venv, "half-made")));
    const program = JSON.parse(readFileSync(join(making, "child.json"), "utf8")) as { pid: number; started: string };
    expect(processIdentity(program.pid)).toEqual(program);
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
    // It outlives its agent, and would go on to write into the build.
    expect(processIdentity(program.pid)).toEqual(program);
    const steps: string[] = [];
    const held = await prepare(bench.store(), build, steps);
    expect(steps).toEqual(["python", "models"]);
    expect(processIdentity(program.pid).started === program.started).toBe(false);
    expect(existsSync(join(bench.builds, build.digest, "venv", "half-made"))).toBe(false);
    expect(held.marker.facts.packages).toContain("greetings==1.2.0");
  });

  it("does not keep its builds from being removed", async () => {
    const build = await plainBuild();
    (await prepare(bench.store(), build)).release();
    writeFileSync(
      join(bench.builds, ".users", `${build.digest}.gone`),
      JSON.stringify({ pid: 2 ** 22, started: "never" }),
    );
    const later = () => Date.now() + 2 * 3_600_000;
    expect(await bench.store({ now: later, freeBytes: () => Promise.resolve(0) }).collectGarbage(1)).toEqual([
      build.digest,
    ]);
  });
});
