/**
 * How a replica comes by leases: with the answer to a complete, or by a poll, which lists those that it still holds. And
 * how it gives back those that it will not work on.
 */
import type { Lease } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import { type AgentCalls, newPollId } from "./control/agent-calls.ts";
import { isGone } from "./control/control-error.ts";
import type { JobsInHand } from "./jobs-in-hand.ts";
import { type Log, messageOf } from "./log.ts";
import type { NextPoll, RunningJob } from "./run-job.ts";
import type { AgentSettings } from "./settings.ts";

/** Outputs that take longer than this to go up go up beside the next job. Below it, asking apart costs more. */
const UPLOAD_PATIENCE_MS = 150;
/** One that ComfyUI works on, one ahead, and one that sends its outputs; the server gives no more. */
const JOBS_IN_HAND_MAX = 3;
/** While nobody seems to wait, the next lease is asked for once a job has run for so long: most are done by then. */
const ASK_AHEAD_MS = 200;
/** A job that is held ahead for longer than this is watched: that it was canceled is news for it alone. */
const UNWATCHED_MS = 100;
/** An answer without work that comes faster than this is not asked for again at once. */
const IDLE_ANSWER_MS = 250;

/** A release that a replica is asked to try, before it takes another one's place. */
export interface AskedErrand {
  /** The poll that was answered with it. */
  readonly id: string;
  readonly release: number;
}

/** What the replica was given. */
export interface Given {
  readonly lease: Lease | null;
  readonly errand: AskedErrand | null;
}

const NOTHING: Given = { lease: null, errand: null };

export interface ReplicaLeasesOptions {
  readonly replicaId: ReplicaId;
  readonly calls: AgentCalls;
  readonly settings: Pick<AgentSettings, "leaseAhead" | "timings">;
  readonly log: Log;
  readonly hand: JobsInHand;
  /** The errand whose build is being made: it keeps that while it asks for jobs. Null: it has none. */
  readonly preparing: () => string | null;
  /** The endpoint wants this replica no longer. */
  readonly onStop: () => void;
}

export class ReplicaLeases {
  readonly #options: ReplicaLeasesOptions;
  readonly #hand: JobsInHand;
  /** The lease that came with the answer to a complete. */
  #carried: Lease | null = null;
  /** The job whose complete asks for the next lease. */
  #carries: RunningJob | null = null;
  /** A poll is open. */
  #isAsking = false;
  /** The id of the next poll, or of the one that is not answered yet. */
  #pollId = newPollId();
  /** The last lease came while another was held: there is a queue. */
  #othersWait = false;
  #givenBack: Promise<void> = Promise.resolve();

  constructor(options: ReplicaLeasesOptions) {
    this.#options = options;
    this.#hand = options.hand;
  }

  /** A lease that came with the answer to a complete is to be taken. */
  get hasCarried(): boolean {
    return this.#carried !== null;
  }

  /** Resolves when leases that came too late have gone back. */
  get givenBack(): Promise<void> {
    return this.#givenBack;
  }

  /**
   * The next lease, once it is time to have one.
   * @param signal something comes first: the replica drains, or ComfyUI died
   * @returns nothing when there is no work, when the jobs in hand have changed, or when the signal has fired
   */
  async next(signal: AbortSignal): Promise<Given> {
    const carried = this.#takeCarried();
    if (carried !== null) return { lease: carried, errand: null };
    const waitMs = this.#askInMs();
    if (waitMs > 0) {
      await this.#hand.changedOr(waitMs, signal);
      return NOTHING;
    }
    this.#isAsking = true;
    try {
      const given = await this.#poll(this.#pollId, signal);
      // An unanswered poll keeps its id: the lease in an answer that was lost comes again.
      if (given.lease !== null || given.errand !== null || !signal.aborted) this.#pollId = newPollId();
      this.#othersWait = given.lease !== null && this.#hand.jobs.length > 0;
      return given;
    } finally {
      this.#isAsking = false;
    }
  }

  /** How the next lease may come with the answer to a job's complete, or after it. */
  nextPoll(job: RunningJob): NextPoll {
    const { leaseAhead, timings } = this.#options.settings;
    const { jobs, isPauseDue } = this.#hand;
    if (isPauseDue || this.#isAsking || this.#carries !== null || this.#carried !== null) return {};
    const atWork = jobs.filter((other) => other !== job && !other.isFree).length;
    if (atWork > (leaseAhead ? 1 : 0)) return {};
    this.#carries = job;
    // A lease that is still held would have to be listed in the poll.
    const wait = jobs.length === 1 ? { next_wait_ms: timings.pollWaitMs } : {};
    return { next_poll_id: this.#pollId, ...wait };
  }

  /** A job has ended. @param next the lease that came with the answer to its complete */
  jobEnded(job: RunningJob, next: Lease | null): void {
    if (this.#carries === job) {
      this.#carries = null;
      // With a next lease the id is used up; without, a poll under it gets what a lost answer held.
      if (next !== null) this.#pollId = newPollId();
      else this.#othersWait = false;
    }
    if (next !== null) this.#carried = next;
  }

  /** @returns resolves when it has gone back, or that was given up; never rejects */
  async giveBack(lease: Lease, reason: string): Promise<void> {
    const { calls, log, settings } = this.#options;
    await calls.giveBack(lease, reason, AbortSignal.timeout(settings.timings.callMs)).catch((error: unknown) => {
      log("lease_not_given_back", { leaseId: lease.lease_id, error: messageOf(error) });
    });
  }

  /** One that came when the replica had stopped to ask; `givenBack` waits for it. */
  giveBackSoon(lease: Lease): void {
    const giving = this.giveBack(lease, "the replica takes no job now");
    this.#givenBack = Promise.all([this.#givenBack, giving]).then(() => undefined);
  }

  /** Gives back the lease that came with the answer to a complete, if there is one. */
  async giveBackCarried(reason: string): Promise<void> {
    const carried = this.#takeCarried();
    if (carried !== null) await this.giveBack(carried, reason);
  }

  /** The lease that came with the answer to a complete: others wait behind it. */
  #takeCarried(): Lease | null {
    const lease = this.#carried;
    this.#carried = null;
    if (lease !== null) this.#othersWait = true;
    return lease;
  }

  /** In how many ms the next lease is asked for, unless something changes before; 0: now. */
  #askInMs(): number {
    const { jobs, isPauseDue, unchangedMs } = this.#hand;
    if (jobs.length === 0) return 0;
    const [sending, working] = [jobs.filter((job) => job.isFree), jobs.filter((job) => !job.isFree)];
    // A complete that asks is answered first.
    if (this.#carries?.isReporting === true || (isPauseDue && working.length < 2)) return IDLE_ANSWER_MS;
    if (working.length > 1) return Math.max(0, UNWATCHED_MS - unchangedMs);
    if (jobs.length >= JOBS_IN_HAND_MAX) return IDLE_ANSWER_MS;
    if (working.length === 0) return Math.max(0, UPLOAD_PATIENCE_MS - unchangedMs);
    if (!this.#options.settings.leaseAhead || sending.some((job) => !job.isSending)) return IDLE_ANSWER_MS;
    return this.#othersWait ? 0 : Math.max(0, ASK_AHEAD_MS - unchangedMs);
  }

  /** @returns nothing when there is no work, or the wait was cut short: the replica drains, or ComfyUI died */
  async #poll(pollId: string, signal: AbortSignal): Promise<Given> {
    const { calls, replicaId, settings, log, preparing, onStop } = this.#options;
    const startedAt = performance.now();
    try {
      const leases = this.#hand.jobs.map(({ lease: { lease_id, token } }) => ({ lease_id, token }));
      // It tries one release at a time.
      const kept = preparing();
      const errand = kept === null ? { verifies: true } : { verifies: false, preparing: kept };
      const poll = { poll_id: pollId, leases, ...errand, wait_ms: settings.timings.pollWaitMs };
      const answer = await calls.pollReplica(replicaId, poll, signal);
      if (answer.stop) onStop();
      for (const job of this.#hand.jobs) if (answer.ended.includes(job.lease.lease_id)) job.revoke();
      const asked = answer.verify == null ? null : { id: pollId, release: answer.verify.release };
      if (answer.lease === null && asked === null && performance.now() - startedAt < IDLE_ANSWER_MS) {
        await this.#hand.changedOr(IDLE_ANSWER_MS, signal);
      }
      return { lease: answer.lease, errand: asked };
    } catch (error) {
      if (signal.aborted) return NOTHING;
      // The endpoint does not know this replica any more.
      if (!isGone(error)) throw error;
      log("replica_unknown", { error: messageOf(error) });
      onStop();
      return NOTHING;
    }
  }
}
