/**
 * What an endpoint must answer and show, as a map that knows only what it was told. Its times are none: a job between
 * two tries may be ready or not. The invariants' numbers are those of the design.
 */
import type { Lease } from "#contract/agent";
import { type JobId, type LeaseId, leaseIdOf, type NodeId } from "#contract/ids";
import {
  DETERMINISTIC_ERRORS,
  isTerminal,
  type JobErrorCode,
  type JobPatch,
  type JobState,
  type Lane,
  RunningPhase,
} from "#contract/job";
import { LEASE_MS } from "#contract/limits";
import type { JobSnapshot, LeaseProof, Reply } from "#durable-objects/endpoint/rpc";
import { JOBS_AT_WORK_MAX, LEASES_PER_REPLICA_MAX, type LeaseOutcome } from "#durable-objects/queue/lease";
import { rankOf } from "#durable-objects/queue/order";
import { FREE_HANDBACKS_MAX } from "#durable-objects/queue/retry";
import type { Look, OpenPoll, Place } from "./real-endpoint.ts";

export const ATTEMPTS_MAX = 2;
export const QUEUE_DEPTH_MAX = 12;
const LANES: readonly Lane[] = ["interactive", "batch"];

export interface ModelLease {
  readonly lease: Lease;
  readonly place: Place;
  readonly pollId: string;
  outcome: LeaseOutcome | null;
  /** The agent thinks that it still has it. */
  held: boolean;
  /** It was granted beside another one, and its agent has not begun. */
  isAhead: boolean;
}

export interface ModelJob {
  readonly id: JobId;
  readonly inputs: string;
  readonly retryOf: JobId | null;
  readonly createdAt: number;
  readonly leases: ModelLease[];
  readonly events: string[];
  lane: Lane;
  priority: number;
  rank: number;
  state: JobState;
  attempt: number;
  handbacks: number;
  phase: RunningPhase;
  /** A lease of it ended here, so that for a while it may not be given to this node. */
  avoid: NodeId | null;
  /** It may have to wait before its next try. */
  delayed: boolean;
  error: JobErrorCode | null;
  dead: boolean;
  retriedAs: JobId | null;
  /** What is shown of it and never changes again, once it has ended. */
  end: string | null;
}

/** What a submit asks for. */
export interface Wish {
  readonly lane: Lane;
  readonly priority: number;
  readonly inputs: string;
}
/** The scope and name of a key, and what tells one request from another. */
export interface Key {
  readonly name: string;
  readonly fingerprint: string;
}

export class EndpointModel {
  readonly jobs = new Map<JobId, ModelJob>();
  readonly leases = new Map<LeaseId, ModelLease>();
  readonly keys = new Map<string, { readonly fingerprint: string; readonly result: string }>();
  /** Polls that wait, one of each replica at most. */
  readonly waiters = new Map<Place, OpenPoll>();
  /** Polls that are answered because a lease of their replica ended, and that lease. */
  told: { readonly open: OpenPoll; readonly ended: LeaseId }[] = [];
  paused: { readonly refuseNew: boolean } | null = null;
  #counter = 0;
  /** Some job was interactive, whatever lane it is in now. */
  #hadInteractive = false;

  // --- callers -----------------------------------------------------------------------------------------------------

  /**
   * The answer to what makes jobs. I2: one key, one result; other bytes are refused.
   * @returns the result when it is a new one
   */
  made<Result extends string>(
    jobs: number,
    key: Key | null,
    reply: Reply<{ readonly replayed: boolean }>,
    result: Result | null,
    mayTake = true,
  ): Result | null {
    const known = key === null ? undefined : this.keys.get(key.name);
    if (known !== undefined && known.fingerprint !== key?.fingerprint) {
      return refused(reply, "idempotency_key_reused", "I2: other bytes are taken");
    }
    if (known !== undefined) {
      must(reply.ok && reply.replayed && result === known.result, "I2: the same request, another answer");
      return null;
    }
    if (!mayTake) return refused(reply, "job_not_finished", "a living job runs again");
    const refusal = this.#refusal(jobs);
    if (refusal !== null) return refused(reply, refusal, "a job too many");
    must(reply.ok && !reply.replayed && result !== null, `refused: ${JSON.stringify(reply)}`);
    if (key !== null) this.keys.set(key.name, { fingerprint: key.fingerprint, result });
    return result;
  }

  add(shown: JobSnapshot, wish: Wish, retryOf: JobId | null = null): void {
    must(!this.jobs.has(shown.id), "a new job is not new");
    const { id, createdAt } = shown;
    const rank = rankOf(createdAt, wish.priority);
    this.#hadInteractive ||= wish.lane === "interactive";
    const none = { avoid: null, delayed: false, error: null, dead: false, retriedAs: null, end: null };
    const fresh = { state: "queued", attempt: 0, handbacks: 0, phase: "assigned" } as const;
    this.jobs.set(id, { id, ...wish, retryOf, createdAt, rank, leases: [], events: ["queued"], ...fresh, ...none });
  }

  /** An ended job runs again, as a new one. */
  again(old: ModelJob, shown: JobSnapshot): void {
    this.add(shown, { lane: old.lane, priority: old.priority, inputs: old.inputs }, old.id);
    old.retriedAs = shown.id;
    old.dead = false;
  }

  /** I8: the answer is the outcome. */
  canceled(job: ModelJob, reply: Reply<{ job: JobSnapshot }>): void {
    this.cancel(job);
    must(reply.ok && reply.job.state === job.state, "I8: the cancel's answer");
  }

  cancel(job: ModelJob): void {
    if (isTerminal(job.state)) return;
    this.#leaseEnds(job, "canceled");
    this.#end(job, "canceled");
  }

  patched(job: ModelJob, patch: JobPatch, reply: Reply<{ job: JobSnapshot }>): void {
    if (job.state !== "queued") {
      refused(reply, job.state === "running" ? "job_running" : "job_finished", "a job is moved that does not wait");
      return;
    }
    job.lane = patch.lane ?? job.lane;
    this.#hadInteractive ||= job.lane === "interactive";
    job.priority = patch.priority ?? job.priority;
    if (patch.priority !== undefined) job.rank = rankOf(job.createdAt, patch.priority);
    const head = this.order().find((other) => other.lane === job.lane && other.id !== job.id);
    if (patch.position === "front" && head !== undefined) job.rank = Math.min(job.rank, head.rank - 1);
    must(reply.ok && reply.job.lane === job.lane && reply.job.priority === job.priority, "the patch's answer");
  }

  /** Why jobs are not taken now. */
  #refusal(jobs: number): string | null {
    if (this.paused?.refuseNew) return "queue_paused";
    return this.order().length + jobs > QUEUE_DEPTH_MAX ? "queue_full" : null;
  }

  /** How many of so many jobs, one by one, the queue still takes. */
  room(): number {
    return this.paused?.refuseNew ? 0 : Math.max(0, QUEUE_DEPTH_MAX - this.order().length);
  }

  // --- agents ------------------------------------------------------------------------------------------------------

  /** Waiting jobs in the order in which they start. */
  order(): ModelJob[] {
    const queued = [...this.jobs.values()].filter(({ state }) => state === "queued");
    return queued.sort(
      (a, b) => LANES.indexOf(a.lane) - LANES.indexOf(b.lane) || a.rank - b.rank || (a.id < b.id ? -1 : 1),
    );
  }

  living(place: Place): ModelLease[] {
    return [...this.leases.values()].filter((known) => known.outcome === null && known.place === place);
  }

  /** Whether it has a job for its GPU: one whose outputs go up is none. */
  works(place: Place): boolean {
    return this.#atWork(place) > 0;
  }

  #atWork(place: Place): number {
    return this.living(place).filter(({ lease }) => this.jobs.get(lease.job_id)?.phase !== "uploading").length;
  }

  /** It may hold one more job: of those whose outputs do not go up yet, the one it executes and one ahead. */
  #hasRoom(place: Place): boolean {
    return this.living(place).length < LEASES_PER_REPLICA_MAX && this.#atWork(place) < JOBS_AT_WORK_MAX;
  }

  /**
   * The first job that the replica may get without any doubt, if it may get one at all. A batch job may have to leave the
   * replica to interactive ones, as soon as there has been one: how many are left to them, other tests say.
   */
  sure(place: Place): ModelJob | undefined {
    const first = this.#first(place);
    return first?.lane === "batch" && this.#hadInteractive ? undefined : first;
  }

  #first(place: Place): ModelJob | undefined {
    if (this.paused !== null || !this.#hasRoom(place)) return undefined;
    if (!this.works(place)) return this.order().find((job) => !job.delayed && job.avoid !== place.node.nodeId);
    // Ahead goes what has never been leased, and nothing past what has.
    const order = this.order();
    return order.every(({ delayed }) => !delayed) && order[0]?.leases.length === 0 ? order[0] : undefined;
  }

  /** Whether the poll must be answered at once. */
  isAnsweredNow(place: Place, pollId: string, listed: readonly ModelLease[]): boolean {
    const sure = listed.length < LEASES_PER_REPLICA_MAX && this.sure(place) !== undefined;
    return sure || listed.some(({ outcome }) => outcome !== null) || this.#grantedTo(place, pollId, listed) !== null;
  }

  polled(open: OpenPoll, answer: { lease: Lease | null; ended: readonly LeaseId[]; stop: boolean }): void {
    const { place, pollId, listed } = open;
    const over = listed.filter(({ outcome }) => outcome !== null);
    must(
      !answer.stop &&
        same(
          answer.ended,
          over.map(({ lease }) => lease.lease_id),
        ),
      "the leases that are called ended",
    );
    for (const known of over) known.held = false;
    const again = this.#grantedTo(place, pollId, listed);
    const mayTake = listed.length < LEASES_PER_REPLICA_MAX;
    if (again !== null) must(answer.lease?.token === again.lease.token, "I13: the same poll, another answer");
    else if (answer.lease === null) must(!mayTake || this.sure(place) === undefined, "a job and a replica both wait");
    else must(mayTake, "a lease for a replica that has enough");
    if (answer.lease !== null) this.offered(answer.lease, place, pollId);
  }

  /** A lease reached its replica, for the first time or again. */
  offered(lease: Lease, place: Place, pollId: string): void {
    const known = this.leases.get(lease.lease_id);
    if (known === undefined) {
      this.#grant(lease, place, pollId);
      return;
    }
    const isSame = known.lease.token === lease.token && known.pollId === pollId && known.place === place;
    must(isSame && known.outcome === null, "I13: a lease came again otherwise");
    known.held = true;
  }

  #grant(lease: Lease, place: Place, pollId: string): void {
    const job = this.jobs.get(lease.job_id);
    must(job !== undefined, "a lease for a job that nobody sent");
    must(job.state === "queued", "I3: a second lease for a job");
    const counter = Number(lease.token.split(".")[0]);
    must(counter > this.#counter, "I3: a token that is not newer");
    must(this.paused === null, "a start while the queue is paused");
    must(this.#hasRoom(place), "a lease too many for its replica");
    const number = leaseIdOf(job.id, job.leases.length + 1);
    const isRight = lease.lease_id === number && lease.attempt === job.attempt + 1 && lease.inputs === job.inputs;
    must(isRight, `not this job's lease: ${JSON.stringify(lease)}`);
    const isAhead = this.works(place);
    must(!isAhead || job.leases.length === 0, "a job that came back is held ahead");
    const first = this.#first(place);
    const order = this.order();
    must(first === undefined || order.indexOf(job) <= order.indexOf(first), "I12: a job was passed over");
    this.#counter = counter;
    const known: ModelLease = { lease, place, pollId, outcome: null, held: true, isAhead };
    this.leases.set(lease.lease_id, known);
    job.leases.push(known);
    Object.assign(job, { state: "running", attempt: lease.attempt, phase: "assigned", avoid: null, delayed: false });
    job.events.push("started");
  }

  #grantedTo(place: Place, pollId: string, listed: readonly ModelLease[]): ModelLease | null {
    return this.living(place).find((known) => known.pollId === pollId && !listed.includes(known)) ?? null;
  }

  /**
   * The lease in question lives, and this proof is its own; else I4: nothing changes, and the answer is the one for a
   * lease that is over.
   */
  #speaks(known: ModelLease, proof: LeaseProof, reply: Reply<object>, repeats: LeaseOutcome | null): ModelJob | null {
    const genuine = proof.token === known.lease.token && proof.nodeId === known.place.node.nodeId;
    const job = this.jobs.get(known.lease.job_id);
    if (genuine && known.outcome === null && job !== undefined) return job;
    if (genuine) known.held = false;
    // I13: the same end twice gets the same answer.
    if (genuine && known.outcome === repeats) must(reply.ok, "I13: a repeated end is refused");
    else refused(reply, "lease_lost", "I4: a stale or forged message is taken");
    return null;
  }

  progressed(
    known: ModelLease,
    proof: LeaseProof,
    phase: RunningPhase,
    reply: Reply<{ answer: { cancel: boolean; renew_within_ms: number } }>,
  ): void {
    const job = this.#speaks(known, proof, reply, "canceled");
    if (job === null) {
      const stop = { cancel: true, renew_within_ms: 0 };
      must(!reply.ok || same(reply.answer, stop), "a revoked lease is not told to stop");
      return;
    }
    must(reply.ok && same(reply.answer, { cancel: false, renew_within_ms: LEASE_MS }), "I4: the lease is refused");
    known.isAhead = false;
    const phases = RunningPhase.options;
    if (phases.indexOf(phase) <= phases.indexOf(job.phase)) return;
    job.phase = phase;
    job.events.push("phase");
  }

  granted(known: ModelLease, proof: LeaseProof, reply: Reply<{ grant: { keyPrefix: string; jobId: JobId } }>): void {
    const job = this.#speaks(known, proof, reply, null);
    if (job === null) return;
    must(reply.ok && reply.grant.jobId === job.id, "I4: the lease gets no grant");
    known.isAhead = false;
    must(reply.grant.keyPrefix.endsWith(`/${job.id}/${known.lease.token}/`), "I16: not this lease's own prefix");
  }

  /** @param outputs whether those named are stored under this very lease */
  completed(
    known: ModelLease,
    proof: LeaseProof,
    nextPollId: string | null,
    outputs: "stored" | "elsewhere",
    reply: Reply<{ next: Lease | null }>,
  ): void {
    const job = this.#speaks(known, proof, reply, "completed");
    const { place } = known;
    if (job === null) {
      if (!reply.ok) return;
      const again = nextPollId === null ? null : this.#grantedTo(place, nextPollId, []);
      must(reply.next?.token === again?.lease.token, "I13: a repeated complete, another next lease");
      return;
    }
    if (outputs === "elsewhere") {
      refused(reply, "output_missing", "I16: outputs of another lease are taken");
      return;
    }
    must(reply.ok, "I4: the lease may not complete");
    this.#leaseEnds(job, "completed");
    this.#end(job, "succeeded");
    if (reply.next !== null && nextPollId !== null) this.offered(reply.next, place, nextPollId);
    else must(reply.next === null && (nextPollId === null || this.sure(place) === undefined), "no next lease");
  }

  failed(known: ModelLease, proof: LeaseProof, code: JobErrorCode, reply: Reply<object>): void {
    const job = this.#speaks(known, proof, reply, "failed");
    if (job === null) return;
    must(reply.ok, "I4: the lease may not fail");
    this.#leaseEnds(job, "failed");
    this.#failAttempt(job, code);
  }

  released(known: ModelLease, proof: LeaseProof, reply: Reply<object>): void {
    const job = this.#speaks(known, proof, reply, "released");
    if (job === null) return;
    must(reply.ok, "I4: the lease may not be given back");
    this.#leaseEnds(job, "released");
    if (known.isAhead) {
      job.attempt -= 1;
      this.#requeue(job);
      job.avoid = null;
      return;
    }
    if (job.handbacks >= FREE_HANDBACKS_MAX) {
      this.#failAttempt(job, "lease_lost");
      return;
    }
    job.delayed = job.handbacks > 0;
    job.attempt -= 1;
    job.handbacks += 1;
    this.#requeue(job);
  }

  #failAttempt(job: ModelJob, code: JobErrorCode): void {
    // I10: attempts are bounded.
    if (DETERMINISTIC_ERRORS.includes(code) || job.attempt >= ATTEMPTS_MAX) {
      job.error = code;
      job.dead = true;
      this.#end(job, "failed");
      return;
    }
    job.delayed = true;
    this.#requeue(job);
  }

  #requeue(job: ModelJob): void {
    job.state = "queued";
    job.avoid = job.leases.at(-1)?.place.node.nodeId ?? null;
    job.events.push("retrying");
  }

  #leaseEnds(job: ModelJob, outcome: LeaseOutcome): void {
    const known = job.leases.at(-1);
    if (known === undefined || known.outcome !== null) return;
    known.outcome = outcome;
    // Who is told by the answer to its own message knows; whose lease was taken away does not yet.
    if (outcome !== "canceled") known.held = false;
    const waiter = this.waiters.get(known.place);
    if (waiter === undefined || outcome === "completed") return;
    if (outcome !== "canceled" && !waiter.listed.includes(known)) return;
    this.waiters.delete(known.place);
    this.told.push({ open: waiter, ended: known.lease.lease_id });
    known.held = false;
  }

  #end(job: ModelJob, state: JobState): void {
    job.state = state;
    job.events.push(state);
  }

  // --- what is shown -----------------------------------------------------------------------------------------------

  /** The endpoint shows exactly what the model knows. */
  agree(look: Look): void {
    // I1: accepted is present, and nothing else is.
    must(same([...look.jobs.keys()].sort(), [...this.jobs.keys()].sort()), "I1: other jobs than were accepted");
    for (const job of this.jobs.values()) this.#agreeOn(job, look);
    const order = this.order();
    must(
      same(
        look.queue.map(({ job_id, position }) => [job_id, position]),
        order.map(({ id }, at) => [id, at + 1]),
      ),
      "I12: the queue's order",
    );
    const all = [...this.jobs.values()];
    const dead = all.filter((job) => job.dead).map(({ id }) => id);
    must(same(look.dead.toSorted(), dead.sort()), "the dead letters");
    const { summary } = look;
    const { paused, queued, retrying, running, in_flight } = summary;
    // I11: what is counted is what is there.
    must(same(paused === null ? null : { refuseNew: paused.refuse_new }, this.paused), "the pause");
    const counted = LANES.map((lane) => order.filter((job) => job.lane === lane).length);
    must(same([queued.interactive, queued.batch], counted), "I11: the queued");
    must(retrying === order.filter(({ leases }) => leases.length > 0).length, "I11: the retrying");
    must(running === all.filter(({ state }) => state === "running").length, "I11: the running");
    must(summary.dead === dead.length, "I11: the dead");
    const flying = [...this.leases.values()].filter(({ outcome }) => outcome === null);
    must(
      same(
        in_flight.map((flight) => [flight.job_id, flight.replica_id, flight.attempt]).sort(),
        flying.map(({ lease, place }) => [lease.job_id, place.id, lease.attempt]).sort(),
      ),
      "I3: the jobs in flight",
    );
    for (const place of this.waiters.keys()) {
      must(this.sure(place) === undefined, "a job waits beside a replica that waits");
    }
  }

  #agreeOn(job: ModelJob, look: Look): void {
    const seen = look.jobs.get(job.id);
    must(seen !== undefined, `I1: ${job.id} is gone`);
    const { shown, events, why } = seen;
    must(
      same(
        events.map(({ seq }) => seq),
        events.map((_, at) => at + 1),
      ),
      "the events have a gap",
    );
    // I4, I5: no event but those of the messages that may speak for the job.
    must(
      same(
        events.map(({ type }) => type),
        job.events,
      ),
      `I5: events of ${job.id}: ${events.map(({ type }) => type)}`,
    );
    const { state, attempt, lane, priority, inputs, retryOf, retriedAs, createdAt } = job;
    must(
      same(
        [shown.state, shown.attempt, shown.lane, shown.priority, shown.inputs, shown.retryOf, shown.retriedAs],
        [state, attempt, lane, priority, inputs, retryOf, retriedAs],
      ) && shown.createdAt === createdAt,
      `${job.id} is not as it should be: ${JSON.stringify(shown)}`,
    );
    must((shown.error?.code ?? null) === job.error, "the error of a job");
    must(state !== "running" || shown.phase === job.phase, "I5: a job's phase");
    const reasons = why.reasons.map(({ code }) => code);
    must(why.summary !== "" && reasons.length > 0 === (state === "queued"), "no reason to wait, or one too many");
    must(state !== "queued" || reasons.includes("paused") === (this.paused !== null), "why and the pause differ");
    if (!isTerminal(state)) return;
    // I5: terminal is final.
    const { retriedAs: _, ...rest } = shown;
    const end = JSON.stringify([rest, events]);
    must(job.end === null || job.end === end, `I5: ${job.id} changed after its end`);
    job.end = end;
  }
}

/** Says what is broken. */
export class Violation extends Error {}

export function must(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Violation(otherwise);
}

function refused(reply: Reply<object>, code: string, otherwise: string): null {
  must(!reply.ok && reply.code === code, `${otherwise}: ${JSON.stringify(reply)}`);
  return null;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
