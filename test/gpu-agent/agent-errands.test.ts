/** Releases that an agent tries before they take another one's place: in the ComfyUI at hand, and in their own build. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { VerificationReport } from "#contract/agent";
import type { EndpointId, ReplicaId } from "#contract/ids";
import { AgentHarness, output } from "#test/gpu-agent/agent-harness";
import { BuildBench, missingPrograms, tinySafetensors } from "#test/gpu-agent/builds/build-fixtures";
import { comesTrue } from "#test/gpu-agent/quick-timings";

const graph = (classType = "PreviewImage") => ({
  "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 7 } },
  "2": { class_type: classType, inputs: { images: ["1", 0], filename_prefix: "p" } },
});
const specs = { inputs: [], outputs: [output("image", "2")] };

let harness: AgentHarness;
afterEach(() => harness.close());

const replicaOf = (id: ReplicaId) => {
  const replica = harness.plane.state.replicas.get(id);
  if (replica === undefined) throw new Error("there is no such replica");
  return replica;
};
const said = (id: ReplicaId): readonly VerificationReport[] => replicaOf(id).verifications;
const lines = (id: ReplicaId) => said(id).flatMap(({ log }) => log ?? []);

/** Sends it, and waits for its end. */
async function outcome(id: ReplicaId, release: number): Promise<VerificationReport> {
  const before = said(id).length;
  harness.plane.state.send(id, release);
  const last = () =>
    said(id)
      .slice(before)
      .findLast(({ state }) => state === "ready" || state === "failed");
  await comesTrue("the errand has ended", () => last() !== undefined, 110_000);
  const report = last();
  if (report === undefined) throw new Error("it was just there");
  return report;
}

/** It takes jobs as before, without another start. */
async function worksOn(endpointId: EndpointId, release = 1): Promise<void> {
  const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { release }), "succeeded");
  expect(job.errors).toEqual([]);
}

describe("a replica that tries a release in the ComfyUI at hand", () => {
  beforeEach(async () => {
    harness = await AgentHarness.start();
  });

  /** A ready replica of release 1, and release 2, which is as `contents` says. */
  async function withRelease(contents: object, more: object = {}) {
    const ready = await harness.ready(graph("SaveImage"), specs);
    harness.plane.state.activeReleases.set(ready.endpointId, 1);
    harness.plane.state.addRelease(ready.endpointId, { ...specs, graph: JSON.stringify(contents), ...more });
    return ready;
  }
  const starts = (id: ReplicaId) => replicaOf(id).reports.filter(({ state }) => state === "booting").length;

  it("says with its start what has run, and then that the other one has, line by line", async () => {
    const { endpointId, replicaId } = await withRelease(graph());
    expect(replicaOf(replicaId).reports.findLast(({ state }) => state === "ready")?.proven).toBe(1);
    const { errand, ...report } = await outcome(replicaId, 2);
    expect(report).toMatchObject({ release: 2, state: "ready" });
    expect(new Set(said(replicaId).map((each) => each.errand))).toEqual(new Set([errand]));
    expect(lines(replicaId)).toEqual(["All 2 node classes are there.", "The graph has run as it was saved."]);
    await worksOn(endpointId);
    expect(starts(replicaId)).toBe(1);
  });

  it("says which class is missing, for good, and goes on with its work", async () => {
    const { endpointId, replicaId } = await withRelease(graph("SharpenEverything"));
    expect(await outcome(replicaId, 2)).toMatchObject({
      state: "failed",
      final: true,
      error: "This ComfyUI has no node class SharpenEverything.",
    });
    await worksOn(endpointId);
    expect([starts(replicaId), harness.stateOf(replicaId)]).toEqual([1, "ready"]);
  });

  it("lets a graph fail that fails, though a start would pass over it", async () => {
    const loads = {
      "1": { class_type: "LoadImage", inputs: { image: "nowhere.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
    };
    const { endpointId, replicaId } = await withRelease(loads);
    const report = await outcome(replicaId, 2);
    expect(report).toMatchObject({ state: "failed", final: true });
    expect(report.error).toMatch(/^The graph was run as it was saved, and failed: /);
    await worksOn(endpointId);
  });

  it("runs the smoke test where the release has one", async () => {
    const { replicaId } = await withRelease(graph("SaveImage"), { smoke_test: { inputs: {}, outputs: ["image"] } });
    expect(await outcome(replicaId, 2)).toMatchObject({ state: "ready" });
    expect(lines(replicaId)).toContain("The smoke test has passed.");
  });

  it("is the machine's trouble, and not the release's, when ComfyUI dies; the replica starts another", async () => {
    const { endpointId, replicaId } = await withRelease(graph());
    await harness.faults({ slow_node_ms: 600_000 });
    harness.plane.state.send(replicaId, 2);
    await comesTrue("it runs", () => said(replicaId).some(({ state }) => state === "verifying"));
    process.kill(harness.comfyReady.pid, "SIGKILL");
    await comesTrue("it gave up", () => said(replicaId).at(-1)?.state === "failed", 110_000);
    expect(said(replicaId).at(-1)?.final).toBe(false);
    await worksOn(endpointId);
    expect(starts(replicaId)).toBe(2);
    expect(await outcome(replicaId, 2)).toMatchObject({ state: "ready" });
  });

  it("stops when nobody waits for it any more, and takes the next job", async () => {
    const { endpointId, replicaId } = await withRelease(graph());
    await harness.faults({ slow_node_ms: 20_000 });
    harness.plane.state.send(replicaId, 2);
    await comesTrue("it runs", () => said(replicaId).some(({ state }) => state === "verifying"));
    replicaOf(replicaId).stopErrands = true;
    await comesTrue("it has heard", () => said(replicaId).some(({ state }) => state === "failed"), 60_000);
    await harness.faults({ slow_node_ms: 0 });
    await worksOn(endpointId);
    expect(starts(replicaId)).toBe(1);
  });

  it("gives the errand up when it has to drain", async () => {
    const { replicaId } = await withRelease(graph());
    await harness.faults({ slow_node_ms: 600_000 });
    harness.plane.state.send(replicaId, 2);
    await comesTrue("it runs", () => said(replicaId).some(({ state }) => state === "verifying"));
    harness.drain();
    await harness.ended;
    expect(said(replicaId).some(({ state }) => state === "ready" || state === "failed")).toBe(false);
    expect(harness.stateOf(replicaId)).toBe("stopped");
  });
});

describe.skipIf(missingPrograms() !== null)("a replica that tries a release with a build of its own", () => {
  let bench: BuildBench;
  let held: string;
  beforeEach(async () => {
    bench = new BuildBench();
    held = join(bench.root, "held");
    // Builds stop at their environment while there is this file.
    const python = join(bench.root, "python-that-waits");
    const script = `#!/bin/sh\nwhile [ -e '${held}' ]; do sleep 0.05; done\nexec python3 "$@"\n`;
    writeFileSync(python, script, { mode: 0o755 });
    harness = await AgentHarness.start({
      comfy: { kind: "builds", pythons: [python], allowFiles: true, metadata: false },
    });
  });
  afterEach(() => bench.close());

  const loads = {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
  };
  const contents = { ...specs, graph: JSON.stringify(loads) };
  /** A ready replica of release 1, and release 2 with another build. */
  async function twoBuilds() {
    const models = [bench.model("checkpoints", "tiny.safetensors", tinySafetensors(7))];
    const more = bench.model("checkpoints", "more.safetensors", tinySafetensors(8));
    const { state } = harness.plane;
    const endpointId = state.addEndpoint({ ...contents, build: await bench.manifest({ models }) });
    state.activeReleases.set(endpointId, 1);
    state.addRelease(endpointId, { ...contents, build: await bench.manifest({ models: [...models, more] }) });
    const replicaId = state.place(endpointId, 0);
    await comesTrue("the replica is ready", () => harness.stateOf(replicaId) === "ready", 110_000);
    return { endpointId, replicaId };
  }

  it("goes on with jobs while that build is made, and stops only to try it", async () => {
    const { endpointId, replicaId } = await twoBuilds();

    writeFileSync(held, "");
    const ended = outcome(replicaId, 2);
    await comesTrue("the build is under way", () => lines(replicaId).includes("python: begins"));
    for (const _ of [1, 2, 3]) await worksOn(endpointId);
    expect(said(replicaId).every(({ state: now }) => now === "building")).toBe(true);
    // Each poll says what it is on, so that nobody else gets it.
    const { preparing, errandPoll } = replicaOf(replicaId);
    expect([...preparing]).toEqual([errandPoll]);

    rmSync(held);
    expect(await ended).toMatchObject({ state: "ready" });
    await worksOn(endpointId, 2);
    expect(replicaOf(replicaId).reports.some(({ state: now }) => now === "crashed")).toBe(false);
  });

  it("leaves the build at once when it has to drain", async () => {
    const { replicaId } = await twoBuilds();
    writeFileSync(held, "");
    harness.plane.state.send(replicaId, 2);
    await comesTrue("the build is under way", () => lines(replicaId).includes("python: begins"));
    harness.drain();
    await harness.ended;
    expect(said(replicaId).every(({ state: now }) => now === "building")).toBe(true);
    expect(harness.stateOf(replicaId)).toBe("stopped");
  });

  it("becomes a replica of that build; where it cannot be made, of the one it was, and is never crashed", async () => {
    const models = [bench.model("checkpoints", "tiny.safetensors", tinySafetensors(7))];
    const more = bench.model("checkpoints", "more.safetensors", tinySafetensors(8));
    const [first, second] = [await bench.manifest({ models }), await bench.manifest({ models: [...models, more] })];
    const { line, path } = bench.wheel("greetings", "1.0", "");
    const broken = await bench.manifest({ pipDependencies: [line.replace(path, `${path}.gone.whl`)] });
    const { state } = harness.plane;
    const endpointId = state.addEndpoint({ ...contents, build: first });
    state.activeReleases.set(endpointId, 1);
    state.addRelease(endpointId, { ...contents, build: broken });
    state.addRelease(endpointId, { ...contents, build: second });
    const replicaId = state.place(endpointId, 0);
    await comesTrue("the replica is ready", () => harness.stateOf(replicaId) === "ready", 110_000);
    const build = () => replicaOf(replicaId).reports.findLast(({ state: now }) => now === "ready")?.build;
    expect(build()).toBe(first.digest);

    const failed = await outcome(replicaId, 2);
    expect(failed).toMatchObject({ state: "failed", final: true });
    expect(failed.error).toMatch(/^The Python packages cannot be installed/);
    // The log's lines came while it was made.
    expect(lines(replicaId).some((each) => each.startsWith("python: "))).toBe(true);
    await worksOn(endpointId);
    expect(build()).toBe(first.digest);
    // What cannot be made costs the replica no start.
    expect(replicaOf(replicaId).reports.filter(({ state: now }) => now === "booting")).toHaveLength(1);

    expect(await outcome(replicaId, 3)).toMatchObject({ state: "ready" });
    expect(build()).toBe(second.digest);
    expect(said(replicaId).some(({ release, state: now }) => release === 3 && now === "verifying")).toBe(true);
    await worksOn(endpointId, 3);
    expect(replicaOf(replicaId).reports.some(({ state: now }) => now === "crashed")).toBe(false);
  });
});
