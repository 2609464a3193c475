import type {
  CompleteLease,
  FailLease,
  LeaseProgress,
  LeaseProgressAnswer,
  ReplicaPoll,
  ReplicaReport,
  ReplicaReportAnswer,
  VerificationReport,
  VerificationReportAnswer,
} from "#contract/agent";
import type { Scaling } from "#contract/api/scaling";
import type { CanaryResults } from "#contract/canary";
import type { BatchId, EndpointId, JobId, KeyId, OperationId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { JobPatch, JobWhy, Lane } from "#contract/job";
import { type Refusal, refusal } from "#contract/problems";
import type { Operation, QueueEntry, QueueSummary } from "#contract/queue";
import type { Replica } from "#contract/replica";
import type { UsageRow } from "#contract/usage";
import * as batches from "#durable-objects/endpoint/batches";
import type { Outcome } from "#durable-objects/endpoint/call-group";
import { cancelLiving } from "#durable-objects/endpoint/cancel";
import { onePod, type PurgeMark } from "#durable-objects/endpoint/config-store";
import { acknowledgeDemand, planDemand, retellDemand } from "#durable-objects/endpoint/demand";
import { type EndpointEffect, EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { snapshotOf, watchReplyOf } from "#durable-objects/endpoint/job-snapshots";
import type { EndedFiles } from "#durable-objects/endpoint/job-store";
import * as leases from "#durable-objects/endpoint/leases";
import * as listing from "#durable-objects/endpoint/listing";
import { dispatch } from "#durable-objects/endpoint/matcher";
import { admission, drawnRelease, rememberKey, takeJob } from "#durable-objects/endpoint/new-jobs";
import * as operations from "#durable-objects/endpoint/operations";
import { patchJob } from "#durable-objects/endpoint/patch-job";
import { isPodOf, podsOf } from "#durable-objects/endpoint/pods-of-endpoint";
import { pause, resume } from "#durable-objects/endpoint/queue-control";
import { queueSummary } from "#durable-objects/endpoint/queue-summary";
import * as gate from "#durable-objects/endpoint/release-gate";
import type { ReleaseWish } from "#durable-objects/endpoint/release-store";
import { gateView, releaseLog } from "#durable-objects/endpoint/release-views";
import { advanceReplacements, replace } from "#durable-objects/endpoint/replacement";
import type { ReplicaDay } from "#durable-objects/endpoint/replica-accounts";
import * as replicas from "#durable-objects/endpoint/replica-life";
import type { LogLine } from "#durable-objects/endpoint/replica-news";
import type { PollOutcome, Unverified } from "#durable-objects/endpoint/replica-polls";
import * as polls from "#durable-objects/endpoint/replica-polls";
import { retryJob } from "#durable-objects/endpoint/retry-job";
import type {
  BatchSnapshot,
  Completed,
  EndpointConfig,
  EnqueueBatchRequest,
  EnqueueRequest,
  GateView,
  Idempotency,
  JobFilter,
  JobSnapshot,
  LeaseProof,
  NodeIdentity,
  OperationRequest,
  OutputGrant,
  QueuePlace,
  ReleaseLogReply,
  ReplicaLogReply,
  Reply,
  StoredInputFile,
  StoredOutput,
  WatchReply,
} from "#durable-objects/endpoint/rpc";
import { decideScaling } from "#durable-objects/endpoint/scaling-decide";
import { cool, scalingReport, warm } from "#durable-objects/endpoint/scaling-report";
import { nextDue, outputsDue, sweep } from "#durable-objects/endpoint/sweep";
import {
  type HandOver,
  handedOver,
  handOverFailed,
  nextHandOver,
  repeatHandOver,
} from "#durable-objects/endpoint/telling";
import { type UsagePage, usage } from "#durable-objects/endpoint/usage";
import { whyJob } from "#durable-objects/endpoint/why";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import { checkIdempotency } from "#durable-objects/queue/idempotency";
import { isOver, isStarting, mayReturn, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { LateWrites } from "#durable-objects/sql/late-writes";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import type { Interest } from "#durable-objects/webhooks/rpc";
import { endpointMigrations } from "#migrations/endpoint/all";

/** The scope of a job's Idempotency-Key. */
const CREATE_JOB = "createJob";
/** An alarm that is late by more than this was lost. */
const ALARM_LOST_MS = 10_000;
/**
 * From one ring of the alarm to the next on average, however much is left to do: five turns a second of a bounded size do
 * a thousand jobs, and leave most of the time to calls (L5). After a quiet second, five rings may follow one another at
 * once, so that single ones come on time.
 */
export const ALARM_PACE_MS = 200;
const ALARM_BURST_MS = 5 * ALARM_PACE_MS;
/** After a turn of the alarm that failed, the shell sets the next one this much later. */
export const ALARM_RETRY_MS = 10_000;
const DONE = { ok: true } as const;
/** Undoes calls that were done in common. */
const ONE_THREW = new Error("a call of the group threw");

/** A call as its group runs it, maybe a second time after the first was undone. */
type Work = (core: EndpointCore) => unknown;

/**
 * An endpoint's queue, leases and replicas, as one synchronous machine: every method is one transaction, decides by the
 * clock it is given, and leaves its outward effects in `takeEffects`. The shell around it does the waiting and calling.
 */
export class EndpointCore {
  readonly #db: LateWrites;
  readonly #world: World;
  readonly #state: EndpointState;
  /** When the platform's alarm will ring, as far as is known; null when none is set. */
  #armedAt: number | null;
  /** The rings so far, each of which takes its pace, are paid for until then, Unix ms. */
  #ringsUntil = 0;
  /** A group runs its calls in its own transaction: no call is undone alone. */
  #isInCommon = false;

  /** @param armedAt the alarm that is set already, Unix ms */
  constructor(db: SqlDatabase, world: World, armedAt: number | null) {
    this.#db = new LateWrites(db);
    this.#world = world;
    this.#armedAt = armedAt;
    this.#state = new EndpointState(this.#db, world);
    if (!hasSchema(db)) return;
    migrate(db, endpointMigrations, world.now());
    this.#state.load();
    if (this.#state.config === null) return;
    this.#mutate((now) => {
      this.#state.giveTime(now);
      this.#dueNext(now);
    });
  }

  /** What must happen outside, now that the changes are committed; empties the list. */
  takeEffects(): EndpointEffect[] {
    this.#armAgain();
    const effects = this.#state.effects;
    this.#state.effects = [];
    return effects;
  }

  /**
   * Several calls as one commit. Each is undone alone when it throws; refusals are results like any other.
   * @throws when the commit fails: then none of the calls has happened, and nothing of them is remembered (G1)
   */
  group(works: readonly Work[]): readonly Outcome<EndpointEffect>[] {
    if (works.length === 1) return works.map((work) => this.#outcomeOf(work));
    return this.#inCommon(works) ?? this.#commit(() => works.map((work) => this.#outcomeOf(work)));
  }

  /**
   * The calls without a savepoint each, which costs as much as a statement or two and is of use to a call that throws:
   * hardly any does.
   * @returns null when one of them threw. Then all are undone, to be done again, each with a savepoint of its own
   */
  #inCommon(works: readonly Work[]): readonly Outcome<EndpointEffect>[] | null {
    this.#isInCommon = true;
    try {
      return this.#commit(() =>
        works.map((work) => {
          const outcome = this.#outcomeOf(work);
          if (!outcome.ok) throw ONE_THREW;
          return outcome;
        }),
      );
    } catch (error) {
      if (error === ONE_THREW) return null;
      throw error;
    } finally {
      this.#isInCommon = false;
    }
  }

  /** One transaction around several calls. @throws what it failed with: then nothing of them is remembered */
  #commit<T>(run: () => T): T {
    const state = this.#state;
    const effects = [...state.effects];
    const waiters = new Map(state.waiters);
    const armedAt = this.#armedAt;
    try {
      return this.#db.transaction(run);
    } catch (error) {
      state.forget(waiters);
      state.effects = effects;
      this.#armedAt = armedAt;
      throw error;
    }
  }

  #outcomeOf(work: Work): Outcome<EndpointEffect> {
    const mark = this.#state.effects.length;
    try {
      const result = work(this);
      this.#armAgain();
      return { ok: true, result, effects: this.#state.effects.splice(mark) };
    } catch (error) {
      return { ok: false, error, effects: this.#state.effects.splice(mark) };
    }
  }

  // --- the endpoint itself -----------------------------------------------------------------------------------------

  configure(config: EndpointConfig): Reply<object> {
    const known = this.#state.config;
    if (known !== null && (known.workspaceId !== config.workspaceId || known.endpointId !== config.endpointId)) {
      return refusal("endpoint_not_found", "There is no such endpoint.");
    }
    if (known?.removed) return refusal("endpoint_not_found", "The endpoint has been deleted.");
    if (known === null) migrate(this.#db, endpointMigrations, this.#world.now());
    return this.#mutate((now) => {
      const stored = { ...config, pods: config.pods ?? onePod(config.podId), removed: false };
      this.#state.configs.put(stored);
      this.#state.config = stored;
      this.#state.stats.configured(stored.settings);
      if (known?.canary?.id !== stored.canary?.id) this.#state.canary.begin(stored.canary);
      replicas.drainLeft(this.#state);
      if (known !== null && placing(known) !== placing(stored)) retellDemand(this.#state, now);
      advanceReplacements(this.#state, now);
      gate.gateConfigured(this.#state, now);
      dispatch(this.#state, now);
      polls.sendErrands(this.#state, now);
      repeatHandOver(this.#state, now);
      this.#dueNext(now);
      return DONE;
    });
  }

  remove(workspaceId: WorkspaceId): Reply<object> {
    const { config } = this.#state;
    if (config === null || config.workspaceId !== workspaceId)
      return refusal("endpoint_not_found", "There is no such endpoint.");
    if (config.removed) return DONE;
    return this.#mutate((now) => {
      const removed = { ...config, removed: true };
      this.#state.configs.put(removed);
      this.#state.config = removed;
      for (const replica of this.#state.replicas.all()) replicas.drain(this.#state, replica);
      sweep(this.#state, now);
      this.#dueNext(now);
      return DONE;
    });
  }

  // --- releases ----------------------------------------------------------------------------------------------------

  releaseGate(workspaceId: WorkspaceId, releases: readonly number[]): Reply<{ gate: GateView }> {
    return this.#read(workspaceId, () => ({ ok: true, gate: gateView(this.#state, releases) }));
  }

  wishRelease(workspaceId: WorkspaceId, wish: gate.WishRequest): Reply<{ decision: gate.WishDecision }> {
    return this.#write(workspaceId, (now) => {
      const reply = gate.wishRelease(this.#state, wish, now);
      polls.sendErrands(this.#state, now);
      return reply;
    });
  }

  releaseLog(workspaceId: WorkspaceId, release: number, after: number): Reply<ReleaseLogReply> {
    return this.#read(workspaceId, () => ({ ok: true, ...releaseLog(this.#state, release, after) }));
  }

  reportVerification(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: VerificationReport,
  ): Reply<{ answer: VerificationReportAnswer }> | Unverified {
    if (!leases.isOfEndpoint(this.#state, node)) return noReplica();
    const known = this.#state.replicas.get(replicaId);
    if (known === null) return { type: "unverified" };
    if (known.nodeId !== node.nodeId) return noReplica();
    return this.#mutate((now) => {
      this.#state.seen(replicaId, now);
      const reply = gate.reportVerification(this.#state, known, report, now);
      polls.sendErrands(this.#state, now);
      return reply;
    });
  }

  /** A pod has said which cards it has online. */
  cardsHeard(podId: PodId, cards: readonly (string | null)[]): void {
    if (this.#state.config === null) return;
    this.#mutate((now) => {
      gate.cardsHeard(this.#state, podId, cards, now);
      polls.sendErrands(this.#state, now);
    });
  }

  /** The release that is ready to take its place, for the catalog; null: none is. */
  readyWish(): { readonly wish: ReleaseWish; readonly endpointId: EndpointId } | null {
    const wish = this.#state.config === null ? null : gate.readyWish(this.#state);
    return wish === null || this.#state.config === null ? null : { wish, endpointId: this.#state.config.endpointId };
  }

  /**
   * What the catalog holds after it was told.
   * @param held null: there is no such endpoint any more
   */
  catalogTold(wish: ReleaseWish, held: Pick<EndpointConfig, "release" | "canary"> | null): void {
    const { config } = this.#state;
    if (config === null || config.removed) return;
    // The rest of the configuration is as the Worker last said it: it says all of it at the next call, as the catalog has
    // a new version. What the release needs on a machine is not known until then.
    const needs = held?.release === config.release ? config.needs : undefined;
    if (held !== null) this.configure({ ...config, ...held, needs });
    this.#mutate((now) => gate.wishIsVoid(this.#state, wish, held?.release ?? null, now));
  }

  // --- jobs --------------------------------------------------------------------------------------------------------

  enqueue(request: EnqueueRequest): Reply<{ job: JobSnapshot; replayed: boolean }> {
    const refused = this.#stranger(request.workspaceId);
    if (refused !== null) return refused;
    return this.#mutate((now) => {
      const { jobs } = this.#state;
      const { idempotency, keyId, inputs: _inputs, files: _files, canary: _canary, tags, webhook, ...fields } = request;
      const key = idempotency === undefined ? null : { scope: CREATE_JOB, ...idempotency };
      const answer = admission(this.#state, 1, key, now);
      if ("ok" in answer) return answer;
      if (answer.type === "replay") {
        const known = jobs.find(answer.result as JobId);
        if (known === null) return refusal("job_not_found", "The job of this Idempotency-Key is gone.");
        return { ok: true, job: snapshotOf(this.#state, known.job, known.payload, now), replayed: true };
      }
      const { release, inputs, files } = drawnRelease(this.#state, request);
      const payload = { keyId, inputs, files, tags, webhook: webhook ?? null };
      const job = takeJob(this.#state, { ...fields, release }, payload, now);
      rememberKey(this.#state, key, job.id, now);
      dispatch(this.#state, now);
      const isGranted = this.#state.running.has(job.id);
      const after = isGranted ? (jobs.get(job.id) ?? job) : job;
      return { ok: true, job: snapshotOf(this.#state, after, payload, now), replayed: false };
    });
  }

  findReplay(
    workspaceId: WorkspaceId,
    idempotency: { readonly key: string; readonly fingerprint: string },
  ): Reply<{ job: JobSnapshot | null }> {
    const refused = this.#stranger(workspaceId);
    if (refused !== null) return refused;
    const { jobs } = this.#state;
    const now = this.#world.now();
    const known = this.#state.idempotency.find(CREATE_JOB, idempotency.key, now);
    const answer = checkIdempotency(known, idempotency.fingerprint, now);
    const found = answer.type === "replay" ? jobs.find(answer.result as JobId) : null;
    return { ok: true, job: found === null ? null : snapshotOf(this.#state, found.job, found.payload, now) };
  }

  getJob(workspaceId: WorkspaceId, jobId: JobId): Reply<{ job: JobSnapshot }> {
    if (this.#stranger(workspaceId) !== null) return noJob();
    const found = this.#state.jobs.find(jobId);
    if (found === null) return noJob();
    return { ok: true, job: snapshotOf(this.#state, found.job, found.payload, this.#world.now()) };
  }

  watchJob(workspaceId: WorkspaceId, jobId: JobId, after: { seq: number; version: number }): Reply<WatchReply> {
    if (this.#stranger(workspaceId) !== null) return noJob();
    const job = this.#state.jobs.get(jobId);
    return job === null ? noJob() : { ok: true, ...watchReplyOf(this.#state, job, after) };
  }

  canaryResults(workspaceId: WorkspaceId): Reply<{ results: CanaryResults | null }> {
    return this.#read(workspaceId, () => ({ ok: true, results: this.#state.canary.results() }));
  }

  listJobs(workspaceId: WorkspaceId, filter: JobFilter): Reply<{ jobs: JobSnapshot[]; next: JobId | null }> {
    return this.#read(workspaceId, (now) => listing.listJobs(this.#state, filter, now));
  }

  cancelJob(workspaceId: WorkspaceId, jobId: JobId): Reply<{ job: JobSnapshot }> {
    if (this.#stranger(workspaceId) !== null) return noJob();
    return this.#mutate((now) => {
      const found = this.#state.jobs.find(jobId);
      if (found === null) return noJob();
      const canceled = cancelLiving(this.#state, jobId, now) ?? found.job;
      dispatch(this.#state, now);
      return { ok: true, job: snapshotOf(this.#state, canceled, found.payload, now) };
    });
  }

  retryJob(
    workspaceId: WorkspaceId,
    jobId: JobId,
    keyId: KeyId,
    idempotency: Idempotency | null,
  ): Reply<{ job: JobSnapshot; replayed: boolean }> {
    if (this.#stranger(workspaceId) !== null) return noJob();
    return this.#mutate((now) => retryJob(this.#state, jobId, keyId, idempotency, now));
  }

  patchJob(workspaceId: WorkspaceId, jobId: JobId, patch: JobPatch): Reply<{ job: JobSnapshot }> {
    if (this.#stranger(workspaceId) !== null) return noJob();
    return this.#mutate((now) => patchJob(this.#state, jobId, patch, now));
  }

  whyJob(workspaceId: WorkspaceId, jobId: JobId): Reply<{ why: JobWhy }> {
    if (this.#stranger(workspaceId) !== null) return noJob();
    return whyJob(this.#state, jobId, this.#world.now());
  }

  // --- batches and operations --------------------------------------------------------------------------------------

  enqueueBatch(request: EnqueueBatchRequest): Reply<{ batch: BatchSnapshot; replayed: boolean }> {
    return this.#write(request.workspaceId, (now) => batches.enqueueBatch(this.#state, request, now));
  }

  findBatchReplay(workspaceId: WorkspaceId, idempotency: Idempotency): Reply<{ batch: BatchSnapshot | null }> {
    return this.#read(workspaceId, (now) => batches.findBatchReplay(this.#state, idempotency, now));
  }

  getBatch(workspaceId: WorkspaceId, batchId: BatchId): Reply<{ batch: BatchSnapshot }> {
    if (this.#stranger(workspaceId) !== null) return batches.noBatch();
    return batches.getBatch(this.#state, batchId);
  }

  cancelBatch(workspaceId: WorkspaceId, batchId: BatchId): Reply<{ batch: BatchSnapshot }> {
    if (this.#stranger(workspaceId) !== null) return batches.noBatch();
    return this.#mutate((now) => batches.cancelBatch(this.#state, batchId, now));
  }

  batchJobs(
    workspaceId: WorkspaceId,
    batchId: BatchId,
    after: JobId | null,
    bytesMax: number,
  ): Reply<{ jobs: JobSnapshot[]; more: boolean }> {
    if (this.#stranger(workspaceId) !== null) return batches.noBatch();
    return batches.batchJobs(this.#state, batchId, { after, bytesMax }, this.#world.now());
  }

  startOperation(
    workspaceId: WorkspaceId,
    request: OperationRequest,
  ): Reply<{ operation: Operation; replayed: boolean }> {
    return this.#write(workspaceId, (now) => operations.startOperation(this.#state, request, now));
  }

  getOperation(workspaceId: WorkspaceId, operationId: OperationId): Reply<{ operation: Operation }> {
    if (this.#stranger(workspaceId) !== null) return operations.noOperation();
    return operations.getOperation(this.#state, operationId);
  }

  listOperations(
    workspaceId: WorkspaceId,
    page: { readonly before?: OperationId; readonly limit: number },
  ): Reply<{ operations: Operation[]; next: OperationId | null }> {
    return this.#read(workspaceId, () => operations.listOperations(this.#state, page));
  }

  cancelOperation(workspaceId: WorkspaceId, operationId: OperationId): Reply<{ operation: Operation }> {
    if (this.#stranger(workspaceId) !== null) return operations.noOperation();
    return this.#mutate((now) => operations.cancelOperation(this.#state, operationId, now));
  }

  // --- the queue as a whole ----------------------------------------------------------------------------------------

  pauseQueue(
    workspaceId: WorkspaceId,
    wish: { readonly reason: string | null; readonly refuseNew: boolean },
  ): Reply<{ summary: QueueSummary }> {
    return this.#write(workspaceId, (now) => {
      pause(this.#state, wish, now);
      return queueSummary(this.#state, now);
    });
  }

  resumeQueue(workspaceId: WorkspaceId): Reply<{ summary: QueueSummary }> {
    return this.#write(workspaceId, (now) => {
      resume(this.#state);
      dispatch(this.#state, now);
      // While it was paused, nobody looked when the limits end.
      this.#dueNext(now);
      return queueSummary(this.#state, now);
    });
  }

  scaling(workspaceId: WorkspaceId, limit: number): Reply<{ scaling: Scaling }> {
    return this.#read(workspaceId, (now) => scalingReport(this.#state, limit, now));
  }

  /** Keeps replicas warm by hand for so long; null: no longer. The answer is how it stands after that. */
  warm(
    workspaceId: WorkspaceId,
    wish: { readonly replicas: number; readonly forMs: number } | null,
    limit: number,
  ): Reply<{ scaling: Scaling }> {
    const refused = this.#stranger(workspaceId);
    if (refused !== null) return refused;
    this.#mutate((now) => {
      if (wish === null) cool(this.#state);
      else warm(this.#state, wish.replicas, wish.forMs, now);
    });
    return this.scaling(workspaceId, limit);
  }

  listQueue(
    workspaceId: WorkspaceId,
    page: { readonly lane?: Lane; readonly after?: QueuePlace; readonly limit: number },
  ): Reply<{ entries: QueueEntry[]; next: QueuePlace | null }> {
    return this.#read(workspaceId, (now) => listing.listQueue(this.#state, page, now));
  }

  listDead(
    workspaceId: WorkspaceId,
    page: { readonly before?: JobId; readonly limit: number; readonly bytesMax: number },
  ): Reply<{ jobs: JobSnapshot[]; next: JobId | null }> {
    return this.#read(workspaceId, (now) => listing.listDead(this.#state, page, now));
  }

  usage(workspaceId: WorkspaceId, page: UsagePage): Reply<{ rows: UsageRow[]; next: JobId | null }> {
    return this.#read(workspaceId, () => usage(this.#state, page));
  }

  queueSummary(workspaceId: WorkspaceId): Reply<{ summary: QueueSummary }> {
    return this.#read(workspaceId, (now) => queueSummary(this.#state, now));
  }

  listReplicas(workspaceId: WorkspaceId, which: replicas.Listed = "current"): Reply<{ replicas: Replica[] }> {
    return this.#read(workspaceId, (now) => ({ ok: true, replicas: replicas.listed(this.#state, which, now) }));
  }

  getReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Reply<{ replica: Replica }> {
    return this.#read(workspaceId, (now) => this.#shown(replicaId, now));
  }

  /** Lines of a replica's log from a number on. */
  replicaLog(
    workspaceId: WorkspaceId,
    replicaId: ReplicaId,
    from: number,
  ): Reply<{ lines: readonly LogLine[]; next: number }> {
    return this.#read(workspaceId, () => {
      if (this.#state.replicas.get(replicaId) === null) return noReplicaHere();
      const lines = this.#state.news.lines(replicaId, from);
      return { ok: true, lines, next: (lines.at(-1)?.number ?? from - 1) + 1 };
    });
  }

  /** Lines of a replica's log from a number on, and how it stands. */
  followedReplica(workspaceId: WorkspaceId, replicaId: ReplicaId, from: number): Reply<ReplicaLogReply> {
    const log = this.replicaLog(workspaceId, replicaId, from);
    if (!log.ok) return log;
    const shown = this.getReplica(workspaceId, replicaId);
    if (!shown.ok) return shown;
    const { state } = shown.replica;
    return { ...log, state, ended: !isStarting(state) };
  }

  stopReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Reply<{ replica: Replica }> {
    return this.#change(workspaceId, replicaId, (replica) => replicas.drain(this.#state, replica));
  }

  replaceReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Reply<{ replica: Replica }> {
    return this.#change(workspaceId, replicaId, (replica) => replace(this.#state, replica));
  }

  /** What the time of all replicas went to. @param from first day @param to last day */
  replicaDays(workspaceId: WorkspaceId, from: number, to: number): Reply<{ days: readonly ReplicaDay[] }> {
    return this.#read(workspaceId, (now) => {
      const { replicas: store } = this.#state;
      return { ok: true, days: store.accounts.days(store.all(), from, to, now) };
    });
  }

  #change(
    workspaceId: WorkspaceId,
    replicaId: ReplicaId,
    work: (replica: ReplicaRecord, now: number) => void,
  ): Reply<{ replica: Replica }> {
    return this.#write(workspaceId, (now) => {
      const replica = this.#state.replicas.get(replicaId);
      if (replica === null) return noReplicaHere();
      if (isOver(replica.state)) return refusal("replica_ended", `The replica has ${replica.state} already.`);
      work(replica, now);
      return this.#shown(replicaId, now);
    });
  }

  #shown(replicaId: ReplicaId, now: number): Reply<{ replica: Replica }> {
    const replica = replicas.listed(this.#state, "all", now).find(({ id }) => id === replicaId);
    return replica === undefined ? noReplicaHere() : { ok: true, replica };
  }

  // --- replicas ----------------------------------------------------------------------------------------------------

  /**
   * The pod confirms that it has this replica there.
   * @param askedAt when it was asked; left out: just now
   */
  admitReplica(node: NodeIdentity, replicaId: ReplicaId, askedAt?: number): void {
    if (!leases.isOfEndpoint(this.#state, node)) return;
    const known = this.#state.replicas.get(replicaId);
    if (known !== null && !mayReturn(known)) return;
    const { nodeId, podId } = node;
    this.#mutate((now) => {
      const replica = { id: replicaId, nodeId, podId, gpuType: undefined };
      if (known === null) replicas.admit(this.#state, replica, askedAt ?? now, now);
      else replicas.takeBack(this.#state, known, askedAt ?? now, now);
    });
  }

  /** Whether it was taken for ended and is not, or not yet, known to be there after all. */
  isReplicaInDoubt(replicaId: ReplicaId): boolean {
    const known = this.#state.replicas.get(replicaId);
    return known !== null && mayReturn(known);
  }

  reportReplica(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: ReplicaReport,
  ): Reply<{ answer: ReplicaReportAnswer }> | Unverified {
    const { config } = this.#state;
    if (config === null || !leases.isOfEndpoint(this.#state, node)) return noReplica();
    const known = this.#state.replicas.get(replicaId);
    if (known === null || replicas.isInDoubt(known, report.state)) return { type: "unverified" };
    if (known.nodeId !== node.nodeId) return noReplica();
    return this.#mutate((now) => {
      this.#state.seen(replicaId, now);
      const logNext = this.#state.news.heard(replicaId, report, now);
      this.#state.effect({ type: "replica_changed" });
      const replica = replicas.report(this.#state, known, report, now);
      advanceReplacements(this.#state, now);
      if (replica !== null) gate.noteStart(this.#state, replica, report, now);
      dispatch(this.#state, now);
      polls.sendErrands(this.#state, now);
      const stop = replica === null || replica.draining;
      return { ok: true, answer: { release: config.release, stop, log_next: logNext } };
    });
  }

  pollReplica(node: NodeIdentity, replicaId: ReplicaId, poll: ReplicaPoll): PollOutcome {
    if (!leases.isOfEndpoint(this.#state, node)) return { type: "answered", reply: noReplica() };
    const known = this.#state.replicas.get(replicaId);
    if (known === null || replicas.isInDoubt(known, "ready")) return { type: "unverified" };
    if (known.nodeId !== node.nodeId) return { type: "answered", reply: noReplica() };
    return this.#mutate((now) => polls.pollReplica(this.#state, known, poll, now));
  }

  /** The poll is no longer waited for; a lease that was already granted to it runs out by itself. */
  abandonPoll(replicaId: ReplicaId, pollId: string): void {
    if (this.#state.waiters.get(replicaId)?.pollId !== pollId) return;
    this.#state.waiters.delete(replicaId);
    this.#state.alive(replicaId, this.#world.now());
  }

  reclaimIdle(podId: PodId, replicaId: ReplicaId): boolean {
    if (!isPodOf(this.#state, podId) || this.#state.replicas.get(replicaId)?.podId !== podId) return false;
    return this.#mutate((now) => replicas.reclaim(this.#state, replicaId, now));
  }

  replicaGone(podId: PodId, replicaId: ReplicaId, reason: string, silent: boolean): void {
    if (!isPodOf(this.#state, podId)) return;
    this.#state.replicaEnded(replicaId, silent ? this.#world.now() : null);
    if (this.#state.replicas.get(replicaId) === null && this.#state.held(replicaId) === 0) return;
    this.#mutate((now) => {
      if (!silent) replicas.loseLeases(this.#state, replicaId, reason, now);
      const at = silent ? Math.min(now, this.#state.aliveUntil(replicaId) ?? now) : now;
      const isAsTold = !silent && this.#state.replicas.get(replicaId)?.draining === true;
      replicas.gone(this.#state, replicaId, at, { error: isAsTold ? null : reason, unseenAt: silent ? now : null });
      dispatch(this.#state, now);
      polls.sendErrands(this.#state, now);
    });
  }

  /** What the pod leaves to this endpoint has changed: its share of the warm floor, its idle time. It is asked again. */
  podChanged(podId: PodId): void {
    if (!isPodOf(this.#state, podId)) return;
    this.#mutate(() => this.#state.effect({ type: "send_demand", podId }));
  }

  // --- leases ------------------------------------------------------------------------------------------------------

  progress(proof: LeaseProof, message: LeaseProgress): Reply<{ answer: LeaseProgressAnswer }> {
    return this.#mutate((now) => leases.progress(this.#state, proof, message, now));
  }

  inputFile(proof: LeaseProof, index: number): Reply<{ file: StoredInputFile }> {
    return this.#mutate((now) => leases.inputFile(this.#state, proof, index, now));
  }

  grantOutput(proof: LeaseProof): Reply<{ grant: OutputGrant }> {
    return this.#mutate((now) => leases.grantOutput(this.#state, proof, now));
  }

  complete(proof: LeaseProof, message: CompleteLease, outputs: readonly StoredOutput[]): Reply<Completed> {
    return this.#mutate((now) => leases.complete(this.#state, proof, message, outputs, now));
  }

  fail(proof: LeaseProof, message: FailLease): Reply<object> {
    return this.#mutate((now) => leases.fail(this.#state, proof, message, now));
  }

  release(proof: LeaseProof, reason: string): Reply<object> {
    return this.#mutate((now) => leases.release(this.#state, proof, reason, now));
  }

  // --- the alarm and the pod ---------------------------------------------------------------------------------------

  /**
   * The alarm rang, early, late or twice: does what is due and sets the next one.
   * @throws when the turn is undone: the shell then sets the alarm ALARM_RETRY_MS from now
   */
  wake(): void {
    this.#armedAt = null;
    if (this.#state.config === null) return;
    const rangAt = this.#world.now();
    this.#ringsUntil = Math.max(this.#ringsUntil, rangAt) + ALARM_PACE_MS;
    try {
      this.#mutate((now) => {
        sweep(this.#state, now);
        dispatch(this.#state, now);
        polls.sendErrands(this.#state, now);
        this.#dueNext(now);
      });
    } catch (error) {
      // Calls until then know only what they add themselves: none of them may put the alarm off.
      this.#armedAt = rangAt + ALARM_RETRY_MS;
      throw error;
    }
  }

  /** What is to be handed to the workspace's WebhooksObject now. */
  handOver(): HandOver | null {
    return this.#state.config === null ? null : nextHandOver(this.#state, this.#world.now());
  }

  /** It was taken. @param last the number of the last event that was, 0 for none */
  handedOver(last: number, interest: Interest): void {
    if (this.#state.config !== null) this.#mutate(() => handedOver(this.#state, last, interest));
  }

  handOverFailed(): void {
    if (this.#state.config !== null) this.#mutate((now) => handOverFailed(this.#state, now));
  }

  setInterest(workspaceId: WorkspaceId, interest: Interest): void {
    if (this.#stranger(workspaceId) === null) this.#mutate(() => this.#state.outbox.learn(interest));
  }

  /** The wish to send to a pod, the preferred one when none is named; null when there is no endpoint. */
  demand(pod?: PodId): Demand | null {
    const { config, demands } = this.#state;
    if (config === null) return null;
    const podId = pod ?? config.podId;
    const told = demands.get(podId);
    const { endpointId, workspaceId, settings, needs } = config;
    return {
      podId,
      endpointId,
      workspaceId,
      version: told?.version ?? 0,
      wanted: told?.wanted ?? 0,
      needed: told?.needed ?? 0,
      drain: told?.drain ?? [],
      trials: told?.trials ?? [],
      regions: settings.regions,
      build: needs?.build ?? null,
      models: needs?.models ?? [],
    };
  }

  /** The pods that are told what the endpoint wants, those it is leaving included. */
  pods(): readonly PodId[] {
    return podsOf(this.#state);
  }

  /**
   * A pod has answered the wish.
   * @param sentAt when it was sent: replicas admitted since are not missing from the answer
   */
  demandAnswered(asked: Pick<Demand, "podId" | "version">, reply: DemandReply, sentAt: number): void {
    if (this.#state.config === null) return;
    this.#mutate((now) => {
      replicas.reconcile(this.#state, asked.podId, reply.replicas, sentAt, now);
      acknowledgeDemand(this.#state, asked, reply, now);
      advanceReplacements(this.#state, now);
    });
  }

  /** Ended jobs whose outputs are to be deleted now, in order. */
  outputsDue(limit: number): EndedFiles[] {
    return this.#state.config === null ? [] : outputsDue(this.#state, this.#world.now(), limit);
  }

  /** Everything a job may have left in R2 lies under this. */
  jobPrefix(jobId: JobId): string {
    return leases.outputPrefix(this.#state, jobId);
  }

  /** The outputs of ended jobs up to this one are gone from R2. */
  outputsDeleted(mark: PurgeMark): void {
    this.#mutate((now) => {
      this.#state.configs.putPurgeMark(mark);
      this.#dueNext(now);
    });
  }

  // --- inside a turn -----------------------------------------------------------------------------------------------

  /** One transaction. Afterwards the demand is told if it changed, and the alarm rings no later than it must. */
  #mutate<T>(work: (now: number) => T): T {
    const now = this.#world.now();
    this.#state.dueAt = null;
    if (this.#isInCommon) {
      const value = work(now);
      this.#settle(now);
      this.#db.settle();
      this.#arm(now);
      return value;
    }
    const earlier = this.#state.effects;
    const waiters = new Map(this.#state.waiters);
    this.#state.effects = [];
    let result: T;
    try {
      result = this.#db.transaction(() => {
        const value = work(now);
        this.#settle(now);
        return value;
      });
    } catch (error) {
      this.#state.forget(waiters);
      this.#state.effects = earlier;
      throw error;
    }
    this.#state.effects = [...earlier, ...this.#state.effects];
    this.#arm(now);
    return result;
  }

  /** What follows from the turn: how many replicas are worth having now, and what the pods are told of it. */
  #settle(now: number): void {
    decideScaling(this.#state, now);
    planDemand(this.#state, now);
  }

  /** Looks through everything for the next moment; single changes only say what they add. */
  #dueNext(now: number): void {
    const due = nextDue(this.#state, now);
    if (due !== null) this.#state.due(due);
  }

  /** An alarm that should have rung long ago was lost. Whatever reaches the object, also a question, sets it again. */
  #armAgain(): void {
    const now = this.#world.now();
    if (this.#armedAt === null || this.#armedAt >= now - ALARM_LOST_MS) return;
    this.#armedAt = now + 1;
    this.#state.effect({ type: "arm", at: now + 1 });
  }

  #arm(now: number): void {
    if (this.#state.dueAt === null) return;
    // Should the clock have stepped back, the pace must not put the alarm off by as much.
    const due = Math.max(this.#state.dueAt, Math.min(this.#ringsUntil - ALARM_BURST_MS, now + ALARM_PACE_MS));
    const at = Math.max(now + 1, Math.min(due, this.#armedAt ?? Number.POSITIVE_INFINITY));
    if (this.#armedAt !== null && this.#armedAt <= at) return;
    this.#armedAt = at;
    this.#state.effect({ type: "arm", at });
  }

  /** A call of the workspace that changes something. */
  #write<T>(workspaceId: WorkspaceId, work: (now: number) => T): T | Refusal {
    return this.#stranger(workspaceId) ?? this.#mutate(work);
  }

  /** A call of the workspace that changes nothing. */
  #read<T>(workspaceId: WorkspaceId, work: (now: number) => T): T | Refusal {
    return this.#stranger(workspaceId) ?? work(this.#world.now());
  }

  #stranger(workspaceId: WorkspaceId): Refusal | null {
    return this.#state.config?.workspaceId === workspaceId ? null : noEndpoint();
  }
}

/** What decides where replicas are placed, beside how many. */
function placing({ settings, needs }: EndpointConfig): string {
  return JSON.stringify([settings.regions, needs ?? null]);
}

const noEndpoint = (): Refusal => refusal("endpoint_not_found", "There is no such endpoint.");
const noJob = (): Refusal => refusal("job_not_found", "There is no such job.");
const noReplicaHere = (): Refusal => refusal("replica_not_found", "The endpoint has no such replica.");
const noReplica = (): Refusal => refusal("replica_not_found", "The pod has no such replica on this node.");
