/** Everything that callers, agents, the platform and accidents do to an endpoint, with the model's answer to each. */
import type { ReplicaPollAnswer } from "#contract/agent";
import type { JobId } from "#contract/ids";
import { isTerminal, type JobErrorCode, type JobPatch, type JobState, type RunningPhase } from "#contract/job";
import type { EnqueueRequest, LeaseProof, StoredOutput } from "#durable-objects/endpoint/rpc";
import { EndpointModel, type Key, type ModelJob, type ModelLease, must, type Wish } from "./command-model.ts";
import { must as given } from "./objects.ts";
import type { OpenPoll, Place, RealEndpoint } from "./real-endpoint.ts";

const LISTED_MAX = 4;
const WAIT_MS = 25_000;
const SENT_LATELY = 4;
const EMPTY = { lease: null, ended: [], stop: false };

/** What follows from an answer, for the model. */
export type Apply = () => void | Promise<void>;
/** Sends something at once; null when there is nothing to send it about. */
export type Act = (session: Session) => Promise<Apply> | null;

/** One endpoint, its model, and the messages that were sent to it and may be sent again. */
export class Session {
  readonly model = new EndpointModel();
  readonly real: RealEndpoint;
  readonly sent: ((session: Session) => Promise<Apply>)[] = [];

  constructor(real: RealEndpoint) {
    this.real = real;
  }

  /** Sends it, and remembers it. */
  send(message: (session: Session) => Promise<Apply>): Promise<Apply> {
    this.sent.push(message);
    return message(this);
  }

  job(at: number, states?: readonly JobState[]): ModelJob | undefined {
    const jobs = [...this.model.jobs.values()];
    const fitting = states === undefined ? [] : jobs.filter(({ state }) => states.includes(state));
    return pick(fitting.length > 0 ? fitting : jobs, at);
  }
}

// --- callers -------------------------------------------------------------------------------------------------------

export interface Submit {
  readonly wish: Omit<Wish, "inputs">;
  /** Number of the Idempotency-Key, null without one. */
  readonly key: number | null;
  readonly body: number;
}

function keyOf(scope: string, { key, body }: Pick<Submit, "key" | "body">, of = ""): Key | null {
  return key === null ? null : { name: `${scope}-${key}`, fingerprint: `${of}body-${body}` };
}

function requestOf(real: RealEndpoint, wish: Wish, key: Key | null): EnqueueRequest {
  const idempotency = key === null ? {} : { idempotency: { key: key.name, fingerprint: key.fingerprint } };
  return real.objects.request({ ...wish, ...idempotency });
}

export function submit(op: Submit): Act {
  return (session) => {
    const wish = { ...op.wish, inputs: JSON.stringify({ of: session.real.name("inputs") }) };
    const key = keyOf("submit", op);
    const message = async ({ model, real }: Session): Promise<Apply> => {
      const reply = await real.endpoint.enqueue(requestOf(real, wish, key));
      return () => {
        if (model.made(1, key, reply, reply.ok ? reply.job.id : null) === null) return;
        must(reply.ok && ["queued", "running"].includes(reply.job.state), "a new job's state");
        model.add(reply.job, wish);
      };
    };
    // Without a key the same request again is another job.
    return key === null ? message(session) : session.send(message);
  };
}

/** Submits that arrive together, behind other calls: those who wait get their leases in the midst of a commit. */
export function submitTogether(submits: number, behind: number, of: Omit<Wish, "inputs">): Act {
  return async ({ model, real }) => {
    const wishes = Array.from({ length: Math.min(submits, model.room()) }, () => {
      return { ...of, inputs: JSON.stringify({ of: real.name("together") }) };
    });
    const before = Array.from({ length: behind }, () => real.barrier());
    const replies = await Promise.all(wishes.map((wish) => real.endpoint.enqueue(requestOf(real, wish, null))));
    await Promise.all(before);
    return () => {
      for (const [at, wish] of wishes.entries()) {
        const reply = replies[at];
        must(reply?.ok === true && !reply.replayed, "one of several submits is refused");
        model.add(reply.job, wish);
      }
    };
  };
}

export function submitBatch(op: Submit & { readonly jobs: number }): Act {
  return (session) => {
    const key = keyOf("batch", op);
    const items = Array.from({ length: op.jobs }, () => ({
      inputs: JSON.stringify({ of: session.real.name("item") }),
    }));
    const message = async ({ model, real }: Session): Promise<Apply> => {
      const request = requestOf(real, { ...op.wish, inputs: "" }, key);
      const { endpoint, objects } = real;
      const reply = await endpoint.enqueueBatch({ ...request, items: items.map((item) => ({ ...item, files: [] })) });
      return async () => {
        const id = model.made(op.jobs, key, reply, reply.ok ? reply.batch.id : null);
        if (id === null) return;
        must(reply.ok && reply.batch.total === op.jobs, "a batch of another size");
        const { jobs } = await given(endpoint.batchJobs(objects.workspaceId, reply.batch.id, null, 1_000_000));
        must(jobs.length === op.jobs, "I1: not every job of the batch");
        jobs.forEach((shown, at) => {
          model.add(shown, { ...op.wish, inputs: items[at]?.inputs ?? "" });
        });
      };
    };
    return session.send(message);
  };
}

/** @param living a job that has not ended, else one that ran to its end, if there is one */
export function cancel(at: number, living: boolean): Act {
  return (session) => {
    const job = session.job(at, living ? ["queued", "running"] : ["succeeded", "failed"]);
    if (job === undefined) return null;
    return session.send(async ({ model, real }) => {
      const reply = await real.endpoint.cancelJob(real.objects.workspaceId, job.id);
      return () => model.canceled(job, reply);
    });
  };
}

export function retry(at: number, op: Pick<Submit, "key" | "body">): Act {
  return (session) => {
    const job = session.job(at, ["succeeded", "failed", "canceled"]);
    if (job === undefined) return null;
    const key = keyOf("retry", op, `${job.id} `);
    const sent = key === null ? null : { key: key.name, fingerprint: `body-${op.body}` };
    const message = async ({ model, real }: Session): Promise<Apply> => {
      const { workspaceId, keyId } = real.objects;
      const reply = await real.endpoint.retryJob(workspaceId, job.id, keyId, sent);
      return () => {
        const made = model.made(1, key, reply, reply.ok ? reply.job.id : null, isTerminal(job.state));
        if (made !== null && reply.ok) model.again(job, reply.job);
      };
    };
    return key === null ? message(session) : session.send(message);
  };
}

export function patch(at: number, wish: JobPatch): Act {
  return (session) => {
    const job = session.job(at, ["queued"]);
    if (job === undefined) return null;
    return patchOne(session, job, wish);
  };
}

async function patchOne({ model, real }: Session, job: ModelJob, wish: JobPatch): Promise<Apply> {
  const reply = await real.endpoint.patchJob(real.objects.workspaceId, job.id, wish);
  return () => model.patched(job, wish, reply);
}

export function pause(refuseNew: boolean): Act {
  return async ({ model, real }) => {
    const reply = await real.endpoint.pauseQueue(real.objects.workspaceId, { reason: "a test", refuseNew });
    return () => {
      must(reply.ok && reply.summary.paused?.refuse_new === refuseNew, "the pause's answer");
      model.paused = { refuseNew };
    };
  };
}

export function resume(): Act {
  return async ({ model, real }) => {
    const reply = await real.endpoint.resumeQueue(real.objects.workspaceId);
    return () => {
      must(reply.ok && reply.summary.paused === null, "the resume's answer");
      model.paused = null;
    };
  };
}

export function purge(state: "queued" | "retrying" | "dead"): Act {
  return async ({ model, real }) => {
    const { workspaceId, keyId } = real.objects;
    const reply = await real.endpoint.startOperation(workspaceId, { kind: "purge", keyId, selection: { state } });
    return () => {
      const queued = model.order().filter(({ leases }) => state === "queued" || leases.length > 0);
      const chosen = state === "dead" ? [...model.jobs.values()].filter(({ dead }) => dead) : queued;
      for (const job of chosen) {
        if (state === "dead") job.dead = false;
        else model.cancel(job);
      }
      must(reply.ok && reply.operation.state === "done", "a small purge is not done at once");
      must(reply.operation.changed === chosen.length && reply.operation.skipped === 0, "another number purged");
    };
  };
}

export function redrive(): Act {
  return async ({ model, real }) => {
    const { workspaceId, keyId } = real.objects;
    const reply = await real.endpoint.startOperation(workspaceId, { kind: "redrive", keyId, selection: {} });
    return async () => {
      const dead = [...model.jobs.values()].filter((job) => job.dead).sort((a, b) => (a.id < b.id ? -1 : 1));
      const chosen = dead.slice(0, model.room());
      must(reply.ok && reply.operation.state === "done", "a small redrive is not done at once");
      const { changed, skipped, created_jobs } = reply.operation;
      must(changed === chosen.length && skipped === dead.length - changed, "another number redriven");
      must(created_jobs.length === changed, "I1: not every new job is named");
      for (const [at, job] of chosen.entries()) {
        const { job: shown } = await given(real.endpoint.getJob(workspaceId, created_jobs[at] as JobId));
        model.again(job, shown);
      }
    };
  };
}

/** The questions of callers, by messages: each must be answered in the words of what was sent so far. */
export function ask(at: number): Act {
  return (session) => {
    const job = session.job(at);
    return job === undefined ? null : askAbout(session, job);
  };
}

async function askAbout({ model, real }: Session, job: ModelJob): Promise<Apply> {
  const { endpoint, objects } = real;
  const { workspaceId } = objects;
  const [{ why }, { summary }, { job: shown }, { jobs }, queue, replicas] = await Promise.all([
    given(endpoint.whyJob(workspaceId, job.id)),
    given(endpoint.queueSummary(workspaceId)),
    given(endpoint.getJob(workspaceId, job.id)),
    given(endpoint.listJobs(workspaceId, { limit: 100, bytesMax: 10_000_000, state: job.state })),
    given(endpoint.listQueue(workspaceId, { lane: job.lane, limit: 100 })),
    given(endpoint.listReplicas(workspaceId)),
  ]);
  return () => {
    must(why.state === job.state && shown.state === job.state, "I5: two answers about one job");
    must(why.position === shown.position && shown.position === positionIn(model, job), "I12: two places of one job");
    const alike = [...model.jobs.values()].filter(({ state }) => state === job.state).map(({ id }) => id);
    must(jobs.map(({ id }) => id).join() === alike.sort().reverse().join(), "I1: the list of jobs of one state");
    const lane = model.order().filter((other) => other.lane === job.lane);
    must(queue.entries.map(({ job_id }) => job_id).join() === lane.map(({ id }) => id).join(), "I12: a lane's order");
    must(summary.replicas.length === 2 && replicas.replicas.length === 2, "the replicas");
  };
}

function positionIn(model: EndpointModel, job: ModelJob): number | null {
  return job.state === "queued" ? model.order().indexOf(job) + 1 : null;
}

// --- agents --------------------------------------------------------------------------------------------------------

/** Asks for work. @param honest names the leases that the agent thinks it has; else none */
export function poll(at: number, honest: boolean, waits: boolean): Act {
  return (session) => {
    const { model, real } = session;
    const place = pick(real.places, at);
    if (place === undefined) return null;
    const held = [...model.leases.values()].filter((known) => known.held && known.place === place);
    const listed = honest ? held.slice(0, LISTED_MAX) : [];
    const pollId = real.name("poll");
    return session.send((now) => pollNow(now, place, pollId, listed, waits));
  };
}

async function pollNow(
  { model, real }: Session,
  place: Place,
  pollId: string,
  listed: readonly ModelLease[],
  waits: boolean,
): Promise<Apply> {
  const waiter = model.waiters.get(place);
  const stays = waits && !model.isAnsweredNow(place, pollId, listed);
  const open = real.poll(place, pollId, listed, waits ? WAIT_MS : 0);
  if (stays) await real.barrier();
  const reply = stays ? null : await open.reply;
  const replaced = (await waiter?.reply) ?? null;
  return () => {
    if (waiter !== undefined) must(same(replaced, { ok: true, answer: EMPTY }), "a poll that was replaced");
    model.waiters.delete(place);
    if (stays) model.waiters.set(place, open);
    else must(reply?.ok === true, `a poll is refused: ${JSON.stringify(reply)}`);
    if (reply?.ok) model.polled(open, reply.answer);
  };
}

export interface Say {
  readonly what: "complete" | "fail" | "break" | "release" | "grant" | RunningPhase;
  readonly next: boolean;
  readonly outputs: "none" | "stored" | "elsewhere";
  readonly proof: "own" | "forged" | "other node";
}

/** A message under a lease, mostly one that its agent still has. */
export function say(at: number, fresh: boolean, op: Say): Act {
  return (session) => {
    const { model, real } = session;
    const all = [...model.leases.values()];
    const held = all.filter((lease) => lease.held);
    const known = pick(fresh && held.length > 0 ? held : all, at);
    if (known === undefined) return null;
    const nextPollId = op.next ? real.name("next") : null;
    return session.send((now) => sayNow(now, known, op, nextPollId));
  };
}

async function sayNow(
  { model, real: { endpoint, objects, places } }: Session,
  known: ModelLease,
  op: Say,
  nextPollId: string | null,
): Promise<Apply> {
  const { lease, place } = known;
  const forged = `${lease.token.slice(0, -1)}${lease.token.endsWith("0") ? "1" : "0"}`;
  const other = places.find((each) => each !== place) ?? place;
  const { node } = op.proof === "other node" ? other : place;
  const token = op.proof === "forged" ? forged : lease.token;
  const proof: LeaseProof = { ...node, leaseId: lease.lease_id, token };
  switch (op.what) {
    case "complete": {
      const stored = op.outputs === "none" ? [] : [outputOf(op.outputs, objects.workspaceId, known)];
      const outputs = stored.map(({ key: _, ...entry }) => entry);
      const message = { outputs, phases: [], ...(nextPollId === null ? {} : { next_poll_id: nextPollId }) };
      const reply = await endpoint.complete(proof, message, stored);
      const where = op.outputs === "elsewhere" ? "elsewhere" : "stored";
      return () => model.completed(known, proof, nextPollId, where, reply);
    }
    case "fail":
    case "break": {
      const code: JobErrorCode = op.what === "break" ? "execution_error" : "out_of_memory";
      const reply = await endpoint.fail(proof, { error: { code, message: "it broke" }, phases: [] });
      return () => model.failed(known, proof, code, reply);
    }
    case "release": {
      const reply = await endpoint.release(proof, "the agent stops");
      return () => model.released(known, proof, reply);
    }
    case "grant": {
      const reply = await endpoint.grantOutput(proof);
      return () => model.granted(known, proof, reply);
    }
    default: {
      const phase = op.what;
      const reply = await endpoint.progress(proof, { phase });
      return () => model.progressed(known, proof, phase, reply);
    }
  }
}

function outputOf(where: "stored" | "elsewhere", workspaceId: string, { lease }: ModelLease): StoredOutput {
  const token = where === "stored" ? lease.token : `0.${"0".repeat(24)}`;
  return {
    index: 0,
    name: "picture.png",
    output: "picture",
    kind: "image",
    filename: "picture.png",
    content_type: "image/png",
    size: 3,
    sha256: "0".repeat(64),
    key: `out/d7/${workspaceId}/${lease.job_id}/${token}/0`,
  };
}

/** A message that was sent before, exactly as it was. @param lately one of the last ones */
export function replay(at: number, lately: boolean): Act {
  return (session) => pick(lately ? session.sent.slice(-SENT_LATELY) : session.sent, at)?.(session) ?? null;
}

// --- the platform --------------------------------------------------------------------------------------------------

export function ring(): Act {
  return async ({ real }) => {
    await real.ring();
    return () => {};
  };
}

export function evict(): Act {
  return async (session) => {
    // Whoever throws an object out of memory waits for its calls.
    await stopWaiting(session);
    await session.real.evict();
    return () => {};
  };
}

/** The time between two tries is over for all that wait for it. */
export function endBackoffs(): Act {
  return async (session) => {
    await stopWaiting(session);
    await session.real.endBackoffs();
    return () => {
      for (const job of session.model.order()) job.delayed = false;
    };
  };
}

/** The object dies with polls open and submits under way; then each sender repeats what got no answer. */
export function crash(submits: number, of: Omit<Wish, "inputs">): Act {
  return async (session) => {
    const { model, real } = session;
    const lost = [...model.waiters.values()];
    model.waiters.clear();
    const wishes = Array.from({ length: Math.min(submits, model.room()) }, () => {
      const key = { name: real.name("crash"), fingerprint: "body" };
      return { key, wish: { ...of, inputs: JSON.stringify({ of: key.name }) } };
    });
    const calls = wishes.map(({ wish, key }) => real.endpoint.enqueue(requestOf(real, wish, key)).catch(() => null));
    await real.crash();
    const answers = await Promise.all(calls);
    await Promise.all(lost.map(({ reply }) => reply));
    for (const [at, { wish, key }] of wishes.entries()) {
      const known = answers[at] ?? null;
      const reply = await real.endpoint.enqueue(requestOf(real, wish, key));
      must(reply.ok, "I2: a repeated submit is refused");
      must(known === null || (known.ok && reply.replayed && reply.job.id === known.job.id), "I1: accepted and lost");
      model.keys.set(key.name, { fingerprint: key.fingerprint, result: reply.job.id });
      model.add(reply.job, wish);
    }
    return () => pollAgain(session, lost);
  };
}

/** Polls whose answers were lost are sent again, and get the leases that they were given. */
async function pollAgain({ model, real }: Session, lost: readonly OpenPoll[]): Promise<void> {
  const answered: { open: OpenPoll; answer: ReplicaPollAnswer }[] = [];
  for (const { place, pollId, listed } of lost) {
    const open = real.poll(place, pollId, listed, 0);
    const reply = await open.reply;
    must(reply?.ok === true, "a repeated poll is refused");
    answered.push({ open, answer: reply.answer });
  }
  // As they were granted: the first answer may hold the later lease.
  const counter = ({ answer }: (typeof answered)[number]): number =>
    answer.lease === null ? Number.POSITIVE_INFINITY : Number(answer.lease.token.split(".")[0]);
  answered.sort((a, b) => counter(a) - counter(b));
  for (const { open, answer } of answered) model.polled(open, answer);
}

// --- after each of them --------------------------------------------------------------------------------------------

/** Takes the answers of polls that waited, and compares all that the endpoint shows with the model. */
export async function agree(session: Session): Promise<void> {
  const { model, real } = session;
  for (const { open, ended } of model.told.splice(0)) {
    const reply = await open.reply;
    must(
      same(reply, { ok: true, answer: { ...EMPTY, ended: [ended] } }),
      "a waiting poll is not told of a lease's end",
    );
  }
  // A job between two tries becomes ready by the clock; nobody who waits could say before or after which message.
  const isTimed = model.order().some(({ delayed, avoid }) => delayed || avoid !== null);
  if (isTimed) await stopWaiting(session);
  const look = await real.look();
  const started = look.summary.in_flight.filter(({ job_id }) => model.jobs.get(job_id)?.state === "queued");
  const told: OpenPoll[] = [];
  for (const { job_id, replica_id } of started) {
    const open = [...model.waiters.values()].find(({ place }) => place.id === replica_id);
    const reply = await open?.reply;
    must(
      open !== undefined && reply?.ok === true && reply.answer.lease?.job_id === job_id,
      "I3: a lease that nobody got",
    );
    told.push(open);
  }
  await take(session, told);
  model.agree(look);
}

/** The clients of all polls that wait are gone; what they were given just before is theirs. */
export async function stopWaiting(session: Session): Promise<void> {
  const open = [...session.model.waiters.values()];
  for (const { place, pollId } of open) await session.real.endpoint.abandonPoll(place.id, pollId);
  await take(session, open);
}

/** The answers of polls that waited, in the order of their leases. */
async function take({ model }: Session, polls: readonly OpenPoll[]): Promise<void> {
  const answers = await Promise.all(polls.map(async (open) => ({ open, reply: await open.reply })));
  const leases = answers.flatMap(({ open, reply }) => {
    must(
      reply?.ok === true && !reply.answer.stop && reply.answer.ended.length === 0,
      "the answer of a poll that waited",
    );
    model.waiters.delete(open.place);
    return reply.answer.lease === null ? [] : [{ open, lease: reply.answer.lease }];
  });
  const counter = ({ lease }: (typeof leases)[number]): number => Number(lease.token.split(".")[0]);
  leases.sort((a, b) => counter(a) - counter(b));
  for (const { open, lease } of leases) model.offered(lease, open.place, open.pollId);
}

function pick<T>(from: readonly T[], at: number): T | undefined {
  return from.length === 0 ? undefined : from[at % from.length];
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
