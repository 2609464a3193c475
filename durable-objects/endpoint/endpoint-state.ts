import type * as z from "zod";
import type { PhaseTimes, ReplicaPollAnswer } from "#contract/agent";
import {
  type JobId,
  jobIdOf,
  type LeaseId,
  leaseNumber,
  type NodeId,
  ownerKey,
  type PodId,
  type ReplicaId,
} from "#contract/ids";
import type { Lane } from "#contract/job";
import { OUTPUT_RETENTION_DAYS, PROGRESS_PERSIST_MS } from "#contract/limits";
import { BatchStore } from "#durable-objects/endpoint/batch-store";
import { CanaryWatch } from "#durable-objects/endpoint/canary-watch";
import { ConfigStore, type StoredConfig } from "#durable-objects/endpoint/config-store";
import { ControlStore, type Pause } from "#durable-objects/endpoint/control-store";
import { DemandStore } from "#durable-objects/endpoint/demand-store";
import { ExpiryWatch } from "#durable-objects/endpoint/expiry";
import { HistoryStore } from "#durable-objects/endpoint/history-store";
import { IdempotencyStore } from "#durable-objects/endpoint/idempotency-store";
import { JobIds } from "#durable-objects/endpoint/job-ids";
import { JobQueries } from "#durable-objects/endpoint/job-queries";
import type { JobPayload } from "#durable-objects/endpoint/job-rows";
import { JobStore } from "#durable-objects/endpoint/job-store";
import { JobTallies } from "#durable-objects/endpoint/job-tallies";
import { JoinWatch } from "#durable-objects/endpoint/joining";
import { JoiningStore } from "#durable-objects/endpoint/joining-store";
import { LastOffers } from "#durable-objects/endpoint/last-offers";
import { LeaseCounter } from "#durable-objects/endpoint/lease-counter";
import { LiveJobs } from "#durable-objects/endpoint/live-jobs";
import { OperationStore } from "#durable-objects/endpoint/operation-store";
import { OutboxStore } from "#durable-objects/endpoint/outbox-store";
import type { PodRoom } from "#durable-objects/endpoint/pod-rooms";
import { QueueStats } from "#durable-objects/endpoint/queue-stats";
import { ReleaseStore } from "#durable-objects/endpoint/release-store";
import { ReplicaNews } from "#durable-objects/endpoint/replica-news";
import { ReplicaPresence } from "#durable-objects/endpoint/replica-presence";
import { ReplicaStore } from "#durable-objects/endpoint/replica-store";
import { RunningJobs, type RunningNote } from "#durable-objects/endpoint/running-jobs";
import { EndpointScaling } from "#durable-objects/endpoint/scaling";
import { noteArrived, noteMoved } from "#durable-objects/endpoint/scaling-events";
import { tellMoved, tellQueued } from "#durable-objects/endpoint/telling";
import { WaitingJobs } from "#durable-objects/endpoint/waiting-jobs";
import type { Demand } from "#durable-objects/pod/rpc";
import {
  type EndedJob,
  isDead,
  type JobRecord,
  type QueuedJob,
  type RunningJob,
} from "#durable-objects/queue/job-record";
import { hasJoined, joinsAt, laneOfJoined } from "#durable-objects/queue/joining";
import { begun, closed, GRACE_MS, graced, type LeaseOutcome, type LeaseRecord } from "#durable-objects/queue/lease";
import type { ServiceTimes } from "#durable-objects/queue/rates";
import type { Card } from "#durable-objects/replicas/release-gate";
import type { World } from "#durable-objects/sql/database";
import type { LateWrites } from "#durable-objects/sql/late-writes";
import { StoredBytes } from "#durable-objects/sql/stored-bytes";

/** What the outside must do or hear once a change is committed. */
export type EndpointEffect =
  | {
      readonly type: "poll_answered";
      readonly replicaId: ReplicaId;
      readonly pollId: string;
      readonly answer: ReplicaPollAnswer;
    }
  | { readonly type: "job_changed"; readonly jobId: JobId }
  | { readonly type: "arm"; readonly at: number }
  /** @param podId left out: to each of its pods */
  | { readonly type: "send_demand"; readonly podId?: PodId }
  /** The endpoint wants nothing more of a pod, and has forgotten it. @param version the last one it was told */
  | { readonly type: "leave_pod"; readonly podId: PodId; readonly version: number }
  /** Events wait for the workspace's WebhooksObject. */
  | { readonly type: "hand_over" }
  /** For the log. */
  | { readonly type: "canary_rolled_back"; readonly release: number; readonly reason: string }
  /** Something is new of a release: who follows its log looks again. */
  | { readonly type: "release_changed" }
  /** A replica has written something, or stands in another way: who follows its log looks again. */
  | { readonly type: "replica_changed" }
  /** A release that was waited for is ready: the catalog is to be told. */
  | { readonly type: "activate_release" }
  /** Nothing is left of a removed endpoint: its storage may go. */
  | { readonly type: "erase" };

/** A replica whose poll waits for work. */
export interface Waiter {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  readonly pollId: string;
  /** Leases the poll listed: when one of them ends, the poll is answered. */
  readonly listed: readonly LeaseId[];
}

export const OUTPUT_RETENTION_MS = OUTPUT_RETENTION_DAYS * 86_400_000;

/**
 * An endpoint's memory: its tables, what is derived from them, and what the turn in progress has changed. Everything
 * derived can be dropped and read again, which is what happens when a transaction is undone.
 */
export class EndpointState {
  readonly world: World;
  readonly storedBytes: StoredBytes;
  readonly configs: ConfigStore;
  readonly jobs: JobStore;
  readonly history: HistoryStore;
  readonly tallies: JobTallies;
  readonly idempotency: IdempotencyStore;
  readonly replicas: ReplicaStore;
  readonly presence: ReplicaPresence;
  readonly news: ReplicaNews;
  readonly controls: ControlStore;
  readonly batches: BatchStore;
  readonly operations: OperationStore;
  readonly queries: JobQueries;
  readonly stats: QueueStats;
  readonly outbox: OutboxStore;
  readonly canary: CanaryWatch;
  readonly demands: DemandStore;
  readonly scaling: EndpointScaling;
  readonly releases: ReleaseStore;
  readonly live = new LiveJobs();
  readonly expiry: ExpiryWatch;
  readonly joining: JoinWatch;
  readonly waiting: WaitingJobs;
  readonly waiters = new Map<ReplicaId, Waiter>();
  readonly lastOffers = new LastOffers();
  /** When webhooks last heard of a running job's progress. */
  readonly progressTold = new Map<JobId, number>();
  /** Types of card that each pod has online, as it last said; a pod that is not in it has not said yet. */
  readonly cards = new Map<PodId, readonly Card[]>();
  /** When the pods were last asked for them because a release waits. */
  cardsAskedAt = 0;
  /** Replicas whose polls may be answered with an errand. */
  readonly verifiers = new Set<ReplicaId>();
  /** Releases that starts have proven on cards whose type the pod has not said yet. */
  readonly provenStarts = new Map<ReplicaId, number>();
  /** When the alarm last asked for events to be handed over; 0 once that was answered. */
  handOverAskedAt = 0;
  /** When this object woke: before that, nothing is remembered of who was heard when. */
  readonly wokeAt: number;
  /** Since when each pod could be told of a smaller demand, see demand.ts. */
  readonly lowerSince = new Map<PodId, number>();
  /** What each pod was last told that its replicas are needed for; a pod that is not in it was told nothing since this object woke. */
  readonly reasonsTold = new Map<PodId, Pick<Demand, "warm" | "calls">>();
  /** What each pod has said of its room, see pod-rooms.ts; null: it said so too long ago. */
  readonly room = new Map<PodId, PodRoom | null>();

  /** Until then no attempt has overrun: what its agent had to say may have had nobody to hear it. */
  graceUntil = 0;

  #config: StoredConfig | null = null;
  /** While it is not null, nothing is started. */
  pause: Pause | null = null;
  effects: EndpointEffect[] = [];
  /** The earliest moment, found in this turn, at which the alarm must have rung. */
  dueAt: number | null = null;

  #jobIds: JobIds | null = null;
  #running: RunningJobs | null = null;
  readonly #leases: LeaseCounter;

  constructor(db: LateWrites, world: World) {
    this.world = world;
    this.wokeAt = world.now();
    this.storedBytes = new StoredBytes(db);
    this.configs = new ConfigStore(db);
    this.#leases = new LeaseCounter(this.configs);
    this.jobs = new JobStore(db);
    this.history = new HistoryStore(db);
    this.tallies = new JobTallies(this.history, world);
    this.idempotency = new IdempotencyStore(db.beside);
    this.expiry = new ExpiryWatch(this.jobs);
    this.joining = new JoinWatch(new JoiningStore(db, this.jobs));
    this.waiting = new WaitingJobs(db);
    this.replicas = new ReplicaStore(db, {
      now: () => world.now(),
      works: (id) => this.works(id),
      firstPod: () => {
        if (this.config === null) throw new Error("the endpoint is not configured");
        return this.config.podId;
      },
    });
    this.presence = new ReplicaPresence(this.replicas, this.wokeAt);
    this.news = new ReplicaNews(db);
    this.controls = new ControlStore(db);
    this.batches = new BatchStore(db);
    this.operations = new OperationStore(db);
    this.queries = new JobQueries(db);
    this.stats = new QueueStats(this.queries, this.controls);
    this.outbox = new OutboxStore(db);
    this.canary = new CanaryWatch(db);
    this.demands = new DemandStore(db);
    this.scaling = new EndpointScaling(db);
    this.releases = new ReleaseStore(db);
  }

  /** Reads what survived from before this object woke. */
  load(): void {
    this.config = this.configs.read();
    if (this.config === null) return;
    this.pause = this.controls.readPause();
    const givenUntil = this.configs.readWokeAt() + GRACE_MS;
    for (const job of this.jobs.running()) {
      // Renewals of the last moments may not have been written: a living lease must not end early for that. Time that was
      // given at the last waking is no renewal: nothing that was not written can have followed it.
      const given = job.lease.until === givenUntil;
      if (job.lease.confirmed && !given && this.live.get(job.id).until === 0) {
        this.live.set(job.id, {
          ...this.live.get(job.id),
          until: job.lease.until + PROGRESS_PERSIST_MS,
          progress: this.jobs.progress(job.id),
        });
      }
    }
  }

  /** Leases do not end because this object was away: once, when it wakes. */
  giveTime(now: number): void {
    const wokeAt = this.configs.readWokeAt();
    for (const stored of this.jobs.running()) {
      const job = this.live.renewed(stored);
      // Judged by what is written: the moments that `load` adds in doubt are no sign of life.
      const lease = graced(stored.lease, job.lease.until, wokeAt, now);
      if (lease === null || lease.until <= job.lease.until) continue;
      this.jobs.putRunning({ ...job, lease }, this.jobs.progress(job.id));
      this.graceUntil = now + GRACE_MS;
    }
    if (this.graceUntil > now) this.configs.putWokeAt(now);
  }

  /**
   * Drops all that is derived from tables, after a transaction was undone.
   * @param waiters those who waited before it began: polls are not in the tables
   */
  forget(waiters: ReadonlyMap<ReplicaId, Waiter>): void {
    this.waiters.clear();
    for (const [id, waiter] of waiters) this.waiters.set(id, waiter);
    this.waiting.forget();
    this.jobs.forget();
    this.#running = null;
    this.tallies.forget();
    this.demands.forget();
    this.reasonsTold.clear();
    this.scaling.forget();
    this.#leases.forget();
    this.replicas.forget();
    this.expiry.forget();
    this.joining.forget();
    this.stats.forget();
    this.outbox.forget();
    this.canary.forget();
    this.releases.forget();
    this.effects = [];
    this.load();
  }

  get config(): StoredConfig | null {
    return this.#config;
  }

  set config(config: StoredConfig | null) {
    this.#config = config;
    if (config === null) return;
    this.scaling.configured(config);
    this.joining.joinIn(laneOfJoined(config.pods));
  }

  due(at: number): void {
    this.dueAt = this.dueAt === null ? at : Math.min(this.dueAt, at);
  }

  effect(effect: EndpointEffect): void {
    this.effects.push(effect);
  }

  // --- counts ------------------------------------------------------------------------------------------------------

  /** Waiting jobs by lane, those in their backoff included. */
  get queued(): Readonly<Record<Lane, number>> {
    return { interactive: this.waiting.queued("interactive"), batch: this.waiting.queued("batch") };
  }

  get queuedTotal(): number {
    return this.waiting.queued("interactive") + this.waiting.queued("batch");
  }

  get running(): ReadonlyMap<JobId, RunningNote> {
    return this.#runningJobs().notes;
  }

  /** Running jobs of a lane. */
  runningIn(lane: Lane): number {
    return this.#runningJobs().inLane(lane);
  }

  /** Leases that the replica holds. */
  held(replicaId: ReplicaId): number {
    return this.#runningJobs().held(replicaId);
  }

  /** Whether the replica executes a job, or is about to; one whose outputs go up is no work for its GPU. */
  works(replicaId: ReplicaId): boolean {
    return this.atWork(replicaId) > 0;
  }

  /** Jobs of the replica that use its GPU, or wait for it there. */
  atWork(replicaId: ReplicaId): number {
    return this.#runningJobs().atWork(replicaId);
  }

  /** How long the latest successful runs took. */
  get services(): ServiceTimes {
    return this.tallies.services;
  }

  #runningJobs(): RunningJobs {
    this.#running ??= new RunningJobs(this.jobs.running());
    return this.#running;
  }

  nextJobId(now: number): JobId {
    if (this.config === null) throw new Error("the endpoint is not configured");
    this.#jobIds ??= new JobIds(ownerKey(this.config.endpointId), this.world, this.jobs.newest());
    return this.#jobIds.next(now);
  }

  /** The number that the next lease will get. */
  peekCounter(): number {
    return this.#leases.peek();
  }

  /** The number of the next lease; only grows, also across restarts and undone turns. */
  nextCounter(): number {
    return this.#leases.take();
  }

  // --- replicas ----------------------------------------------------------------------------------------------------

  /** The replica is no more, as `presence.ended` says, and what it was offered does not count. */
  replicaEnded(replicaId: ReplicaId, now: number | null): void {
    this.lastOffers.forget(replicaId);
    this.presence.ended(replicaId, now);
  }

  forgetReplica(replicaId: ReplicaId): void {
    this.presence.forget(replicaId);
    this.verifiers.delete(replicaId);
    this.replicas.delete(replicaId);
  }

  // --- changes of jobs ---------------------------------------------------------------------------------------------

  add(job: QueuedJob, payload: JobPayload): void {
    this.waiting.load();
    this.tallies.arrived(job.createdAt);
    this.jobs.insert(job, payload);
    this.waiting.entered(job);
    noteArrived(this, job.lane, job.createdAt);
    this.#announce(job);
    tellQueued(this, job, payload);
  }

  /** Writes a job that moved on, and keeps the counts with it. */
  moved(before: QueuedJob | RunningJob, after: JobRecord): void {
    this.waiting.load();
    const running = this.#runningJobs();
    this.jobs.put(after);
    if (before.state === "queued") this.waiting.left(before);
    else running.remove(before.id);
    if (after.state === "queued") this.waiting.entered(after);
    else if (after.state === "running") running.add(after);
    else {
      this.tallies.ended(after);
      this.#judgeCanary(after);
    }
    if (this.config !== null) this.stats.moved(before, after, this.config.settings);
    noteMoved(this, before, after);
    if (before.state === "running") this.replicas.turned(before.lease.replicaId);
    if (after.state === "running") this.replicas.turned(after.lease.replicaId);
    this.#announce(after);
    tellMoved(this, before, after);
  }

  #judgeCanary(job: EndedJob): void {
    const canary = this.config?.canary;
    const reason = this.config === null ? null : this.canary.ended(job, this.config);
    if (canary !== undefined && reason !== null) {
      this.effect({ type: "canary_rolled_back", release: canary.release, reason });
    }
  }

  /** Writes what may still change of an ended job: whether it is a dead letter, and what runs it again. */
  marked(before: EndedJob, after: EndedJob): void {
    this.jobs.put(after);
    this.tallies.deadLeft(Number(isDead(before)) - Number(isDead(after)));
    this.effect({ type: "job_changed", jobId: after.id });
  }

  /** An agent has spoken under the job's lease for the first time, or of another phase. */
  heard(job: RunningJob): void {
    this.lastOffers.taken(job.lease.replicaId);
    this.#runningJobs().add(job);
    this.replicas.turned(job.lease.replicaId);
  }

  /** A lease and its job as they stand; null when there never was such a lease. */
  leaseOf(id: LeaseId): { readonly job: JobRecord; readonly lease: LeaseRecord } | null {
    const job = this.jobs.get(jobIdOf(id));
    const lease = job?.leases[leaseNumber(id) - 1];
    return job === null || lease === undefined ? null : { job, lease };
  }

  /**
   * Ends the lease of a running job, whatever becomes of the job.
   * @returns the job as written
   */
  leaseEnded(
    before: RunningJob,
    after: QueuedJob | EndedJob,
    outcome: LeaseOutcome,
    phases: z.infer<typeof PhaseTimes>,
    now: number,
  ): QueuedJob | EndedJob {
    const heard = before.lease.confirmed || outcome === "completed" || outcome === "failed";
    const leases = heard ? begun(after.leases, now) : after.leases;
    const written = { ...after, leases: closed(leases, { outcome, phases, heard, endedAt: now }) };
    this.live.forget(before.id);
    this.presence.used(before.lease.replicaId, now);
    if (heard) this.lastOffers.taken(before.lease.replicaId);
    else if (outcome === "lost") this.lastOffers.lapsed(before.lease.replicaId);
    this.moved(before, written);
    // The agent hears of the end of a lease it did not end itself from its waiting poll, also when it got the lease, in
    // the answer of `complete`, after that poll began to wait.
    const waiter = this.waiters.get(before.lease.replicaId);
    const isRevoked = outcome === "canceled" || outcome === "timed_out";
    if (waiter !== undefined && outcome !== "completed" && (isRevoked || waiter.listed.includes(before.lease.id))) {
      this.answer(waiter, { lease: null, ended: [before.lease.id], stop: false });
    }
    return written;
  }

  /** Answers a waiting poll. */
  answer(waiter: Waiter, answer: ReplicaPollAnswer): void {
    if (this.waiters.get(waiter.replicaId) === waiter) this.waiters.delete(waiter.replicaId);
    this.effect({ type: "poll_answered", replicaId: waiter.replicaId, pollId: waiter.pollId, answer });
  }

  #announce(job: JobRecord): void {
    this.effect({ type: "job_changed", jobId: job.id });
    if (job.state === "queued") {
      this.expiry.queued(job);
      this.joining.queued(job);
      const joins = job.lane === "batch" && !hasJoined(job);
      if (job.startedAt === null) this.due(joins ? joinsAt(job) : job.expiresAt);
      if (job.availableAt !== null) this.due(job.availableAt);
    } else if (job.state === "running") this.due(Math.min(job.lease.until, job.deadlineAt));
    else this.due(job.finishedAt + OUTPUT_RETENTION_MS);
  }
}
