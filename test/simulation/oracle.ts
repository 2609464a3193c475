import type { Lease, ReplicaPollAnswer } from "#contract/agent";
import type { JobId, LeaseId, ReplicaId } from "#contract/ids";
import type { EndpointEffect } from "#durable-objects/endpoint/endpoint-state";
import type { Completed, JobSnapshot } from "#durable-objects/endpoint/rpc";
import type { JobRecord, QueuedJob } from "#durable-objects/queue/job-record";
import { checkChange, checkNewJob } from "./job-checks.ts";
import { checkMessage, checkPoll, checkWaits } from "./message-checks.ts";
import { aboutJob, type LeaseMessage, type Operation } from "./operation.ts";
import { checkGrants } from "./order-checks.ts";
import { checkCounts, checkQueue } from "./queue-checks.ts";
import type { Refused } from "./simulated-object.ts";
import type { Simulation } from "./simulation.ts";
import { counterOf, finalPart, storedJob, storedJobIds } from "./stored-jobs.ts";
import { promise } from "./violation.ts";

/** What the oracle knows of a lease; times by the object's clock. */
export interface KnownLease {
  readonly id: LeaseId;
  readonly jobId: JobId;
  readonly token: string;
  readonly replicaId: ReplicaId;
  readonly nodeId: string;
  readonly pollId: string;
  /** When an answer with it last left. */
  offeredAt: number;
  /** When the agent was last heard under it; null before the first message. */
  heardAt: number | null;
  /** It was granted to a replica that worked on another job. */
  isAhead: boolean;
  /** When a message under it was undone while the object lived on: it may remember that the agent spoke. */
  perhapsHeardAt: number;
}

export interface KnownJob {
  record: JobRecord;
  /** What must not change, since the job has ended. */
  final: string | null;
}

interface KnownKey {
  readonly fingerprint: string;
  readonly jobId: JobId;
  readonly usedAt: number;
}

/** What the operation at hand may do, judged before it is done. */
export interface Judgement {
  /** Of a message: it speaks for the present lease of its job; it is genuine; how its lease ended. */
  readonly current: boolean;
  readonly genuine: boolean;
  readonly outcome: string | null;
}

const NOBODY: Judgement = { current: false, genuine: false, outcome: null };
/** Counts are compared with what the core says of them each time so many operations have passed. */
const COUNTS_EVERY = 16;

/**
 * Knows what the system has promised, from what it was told alone: which jobs it accepted, which tokens it gave to whom,
 * what it answered. Looks at each job that an operation wrote, and says which promise is broken.
 */
export class Oracle {
  readonly world: Simulation;
  readonly jobs = new Map<JobId, KnownJob>();
  readonly living = new Map<JobId, KnownJob>();
  readonly leases = new Map<LeaseId, KnownLease>();
  readonly keys = new Map<string, KnownKey>();
  readonly tokens = new Set<string>();
  /** Of the jobs granted in the operation at hand: which node each one avoided before it. */
  readonly avoidedBefore = new Map<JobId, QueuedJob["avoid"]>();
  /** Jobs that were given another place. */
  readonly moved = new Set<JobId>();
  /** What each batch's key made. */
  readonly batchKeys = new Map<string, string>();
  counterMax = 0;
  now = 0;
  /** When the object last woke, by its own clock. */
  restartedAt = 0;
  /** The alarm's turn failed, or the clock stepped back: until it has rung, the alarm may be late. */
  alarmIsLate = false;
  /** When an interactive job was last there, Unix ms: it may have been moved to the other lane since. */
  interactiveAt = Number.NEGATIVE_INFINITY;
  /** When a batch job was last granted. */
  batchGrantedAt = Number.NEGATIVE_INFINITY;
  /** Interactive jobs granted since then, and since the object may have forgotten it. */
  batchOvertaken = { all: 0, remembered: 0 };
  removed = false;
  #operation: Operation = { type: "configure" };
  #judgement: Judgement = NOBODY;
  #keyBefore: KnownKey | undefined;
  #sinceCounts = 0;
  #deletedOutputs = new Set<JobId>();
  /** Polls that nobody waits for any more. */
  readonly #abandoned = new Set<string>();

  constructor(world: Simulation) {
    this.world = world;
  }

  get operation(): Operation {
    return this.#operation;
  }

  get judgement(): Judgement {
    return this.#judgement;
  }

  jobOf(operation: Operation): JobId | null {
    return aboutJob(operation, (leaseId) => this.leases.get(leaseId as LeaseId)?.jobId ?? null);
  }

  /** The job whose output lies under that key. */
  jobOfKey(key: string): JobId | null {
    const part = key.split("/").find((piece) => piece.startsWith("job_"));
    return (part ?? null) as JobId | null;
  }

  /** The state of a job as the account of faults calls it. */
  stateOf(id: JobId): string {
    const record = this.jobs.get(id)?.record;
    if (record === undefined) return "none";
    if (record.state === "running") return record.phase;
    if (record.state !== "queued") return record.state;
    return record.availableAt !== null ? "delayed" : record.leases.length === 0 ? "waiting" : "retrying";
  }

  before(operation: Operation, now: number): void {
    this.#operation = operation;
    this.now = now;
    this.#keyBefore = operation.type === "enqueue" ? this.#knownKey(operation.request.idempotency?.key) : undefined;
    this.#judgement = operation.type === "message" ? this.#judge(operation) : NOBODY;
    if (operation.type !== "restart") return;
    this.restartedAt = now;
    this.batchOvertaken.remembered = 0;
  }

  #knownKey(key: string | undefined): KnownKey | undefined {
    const known = key === undefined ? undefined : this.keys.get(key);
    return known !== undefined && this.now - known.usedAt < this.world.keyRetentionMs ? known : undefined;
  }

  #judge({ proof }: LeaseMessage): Judgement {
    const lease = this.leases.get(proof.leaseId);
    const record = lease === undefined ? undefined : this.jobs.get(lease.jobId)?.record;
    const genuine = lease !== undefined && lease.token === proof.token && lease.nodeId === proof.nodeId;
    const current = genuine && record?.state === "running" && record.lease.id === proof.leaseId;
    const outcome = record?.leases.find(({ id }) => id === proof.leaseId)?.outcome ?? null;
    return { current, genuine, outcome };
  }

  /** A message was undone, and the object did not die over it. */
  perhapsHeard(operation: Operation): void {
    const lease = operation.type === "message" ? this.leases.get(operation.proof.leaseId) : undefined;
    if (lease !== undefined) lease.perhapsHeardAt = this.now;
  }

  /** The operation was undone: nothing is as if it had been. */
  undone(operation: Operation): void {
    this.perhapsHeard(operation);
    this.batchOvertaken.remembered = 0;
    if (operation.type === "wake") this.alarmIsLate = true;
    for (const id of this.world.database.takeTouched()) {
      const stored = storedJob(this.world.database, id);
      const known = this.jobs.get(id as JobId)?.record ?? null;
      promise(
        "I15",
        JSON.stringify(stored) === JSON.stringify(known),
        () => `${id} kept half of an operation that was undone (${operation.type})`,
      );
    }
  }

  after(operation: Operation, value: unknown, effects: readonly EndpointEffect[]): void {
    const grants: KnownLease[] = [];
    this.avoidedBefore.clear();
    const touched = this.world.database.takeTouched();
    for (const id of touched) this.#look(id as JobId, grants);
    this.#checkAnswer(operation, value, touched);
    for (const effect of effects) {
      if (effect.type === "poll_answered") {
        this.#offered(effect.answer.lease, effect.replicaId, effect.pollId);
        const isLost = effect.answer.lease !== null && this.#abandoned.has(effect.pollId);
        promise("L2", !isLost, () => `a job goes to the poll ${effect.pollId}, for which nobody waits any more`);
      }
    }
    if (grants.length > 0) {
      grants.sort((a, b) => counter(a.token) - counter(b.token));
      for (const grant of grants) {
        promise(
          "I3",
          counter(grant.token) > this.counterMax && !this.tokens.has(grant.token),
          () => `the token ${grant.token} is not newer than number ${this.counterMax}`,
        );
        this.tokens.add(grant.token);
        grant.isAhead = this.#isAhead(grant);
        this.counterMax = counter(grant.token);
      }
      checkGrants(this, grants);
    }
    if (operation.type === "wake") {
      this.alarmIsLate = false;
      if (touched.size > 0) this.world.object.alarm.worked();
    }
    if (operation.type === "read" || operation.type === "stranger") {
      promise("I15", touched.size === 0, () => "a question has changed a job");
      return;
    }
    checkQueue(this);
    this.#sinceCounts += 1;
    if (this.#sinceCounts < COUNTS_EVERY && operation.type !== "restart") return;
    this.#sinceCounts = 0;
    checkCounts(this);
  }

  #look(id: JobId, grants: KnownLease[]): void {
    const record = storedJob(this.world.database, id);
    const known = this.jobs.get(id);
    if (record === null) {
      if (known !== undefined) this.#forgotten(id, known);
      return;
    }
    if (known === undefined) checkNewJob(this, record);
    else checkChange(this, known, record);
    for (const lease of record.leases.slice(known?.record.leases.length ?? 0)) {
      const { token, replicaId, nodeId, pollId } = lease;
      const grant = {
        id: lease.id,
        jobId: id,
        token,
        replicaId,
        nodeId,
        pollId,
        offeredAt: this.now,
        heardAt: null,
        isAhead: false,
        perhapsHeardAt: 0,
      };
      promise("I3", !this.leases.has(lease.id), () => `the lease ${lease.id} was granted twice`);
      promise("I3", counterOf(lease) > 0, () => `the token ${token} has no number`);
      this.leases.set(lease.id, grant);
      if (known?.record.state === "queued") this.avoidedBefore.set(id, known.record.avoid);
      grants.push(grant);
    }
    const ended = record.state !== "queued" && record.state !== "running";
    const next: KnownJob = known ?? { record, final: null };
    next.record = record;
    if (ended && next.final === null) next.final = finalPart(record);
    this.jobs.set(id, next);
    if (ended) this.living.delete(id);
    else this.living.set(id, next);
  }

  /** Whether its replica already worked on another job, judged once all that the operation changed is known. */
  #isAhead({ token, replicaId }: KnownLease): boolean {
    for (const { record } of this.living.values()) {
      if (record.state !== "running" || record.lease.replicaId !== replicaId || record.phase === "uploading") continue;
      if (counter(record.leases.at(-1)?.token ?? token) < counter(token)) return true;
    }
    return false;
  }

  #forgotten(id: JobId, { record }: KnownJob): void {
    const ended = record.state !== "queued" && record.state !== "running";
    promise("I1", ended, () => `${id} vanished while it was ${record.state}`);
    const finishedAt = "finishedAt" in record ? record.finishedAt : Number.POSITIVE_INFINITY;
    const { jobRetentionMs } = this.world;
    promise("I1", this.now >= finishedAt + jobRetentionMs, () => `${id} vanished before its retention was over`);
    this.world.coverage.path("a job's record is forgotten");
    this.jobs.delete(id);
  }

  /** The outputs of a job go. */
  outputsDeleted(id: JobId, now: number): void {
    const record = this.jobs.get(id)?.record;
    const finishedAt = record !== undefined && "finishedAt" in record ? record.finishedAt : null;
    promise("I6", finishedAt !== null, () => `the outputs of ${id} go while it lives`);
    promise("I6", now >= finishedAt + this.world.outputRetentionMs, () => `the outputs of ${id} go too early`);
    this.#deletedOutputs.add(id);
    this.world.coverage.path("a job's outputs are deleted");
  }

  // --- answers -----------------------------------------------------------------------------------------------------

  #checkAnswer(operation: Operation, value: unknown, touched: ReadonlySet<string>): void {
    switch (operation.type) {
      case "abandon":
        this.#abandoned.add(operation.pollId);
        return;
      case "enqueue":
        this.#checkEnqueue(operation, value as { ok: true; job: JobSnapshot; replayed: boolean } | Refused, touched);
        return;
      case "cancel": {
        const reply = value as { ok: true; job: JobSnapshot } | Refused;
        if (!reply.ok) {
          promise("I1", !this.jobs.has(operation.jobId), () => `${operation.jobId} cannot be canceled: ${reply.code}`);
          return;
        }
        // I8: the answer says how it ended, and it stays so.
        const state = this.jobs.get(operation.jobId)?.record.state;
        promise("I8", reply.job.state === state, () => `cancel answered ${reply.job.state}, the job is ${state}`);
        promise(
          "I8",
          !this.living.has(operation.jobId),
          () => `${operation.jobId} lives after its cancel was answered`,
        );
        return;
      }
      case "message":
        checkMessage(this, operation, value as { ok: boolean }, touched);
        if ("next" in (value as object)) {
          const completed = value as Completed;
          if (operation.nextPollId !== undefined) this.#offered(completed.next, null, operation.nextPollId);
          checkWaits(this, operation, completed);
          if (completed.waits !== null) this.#abandoned.delete(operation.nextPollId ?? "");
        }
        return;
      case "poll": {
        const outcome = value as { type: string; reply?: { ok: boolean; answer?: ReplicaPollAnswer } };
        const answer = outcome.type === "answered" && outcome.reply?.ok ? outcome.reply.answer : undefined;
        checkPoll(this, operation, outcome.type, answer ?? null);
        this.#abandoned.delete(operation.poll.poll_id);
        if (answer !== undefined) this.#offered(answer.lease, operation.replicaId, operation.poll.poll_id);
        return;
      }
      case "read": {
        if (operation.jobId === null) return;
        const reply = value as { ok: boolean; job?: JobSnapshot };
        const known = this.jobs.get(operation.jobId);
        promise("I1", reply.ok === (known !== undefined), () => `${operation.jobId} is asked for: ${reply.ok}`);
        if (reply.job !== undefined)
          promise("I15", reply.job.state === known?.record.state, () => "a job is shown otherwise than it is stored");
        return;
      }
      case "pause":
      case "resume":
        if ((value as { ok: boolean }).ok) this.world.paused = operation.type === "pause";
        return;
      case "batch":
        this.#checkBatch(operation, value as { ok: boolean; batch?: { id: string; total: number } }, touched);
        return;
      case "stranger":
        promise("I19", (value as { ok: boolean }).ok === false, () => `a stranger got an answer to ${operation.what}`);
        return;
      default:
        return;
    }
  }

  #checkEnqueue(
    { request }: Operation & { type: "enqueue" },
    reply: { ok: true; job: JobSnapshot; replayed: boolean } | Refused,
    touched: ReadonlySet<string>,
  ): void {
    const { idempotency } = request;
    const valid = this.#keyBefore;
    if (!reply.ok) {
      for (const id of touched) promise("I1", this.jobs.has(id as JobId), () => "a refused job is stored");
      if (reply.code === "idempotency_key_reused") {
        this.world.coverage.path("a key with another body is refused");
        promise(
          "I2",
          valid !== undefined && valid.fingerprint !== idempotency?.fingerprint,
          () => "a good key is refused",
        );
      } else if (reply.code === "queue_full") {
        this.world.coverage.path("a full queue refuses");
        const queued = [...this.living.values()].filter(({ record }) => record.state === "queued").length;
        promise("I11", queued >= this.world.swarm.queueDepthMax, () => `refused as full with ${queued} jobs waiting`);
      } else promise("I1", this.removed || reply.code === "queue_paused", () => `a job is refused: ${reply.code}`);
      return;
    }
    // I1: what is accepted is there.
    promise("I1", this.jobs.has(reply.job.id), () => `the accepted ${reply.job.id} is not stored`);
    if (idempotency === undefined) {
      promise("I2", !reply.replayed, () => "a request without a key is answered as a repeated one");
      return;
    }
    if (valid !== undefined) {
      promise("I2", valid.fingerprint === idempotency.fingerprint, () => "one key was taken for two bodies");
      promise("I2", valid.jobId === reply.job.id, () => "one key made two jobs");
      promise("I2", reply.replayed, () => "a repeated request is answered as a new one");
      this.world.coverage.path("a repeated request gets its first job");
      return;
    }
    promise("I2", !reply.replayed, () => "a new key is answered as a repeated one");
  }

  /** All of a batch's jobs or none, and one batch for one key. */
  #checkBatch(
    { request }: Operation & { type: "batch" },
    reply: { ok: boolean; batch?: { id: string; total: number } },
    touched: ReadonlySet<string>,
  ): void {
    const key = request.idempotency?.key ?? "";
    const known = this.batchKeys.get(key);
    const made = [...touched].filter((id) => this.jobs.get(id as JobId)?.record.createdAt === this.now);
    if (reply.batch === undefined) {
      promise("I15", made.length === 0, () => `a refused batch left ${made.length} jobs behind`);
      return;
    }
    const { id, total } = reply.batch;
    const jobs = [...this.jobs.values()].filter(({ record }) => record.batchId === id).length;
    promise("I15", total === request.items.length && jobs === total, () => `a batch of ${total} has ${jobs} jobs`);
    promise("I2", known === undefined || known === id, () => `the key ${key} made two batches`);
    this.batchKeys.set(key, id);
  }

  /** A lease is on its way to an agent. */
  #offered(lease: Lease | null, replicaId: ReplicaId | null, pollId: string): void {
    if (lease === null) return;
    const known = this.leases.get(lease.lease_id);
    // I13: a lease comes again only for the poll that got it, and it is the same.
    promise("I13", known !== undefined, () => `the lease ${lease.lease_id} is offered and not stored`);
    promise(
      "I13",
      known.token === lease.token && known.pollId === pollId && (replicaId === null || known.replicaId === replicaId),
      () => `the lease ${lease.lease_id} is offered to somebody else`,
    );
    if (known.offeredAt !== this.now) this.world.coverage.path("a lost lease comes again for its poll");
    known.offeredAt = this.now;
  }

  /** Everything at once: the tables hold what was accepted, and nothing else. */
  audit(): void {
    const stored = storedJobIds(this.world.database);
    promise("I1", stored.length === this.jobs.size, () => `${stored.length} jobs are stored, ${this.jobs.size} known`);
    for (const id of stored) {
      const known = this.jobs.get(id);
      promise("I1", known !== undefined, () => `${id} came from nowhere`);
      const record = storedJob(this.world.database, id);
      promise("I15", JSON.stringify(record) === JSON.stringify(known.record), () => `${id} changed unseen`);
    }
    this.world.store.check();
    checkCounts(this);
  }
}

function counter(token: string): number {
  return Number(token.slice(0, token.indexOf(".")));
}
