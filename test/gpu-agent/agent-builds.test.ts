/** An agent that makes what its releases need: from the server's word to a finished job. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BuildManifest } from "#contract/build";
import type { ReplicaId } from "#contract/ids";
import { AgentHarness, output } from "#test/gpu-agent/agent-harness";
import { BuildBench, missingPrograms, tinySafetensors } from "#test/gpu-agent/builds/build-fixtures";
import { comesTrue } from "#test/gpu-agent/quick-timings";

const missing = missingPrograms();

let bench: BuildBench;
let harness: AgentHarness;
beforeEach(async () => {
  bench = new BuildBench();
  harness = await AgentHarness.start({ comfy: { kind: "builds", pythons: [], allowFiles: true, metadata: false } });
});
afterEach(async () => {
  await harness.close();
  bench.close();
});

const graph = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
};

function place(build: { digest: string; manifest: BuildManifest } | null) {
  const { state } = harness.plane;
  const endpointId = state.addEndpoint({
    graph: JSON.stringify(graph),
    inputs: [],
    outputs: [output("image", "2")],
    build,
    smoke_test: { inputs: {}, outputs: [] },
  });
  return { endpointId, replicaId: state.place(endpointId, 0) };
}

const reports = (replicaId: ReplicaId) => harness.plane.state.replicas.get(replicaId)?.reports ?? [];
/** The lines of its log, as they were told. */
const logOf = (replicaId: ReplicaId) => reports(replicaId).flatMap(({ log }) => log ?? []);

describe.skipIf(missing !== null)("an agent that makes builds", () => {
  it("makes the release's, runs its graph, is ready, and does its jobs, with a time for every part of the start", async () => {
    const build = await bench.manifest({
      models: [bench.model("checkpoints", "tiny.safetensors", tinySafetensors(7))],
    });
    const { endpointId, replicaId } = place(build);
    await comesTrue("the replica is ready", () => harness.stateOf(replicaId) === "ready", 110_000);
    const ready = reports(replicaId).find(({ state }) => state === "ready");
    expect(ready?.phases.map(({ phase }) => phase)).toEqual([
      "preparing",
      "comfyui",
      "nodes",
      "python",
      "weights",
      "boot",
      "loading",
      "classes",
      "warm_up",
    ]);
    expect(harness.has("smoke_test_passed")).toBe(true);
    await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(readdirSync(join(harness.stateDirectory, "builds"))).toContain(build.digest);
  });

  it("becomes a replica of another build when a job's release needs one, and back", async () => {
    const models = [bench.model("checkpoints", "tiny.safetensors", tinySafetensors(7))];
    const first = await bench.manifest({ models });
    const more = bench.model("checkpoints", "more.safetensors", tinySafetensors(8));
    const second = await bench.manifest({ models: [...models, more] });
    expect(second.digest).not.toBe(first.digest);
    const { endpointId, replicaId } = place(first);
    await comesTrue("the replica is ready", () => harness.stateOf(replicaId) === "ready", 110_000);
    const contents = { graph: JSON.stringify(graph), inputs: [], outputs: [output("image", "2")] };
    harness.plane.state.addRelease(endpointId, { ...contents, build: second });
    for (const release of [2, 1]) {
      const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { release }), "succeeded");
      expect([job.attempts, job.givenBack.length]).toEqual([1, 1]);
    }
    expect(harness.plane.state.replicas.get(replicaId)?.reports.filter(({ state }) => state === "ready")).toHaveLength(
      3,
    );
    expect(harness.plane.state.replicas.get(replicaId)?.reports.some(({ state }) => state === "crashed")).toBe(false);
  });

  it("never is ready where the install failed: the replica's error says what, with the log's last lines", async () => {
    const { line, path } = bench.wheel("greetings", "1.0", "");
    const build = await bench.manifest({ pipDependencies: [line.replace(path, `${path}.gone.whl`)] });
    const { replicaId } = place(build);
    await comesTrue("the replica crashed", () => harness.stateOf(replicaId) === "crashed", 110_000);
    const error = reports(replicaId).at(-1)?.error ?? "";
    expect(error).toMatch(/^The Python packages cannot be installed: (pip|uv) ended with exit code \d+\.\n/);
    expect(error).toContain("greetings-1.0-py3-none-any.whl.gone.whl");
    expect(error).not.toContain(harness.stateDirectory);
    expect(reports(replicaId).some(({ state }) => state === "ready" || state === "booting")).toBe(false);
    const log = logOf(replicaId);
    expect(log[0]).toMatch(/^comfyui: \$ git /);
    expect(log.filter((each) => each.startsWith("python: ")).join("\n")).toContain(
      "greetings-1.0-py3-none-any.whl.gone",
    );
    expect(log.join("\n")).not.toContain(harness.stateDirectory);
    expect(log.length).toBe(
      new Set(
        reports(replicaId).flatMap(({ log_from: from, log: lines }) =>
          (lines ?? []).map((_, index) => (from ?? 0) + index),
        ),
      ).size,
    );
  });

  it("never is ready where the graph fails, and never for a release without a build", async () => {
    const failing = place(await bench.manifest({}));
    await comesTrue("the replica crashed", () => harness.stateOf(failing.replicaId) === "crashed", 110_000);
    expect(reports(failing.replicaId).at(-1)?.error).toMatch(
      /^The smoke test failed: Node 1 \(CheckpointLoaderSimple\)/,
    );
    const without = place(null);
    await comesTrue("the replica crashed", () => harness.stateOf(without.replicaId) === "crashed", 110_000);
    expect(reports(without.replicaId).at(-1)?.error).toContain("the release has none");
  });
});
