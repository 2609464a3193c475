import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import { SOCKET_CLOSE } from "#contract/agent-socket";
import type { EndpointId, ReplicaId } from "#contract/ids";
import { AgentCalls, newPollId } from "#gpu-agent/control/agent-calls";
import { ControlClient } from "#gpu-agent/control/control-client";
import { ControlError, isGone } from "#gpu-agent/control/control-error";
import { ReplicaSocket } from "#gpu-agent/control/replica-socket";
import type { Timings } from "#gpu-agent/settings";
import { ControlPlane, type ControlPlaneOptions } from "#test/fakes/control-plane";
import type { FakeSocket } from "#test/fakes/control-plane-replies";
import { comesTrue, keptLog, quickTimings } from "#test/gpu-agent/quick-timings";

const never = new AbortController().signal;
let plane: ControlPlane;
let endpointId: EndpointId;
let replicaId: ReplicaId;
let session: string;
let socket: ReplicaSocket;
let calls: AgentCalls;
let unwanted: Lease[];
let lines: { event: string; fields: object }[];

async function begin(options: ControlPlaneOptions = {}, timings: Partial<Timings> = {}) {
  plane = await ControlPlane.start({ heartbeatMs: 100, leaseConfirmMs: 60_000, leaseMs: 60_000, ...options });
  ({ session } = plane.state.join());
  endpointId = plane.state.addEndpoint({ graph: "{}", inputs: [], outputs: [] });
  replicaId = plane.state.place(endpointId, 0);
  unwanted = [];
  const kept = keptLog();
  lines = kept.lines;
  const patience = quickTimings({ pollStallMs: 1_000, ...timings });
  const client = new ControlClient({ url: plane.url, session: () => session, log: kept.log, timings: patience });
  socket = new ReplicaSocket({
    connect: () => client.webSocket(`replicas/${replicaId}/socket`),
    timings: patience,
    log: kept.log,
    onUnwanted: (lease) => void unwanted.push(lease),
  });
  calls = new AgentCalls(client).over(socket);
  socket.open();
}

const open = () => comesTrue("the socket is open", () => socket.isOpen);
const enqueue = () => plane.state.enqueue(endpointId, {});
const poll = (pollId = newPollId(), wait_ms = 20_000, signal = never) =>
  calls.pollReplica(replicaId, { poll_id: pollId, leases: [], wait_ms }, signal);
const complete = (lease: Lease, more: object = {}, signal = never) =>
  calls.complete(lease, { outputs: [], phases: [], ...more }, signal);
/** How often a call came, and how often of that over the socket. */
const came = (call: string) =>
  [plane.requests, plane.socketCalls].map((list) => list.filter((each) => each.endsWith(`/${call}`)).length);
const upgrades = () => plane.requests.filter((each) => each.endsWith("/socket")).length;
const stateOf = (lease: Lease) => plane.state.jobs.get(lease.job_id)?.state;

async function leased(): Promise<Lease> {
  enqueue();
  const { lease } = await poll();
  if (lease === null) throw new Error("no lease");
  return lease;
}

/** A job is done, and its complete waits at the server as a poll. */
async function standing(signal = never): Promise<string> {
  const pollId = newPollId();
  const answer = await complete(await leased(), { next_poll_id: pollId, next_wait_ms: 20_000 }, signal);
  expect(answer).toEqual({ next: null, waits: true });
  return pollId;
}

function fakeSocket(): FakeSocket {
  const fake = plane.sockets.get(replicaId);
  if (fake === undefined) throw new Error("there is no socket");
  return fake;
}

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  );
}

afterEach(async () => {
  socket.close();
  await plane.close();
});

describe("an open socket", () => {
  beforeEach(async () => {
    await begin();
    await open();
  });

  it("carries every call of a job, and nothing of it goes over HTTP", async () => {
    const first = await leased();
    expect(await calls.progress(first, { phase: "preparing" }, 1_000, never)).toMatchObject({ cancel: false });
    const second = enqueue();
    const { next } = await complete(first, { next_poll_id: newPollId() });
    expect(next?.job_id).toBe(second);
    expect(stateOf(first)).toBe("succeeded");
    if (next === null) throw new Error("no lease");
    await calls.fail(next, { error: { code: "execution_error", message: "no" }, phases: [] }, never);
    expect(stateOf(next)).toBe("failed");
    const third = await leased();
    await calls.giveBack(third, "the test is over", never);
    expect(plane.state.jobs.get(third.job_id)?.givenBack).toEqual(["the test is over"]);
    for (const call of ["poll", "progress", "complete", "fail", "release"]) {
      const [all, overSocket] = came(call);
      expect([call, overSocket]).toEqual([call, all]);
    }
  });

  it("brings refusals as HTTP does", async () => {
    const lease = await leased();
    plane.state.loseLeaseOf(lease.job_id);
    const error = await errorOf(calls.progress(lease, { phase: "executing" }, 1_000, never));
    expect(error).toMatchObject({ code: "lease_lost", status: 409, retryable: false });
    expect(isGone(error)).toBe(true);
    expect(came("progress")).toEqual([1, 1]);
  });

  it("leaves long messages to HTTP", async () => {
    const lease = await leased();
    const preview = { content_type: "image/jpeg", data: "A".repeat(300_000) } as const;
    await calls.progress(lease, { phase: "executing", preview }, 5_000, never);
    expect(came("progress")).toEqual([1, 0]);
    expect(plane.state.jobs.get(lease.job_id)?.progress[0]?.preview?.data).toHaveLength(300_000);
  });

  it("does not wait longer than a call may take; what comes later is nobody's", async () => {
    const lease = await leased();
    const { promise: held, resolve } = Promise.withResolvers<void>();
    plane.plan(/\/progress$/, { type: "hold", until: held });
    const error = await errorOf(calls.progress(lease, { phase: "executing" }, 50, never));
    expect(error).toMatchObject({ code: null, retryable: true });
    resolve();
    await comesTrue("it was carried out", () => plane.state.jobs.get(lease.job_id)?.progress.length === 1);
    expect(await calls.progress(lease, { phase: "uploading" }, 1_000, never)).toMatchObject({ cancel: false });
    expect(socket.isOpen).toBe(true);
  });

  it("asks again when a poll has no answer although the connection lives", async () => {
    plane.plan(/\/poll$/, { type: "hold", until: new Promise(() => undefined) });
    const polling = poll("the-same-poll", 100);
    await comesTrue("it asked over HTTP", () => came("poll")[0] === 2);
    expect(came("poll")).toEqual([2, 1]);
    expect(await polling).toEqual({ lease: null, ended: [], stop: false, verify: null });
    expect(upgrades()).toBe(1);
  });
});

describe("a complete that goes on as a poll", () => {
  beforeEach(async () => {
    await begin();
    await open();
  });

  it("brings the next lease without another message", async () => {
    const pollId = await standing();
    const polling = poll(pollId);
    const job = enqueue();
    expect((await polling).lease?.job_id).toBe(job);
    // The one poll is that of the first job.
    expect(came("poll")).toEqual([1, 1]);
  });

  it("keeps a lease that comes before it is asked for", async () => {
    const pollId = await standing();
    const job = enqueue();
    await comesTrue("it is granted", () => plane.state.jobs.get(job)?.state === "running");
    expect((await poll(pollId)).lease?.job_id).toBe(job);
    expect(came("poll")).toEqual([1, 1]);
    expect(unwanted).toEqual([]);
  });

  it("is sent as a poll of the same id when the socket closed meanwhile: the same lease comes", async () => {
    const pollId = await standing();
    fakeSocket().isMute = true;
    const job = enqueue();
    await comesTrue("it is granted", () => plane.state.jobs.get(job)?.state === "running");
    fakeSocket().cut();
    // It may be open again sooner than anybody looks.
    await comesTrue("another one was asked for", () => upgrades() === 2);
    expect((await poll(pollId)).lease?.job_id).toBe(job);
    expect(plane.state.leases.size).toBe(2);
  });

  it("is sent as a poll of the same id when the socket closes while it is awaited", async () => {
    const polling = poll(await standing());
    fakeSocket().cut();
    await comesTrue("it is polled over HTTP", () => came("poll")[0] === 2);
    const job = enqueue();
    expect((await polling).lease?.job_id).toBe(job);
  });

  it("that is given up brings its lease to whoever gives it back", async () => {
    await standing();
    socket.forgoPolls();
    const job = enqueue();
    await comesTrue("it came", () => unwanted.length === 1);
    expect(unwanted[0]?.job_id).toBe(job);
  });

  it("that is given up with its lease in hand hands it over, too", async () => {
    const pollId = await standing();
    const job = enqueue();
    const other = new AbortController();
    await comesTrue("it is granted", () => plane.state.jobs.get(job)?.state === "running");
    // An answer to a later call: what the server said before has arrived.
    const lease = await errorOf(calls.progress(await held(job), { phase: "preparing" }, 1_000, other.signal));
    expect(lease).toBeNull();
    expect(unwanted).toEqual([]);
    socket.forgoPolls();
    expect(unwanted.map((each) => each.job_id)).toEqual([job]);
    expect(pollId).toBe([...plane.state.leases.values()].at(-1)?.pollId);
  });

  it("and a poll whose caller has gone are taken back with their connection", async () => {
    const gone = new AbortController();
    const polling = poll(await standing(), 20_000, gone.signal);
    gone.abort(new Error("ComfyUI died"));
    await expect(polling).rejects.toThrow("ComfyUI died");
    const before = fakeSocket();
    socket.takeBackPolls();
    await comesTrue("another socket is open", () => before.isGone && socket.isOpen);
    const job = enqueue();
    expect((await poll()).lease?.job_id).toBe(job);
    expect(plane.state.leases.size).toBe(2);
    expect(unwanted).toEqual([]);
  });

  it("is nobody's when its caller has gone before the answer: the next lease is not wanted", async () => {
    const lease = await leased();
    const next = enqueue();
    const { promise: held, resolve } = Promise.withResolvers<void>();
    plane.plan(/\/complete$/, { type: "hold", until: held });
    const gone = new AbortController();
    const completing = complete(lease, { next_poll_id: newPollId(), next_wait_ms: 20_000 }, gone.signal);
    await comesTrue("it is under way", () => came("complete")[0] === 1);
    gone.abort(new Error("the agent shuts down"));
    await expect(completing).rejects.toThrow("the agent shuts down");
    resolve();
    await comesTrue("the lease came", () => unwanted.length === 1);
    expect(unwanted[0]?.job_id).toBe(next);
  });
});

async function held(job: string): Promise<Lease> {
  const live = [...plane.state.leases.values()].find((each) => each.job.id === job);
  if (live === undefined) throw new Error("no lease");
  return live.lease;
}

describe("a socket that ends", () => {
  it.each([
    ["before it is carried out", "cut"],
    ["after it was carried out", "lose_answer"],
  ] as const)("in the middle of a complete, %s: it is said again over HTTP and counts once", async (_, type) => {
    await begin();
    await open();
    const lease = await leased();
    plane.plan(/\/complete$/, { type });
    expect(await complete(lease)).toEqual({ next: null });
    expect(stateOf(lease)).toBe("succeeded");
    expect(came("complete")).toEqual([2, 1]);
    await comesTrue("another one is open", () => upgrades() === 2 && socket.isOpen);
    await leased();
    expect(came("poll")).toEqual([2, 2]);
  });

  it("without a word is known by its silence", async () => {
    await begin();
    await open();
    const lease = await leased();
    const dead = fakeSocket();
    dead.isMute = true;
    await complete(lease);
    expect(stateOf(lease)).toBe("succeeded");
    // What went into the silence came nowhere.
    expect(came("complete")).toEqual([1, 0]);
    await comesTrue("another one is open", () => plane.sockets.get(replicaId) !== dead && socket.isOpen);
    expect(lines.find((line) => line.event === "socket_closed")?.fields).toMatchObject({ times: 1 });
  });

  it("and stays quiet otherwise is kept by its pings", async () => {
    await begin({}, { pollStallMs: 300 });
    await open();
    const before = fakeSocket();
    const polling = poll(newPollId(), 1_500);
    await polling;
    expect(plane.sockets.get(replicaId)).toBe(before);
    expect(upgrades()).toBe(1);
  });

  it("with its server opens again when the server is back", async () => {
    await begin();
    await open();
    await plane.stop();
    await comesTrue("it is noticed", () => !socket.isOpen);
    await plane.listen();
    await open();
    await leased();
    expect(came("poll")).toEqual([1, 1]);
  });

  it("with its session opens again with the session of the moment", async () => {
    await begin();
    await open();
    plane.state.sessions.clear();
    fakeSocket().close(SOCKET_CLOSE.sessionOver);
    await comesTrue("the old session was refused", () => upgrades() >= 2);
    expect(socket.isOpen).toBe(false);
    ({ session } = plane.state.join());
    await open();
    await leased();
    expect(came("poll")).toEqual([1, 1]);
  });

  it.each(["{", '{"n": "one"}', '{"n": 1}', '{"n": 1, "answer": 5}'])(
    "is closed when %s comes over it: what was asked is asked over HTTP",
    async (text) => {
      await begin();
      await open();
      const polling = poll();
      await comesTrue("it asked", () => came("poll")[0] === 1);
      const malformed = fakeSocket();
      malformed.sendText(text);
      await comesTrue("it asks again", () => came("poll")[0] === 2);
      const job = enqueue();
      expect((await polling).lease?.job_id).toBe(job);
      expect(malformed.isGone).toBe(true);
      expect(lines.some((line) => line.event === "socket_message_malformed")).toBe(true);
      await open();
    },
  );

  it("is not what an answer of another shape means: that call alone is asked again", async () => {
    await begin();
    await open();
    const lease = await leased();
    plane.plan(/\/complete$/, { type: "hold", until: new Promise(() => undefined) });
    const completing = complete(lease);
    await comesTrue("it is under way", () => came("complete")[0] === 1);
    for (let n = 0; n < 10; n += 1) fakeSocket().say({ n, answer: { next: 5 } });
    expect(await completing).toEqual({ next: null });
    expect(came("complete")).toEqual([2, 1]);
    expect(upgrades()).toBe(1);
  });
});

describe("a server that refuses sockets", () => {
  it("is spoken to over HTTP", async () => {
    await begin({ sockets: false });
    await comesTrue("it was asked more than once", () => upgrades() >= 2);
    const lease = await leased();
    await calls.progress(lease, { phase: "executing" }, 1_000, never);
    // What only a socket understands is not said: an older server would refuse the whole message.
    expect(await complete(lease, { next_poll_id: newPollId(), next_wait_ms: 1_000 })).toEqual({ next: null });
    expect(stateOf(lease)).toBe("succeeded");
    expect(plane.socketCalls).toEqual([]);
    expect(lines.filter((line) => line.event === "socket_closed")).toHaveLength(1);
  });

  it("may take one later", async () => {
    await begin();
    await open();
    plane.plan(/\/socket$/, { type: "proxy_error", status: 502 }, 3);
    fakeSocket().cut();
    await comesTrue("it was asked again", () => upgrades() >= 4);
    await open();
    await leased();
    expect(came("poll")).toEqual([1, 1]);
    expect(lines.filter((line) => line.event === "socket_open")).toHaveLength(1);
  });

  it("is left alone once the replica has ended", async () => {
    await begin();
    await open();
    const fake = fakeSocket();
    const polling = errorOf(poll());
    await comesTrue("it asked", () => came("poll")[0] === 1);
    socket.close();
    await comesTrue("it is closed", () => fake.isGone);
    expect(socket.isOpen).toBe(false);
    // The poll goes on over HTTP, which is its caller's to end.
    await comesTrue("it asks over HTTP", () => came("poll")[0] === 2);
    plane.state.want(replicaId, "gone");
    expect(await polling).not.toBeInstanceOf(ControlError);
    expect(upgrades()).toBe(1);
  });
});
