/** From a release with a build to a ComfyUI that has shown that it can run it: the agent's own code, real processes. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ReleaseForAgent } from "#contract/agent";
import type { BuildManifest, SmokeTest } from "#contract/build";
import { EndpointId } from "#contract/ids";
import type { InputSpec, OutputSpec } from "#contract/workflow";
import { buildLaunch } from "#gpu-agent/builds/build-launch";
import { adoptedHosts, builtHosts, type PreparedHost, type ReleaseHosts } from "#gpu-agent/builds/release-hosts";
import { verifyRelease } from "#gpu-agent/builds/verify-release";
import { AttachHost } from "#gpu-agent/comfy/attach-host";
import { type ComfySession, closeSession, openSession } from "#gpu-agent/comfy/comfy-session";
import { comfyLaunch, type Launch, SpawnHost } from "#gpu-agent/comfy/spawn-host";
import { BuildBench, missingPrograms, SMALL_COMFYUI } from "#test/gpu-agent/builds/build-fixtures";
import { quickTimings } from "#test/gpu-agent/quick-timings";

const missing = missingPrograms();
const timings = quickTimings();
const never = new AbortController().signal;

let bench: BuildBench;
let hosts: ReleaseHosts;
/** A build that works, and its ComfyUI: tests ask it for different things. */
let good: { digest: string; manifest: BuildManifest };
let owned: ComfySession;
let ownedHost: PreparedHost;
const opened: ComfySession[] = [];

beforeAll(async () => {
  if (missing !== null) return;
  bench = new BuildBench();
  hosts = builtHosts({
    store: bench.store(),
    launch: (build) => {
      const environment = { PATH: process.env.PATH ?? "", HF_TOKEN: "hf_secret", HTTPS_PROXY: "http://proxy.example" };
      return buildLaunch(build, { cpuOnly: true, metadata: false, environment });
    },
    hostOf: spawnHost,
  });
  good = await makeBuild(GREETER, GREETINGS, {
    models: [bench.model("checkpoints", "tiny.safetensors", "weights")],
  });
  ownedHost = await hosts.prepareHost(release(good), { signal: never, onStep: () => undefined });
  const server = await ownedHost.host.start({ slot: 7, log: bench.log.log, signal: never, onPhase: () => undefined });
  owned = await openSession(server, timings, bench.log.log, never);
});
afterAll(async () => {
  if (missing !== null) return;
  await closeSession(owned);
  ownedHost.release();
  bench.close();
});
afterEach(async () => {
  for (const session of opened.splice(0)) await closeSession(session);
});

function spawnHost(launch: Launch): SpawnHost {
  return new SpawnHost({ launch, gpus: [], slots: join(bench.root, "state", "slots"), timings });
}

const GREETER = `
from greetings import hello
class Greeter:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": "you"})}}
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    def run(self, name):
        return {"ui": {"text": [hello(name)]}}
NODE_CLASS_MAPPINGS = {"Greeter": Greeter}
`;
const GREETINGS = `
def hello(name):
    if name == "nobody":
        raise ValueError("nobody is there")
    return "hello " + name
`;
const graph = {
  "1": { class_type: "LoadImage", inputs: { image: "only-on-the-designer's-machine.png" } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
  "3": { class_type: "Greeter", inputs: { name: "you" } },
};
const inputs: InputSpec[] = [
  {
    name: "image",
    title: "Image",
    type: "file",
    media: "image",
    required: true,
    advanced: false,
    targets: [{ node: "1", field: "image" }],
  },
  {
    name: "name",
    title: "Name",
    type: "string",
    multiline: false,
    maxLength: 20,
    required: true,
    advanced: false,
    targets: [{ node: "3", field: "name" }],
  },
];
const outputs: OutputSpec[] = [
  { name: "picture", title: "Picture", node: "2", kind: "image", temporary: false },
  { name: "greeting", title: "Greeting", node: "3", kind: "text", temporary: false },
];
const excerpt = {
  LoadImage: { input: { required: { image: [[], {}] } }, output: ["IMAGE"], python_module: "nodes" },
  SaveImage: {
    input: { required: { images: ["IMAGE"], filename_prefix: ["STRING", {}] } },
    output: [],
    python_module: "nodes",
  },
  Greeter: {
    input: { required: { name: ["STRING", {}] } },
    output: [],
    python_module: "custom_nodes.greeter",
  },
};

async function makeBuild(pack: string, wheel: string, more: Partial<BuildManifest> = {}) {
  const repository = bench.repository("greeter", { "__init__.py": pack });
  const { line } = bench.wheel("greetings", "1.0", wheel);
  return bench.manifest({
    customNodes: [{ name: "greeter", repository: repository.url, gitRef: repository.commit }],
    pipDependencies: [line],
    ...more,
  });
}

function release(
  build: { digest: string; manifest: BuildManifest } | null,
  more: Partial<ReleaseForAgent> = {},
  smokeTest: SmokeTest = { inputs: { name: "smoke" }, outputs: ["picture", "greeting"] },
): ReleaseForAgent {
  return {
    endpoint_id: EndpointId.parse(`ep_${"0".repeat(26)}`),
    endpoint: "test",
    release: 1,
    graph: JSON.stringify(graph),
    inputs,
    outputs,
    classes: ["Greeter", "LoadImage", "SaveImage"],
    build,
    object_info: JSON.stringify(excerpt),
    smoke_test: smokeTest,
    ...more,
  };
}

/** What a replica does before it says that it is ready. @returns the phases it went through */
async function start(wanted: ReleaseForAgent, from: ReleaseHosts = hosts): Promise<string[]> {
  const phases: string[] = [];
  const say = (phase: string) => void phases.push(phase);
  const { log } = bench.log;
  const prepared = await from.prepareHost(wanted, { signal: never, onStep: say });
  try {
    const server = await prepared.host.start({ slot: 0, log, signal: never, onPhase: say });
    const session = await openSession(server, timings, log, never);
    opened.push(session);
    await verify(session, wanted, say);
    return phases;
  } finally {
    prepared.release();
  }
}

function verify(session: ComfySession, wanted: ReleaseForAgent, onPart: (part: string) => void = () => undefined) {
  const redacted = (text: string) => text.replaceAll(bench.root, "<here>");
  const { log } = bench.log;
  return verifyRelease({ session, release: wanted, timings, signal: never, log, redacted, onPart });
}

describe.skipIf(missing !== null)("a release with a build", () => {
  it("is ready after its classes were compared and its graph ran, with a package and a pack of its own", async () => {
    expect(await start(release(good))).toEqual([
      // Its build is here already.
      "booting",
      "classes",
      "warm_up",
    ]);
    expect(bench.log.lines.map(({ event }) => event)).toContain("smoke_test_passed");
    const slot = join(bench.root, "state", "slots", "0");
    for (const folder of ["input", "output"]) {
      expect(
        readdirSync(join(slot, folder), { recursive: true, withFileTypes: true }).filter((each) => each.isFile()),
      ).toEqual([]);
    }
  });

  it("names a missing class, the pack that should bring it, and why that pack was not imported", async () => {
    const build = await makeBuild(GREETER, "def goodbye():\n    pass\n");
    const error = await start(release(build)).then(
      () => "",
      (reason: Error) => reason.message,
    );
    expect(error.split("\n")).toEqual([
      "This ComfyUI has no node class Greeter; the pack greeter should bring it.",
      "ComfyUI's log: greeter: cannot import name 'hello' from 'greetings' (<here>/state/builds/" +
        `${build.digest}/venv/lib/python${build.manifest.environment.pythonVersion}/site-packages/greetings.py)`,
      "ComfyUI's log: greeter could not be imported",
    ]);
  });

  it("whose classes take other inputs than it knows is refused, each by name", async () => {
    const Greeter = {
      ...excerpt.Greeter,
      input: { required: { title: ["STRING", {}] }, optional: { mood: ["INT"], age: ["INT"] } },
    };
    const SaveImage = {
      ...excerpt.SaveImage,
      input: { required: { images: ["LATENT"], filename_prefix: ["STRING"] } },
    };
    const wanted = release(good, {
      object_info: JSON.stringify({ ...excerpt, Greeter, SaveImage }),
      graph: JSON.stringify({ ...graph, "3": { class_type: "Greeter", inputs: { title: "Dr.", mood: 1 } } }),
    });
    await expect(verify(owned, wanted)).rejects.toThrow(
      "Greeter has no input title any more.\n" +
        "Greeter has no input mood any more.\n" +
        "Greeter needs an input name, which the release does not know.\n" +
        "SaveImage's input images is of type IMAGE, and the release was made for LATENT.",
    );
  });

  it("whose graph fails in its smoke test is refused with the node and its words", async () => {
    const wanted = release(good, {}, { inputs: { name: "nobody" }, outputs: [] });
    await expect(verify(owned, wanted)).rejects.toThrow("The smoke test failed: Node 3 (Greeter): nobody is there");
  });

  it("whose smoke test has values that the release does not take is refused", async () => {
    const wanted = release(good, {}, { inputs: { name: "a name of more than twenty letters" }, outputs: [] });
    await expect(verify(owned, wanted)).rejects.toThrow("The smoke test's values do not fit the release: ");
  });

  it("whose output is of another kind than it promises is refused", async () => {
    const video = outputs.map((output) => (output.name === "picture" ? { ...output, kind: "video" as const } : output));
    await expect(verify(owned, release(good, { outputs: video }))).rejects.toThrow(
      "The smoke test's output picture is of kind image, and not video.",
    );
  });

  it("whose output does not come is refused", async () => {
    const more = [...outputs, { name: "sound", title: "Sound", node: "9", kind: "audio" as const, temporary: false }];
    const wanted = release(good, { outputs: more }, { inputs: {}, outputs: ["sound"] });
    await expect(verify(owned, wanted)).rejects.toThrow("The smoke test ran, and its output sound did not come.");
  });

  it("reads its models from its own folder", async () => {
    const loading = {
      "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
    };
    const wanted = release(
      good,
      {
        graph: JSON.stringify(loading),
        inputs: [],
        classes: ["CheckpointLoaderSimple", "SaveImage"],
        object_info: null,
      },
      { inputs: {}, outputs: ["picture"] },
    );
    await verify(owned, wanted);
  });

  it("sees no token of the machine's owner, no proxy and no package index", async () => {
    const promptId = crypto.randomUUID();
    const showing = { "3": { class_type: "ShowEnvironment", inputs: {} } };
    await owned.http.submit({ prompt: showing, prompt_id: promptId, client_id: "x" });
    const entry = await comes(() => owned.http.history(promptId));
    const shown = (entry.outputs as { "3": { text: [string] } })["3"].text[0];
    const environment = JSON.parse(shown) as Record<string, string>;
    expect(Object.keys(environment)).not.toContain("HF_TOKEN");
    expect(Object.keys(environment)).not.toContain("HTTPS_PROXY");
    expect(environment).toMatchObject({ HF_HUB_OFFLINE: "1", TRANSFORMERS_OFFLINE: "1", PIP_NO_INDEX: "1" });
  });

  it("without a build has nothing to run on where builds are made", async () => {
    await expect(start(release(null))).rejects.toThrow("the release has none");
  });
});

describe.skipIf(missing !== null)("what the machine's owner installed", () => {
  it("is verified in the same way, and not a file of it is changed", async () => {
    const install = bench.repository("owners-comfyui", {
      "main.py": readFileSync(SMALL_COMFYUI, "utf8"),
      "custom_nodes/greeter/__init__.py": GREETER,
    });
    const python = join(bench.builds, good.digest, "venv", "bin", "python");
    const settings = { directory: install.folder, python, args: [], metadata: false };
    const environment = { PATH: process.env.PATH ?? "" };
    const launch = comfyLaunch(settings, true, join(bench.root, "state"), environment);
    const adopted = adoptedHosts(spawnHost(launch));
    expect(await start(release(good), adopted)).toEqual(["booting", "classes", "warm_up"]);
    expect(bench.git(install.folder, "status", "--porcelain", "--ignored")).toBe("");
    expect(bench.git(install.folder, "rev-parse", "HEAD")).toBe(install.commit);
  });

  it("that runs already is asked over HTTP alone, and what it lacks is named", async () => {
    const attached = adoptedHosts(new AttachHost([owned.server.url], timings));
    expect(await start(release(null), attached)).toEqual(["booting", "classes", "warm_up"]);
    const other = release(null, { classes: ["Greeter", "Nowhere"] });
    await expect(start(other, attached)).rejects.toThrow("This ComfyUI has no node class Nowhere.");
  });

  it("is not asked for more than before by a release that does not say what must be proven", async () => {
    const old = release(null, { classes: ["Nowhere"], object_info: null, smoke_test: null });
    expect(await start(old, adoptedHosts(new AttachHost([owned.server.url], timings)))).toEqual(["booting"]);
  });
});

async function comes<T>(look: () => Promise<T | null>): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (performance.now() > deadline) throw new Error("it never came");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
