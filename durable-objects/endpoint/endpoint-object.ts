import { DurableObject } from "cloudflare:workers";
import type {
  CompleteLease,
  FailLease,
  Lease,
  LeaseProgress,
  LeaseProgressAnswer,
  ReplicaPoll,
  ReplicaPollAnswer,
  ReplicaReport,
  ReplicaReportAnswer,
  VerificationReport,
  VerificationReportAnswer,
} from "#contract/agent";
import type { SocketOutput } from "#contract/agent-socket";
import type { Scaling } from "#contract/api/scaling";
import type { CanaryResults } from "#contract/canary";
import { stringifyExactJson } from "#contract/exact-json";
import {
  type BatchId,
  type JobId,
  jobIdOf,
  type KeyId,
  type OperationId,
  ownerKey,
  type PodId,
  type ReplicaId,
  type WorkspaceId,
} from "#contract/ids";
import { isTerminal, type JobPatch, type JobWhy, type Lane } from "#contract/job";
import { outputKey } from "#contract/output-keys";
import { Problem } from "#contract/problems";
import type { Operation, QueueEntry, QueueSummary } from "#contract/queue";
import type { Replica } from "#contract/replica";
import type { UsageRow } from "#contract/usage";
import { CallGroup } from "#durable-objects/endpoint/call-group";
import { DemandSender } from "#durable-objects/endpoint/demand-sender";
import { ALARM_RETRY_MS, EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { EndpointEffect } from "#durable-objects/endpoint/endpoint-state";
import { JobWatchers } from "#durable-objects/endpoint/job-watchers";
import { LogFollowers } from "#durable-objects/endpoint/log-followers";
import { OldOutputs } from "#durable-objects/endpoint/old-outputs";
import { OpenPolls } from "#durable-objects/endpoint/open-polls";
import { OutboxDrain } from "#durable-objects/endpoint/outbox-drain";
import { ReleaseActivation } from "#durable-objects/endpoint/release-activation";
import type { WishDecision, WishRequest } from "#durable-objects/endpoint/release-gate";
import type { ReplicaDay } from "#durable-objects/endpoint/replica-accounts";
import type { Listed } from "#durable-objects/endpoint/replica-life";
import type { LogLine } from "#durable-objects/endpoint/replica-news";
import { type CompletedHere, ReplicaSockets, type SocketCalls } from "#durable-objects/endpoint/replica-sockets";
import type {
  BatchSnapshot,
  Completed,
  EndpointConfig,
  EndpointRpc,
  EnqueueBatchRequest,
  Enqueued,
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
import { shownJob } from "#durable-objects/endpoint/shown-job";
import type { Turn } from "#durable-objects/endpoint/turns";
import type { UsagePage } from "#durable-objects/endpoint/usage";
import { Vouching } from "#durable-objects/endpoint/vouching";
import { storePiece } from "#durable-objects/outputs/store-output";
import { reportedOutputs } from "#durable-objects/outputs/stored-outputs";
import type { PodRpc } from "#durable-objects/pod/rpc";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import type { Interest, WebhooksRpc } from "#durable-objects/webhooks/rpc";
import type { Env } from "#worker/env";

/**
 * Turns of the event loop in which calls gather after a commit. The first one ends with the commit; an idle storage's turn
 * takes next to nothing, and brings in what has arrived. Measured: with four, jobs end to end are 7 % more than with one.
 */
const GATHER_TURNS = 4;
const EMPTY: ReplicaPollAnswer = { lease: null, ended: [], stop: false };

/**
 * One endpoint's queue. Decides nothing: it hands each call to the core as one turn, then does what the turn asks for
 * (answer a poll, wake those who wait for a job, tell the pod, set the alarm). Waiting happens here, never in the core.
 */
export class EndpointObject extends DurableObject<Env> implements EndpointRpc, SocketCalls {
  readonly #polls = new OpenPolls<ReplicaPollAnswer>();
  readonly #watchers = new JobWatchers();
  readonly #calls = new CallGroup<EndpointCore, EndpointEffect>(
    (works) => {
      if (this.#opened === null) throw new Error("the object is not open yet");
      return this.#opened.group(works);
    },
    (effect) => this.#perform(effect),
    // Calls gather while the last commit is on its way to the disk: that is as long as makes sense, and an idle object
    // never waits. Measured in workerd on two cores, submits/s by one caller and by 64: each call alone 1,590 and 1,420;
    // gathered by a timer of 0 ms 410 and 3,350, by scheduler.wait(0) 450 and 2,280, by a microtask 1,810 and 1,580
    // (each call arrives in a turn of its own, so nothing gathers), by this 1,560 and 3,710.
    (ring) => void this.#gathered().then(ring, ring),
  );
  #opened: EndpointCore | null = null;
  /**
   * One call into the core at once and, its commit done, what it asks of the outside. For reads, which see only what is
   * committed because groups run in one piece, and for the object's own calls, which come one at a time.
   */
  readonly #turn: Turn<EndpointCore> = (work) => {
    if (this.#opened === null) throw new Error("the object is not open yet");
    const result = work(this.#opened);
    for (const effect of this.#opened.takeEffects()) this.#perform(effect);
    return result;
  };
  readonly #sockets = new ReplicaSockets(this.ctx, this);
  readonly #followers = new LogFollowers();
  readonly #demands = new DemandSender(this.#turn, (podId) => this.#pod(podId), this.ctx.id.name);
  readonly #outbox = new OutboxDrain(this.#turn, (workspaceId) => this.#webhooks(workspaceId), this.ctx.id.name);
  readonly #activation = new ReleaseActivation(this.#turn, this.env.CATALOG, this.ctx.id.name);
  readonly #oldOutputs = new OldOutputs(this.#turn, this.env.STORE, this.ctx.id.name);
  readonly #vouching = new Vouching({
    calls: this.#calls,
    turn: this.#turn,
    podOf: (podId) => this.#pod(podId),
    sendDemand: (podId) => this.ctx.waitUntil(this.#demands.send(podId)),
  });

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      this.#wakeUp(await ctx.storage.getAlarm());
    });
  }

  async configure(config: EndpointConfig): Promise<Reply<object>> {
    return this.#enter((core) => core.configure(config));
  }

  async remove(workspaceId: WorkspaceId): Promise<Reply<object>> {
    return this.#enter((core) => core.remove(workspaceId));
  }

  async enqueue(request: EnqueueRequest): Promise<Reply<Enqueued>> {
    return this.#enter((core) => core.enqueue(request));
  }

  submit(text: string, origin: string): Promise<string> {
    const request = JSON.parse(text) as EnqueueRequest;
    return this.#calls.enter(
      (core) => core.enqueue(request),
      // A new job has no outputs, whose links only the Worker signs.
      (reply) =>
        reply.ok && !reply.replayed ? stringifyExactJson(shownJob(reply.job, [], origin)) : JSON.stringify(reply),
    );
  }

  async findReplay(
    workspaceId: WorkspaceId,
    idempotency: { readonly key: string; readonly fingerprint: string },
  ): Promise<Reply<{ job: JobSnapshot | null }>> {
    return this.#turn((core) => core.findReplay(workspaceId, idempotency));
  }

  async getJob(workspaceId: WorkspaceId, jobId: JobId): Promise<Reply<{ job: JobSnapshot }>> {
    return this.#turn((core) => core.getJob(workspaceId, jobId));
  }

  async waitForJob(workspaceId: WorkspaceId, jobId: JobId, waitMs: number): Promise<Reply<{ job: JobSnapshot }>> {
    const read = () => this.#turn((core) => core.getJob(workspaceId, jobId));
    return this.#watchers.until(jobId, waitMs, read, ({ job }) => isTerminal(job.state));
  }

  async watchJob(
    workspaceId: WorkspaceId,
    jobId: JobId,
    after: { seq: number; version: number },
    waitMs: number,
  ): Promise<Reply<WatchReply>> {
    const read = () => this.#turn((core) => core.watchJob(workspaceId, jobId, after));
    const isNews = (reply: WatchReply) => reply.events.length > 0 || reply.version > after.version || reply.ended;
    return this.#watchers.until(jobId, waitMs, read, isNews);
  }

  async listJobs(
    workspaceId: WorkspaceId,
    filter: JobFilter,
  ): Promise<Reply<{ jobs: JobSnapshot[]; next: JobId | null }>> {
    return this.#turn((core) => core.listJobs(workspaceId, filter));
  }

  async enqueueBatch(request: EnqueueBatchRequest): Promise<Reply<{ batch: BatchSnapshot; replayed: boolean }>> {
    return this.#enter((core) => core.enqueueBatch(request));
  }

  async findBatchReplay(
    workspaceId: WorkspaceId,
    idempotency: Idempotency,
  ): Promise<Reply<{ batch: BatchSnapshot | null }>> {
    return this.#turn((core) => core.findBatchReplay(workspaceId, idempotency));
  }

  async getBatch(workspaceId: WorkspaceId, batchId: BatchId): Promise<Reply<{ batch: BatchSnapshot }>> {
    return this.#turn((core) => core.getBatch(workspaceId, batchId));
  }

  async cancelBatch(workspaceId: WorkspaceId, batchId: BatchId): Promise<Reply<{ batch: BatchSnapshot }>> {
    return this.#enter((core) => core.cancelBatch(workspaceId, batchId));
  }

  async batchJobs(
    workspaceId: WorkspaceId,
    batchId: BatchId,
    after: JobId | null,
    bytesMax: number,
  ): Promise<Reply<{ jobs: JobSnapshot[]; more: boolean }>> {
    return this.#turn((core) => core.batchJobs(workspaceId, batchId, after, bytesMax));
  }

  async whyJob(workspaceId: WorkspaceId, jobId: JobId): Promise<Reply<{ why: JobWhy }>> {
    return this.#turn((core) => core.whyJob(workspaceId, jobId));
  }

  async patchJob(workspaceId: WorkspaceId, jobId: JobId, patch: JobPatch): Promise<Reply<{ job: JobSnapshot }>> {
    return this.#enter((core) => core.patchJob(workspaceId, jobId, patch));
  }

  async retryJob(
    workspaceId: WorkspaceId,
    jobId: JobId,
    keyId: KeyId,
    idempotency: Idempotency | null,
  ): Promise<Reply<{ job: JobSnapshot; replayed: boolean }>> {
    return this.#enter((core) => core.retryJob(workspaceId, jobId, keyId, idempotency));
  }

  async listQueue(
    workspaceId: WorkspaceId,
    page: { readonly lane?: Lane; readonly after?: QueuePlace; readonly limit: number },
  ): Promise<Reply<{ entries: QueueEntry[]; next: QueuePlace | null }>> {
    return this.#turn((core) => core.listQueue(workspaceId, page));
  }

  async listDead(
    workspaceId: WorkspaceId,
    page: { readonly before?: JobId; readonly limit: number; readonly bytesMax: number },
  ): Promise<Reply<{ jobs: JobSnapshot[]; next: JobId | null }>> {
    return this.#turn((core) => core.listDead(workspaceId, page));
  }

  async pauseQueue(
    workspaceId: WorkspaceId,
    pause: { readonly reason: string | null; readonly refuseNew: boolean },
  ): Promise<Reply<{ summary: QueueSummary }>> {
    return this.#enter((core) => core.pauseQueue(workspaceId, pause));
  }

  async resumeQueue(workspaceId: WorkspaceId): Promise<Reply<{ summary: QueueSummary }>> {
    return this.#enter((core) => core.resumeQueue(workspaceId));
  }

  async startOperation(
    workspaceId: WorkspaceId,
    request: OperationRequest,
  ): Promise<Reply<{ operation: Operation; replayed: boolean }>> {
    return this.#enter((core) => core.startOperation(workspaceId, request));
  }

  async getOperation(workspaceId: WorkspaceId, operationId: OperationId): Promise<Reply<{ operation: Operation }>> {
    return this.#turn((core) => core.getOperation(workspaceId, operationId));
  }

  async listOperations(
    workspaceId: WorkspaceId,
    page: { readonly before?: OperationId; readonly limit: number },
  ): Promise<Reply<{ operations: Operation[]; next: OperationId | null }>> {
    return this.#turn((core) => core.listOperations(workspaceId, page));
  }

  async cancelOperation(workspaceId: WorkspaceId, operationId: OperationId): Promise<Reply<{ operation: Operation }>> {
    return this.#enter((core) => core.cancelOperation(workspaceId, operationId));
  }

  async usage(workspaceId: WorkspaceId, page: UsagePage): Promise<Reply<{ rows: UsageRow[]; next: JobId | null }>> {
    return this.#turn((core) => core.usage(workspaceId, page));
  }

  async cancelJob(workspaceId: WorkspaceId, jobId: JobId): Promise<Reply<{ job: JobSnapshot }>> {
    return this.#enter((core) => core.cancelJob(workspaceId, jobId));
  }

  async canaryResults(workspaceId: WorkspaceId): Promise<Reply<{ results: CanaryResults | null }>> {
    return this.#turn((core) => core.canaryResults(workspaceId));
  }

  async releaseGate(workspaceId: WorkspaceId, releases: readonly number[]): Promise<Reply<{ gate: GateView }>> {
    return this.#turn((core) => core.releaseGate(workspaceId, releases));
  }

  async wishRelease(workspaceId: WorkspaceId, wish: WishRequest): Promise<Reply<{ decision: WishDecision }>> {
    // Which release is active is about to change: who asked before that reads the catalog again.
    await this.#activation.underWay;
    return this.#enter((core) => core.wishRelease(workspaceId, wish));
  }

  async watchReleaseLog(
    workspaceId: WorkspaceId,
    release: number,
    after: number,
    waitMs: number,
  ): Promise<Reply<ReleaseLogReply>> {
    return this.#followers.follow(waitMs, () => this.#turn((core) => core.releaseLog(workspaceId, release, after)));
  }

  async reportVerification(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: VerificationReport,
  ): Promise<Reply<{ answer: VerificationReportAnswer }>> {
    return this.#vouching.verified(
      node,
      replicaId,
      (core) => core.reportVerification(node, replicaId, report),
      (reply) => reply,
    );
  }

  async scaling(workspaceId: WorkspaceId, limit: number): Promise<Reply<{ scaling: Scaling }>> {
    return this.#turn((core) => core.scaling(workspaceId, limit));
  }

  async warm(
    workspaceId: WorkspaceId,
    wish: { readonly replicas: number; readonly forMs: number } | null,
    limit: number,
  ): Promise<Reply<{ scaling: Scaling }>> {
    return this.#turn((core) => core.warm(workspaceId, wish, limit));
  }

  async queueSummary(workspaceId: WorkspaceId): Promise<Reply<{ summary: QueueSummary }>> {
    return this.#turn((core) => core.queueSummary(workspaceId));
  }

  async listReplicas(workspaceId: WorkspaceId, which?: Listed): Promise<Reply<{ replicas: Replica[] }>> {
    return this.#turn((core) => core.listReplicas(workspaceId, which));
  }

  async getReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Promise<Reply<{ replica: Replica }>> {
    return this.#turn((core) => core.getReplica(workspaceId, replicaId));
  }

  async watchReplicaLog(
    workspaceId: WorkspaceId,
    replicaId: ReplicaId,
    from: number,
    waitMs: number,
  ): Promise<Reply<ReplicaLogReply>> {
    return this.#followers.follow(waitMs, () =>
      this.#turn((core) => core.followedReplica(workspaceId, replicaId, from)),
    );
  }

  async replicaLog(
    workspaceId: WorkspaceId,
    replicaId: ReplicaId,
    from: number,
  ): Promise<Reply<{ lines: readonly LogLine[]; next: number }>> {
    return this.#turn((core) => core.replicaLog(workspaceId, replicaId, from));
  }

  async stopReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Promise<Reply<{ replica: Replica }>> {
    return this.#enter((core) => core.stopReplica(workspaceId, replicaId));
  }

  async replaceReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Promise<Reply<{ replica: Replica }>> {
    return this.#enter((core) => core.replaceReplica(workspaceId, replicaId));
  }

  async replicaDays(
    workspaceId: WorkspaceId,
    from: number,
    to: number,
  ): Promise<Reply<{ days: readonly ReplicaDay[] }>> {
    return this.#turn((core) => core.replicaDays(workspaceId, from, to));
  }

  async reportReplica(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: ReplicaReport,
  ): Promise<Reply<{ answer: ReplicaReportAnswer }>> {
    return this.#vouching.verified(
      node,
      replicaId,
      (core) => core.reportReplica(node, replicaId, report),
      (reply) => reply,
    );
  }

  async pollReplica(
    node: NodeIdentity,
    replicaId: ReplicaId,
    poll: ReplicaPoll,
  ): Promise<Reply<{ answer: ReplicaPollAnswer }>> {
    // A poll that waits is written down as open right after its commit: the same group may bring it its answer.
    return this.#vouching.verified(
      node,
      replicaId,
      (core) => core.pollReplica(node, replicaId, poll),
      (outcome) => (outcome.type === "answered" ? outcome.reply : this.#open(replicaId, poll.poll_id, outcome.ms)),
    );
  }

  async abandonPoll(replicaId: ReplicaId, pollId: string): Promise<void> {
    // In its turn behind the poll itself, which may still wait for its group.
    await this.#enter((core) => core.abandonPoll(replicaId, pollId));
    this.#polls.answer(replicaId, pollId, EMPTY);
  }

  async progress(proof: LeaseProof, message: LeaseProgress): Promise<Reply<{ answer: LeaseProgressAnswer }>> {
    return this.#enter((core) => core.progress(proof, message));
  }

  async inputFile(proof: LeaseProof, index: number): Promise<Reply<{ file: StoredInputFile }>> {
    return this.#enter((core) => core.inputFile(proof, index));
  }

  async grantOutput(proof: LeaseProof): Promise<Reply<{ grant: OutputGrant }>> {
    return this.#enter((core) => core.grantOutput(proof));
  }

  async complete(
    proof: LeaseProof,
    { next_wait_ms: _, ...message }: CompleteLease,
    outputs: readonly StoredOutput[],
  ): Promise<Reply<{ next: Lease | null }>> {
    return this.#enter((core) => {
      const reply = core.complete(proof, message, outputs);
      return reply.ok ? { ok: true, next: reply.next } : reply;
    });
  }

  async storeHere(proof: LeaseProof, output: SocketOutput, bytes: Uint8Array): Promise<void> {
    const { index, sha256, content_type: contentType } = output;
    const key = outputKey(proof.workspaceId, jobIdOf(proof.leaseId), proof.token, index);
    const granted = this.grantOutput(proof).then((reply) => {
      if (!reply.ok) throw new Problem(reply.code, reply.detail);
    });
    await storePiece(this.env.STORE, { key, size: bytes.byteLength, sha256, contentType }, bytes, granted);
  }

  async completeHere(proof: LeaseProof, message: CompleteLease): Promise<Reply<CompletedHere>> {
    const outputs = await reportedOutputs(this.env.STORE, proof, message.outputs, async () => {
      return (await this.grantOutput(proof)).ok;
    });
    // A poll that waits is written down as open right after its commit: the same group may bring it its answer.
    return this.#calls.enter<Reply<Completed>, Reply<CompletedHere>>(
      (core) => core.complete(proof, message, outputs),
      (reply) => {
        if (!reply.ok) return reply;
        const { next, waits } = reply;
        if (waits === null || message.next_poll_id === undefined) return { ok: true, next, poll: null };
        const { replicaId, ms } = waits;
        return { ok: true, next, poll: { replicaId, answer: this.#open(replicaId, message.next_poll_id, ms) } };
      },
    );
  }

  async fail(proof: LeaseProof, message: FailLease): Promise<Reply<object>> {
    return this.#enter((core) => core.fail(proof, message));
  }

  async release(proof: LeaseProof, reason: string): Promise<Reply<object>> {
    return this.#enter((core) => core.release(proof, reason));
  }

  async setInterest(workspaceId: WorkspaceId, interest: Interest): Promise<void> {
    this.#turn((core) => core.setInterest(workspaceId, interest));
  }

  async reclaimIdle(podId: PodId, replicaId: ReplicaId): Promise<boolean> {
    return this.#enter((core) => core.reclaimIdle(podId, replicaId));
  }

  async replicaGone(podId: PodId, replicaId: ReplicaId, reason: string, silent: boolean): Promise<void> {
    await this.#enter((core) => core.replicaGone(podId, replicaId, reason, silent));
  }

  async podChanged(podId: PodId): Promise<void> {
    await this.#enter((core) => core.podChanged(podId));
  }

  /** Never throws: the platform gives up on an alarm that fails too often. */
  override async alarm(): Promise<void> {
    try {
      this.#turn((core) => core.wake());
      // Not awaited: no other alarm rings while this one lasts, and leases would not end.
      this.ctx.waitUntil(this.#oldOutputs.delete());
    } catch (error) {
      console.error(
        JSON.stringify({ event: "endpoint_alarm_failed", endpoint: this.ctx.id.name, error: String(error) }),
      );
      await this.ctx.storage.setAlarm(Date.now() + ALARM_RETRY_MS);
    }
  }

  // --- sockets of replicas -----------------------------------------------------------------------------------------

  /** Only the Worker reaches this, with a socket for a replica whose node it knows. */
  override async fetch(request: Request): Promise<Response> {
    return this.#sockets.open(request);
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    this.#sockets.message(socket, message);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#sockets.closed(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.closed(socket);
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  #wakeUp(armedAt: number | null): void {
    const world = {
      now: () => Date.now(),
      randomBytes: (length: number) => crypto.getRandomValues(new Uint8Array(length)),
    };
    this.#opened = new EndpointCore(new ObjectStorageDatabase(this.ctx.storage), world, armedAt);
    for (const effect of this.#opened.takeEffects()) this.#perform(effect);
  }

  /** A call that writes: it shares its commit with those that arrive together with it. */
  #enter<T>(work: (core: EndpointCore) => T): Promise<Awaited<T>> {
    return this.#calls.enter(work, (result) => result);
  }

  /** Resolves when the last commit is on the disk, and what had come by then has been heard. */
  async #gathered(): Promise<void> {
    for (let turns = 0; turns < GATHER_TURNS; turns += 1) await this.ctx.storage.sync();
  }

  /** The answer of a poll that waits in the core. */
  async #open(replicaId: ReplicaId, pollId: string, ms: number): Promise<{ ok: true; answer: ReplicaPollAnswer }> {
    const answer = await this.#polls.wait(replicaId, pollId, ms, () => {
      this.#turn((core) => core.abandonPoll(replicaId, pollId));
      return EMPTY;
    });
    return { ok: true, answer };
  }

  #perform(effect: EndpointEffect): void {
    switch (effect.type) {
      case "poll_answered":
        this.#polls.answer(effect.replicaId, effect.pollId, effect.answer);
        return;
      case "job_changed":
        this.#watchers.changed(effect.jobId);
        return;
      case "arm":
        // Part of the turn's own commit: nothing is awaited between its writes and this one.
        void this.ctx.storage.setAlarm(effect.at);
        return;
      case "send_demand":
        for (const podId of effect.podId === undefined ? this.#turn((core) => core.pods()) : [effect.podId]) {
          this.ctx.waitUntil(this.#demands.send(podId));
        }
        return;
      case "hand_over":
        this.ctx.waitUntil(this.#outbox.handOver());
        return;
      case "canary_rolled_back": {
        const { type: event, release, reason } = effect;
        console.warn(JSON.stringify({ event, endpoint: this.ctx.id.name, release, reason }));
        return;
      }
      case "release_changed":
      case "replica_changed":
        this.#followers.changed();
        return;
      case "activate_release":
        this.ctx.waitUntil(this.#activation.start());
        return;
      case "erase":
        this.ctx.waitUntil(this.#erase());
        return;
      default:
        throw new Error(`unhandled: ${JSON.stringify(effect satisfies never)}`);
    }
  }

  // --- the outside -------------------------------------------------------------------------------------------------

  #pod(podId: PodId): PodRpc {
    // The platform's own type of a stub loses the refusals of `Reply`.
    return this.env.PODS.getByName(ownerKey(podId)) as unknown as PodRpc;
  }

  #webhooks(workspaceId: WorkspaceId): WebhooksRpc {
    return this.env.WEBHOOKS.getByName(workspaceId) as unknown as WebhooksRpc;
  }

  async #erase(): Promise<void> {
    const endpoint = this.#turn((core) => core.demand());
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
    this.#wakeUp(null);
    if (endpoint === null) return;
    const { workspaceId, endpointId } = endpoint;
    try {
      await this.#webhooks(workspaceId).unregister(workspaceId, endpointId);
    } catch (error) {
      // It goes on being told of changes, which an erased endpoint takes without a word.
      console.error(JSON.stringify({ event: "endpoint_not_unregistered", endpointId, error: String(error) }));
    }
  }
}
