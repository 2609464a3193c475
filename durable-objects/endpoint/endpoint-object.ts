import { DurableObject } from "cloudflare:workers";
import type { CompleteLease, Lease, ReplicaPoll, ReplicaPollAnswer } from "#contract/agent";
import type { SocketOutput } from "#contract/agent-socket";
import { stringifyExactJson } from "#contract/exact-json";
import { jobIdOf, ownerKey, type PodId, type ReplicaId, type WorkspaceId } from "#contract/ids";
import { isTerminal } from "#contract/job";
import { outputKey } from "#contract/output-keys";
import { Problem } from "#contract/problems";
import { ALARM_RETRY_MS } from "#durable-objects/endpoint/alarm-clock";
import { CallGroup } from "#durable-objects/endpoint/call-group";
import { DemandSender } from "#durable-objects/endpoint/demand-sender";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { EndpointEffect } from "#durable-objects/endpoint/endpoint-state";
import { JobWatchers } from "#durable-objects/endpoint/job-watchers";
import { LogFollowers } from "#durable-objects/endpoint/log-followers";
import { OldOutputs } from "#durable-objects/endpoint/old-outputs";
import { OpenPolls } from "#durable-objects/endpoint/open-polls";
import { OutboxDrain } from "#durable-objects/endpoint/outbox-drain";
import { ReleaseActivation } from "#durable-objects/endpoint/release-activation";
import { type CompletedHere, ReplicaSockets, type SocketCalls } from "#durable-objects/endpoint/replica-sockets";
import type {
  Asked,
  Completed,
  EndpointRpc,
  EnqueueRequest,
  LeaseProof,
  NodeIdentity,
  Reply,
  StoredOutput,
  WatchReply,
} from "#durable-objects/endpoint/rpc";
import { shownJob } from "#durable-objects/endpoint/shown-job";
import type { Turn } from "#durable-objects/endpoint/turns";
import { Vouching } from "#durable-objects/endpoint/vouching";
import { storePiece } from "#durable-objects/outputs/store-output";
import { reportedOutputs } from "#durable-objects/outputs/stored-outputs";
import type { PodRpc } from "#durable-objects/pod/rpc";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import type { WebhooksRpc } from "#durable-objects/webhooks/rpc";
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

  async configure(...asked: Asked<"configure">) {
    return this.#enter((core) => core.configure(...asked));
  }

  async remove(...asked: Asked<"remove">) {
    return this.#enter((core) => core.remove(...asked));
  }

  async enqueue(...asked: Asked<"enqueue">) {
    return this.#enter((core) => core.enqueue(...asked));
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

  async findReplay(...asked: Asked<"findReplay">) {
    return this.#turn((core) => core.findReplay(...asked));
  }

  async getJob(...asked: Asked<"getJob">) {
    return this.#turn((core) => core.getJob(...asked));
  }

  async waitForJob(...[workspaceId, jobId, waitMs]: Asked<"waitForJob">) {
    const read = () => this.#turn((core) => core.getJob(workspaceId, jobId));
    return this.#watchers.until(jobId, waitMs, read, ({ job }) => isTerminal(job.state));
  }

  async watchJob(...[workspaceId, jobId, after, waitMs]: Asked<"watchJob">) {
    const read = () => this.#turn((core) => core.watchJob(workspaceId, jobId, after));
    const isNews = (reply: WatchReply) => reply.events.length > 0 || reply.version > after.version || reply.ended;
    return this.#watchers.until(jobId, waitMs, read, isNews);
  }

  async listJobs(...asked: Asked<"listJobs">) {
    return this.#turn((core) => core.listJobs(...asked));
  }

  async enqueueBatch(...asked: Asked<"enqueueBatch">) {
    return this.#enter((core) => core.enqueueBatch(...asked));
  }

  async findBatchReplay(...asked: Asked<"findBatchReplay">) {
    return this.#turn((core) => core.findBatchReplay(...asked));
  }

  async getBatch(...asked: Asked<"getBatch">) {
    return this.#turn((core) => core.getBatch(...asked));
  }

  async cancelBatch(...asked: Asked<"cancelBatch">) {
    return this.#enter((core) => core.cancelBatch(...asked));
  }

  async batchJobs(...asked: Asked<"batchJobs">) {
    return this.#turn((core) => core.batchJobs(...asked));
  }

  async whyJob(...asked: Asked<"whyJob">) {
    return this.#turn((core) => core.whyJob(...asked));
  }

  async patchJob(...asked: Asked<"patchJob">) {
    return this.#enter((core) => core.patchJob(...asked));
  }

  async retryJob(...asked: Asked<"retryJob">) {
    return this.#enter((core) => core.retryJob(...asked));
  }

  async listQueue(...asked: Asked<"listQueue">) {
    return this.#turn((core) => core.listQueue(...asked));
  }

  async listDead(...asked: Asked<"listDead">) {
    return this.#turn((core) => core.listDead(...asked));
  }

  async pauseQueue(...asked: Asked<"pauseQueue">) {
    return this.#enter((core) => core.pauseQueue(...asked));
  }

  async resumeQueue(...asked: Asked<"resumeQueue">) {
    return this.#enter((core) => core.resumeQueue(...asked));
  }

  async startOperation(...asked: Asked<"startOperation">) {
    return this.#enter((core) => core.startOperation(...asked));
  }

  async getOperation(...asked: Asked<"getOperation">) {
    return this.#turn((core) => core.getOperation(...asked));
  }

  async listOperations(...asked: Asked<"listOperations">) {
    return this.#turn((core) => core.listOperations(...asked));
  }

  async cancelOperation(...asked: Asked<"cancelOperation">) {
    return this.#enter((core) => core.cancelOperation(...asked));
  }

  async usage(...asked: Asked<"usage">) {
    return this.#turn((core) => core.usage(...asked));
  }

  async cancelJob(...asked: Asked<"cancelJob">) {
    return this.#enter((core) => core.cancelJob(...asked));
  }

  async canaryResults(...asked: Asked<"canaryResults">) {
    return this.#turn((core) => core.canaryResults(...asked));
  }

  async releaseGate(...asked: Asked<"releaseGate">) {
    return this.#turn((core) => core.releaseGate(...asked));
  }

  async wishRelease(...asked: Asked<"wishRelease">) {
    // Which release is active is about to change: who asked before that reads the catalog again.
    await this.#activation.underWay;
    return this.#enter((core) => core.wishRelease(...asked));
  }

  async watchReleaseLog(...[workspaceId, release, after, waitMs]: Asked<"watchReleaseLog">) {
    return this.#followers.follow(waitMs, () => this.#turn((core) => core.releaseLog(workspaceId, release, after)));
  }

  async reportVerification(...[node, replicaId, report]: Asked<"reportVerification">) {
    return this.#vouching.verified(
      node,
      replicaId,
      (core) => core.reportVerification(node, replicaId, report),
      (reply) => reply,
    );
  }

  async scaling(...asked: Asked<"scaling">) {
    return this.#turn((core) => core.scaling(...asked));
  }

  async warm(...asked: Asked<"warm">) {
    return this.#turn((core) => core.warm(...asked));
  }

  async queueSummary(...asked: Asked<"queueSummary">) {
    return this.#turn((core) => core.queueSummary(...asked));
  }

  async listReplicas(...asked: Asked<"listReplicas">) {
    return this.#turn((core) => core.listReplicas(...asked));
  }

  async getReplica(...asked: Asked<"getReplica">) {
    return this.#turn((core) => core.getReplica(...asked));
  }

  async watchReplicaLog(...[workspaceId, replicaId, from, waitMs]: Asked<"watchReplicaLog">) {
    return this.#followers.follow(waitMs, () =>
      this.#turn((core) => core.followedReplica(workspaceId, replicaId, from)),
    );
  }

  async replicaLog(...asked: Asked<"replicaLog">) {
    return this.#turn((core) => core.replicaLog(...asked));
  }

  async stopReplica(...asked: Asked<"stopReplica">) {
    return this.#enter((core) => core.stopReplica(...asked));
  }

  async replaceReplica(...asked: Asked<"replaceReplica">) {
    return this.#enter((core) => core.replaceReplica(...asked));
  }

  async replicaDays(...asked: Asked<"replicaDays">) {
    return this.#turn((core) => core.replicaDays(...asked));
  }

  async reportReplica(...[node, replicaId, report]: Asked<"reportReplica">) {
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

  async progress(...asked: Asked<"progress">) {
    return this.#enter((core) => core.progress(...asked));
  }

  async inputFile(...asked: Asked<"inputFile">) {
    return this.#enter((core) => core.inputFile(...asked));
  }

  async grantOutput(...asked: Asked<"grantOutput">) {
    return this.#enter((core) => core.grantOutput(...asked));
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
    // Its complete comes right behind: until then the lease lives by its agent's beats.
    const granted = async () => {
      if (!this.#turn((core) => core.isCurrent(proof))) throw new Problem("lease_lost", "The lease is over.");
    };
    await storePiece(this.env.STORE, { key, size: bytes.byteLength, sha256, contentType }, bytes, granted);
  }

  async completeHere(proof: LeaseProof, message: CompleteLease): Promise<Reply<CompletedHere>> {
    const isLive = async () => this.#turn((core) => core.isCurrent(proof));
    const outputs = await reportedOutputs(this.env.STORE, proof, message.outputs, isLive);
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

  async fail(...asked: Asked<"fail">) {
    return this.#enter((core) => core.fail(...asked));
  }

  async release(...asked: Asked<"release">) {
    return this.#enter((core) => core.release(...asked));
  }

  async setInterest(...asked: Asked<"setInterest">) {
    this.#turn((core) => core.setInterest(...asked));
  }

  async reclaimIdle(...asked: Asked<"reclaimIdle">) {
    return this.#enter((core) => core.reclaimIdle(...asked));
  }

  async heardOf(...asked: Asked<"heardOf">) {
    return this.#enter((core) => core.heardOf(...asked));
  }

  async replicaGone(...asked: Asked<"replicaGone">) {
    await this.#enter((core) => core.replicaGone(...asked));
  }

  async podChanged(...asked: Asked<"podChanged">) {
    return this.#enter((core) => core.podChanged(...asked));
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
      case "leave_pod":
        this.ctx.waitUntil(this.#leave(effect.podId, effect.version));
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

  /** What fails is found out by the pod, when it has something to say to the endpoint. */
  async #leave(podId: PodId, version: number): Promise<void> {
    const endpointId = this.#turn((core) => core.demand())?.endpointId;
    if (endpointId === undefined) return;
    try {
      await this.#pod(podId).leave(endpointId, version);
    } catch (error) {
      console.error(JSON.stringify({ event: "pod_not_left", endpointId, podId, error: String(error) }));
    }
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
