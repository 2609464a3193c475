import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  AgentHarness,
  fileInput,
  type HarnessOptions,
  integerInput,
  output,
  pictureGraph,
} from "#test/gpu-agent/agent-harness";
import { comesTrue } from "#test/gpu-agent/quick-timings";

let harness: AgentHarness;
afterEach(() => harness.close());

const specs = { inputs: [integerInput("width", "1", "width")], outputs: [output("image", "2")] };

const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

async function withEndpoint(options: HarnessOptions = {}) {
  harness = await AgentHarness.start(options);
  const ready = await harness.ready(pictureGraph, specs);
  return { ...ready, enqueue: (width = 16) => harness.plane.state.enqueue(ready.endpointId, { inputs: { width } }) };
}

/** A job that takes as long as the test wants. */
async function slowJob(enqueue: () => ReturnType<AgentHarness["plane"]["state"]["enqueue"]>) {
  await harness.faults({ slow_node_ms: 30_000 });
  const id = enqueue();
  await comesTrue("the job executes", () => progressOf(id).some((each) => each.phase === "executing"));
  return id;
}

const progressOf = (id: ReturnType<AgentHarness["plane"]["state"]["enqueue"]>) =>
  harness.plane.state.jobs.get(id)?.progress ?? [];

describe("ComfyUI", () => {
  it.each(["prompt_start", "mid_node", "after_save"])(
    "dies at %s: the job runs again on its successor",
    async (moment) => {
      const { enqueue, replicaId } = await withEndpoint();
      await harness.faults({ crash: moment });
      const job = await harness.jobIs(enqueue(), "succeeded");
      expect(job.attempts).toBe(2);
      expect(job.errors).toEqual([expect.objectContaining({ code: "replica_failed" })]);
      const reports = harness.plane.state.replicas.get(replicaId)?.reports.map((report) => report.state) ?? [];
      // A part of a state that begins is told as well.
      const states = reports.filter((state, at) => state !== reports[at - 1]);
      expect(states).toEqual(["preparing", "booting", "loading", "ready", "preparing", "booting", "loading", "ready"]);
    },
  );

  it("dies between two jobs: the next one waits for its successor and loses no attempt", async () => {
    const { enqueue, replicaId } = await withEndpoint();
    process.kill(harness.comfyReady.pid, "SIGKILL");
    await comesTrue("it is noticed", () => harness.has("comfy_restarts"));
    const job = await harness.jobIs(enqueue(), "succeeded");
    expect(job.attempts).toBe(1);
    expect(harness.stateOf(replicaId)).toBe("ready");
  });

  it("dies while a job's inputs are fetched: the job is given back, and loses no attempt", async () => {
    harness = await AgentHarness.start();
    const picture = {
      "1": { class_type: "LoadImage", inputs: { image: "example.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "ComfyUI" } },
    };
    const { endpointId } = await harness.ready(picture, {
      inputs: [fileInput("image", "1", "image")],
      outputs: [output("image", "2")],
    });
    const fetched = Promise.withResolvers<void>();
    harness.plane.plan(/inputs\/0$/, { type: "hold", until: fetched.promise });
    const id = harness.plane.state.enqueue(endpointId, { files: [{ input: "image", filename: "a.png", bytes: PNG }] });
    const isAskedFor = () => harness.plane.requests.some((request) => request.endsWith("inputs/0"));
    await comesTrue("its input is asked for", isAskedFor);
    process.kill(harness.comfyReady.pid, "SIGKILL");
    await comesTrue("it is noticed", () => !existsSync(join(harness.slot, "comfyui.pid")));
    fetched.resolve();
    expect(await harness.jobIs(id, "succeeded")).toMatchObject({
      attempts: 1,
      errors: [],
      givenBack: ["ComfyUI died before the job began"],
    });
  });

  it("dies while the server holds the replica's next poll: the poll is taken back, and nothing comes to nobody", async () => {
    const { enqueue } = await withEndpoint({ timings: { pollWaitMs: 30_000 } });
    await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    await harness.jobIs(enqueue(), "succeeded");
    const before = [...harness.plane.sockets.values()][0];
    process.kill(harness.comfyReady.pid, "SIGKILL");
    await comesTrue("its connection has ended", () => before?.isGone === true);
    const job = await harness.jobIs(enqueue(), "succeeded");
    expect(job.attempts).toBe(1);
    expect(job.givenBack).toEqual([]);
    await comesTrue("another socket is open", () => harness.plane.sockets.size === 1);
  });

  it("dies whenever it runs a prompt: the replica has crashed, with the last words", async () => {
    harness = await AgentHarness.start({ comfy: { kind: "stand-in", args: ["--fault-crash", "mid_node"] } });
    const endpointId = harness.plane.state.addEndpoint({ graph: JSON.stringify(pictureGraph), ...specs });
    const replicaId = harness.plane.state.place(endpointId, 0);
    // The try-out prompt already dies: such a ComfyUI never becomes ready.
    await comesTrue("it has crashed", () => harness.stateOf(replicaId) === "crashed");
    const reports = harness.plane.state.replicas.get(replicaId)?.reports;
    expect(reports?.map((report) => report.state)).not.toContain("ready");
    expect(reports?.at(-1)?.error).toMatch(/exit code 137\n.*stand-in/);
  });

  it("has a dead worker thread, and answers HTTP as if it had not: the job runs again", async () => {
    const { enqueue } = await withEndpoint({ timings: { hangMs: 3_000, interruptMs: 500 } });
    await harness.faults({ dead_worker: true });
    const job = await harness.jobIs(enqueue(), "succeeded");
    expect(job.errors).toEqual([expect.objectContaining({ code: "replica_failed" })]);
  });

  it("sends no frame at all: the history is enough", async () => {
    const { enqueue } = await withEndpoint();
    await harness.faults({ silent_socket: true });
    const job = await harness.jobIs(enqueue(), "succeeded");
    expect(job.attempts).toBe(1);
  });

  it("cuts its sockets in the middle of a job: the job goes on", async () => {
    const { enqueue } = await withEndpoint();
    await harness.faults({ slow_node_ms: 700 });
    const id = enqueue();
    await comesTrue("the job executes", () => progressOf(id).some((each) => each.phase === "executing"));
    await harness.faults({ drop_sockets: true });
    expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("loses its history: the job runs again", async () => {
    const { enqueue } = await withEndpoint();
    await harness.faults({ history_loss: true });
    const id = enqueue();
    await comesTrue("the first attempt failed", () => harness.plane.state.jobs.get(id)?.errors.length === 1);
    expect(harness.plane.state.jobs.get(id)?.errors[0]?.code).toBe("replica_failed");
  });

  it("blocks for a while: the lease is renewed all the same", async () => {
    const { enqueue } = await withEndpoint({ plane: { leaseMs: 2_000 }, timings: { leaseRenewMs: 300 } });
    await harness.faults({ slow_node_ms: 200, hang_ms: 4_000 });
    const job = await harness.jobIs(enqueue(), "succeeded");
    expect(job.attempts).toBe(1);
  });
});

describe("a job that runs", () => {
  it("is canceled: exactly its prompt is interrupted, and the next job runs", async () => {
    const { enqueue } = await withEndpoint();
    const id = await slowJob(enqueue);
    harness.plane.state.cancel(id);
    await comesTrue("the agent stopped it", () => harness.has("job_ended"));
    expect(harness.lines.find((line) => line.event === "job_ended")?.fields).toMatchObject({ outcome: "canceled" });
    await harness.faults({ slow_node_ms: 0 });
    const next = await harness.jobIs(enqueue(), "succeeded");
    expect(next.attempts).toBe(1);
    expect(harness.has("comfy_restarts")).toBe(false);
    // Nothing about the canceled lease was sent after it was known to be over.
    const live = [...harness.plane.state.leases.values()].find((each) => each.job.id === id);
    const about = harness.plane.requests.filter((each) => each.includes(live?.lease.lease_id ?? "none"));
    expect(about.every((each) => each.endsWith("/progress"))).toBe(true);
  });

  it("loses its lease: its prompt is stopped, and a later attempt counts", async () => {
    const { enqueue } = await withEndpoint();
    const id = await slowJob(enqueue);
    await harness.faults({ slow_node_ms: 0 });
    harness.plane.state.loseLeaseOf(id);
    const job = await harness.jobIs(id, "succeeded");
    expect(job.attempts).toBe(2);
    expect(job.errors).toEqual([]);
  });

  it("takes too long: it is stopped and has failed", async () => {
    const { endpointId } = await withEndpoint();
    await harness.faults({ slow_node_ms: 30_000 });
    const id = harness.plane.state.enqueue(endpointId, { timeoutMs: 300 });
    const job = await harness.jobIs(id, "failed");
    expect(job.errors).toEqual([expect.objectContaining({ code: "execution_timeout" })]);
  });
});

describe.each([
  { over: "a socket", sockets: true },
  { over: "HTTP", sockets: false },
])("the server, over $over,", ({ sockets }) => {
  const reached = async (options: HarnessOptions = {}) => {
    const ready = await withEndpoint({ ...options, plane: { ...options.plane, sockets } });
    if (sockets) await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    return ready;
  };

  afterEach(() => {
    expect(harness.plane.socketCalls.length > 0).toBe(sockets);
  });

  it("is down while a job runs and ends: the job goes on, its result arrives later, once", async () => {
    const { enqueue } = await reached({ plane: { leaseMs: 60_000 } });
    await harness.faults({ slow_node_ms: 500 });
    const id = enqueue();
    await comesTrue("the job executes", () => progressOf(id).some((each) => each.phase === "executing"));
    await harness.plane.stop();
    await comesTrue("the agent tries to store its output", () =>
      harness.lines.some(
        ({ event, fields }) => event === "server_call_failed" && "what" in fields && fields.what === "output",
      ),
    );
    await harness.plane.listen();
    const job = await harness.jobIs(id, "succeeded");
    expect(job.attempts).toBe(1);
    expect((await harness.jobIs(enqueue(), "succeeded")).attempts).toBe(1);
  });

  it("loses the answer that carried a lease: the same poll brings it again", async () => {
    const { enqueue } = await reached({ timings: { pollWaitMs: 300 } });
    harness.plane.plan(/^POST replicas\/[^/]+\/poll$/, { type: "lose_answer" });
    const job = await harness.jobIs(enqueue(), "succeeded");
    expect(job.attempts).toBe(1);
    expect(harness.plane.state.leases.size).toBe(1);
  });

  it("falls silent in the middle of a poll: the agent polls again", async () => {
    const { enqueue } = await reached({ timings: { pollWaitMs: 300, pollStallMs: 1_500 } });
    harness.plane.plan(/^POST replicas\/[^/]+\/poll$/, { type: "silence" });
    expect((await harness.jobIs(enqueue(), "succeeded")).attempts).toBe(1);
  });

  it.each(["complete", "progress", "outputs/0"])(
    "loses the answer to %s: sent again, with one result",
    async (path) => {
      const { enqueue } = await reached();
      harness.plane.plan(new RegExp(`^(POST|PUT) leases/[^/]+/${path}$`), { type: "lose_answer" });
      const job = await harness.jobIs(enqueue(), "succeeded");
      expect(job.attempts).toBe(1);
      expect(job.outputs).toHaveLength(1);
    },
  );

  it("loses the answer to complete that carried the next lease: that job runs too", async () => {
    const { enqueue } = await reached();
    await harness.faults({ slow_node_ms: 100 });
    const ids = [enqueue(), enqueue(20)];
    harness.plane.plan(/\/complete$/, { type: "lose_answer" });
    for (const id of ids) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
    expect(harness.plane.state.leases.size).toBe(2);
  });

  it("gives the next lease with the answer to complete: no poll for each job", async () => {
    const { enqueue } = await reached();
    await harness.faults({ slow_node_ms: 20 });
    const first = enqueue();
    await comesTrue("the first job runs", () => harness.plane.state.jobs.get(first)?.state === "running");
    const polls = () => harness.plane.requests.filter((each) => /^POST replicas\/[^/]+\/poll$/.test(each)).length;
    const before = polls();
    const ids = [first, enqueue(17), enqueue(18), enqueue(19), enqueue(20), enqueue(21)];
    for (const id of ids) await harness.jobIs(id, "succeeded");
    expect(harness.plane.requests.filter((each) => each.endsWith("/complete"))).toHaveLength(6);
    expect(polls() - before).toBeLessThan(6);
  });
});

describe("a replica's socket", () => {
  const withSocket = async (options: HarnessOptions = {}) => {
    const ready = await withEndpoint(options);
    await comesTrue("it is open", () => harness.plane.sockets.size === 1);
    return ready;
  };

  it("brings job after job without a poll, however long the queue is empty between them", async () => {
    const { enqueue } = await withSocket({ timings: { pollWaitMs: 60_000 } });
    for (const width of [16, 17, 18]) await harness.jobIs(enqueue(width), "succeeded");
    // The one poll is the first, from before the socket was open.
    expect(harness.plane.requests.filter((each) => /^POST replicas\/[^/]+\/poll$/.test(each))).toHaveLength(1);
    expect(harness.plane.socketCalls.filter((each) => each.endsWith("/complete"))).toHaveLength(3);
  });

  it("closes in the middle of a job: the job goes on and counts once, over a new one", async () => {
    const { enqueue } = await withSocket();
    await harness.faults({ slow_node_ms: 700 });
    const id = enqueue();
    await comesTrue("the job executes", () => progressOf(id).some((each) => each.phase === "executing"));
    const before = [...harness.plane.sockets.values()][0];
    before?.cut();
    const job = await harness.jobIs(id, "succeeded");
    expect(job.attempts).toBe(1);
    expect(harness.plane.requests.filter((each) => each.endsWith("/complete"))).toHaveLength(1);
    await comesTrue("another one is open", () => harness.plane.sockets.size === 1);
  });

  it("is dead, without a word: the job counts once all the same", async () => {
    const { enqueue } = await withSocket({ timings: { pollStallMs: 1_500 } });
    await harness.faults({ slow_node_ms: 700 });
    const id = enqueue();
    await comesTrue("the job executes", () => progressOf(id).some((each) => each.phase === "executing"));
    const before = [...harness.plane.sockets.values()][0];
    if (before !== undefined) before.isMute = true;
    expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
    await comesTrue("another one is open", () => before?.isGone === true && harness.plane.sockets.size === 1);
    expect((await harness.jobIs(enqueue(), "succeeded")).attempts).toBe(1);
  });
});

describe("the server", () => {
  it.each([502, 404, 401])("stands behind a proxy that answers %i for it: that decides nothing", async (status) => {
    const { enqueue } = await withEndpoint();
    harness.plane.plan(/^(POST|PUT) leases\//, { type: "proxy_error", status }, 4);
    expect((await harness.jobIs(enqueue(), "succeeded")).attempts).toBe(1);
  });

  it("is overloaded: its Retry-After is kept", async () => {
    const { enqueue } = await withEndpoint({ plane: { sockets: false } });
    harness.plane.plan(/\/complete$/, { type: "refuse", code: "unavailable", retryAfterS: 1 });
    await harness.jobIs(enqueue(), "succeeded");
    const failed = harness.lines.find((line) => line.event === "server_call_failed");
    expect(failed?.fields).toMatchObject({ what: "complete", waitMs: 1_000 });
  });

  it("gives no Retry-After over a socket: the next try asks over HTTP", async () => {
    const { enqueue } = await withEndpoint();
    await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    harness.plane.plan(/\/complete$/, { type: "refuse", code: "unavailable" });
    await harness.jobIs(enqueue(), "succeeded");
    const isComplete = (each: string) => each.endsWith("/complete");
    expect(harness.plane.requests.filter(isComplete)).toHaveLength(2);
    expect(harness.plane.socketCalls.filter(isComplete)).toHaveLength(1);
  });
});
