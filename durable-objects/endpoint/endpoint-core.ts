import type {
  CompleteLease,
  FailLease,
  LeaseProgress,
  ReplicaPoll,
  ReplicaReport,
  ReplicaReportAnswer,
  VerificationReport,
  VerificationReportAnswer,
} from "#contract/agent";
import type { BatchId, EndpointId, JobId, OperationId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { JobPatch } from "#contract/job";
import { type Refusal, refusal } from "#contract/problems";
import type { Replica } from "#contract/replica";
import * as batches from "#durable-objects/endpoint/batches";
import type { Outcome } from "#durable-objects/endpoint/call-group";
import { cancelJob } from "#durable-objects/endpoint/cancel";
import type { PurgeMark } from "#durable-objects/endpoint/config-store";
import { configure, refusesConfig, remove } from "#durable-objects/endpoint/configuration";
import { acknowledgeDemand, demandOf } from "#durable-objects/endpoint/demand";
import { type EndpointEffect, EndpointState } from "#durable-objects/endpoint/endpoint-state";
import type { EndedFiles } from "#durable-objects/endpoint/history-store";
import { snapshotOf, watchReplyOf } from "#durable-objects/endpoint/job-snapshots";
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
import { replace } from "#durable-objects/endpoint/replacement";
import * as replicas from "#durable-objects/endpoint/replica-life";
import type { PollOutcome, Unverified } from "#durable-objects/endpoint/replica-polls";
import * as polls from "#durable-objects/endpoint/replica-polls";
import * as reports from "#durable-objects/endpoint/replica-reports";
import * as views from "#durable-objects/endpoint/replica-views";
import { retryJob } from "#durable-objects/endpoint/retry-job";
import type {
  Answer,
  Asked,
  Completed,
  EndpointConfig,
  EnqueueBatchRequest,
  EnqueueRequest,
  Idempotency,
  JobFilter,
  LeaseProof,
  NodeIdentity,
  ReleaseLogReply,
  ReplicaHeard,
  ReplicaLogReply,
  Reply,
  StoredOutput,
} from "#durable-objects/endpoint/rpc";
import { cool, scalingReport, warm } from "#durable-objects/endpoint/scaling-report";
import { dueNext, outputsDue, sweep } from "#durable-objects/endpoint/sweep";
import { type HandOver, handedOver, handOverFailed, nextHandOver } from "#durable-objects/endpoint/telling";
import { Turns } from "#durable-objects/endpoint/turns";
import { type UsagePage, usage } from "#durable-objects/endpoint/usage";
import { whyJob } from "#durable-objects/endpoint/why";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import { checkIdempotency } from "#durable-objects/queue/idempotency";
import { hasWorked, isOver, mayReturn, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { LateWrites } from "#durable-objects/sql/late-writes";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import type { Interest } from "#durable-objects/webhooks/rpc";
import { endpointMigrations } from "#migrations/endpoint/all";

/** The scope of a job's Idempotency-Key. */
const CREATE_JOB = "createJob";
const DONE = { ok: true } as const;
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
  readonly #turns: Turns;

  /** @param armedAt the alarm that is set already, Unix ms */
  constructor(db: SqlDatabase, world: World, armedAt: number | null) {
    this.#db = new LateWrites(db);
    this.#world = world;
    this.#state = new EndpointState(this.#db, world);
    this.#turns = new Turns(this.#db, world, this.#state, armedAt);
    if (!hasSchema(db)) return;
    migrate(db, endpointMigrations, world.now());
    this.#state.load();
    if (this.#state.config === null) return;
    this.#turns.mutate((now) => {
      this.#state.giveTime(now);
      dueNext(this.#state, now);
    });
  }

  /** What must happen outside, now that the changes are committed; empties the list. */
  takeEffects(): EndpointEffect[] {
    return this.#turns.takeEffects();
  }

  /**
   * Several calls as one commit. Each is undone alone when it throws; refusals are results like any other.
   * @throws when the commit fails: then none of the calls has happened, and nothing of them is remembered (G1)
   */
  group(works: readonly Work[]): readonly Outcome<EndpointEffect>[] {
    return this.#turns.group(works, this);
  }

  // --- the endpoint itself -----------------------------------------------------------------------------------------

  configure(config: EndpointConfig): Answer<"configure"> {
    const known = this.#state.config;
    const refused = known === null ? null : refusesConfig(known, config);
    if (refused !== null) return refused;
    if (known === null) migrate(this.#db, endpointMigrations, this.#world.now());
    return this.#turns.mutate((now) => {
      configure(this.#state, config, now);
      return DONE;
    });
  }

  remove(workspaceId: WorkspaceId): Answer<"remove"> {
    const { config } = this.#state;
    if (config === null || config.workspaceId !== workspaceId) return noEndpoint();
    if (config.removed) return DONE;
    return this.#turns.mutate((now) => {
      remove(this.#state, config, now);
      return DONE;
    });
  }

  // --- releases ----------------------------------------------------------------------------------------------------

  releaseGate(workspaceId: WorkspaceId, releases: readonly number[]): Answer<"releaseGate"> {
    return this.#read(workspaceId, () => ({ ok: true, gate: gateView(this.#state, releases) }));
  }

  wishRelease(workspaceId: WorkspaceId, wish: gate.WishRequest): Answer<"wishRelease"> {
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
    return this.#turns.mutate((now) => reports.reportVerification(this.#state, known, report, now));
  }

  /** A pod has said which cards it has online. */
  cardsHeard(podId: PodId, cards: readonly (string | null)[]): void {
    if (this.#state.config === null) return;
    this.#turns.mutate((now) => {
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
    this.#turns.mutate((now) => gate.wishIsVoid(this.#state, wish, held?.release ?? null, now));
  }

  // --- jobs --------------------------------------------------------------------------------------------------------

  enqueue(request: EnqueueRequest): Answer<"enqueue"> {
    return this.#write(request.workspaceId, (now) => {
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

  findReplay(...[workspaceId, idempotency]: Asked<"findReplay">): Answer<"findReplay"> {
    return this.#read(workspaceId, (now) => {
      const known = this.#state.idempotency.find(CREATE_JOB, idempotency.key, now);
      const answer = checkIdempotency(known, idempotency.fingerprint, now);
      const found = answer.type === "replay" ? this.#state.jobs.find(answer.result as JobId) : null;
      return { ok: true, job: found === null ? null : snapshotOf(this.#state, found.job, found.payload, now) };
    });
  }

  getJob(workspaceId: WorkspaceId, jobId: JobId): Answer<"getJob"> {
    if (this.#isStranger(workspaceId)) return noJob();
    const found = this.#state.jobs.find(jobId);
    if (found === null) return noJob();
    return { ok: true, job: snapshotOf(this.#state, found.job, found.payload, this.#world.now()) };
  }

  watchJob(workspaceId: WorkspaceId, jobId: JobId, after: { seq: number; version: number }): Answer<"watchJob"> {
    if (this.#isStranger(workspaceId)) return noJob();
    const job = this.#state.jobs.get(jobId);
    return job === null ? noJob() : { ok: true, ...watchReplyOf(this.#state, job, after) };
  }

  canaryResults(workspaceId: WorkspaceId): Answer<"canaryResults"> {
    return this.#read(workspaceId, () => ({ ok: true, results: this.#state.canary.results() }));
  }

  listJobs(workspaceId: WorkspaceId, filter: JobFilter): Answer<"listJobs"> {
    return this.#read(workspaceId, (now) => listing.listJobs(this.#state, filter, now));
  }

  cancelJob(workspaceId: WorkspaceId, jobId: JobId): Answer<"cancelJob"> {
    return this.#write(workspaceId, (now) => cancelJob(this.#state, jobId, now), noJob);
  }

  retryJob(...[workspaceId, jobId, keyId, idempotency]: Asked<"retryJob">): Answer<"retryJob"> {
    return this.#write(workspaceId, (now) => retryJob(this.#state, jobId, keyId, idempotency, now), noJob);
  }

  patchJob(workspaceId: WorkspaceId, jobId: JobId, patch: JobPatch): Answer<"patchJob"> {
    return this.#write(workspaceId, (now) => patchJob(this.#state, jobId, patch, now), noJob);
  }

  whyJob(workspaceId: WorkspaceId, jobId: JobId): Answer<"whyJob"> {
    return this.#read(workspaceId, (now) => whyJob(this.#state, jobId, now), noJob);
  }

  // --- batches and operations --------------------------------------------------------------------------------------

  enqueueBatch(request: EnqueueBatchRequest): Answer<"enqueueBatch"> {
    return this.#write(request.workspaceId, (now) => batches.enqueueBatch(this.#state, request, now));
  }

  findBatchReplay(workspaceId: WorkspaceId, idempotency: Idempotency): Answer<"findBatchReplay"> {
    return this.#read(workspaceId, (now) => batches.findBatchReplay(this.#state, idempotency, now));
  }

  getBatch(workspaceId: WorkspaceId, batchId: BatchId): Answer<"getBatch"> {
    return this.#read(workspaceId, () => batches.getBatch(this.#state, batchId), batches.noBatch);
  }

  cancelBatch(workspaceId: WorkspaceId, batchId: BatchId): Answer<"cancelBatch"> {
    return this.#write(workspaceId, (now) => batches.cancelBatch(this.#state, batchId, now), batches.noBatch);
  }

  batchJobs(...[workspaceId, batchId, after, bytesMax]: Asked<"batchJobs">): Answer<"batchJobs"> {
    return this.#read(
      workspaceId,
      (now) => batches.batchJobs(this.#state, batchId, { after, bytesMax }, now),
      batches.noBatch,
    );
  }

  startOperation(...[workspaceId, request]: Asked<"startOperation">): Answer<"startOperation"> {
    return this.#write(workspaceId, (now) => operations.startOperation(this.#state, request, now));
  }

  getOperation(workspaceId: WorkspaceId, operationId: OperationId): Answer<"getOperation"> {
    return this.#read(workspaceId, () => operations.getOperation(this.#state, operationId), operations.noOperation);
  }

  listOperations(...[workspaceId, page]: Asked<"listOperations">): Answer<"listOperations"> {
    return this.#read(workspaceId, () => operations.listOperations(this.#state, page));
  }

  cancelOperation(workspaceId: WorkspaceId, operationId: OperationId): Answer<"cancelOperation"> {
    return this.#write(
      workspaceId,
      (now) => operations.cancelOperation(this.#state, operationId, now),
      operations.noOperation,
    );
  }

  // --- the queue as a whole ----------------------------------------------------------------------------------------

  pauseQueue(...[workspaceId, wish]: Asked<"pauseQueue">): Answer<"pauseQueue"> {
    return this.#write(workspaceId, (now) => {
      pause(this.#state, wish, now);
      return queueSummary(this.#state, now);
    });
  }

  resumeQueue(workspaceId: WorkspaceId): Answer<"resumeQueue"> {
    return this.#write(workspaceId, (now) => {
      resume(this.#state);
      dispatch(this.#state, now);
      // While it was paused, nobody looked when the limits end.
      dueNext(this.#state, now);
      return queueSummary(this.#state, now);
    });
  }

  scaling(workspaceId: WorkspaceId, limit: number): Answer<"scaling"> {
    return this.#read(workspaceId, (now) => scalingReport(this.#state, limit, now));
  }

  /** Keeps replicas warm by hand for so long; null: no longer. The answer is how it stands after that. */
  warm(...[workspaceId, wish, limit]: Asked<"warm">): Answer<"warm"> {
    if (this.#isStranger(workspaceId)) return noEndpoint();
    this.#turns.mutate((now) => {
      if (wish === null) cool(this.#state);
      else warm(this.#state, wish.replicas, wish.forMs, now);
    });
    return this.scaling(workspaceId, limit);
  }

  listQueue(...[workspaceId, page]: Asked<"listQueue">): Answer<"listQueue"> {
    return this.#read(workspaceId, (now) => listing.listQueue(this.#state, page, now));
  }

  listDead(...[workspaceId, page]: Asked<"listDead">): Answer<"listDead"> {
    return this.#read(workspaceId, (now) => listing.listDead(this.#state, page, now));
  }

  usage(workspaceId: WorkspaceId, page: UsagePage): Answer<"usage"> {
    return this.#read(workspaceId, () => usage(this.#state, page));
  }

  queueSummary(workspaceId: WorkspaceId): Answer<"queueSummary"> {
    return this.#read(workspaceId, (now) => queueSummary(this.#state, now));
  }

  listReplicas(workspaceId: WorkspaceId, which: views.Listed = "current"): Answer<"listReplicas"> {
    return this.#read(workspaceId, (now) => ({ ok: true, replicas: views.listed(this.#state, which, now) }));
  }

  getReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Answer<"getReplica"> {
    return this.#read(workspaceId, (now) => views.getReplica(this.#state, replicaId, now));
  }

  /** Lines of a replica's log from a number on. */
  replicaLog(...[workspaceId, replicaId, from]: Asked<"replicaLog">): Answer<"replicaLog"> {
    return this.#read(workspaceId, () => views.replicaLog(this.#state, replicaId, from));
  }

  /** Lines of a replica's log from a number on, and how it stands. */
  followedReplica(workspaceId: WorkspaceId, replicaId: ReplicaId, from: number): Reply<ReplicaLogReply> {
    return this.#read(workspaceId, (now) => views.followedReplica(this.#state, replicaId, from, now));
  }

  stopReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Answer<"stopReplica"> {
    return this.#change(workspaceId, replicaId, (replica) => replicas.drain(this.#state, replica));
  }

  replaceReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Answer<"replaceReplica"> {
    return this.#change(workspaceId, replicaId, (replica) => replace(this.#state, replica));
  }

  /** What the time of all replicas went to. @param from first day @param to last day */
  replicaDays(workspaceId: WorkspaceId, from: number, to: number): Answer<"replicaDays"> {
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
      if (replica === null) return views.noReplicaHere();
      if (isOver(replica.state)) return refusal("replica_ended", `The replica has ${replica.state} already.`);
      work(replica, now);
      return views.getReplica(this.#state, replicaId, now);
    });
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
    this.#turns.mutate((now) => {
      const replica = { id: replicaId, nodeId, podId, gpuType: undefined, slotsOnCard: 1 };
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
    if (!leases.isOfEndpoint(this.#state, node)) return noReplica();
    const known = this.#state.replicas.get(replicaId);
    if (known === null || replicas.isInDoubt(known, report.state)) return { type: "unverified" };
    if (known.nodeId !== node.nodeId) return noReplica();
    return this.#turns.mutate((now) => reports.reportReplica(this.#state, known, report, now));
  }

  pollReplica(node: NodeIdentity, replicaId: ReplicaId, poll: ReplicaPoll): PollOutcome {
    if (!leases.isOfEndpoint(this.#state, node)) return { type: "answered", reply: noReplica() };
    const known = this.#state.replicas.get(replicaId);
    if (known === null || replicas.isInDoubt(known, "ready")) return { type: "unverified" };
    if (known.nodeId !== node.nodeId) return { type: "answered", reply: noReplica() };
    return this.#turns.mutate((now) => polls.pollReplica(this.#state, known, poll, now));
  }

  /** The poll is no longer waited for; a lease that was already granted to it runs out by itself. */
  abandonPoll(replicaId: ReplicaId, pollId: string): void {
    if (this.#state.waiters.get(replicaId)?.pollId !== pollId) return;
    this.#state.waiters.delete(replicaId);
    this.#state.presence.alive(replicaId, this.#world.now());
  }

  reclaimIdle(podId: PodId, replicaId: ReplicaId, onlyBatch = false): boolean {
    if (!isPodOf(this.#state, podId) || this.#state.replicas.get(replicaId)?.podId !== podId) return false;
    return this.#turns.mutate((now) => replicas.reclaim(this.#state, replicaId, onlyBatch, now));
  }

  heardOf(podId: PodId, replicaId: ReplicaId): ReplicaHeard {
    if (this.#state.config === null) return { works: true, leases: 0 };
    const replica = this.#state.replicas.get(replicaId);
    const isMute = replica !== null && replica.podId === podId && !hasWorked(replica);
    return { works: !isMute, leases: this.#state.held(replicaId) };
  }

  replicaGone(
    podId: PodId,
    replicaId: ReplicaId,
    reason: string,
    silent: boolean,
    heardAt: number | null = null,
  ): void {
    if (!isPodOf(this.#state, podId)) return;
    this.#state.replicaEnded(replicaId, silent ? this.#world.now() : null);
    if (this.#state.replicas.get(replicaId) === null && this.#state.held(replicaId) === 0) return;
    this.#turns.mutate((now) => reports.replicaGone(this.#state, replicaId, { reason, silent, heardAt }, now));
  }

  /** What the pod leaves to this endpoint has changed: its share of the warm floor, its idle time. It is asked again. */
  podChanged(podId: PodId): boolean {
    if (!isPodOf(this.#state, podId)) return false;
    this.#turns.mutate(() => this.#state.effect({ type: "send_demand", podId }));
    return true;
  }

  // --- leases ------------------------------------------------------------------------------------------------------

  progress(proof: LeaseProof, message: LeaseProgress): Answer<"progress"> {
    return this.#turns.mutate((now) => leases.progress(this.#state, proof, message, now));
  }

  inputFile(proof: LeaseProof, index: number): Answer<"inputFile"> {
    return this.#turns.mutate((now) => leases.inputFile(this.#state, proof, index, now));
  }

  grantOutput(proof: LeaseProof): Answer<"grantOutput"> {
    return this.#turns.mutate((now) => leases.grantOutput(this.#state, proof, now));
  }

  isCurrent(proof: LeaseProof): boolean {
    return leases.isCurrent(this.#state, proof);
  }

  complete(proof: LeaseProof, message: CompleteLease, outputs: readonly StoredOutput[]): Reply<Completed> {
    return this.#turns.mutate((now) => leases.complete(this.#state, proof, message, outputs, now));
  }

  fail(proof: LeaseProof, message: FailLease): Answer<"fail"> {
    return this.#turns.mutate((now) => leases.fail(this.#state, proof, message, now));
  }

  release(proof: LeaseProof, reason: string): Answer<"release"> {
    return this.#turns.mutate((now) => leases.release(this.#state, proof, reason, now));
  }

  // --- the alarm and the pod ---------------------------------------------------------------------------------------

  /**
   * The alarm rang, early, late or twice: does what is due and sets the next one.
   * @throws when the turn is undone: the shell then sets the alarm ALARM_RETRY_MS from now
   */
  wake(): void {
    this.#turns.ring((now) => {
      sweep(this.#state, now);
      dispatch(this.#state, now);
      polls.sendErrands(this.#state, now);
      dueNext(this.#state, now);
    });
  }

  /** What is to be handed to the workspace's WebhooksObject now. */
  handOver(): HandOver | null {
    return this.#state.config === null ? null : nextHandOver(this.#state, this.#world.now());
  }

  /** It was taken. @param last the number of the last event that was, 0 for none */
  handedOver(last: number, interest: Interest): void {
    if (this.#state.config !== null) this.#turns.mutate(() => handedOver(this.#state, last, interest));
  }

  handOverFailed(): void {
    if (this.#state.config !== null) this.#turns.mutate((now) => handOverFailed(this.#state, now));
  }

  setInterest(workspaceId: WorkspaceId, interest: Interest): void {
    if (!this.#isStranger(workspaceId)) this.#turns.mutate(() => this.#state.outbox.learn(interest));
  }

  /** The wish to send to a pod, the preferred one when none is named; null when there is no endpoint. */
  demand(pod?: PodId): Demand | null {
    return demandOf(this.#state, pod);
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
    this.#turns.mutate((now) => {
      replicas.reconcile(this.#state, asked.podId, reply.replicas, sentAt, now);
      acknowledgeDemand(this.#state, asked, reply, now);
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
    this.#turns.mutate((now) => {
      this.#state.configs.putPurgeMark(mark);
      dueNext(this.#state, now);
    });
  }

  // --- inside a turn -----------------------------------------------------------------------------------------------

  /** A call of the workspace that changes something. @param unknown what another workspace is told */
  #write<T>(workspaceId: WorkspaceId, work: (now: number) => T, unknown = noEndpoint): T | Refusal {
    return this.#isStranger(workspaceId) ? unknown() : this.#turns.mutate(work);
  }

  /** A call of the workspace that changes nothing. @param unknown as above */
  #read<T>(workspaceId: WorkspaceId, work: (now: number) => T, unknown = noEndpoint): T | Refusal {
    return this.#isStranger(workspaceId) ? unknown() : work(this.#world.now());
  }

  #isStranger(workspaceId: WorkspaceId): boolean {
    return this.#state.config?.workspaceId !== workspaceId;
  }
}

const noEndpoint = (): Refusal => refusal("endpoint_not_found", "There is no such endpoint.");
const noJob = (): Refusal => refusal("job_not_found", "There is no such job.");
const noReplica = (): Refusal => refusal("replica_not_found", "The pod has no such replica on this node.");
