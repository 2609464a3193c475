import { afterEach, describe, expect, it } from "vitest";
import * as z from "zod";
import type { JobId } from "#contract/ids";
import {
  AgentHarness,
  fileInput,
  type HarnessOptions,
  integerInput,
  output,
  pictureGraph,
} from "#test/gpu-agent/agent-harness";
import { comesTrue } from "#test/gpu-agent/quick-timings";

const Executions = z.array(z.object({ prompt_id: z.string(), started_at: z.number(), ended_at: z.number() }));
const Queue = z.object({ queue_running: z.array(z.unknown()), queue_pending: z.array(z.unknown()) });

let harness: AgentHarness;
afterEach(() => harness.close());

const standIn = (generation: string, ...args: string[]) => ({
  kind: "stand-in" as const,
  args: ["--generation", generation, ...args],
});

async function ask<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.infer<Schema>> {
  const answer = await fetch(`http://127.0.0.1:${harness.comfyReady.port}${path}`);
  return schema.parse(await answer.json());
}

/** One replica, whose nodes take so long. */
async function withEndpoint(slowNodeMs: number, options: HarnessOptions = {}) {
  harness = await AgentHarness.start({ comfy: standIn("newer"), ...options });
  const specs = { inputs: [integerInput("width", "1", "width")], outputs: [output("image", "2")] };
  const { endpointId, replicaId } = await harness.ready(pictureGraph, specs);
  await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
  await harness.faults({ slow_node_ms: slowNodeMs });
  let width = 16;
  const enqueue = (): JobId => {
    width += 1;
    return harness.plane.state.enqueue(endpointId, { inputs: { width } });
  };
  return { enqueue, endpointId, replicaId };
}

const stateOf = (id: JobId) => harness.plane.state.jobs.get(id)?.state;
const isHeld = () => harness.has("job_held_ahead");
const phasesOf = (id: JobId) => harness.plane.state.jobs.get(id)?.progress.map(({ phase }) => phase) ?? [];

/** The first of two jobs executes, and the second is held. */
async function held(enqueue: () => JobId): Promise<[JobId, JobId]> {
  const ids: [JobId, JobId] = [enqueue(), enqueue()];
  await comesTrue("the second job is held ahead", isHeld);
  return ids;
}

describe("the job after the one that runs", () => {
  it("waits in ComfyUI's own queue, and nothing is said under its lease before it runs", async () => {
    const { enqueue } = await withEndpoint(700);
    const [first, second] = await held(enqueue);
    let pending = 0;
    while (pending === 0 && stateOf(first) === "running") {
      pending = (await ask("/queue", Queue)).queue_pending.length;
    }
    expect(pending).toBe(1);
    expect(phasesOf(second)).toEqual([]);
    for (const id of [first, second]) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
    expect(phasesOf(second)[0]).toBe("executing");
    const executions = (await ask("/stand-in/executions", Executions)).slice(-2);
    // One after the other, and no way to the server in between.
    const [one, two] = executions;
    expect(two?.started_at).toBeGreaterThanOrEqual(one?.ended_at ?? Number.POSITIVE_INFINITY);
  });

  it("waits in the agent where an interrupt might hit it in place of the other", async () => {
    const { enqueue } = await withEndpoint(500, { comfy: standIn("0.3.64") });
    const [first, second] = await held(enqueue);
    while (stateOf(first) === "running" && !phasesOf(second).includes("executing")) {
      expect((await ask("/queue", Queue)).queue_pending).toEqual([]);
    }
    for (const id of [first, second]) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("has its inputs by then", async () => {
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "example.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "ComfyUI" } },
    };
    harness = await AgentHarness.start({ comfy: standIn("newer") });
    const specs = { inputs: [fileInput("image", "1", "image")], outputs: [output("image", "2")] };
    const { endpointId } = await harness.ready(graph, specs);
    await harness.faults({ slow_node_ms: 700 });
    const png = Buffer.from(
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
      "base64",
    );
    const enqueue = () =>
      harness.plane.state.enqueue(endpointId, { files: [{ input: "image", filename: "a.png", bytes: png }] });
    const [first, second] = await held(enqueue);
    const lease = () => [...harness.plane.state.leases.values()].find(({ job }) => job.id === second)?.lease.lease_id;
    await comesTrue(
      "its input is asked for",
      () => harness.plane.requests.includes(`GET leases/${lease()}/inputs/0`) || stateOf(first) !== "running",
    );
    expect(stateOf(first)).toBe("running");
    for (const id of [first, second]) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("never runs when it is canceled first", async () => {
    const { enqueue } = await withEndpoint(800);
    const before = (await ask("/stand-in/executions", Executions)).length;
    const [first, second] = await held(enqueue);
    await comesTrue("it is watched", () => harness.plane.requests.filter((each) => each.endsWith("/poll")).length > 2);
    harness.plane.state.cancel(second);
    expect((await harness.jobIs(first, "succeeded")).attempts).toBe(1);
    const third = enqueue();
    await harness.jobIs(third, "succeeded");
    expect((await ask("/stand-in/executions", Executions)).length - before).toBe(2);
    expect(phasesOf(second)).toEqual([]);
  });

  it("goes back at once when the replica drains, and the one that runs is finished", async () => {
    const { enqueue } = await withEndpoint(700);
    const [first, second] = await held(enqueue);
    harness.drain();
    await comesTrue("it is given back", () => stateOf(second) === "queued");
    expect(stateOf(first)).toBe("running");
    expect((await harness.jobIs(first, "succeeded")).attempts).toBe(1);
    await harness.ended;
    expect(harness.plane.state.jobs.get(second)).toMatchObject({
      attempts: 0,
      givenBack: ["the replica drains"],
      progress: [],
    });
  });

  it("goes back when the one that runs takes long, and is neither late nor lost", async () => {
    const { enqueue } = await withEndpoint(4_000, { plane: { leaseConfirmMs: 4_000 } });
    const [first, second] = await held(enqueue);
    await comesTrue("it is given back", () => (harness.plane.state.jobs.get(second)?.givenBack.length ?? 0) > 0);
    expect(stateOf(first)).toBe("running");
    expect(harness.plane.state.jobs.get(second)?.givenBack[0]).toContain("longer than expected");
    await harness.faults({ slow_node_ms: 0 });
    for (const id of [first, second]) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("goes back when ComfyUI dies under the one that runs, without an attempt", async () => {
    const { enqueue } = await withEndpoint(600);
    const [first, second] = await held(enqueue);
    process.kill(harness.comfyReady.pid, "SIGKILL");
    await comesTrue("it is given back", () => (harness.plane.state.jobs.get(second)?.givenBack.length ?? 0) > 0);
    for (const id of [first, second]) await harness.jobIs(id, "succeeded");
    expect(harness.plane.state.jobs.get(second)).toMatchObject({ attempts: 1, errors: [] });
    expect(harness.plane.state.jobs.get(first)?.errors).toHaveLength(1);
  });

  it("runs when the one before it is canceled or fails", async () => {
    const { enqueue } = await withEndpoint(700);
    const [first, second] = await held(enqueue);
    harness.plane.state.cancel(first);
    expect((await harness.jobIs(second, "succeeded")).attempts).toBe(1);
    const third = enqueue();
    await comesTrue("the third executes", () => phasesOf(third).includes("executing"));
    await harness.faults({ slow_node_ms: 0, node_exception: "SaveImage" });
    await harness.jobIs(third, "failed");
  });

  it("is held also while outputs of the one before still go up", async () => {
    const { enqueue } = await withEndpoint(400, { plane: { socketOutputs: false } });
    const { promise, resolve } = Promise.withResolvers<void>();
    harness.plane.plan(/outputs\/0$/, { type: "hold", until: promise });
    const [first, second] = await held(enqueue);
    const third = enqueue();
    await comesTrue("three are in hand", () => stateOf(third) === "running");
    expect(phasesOf(first).at(-1)).toBe("uploading");
    expect([stateOf(first), phasesOf(third)]).toEqual(["running", []]);
    resolve();
    for (const id of [first, second, third]) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("is not asked for by an agent that was told so", async () => {
    const { enqueue } = await withEndpoint(400, { settings: { leaseAhead: false } });
    const [first, second] = [enqueue(), enqueue()];
    await comesTrue("the first executes", () => phasesOf(first).includes("executing"));
    while (stateOf(first) === "running") {
      expect(stateOf(second)).toBe("queued");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await harness.jobIs(second, "succeeded");
    expect(isHeld()).toBe(false);
  });
});
