/**
 * What the Worker and the PodObject may ask of an EndpointObject. Flat records and JSON text only: deep values kill RPC.
 * Refusals come back as data, because a thrown class arrives as a plain Error. Times are Unix ms of the object's clock.
 */
import type {
  CompleteLease,
  FailLease,
  Lease,
  LeaseFile,
  LeaseProgress,
  LeaseProgressAnswer,
  ManifestEntry,
  ReplicaPoll,
  ReplicaPollAnswer,
  ReplicaReport,
  ReplicaReportAnswer,
  VerificationReport,
  VerificationReportAnswer,
} from "#contract/agent";
import type { Scaling } from "#contract/api/scaling";
import type { CanaryResults } from "#contract/canary";
import type { EndpointSettings } from "#contract/endpoint";
import type {
  BatchId,
  EndpointId,
  JobId,
  KeyId,
  LeaseId,
  NodeId,
  OperationId,
  PodId,
  ReplicaId,
  WorkspaceId,
} from "#contract/ids";
import type {
  JobError,
  JobErrorCode,
  JobPatch,
  JobPhase,
  JobProgress,
  JobState,
  JobWebhook,
  JobWhy,
  Lane,
  TerminalState,
} from "#contract/job";
import type { Refusal } from "#contract/problems";
import type { JobSelection, Operation, OperationKind, QueueEntry, QueueSummary } from "#contract/queue";
import type { Replica } from "#contract/replica";
import type { UsageRow } from "#contract/usage";
import type { PendingActivation, ReleaseLogLine, ReleaseState, Verification } from "#contract/verification";
import type { CanaryConfig } from "#durable-objects/endpoint/canary";
import type { WishDecision, WishRequest } from "#durable-objects/endpoint/release-gate";
import type { ReplicaDay } from "#durable-objects/endpoint/replica-accounts";
import type { LogLine } from "#durable-objects/endpoint/replica-news";
import type { Listed } from "#durable-objects/endpoint/replica-views";
import type { PodLanes } from "#durable-objects/replicas/pods-and-lanes";
import type { Interest } from "#durable-objects/webhooks/rpc";

export type Reply<T> = ({ readonly ok: true } & T) | Refusal;

/** What a release needs on a machine: nodes that have it come first. */
export interface ReleaseNeeds {
  /** Digest of its build; null: it runs on what is installed. */
  readonly build: string | null;
  /** sha256 of the weights it loads. */
  readonly models: readonly string[];
}

/** Sent by the Worker when an endpoint is made or changed; the last one wins. */
export interface EndpointConfig {
  readonly endpointId: EndpointId;
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  /** The pods its replicas run on, the preferred one first; left out: `podId` alone, for both lanes. */
  readonly pods?: readonly PodLanes[] | undefined;
  /** What its active release needs on a machine; left out: nothing in particular. */
  readonly needs?: ReleaseNeeds | undefined;
  readonly slug: string;
  readonly release: number;
  readonly settings: EndpointSettings;
  readonly canary?: CanaryConfig | undefined;
}

/** A file input, resolved by the Worker. */
export interface StoredInputFile extends LeaseFile {
  readonly key: string;
}

export interface EnqueueRequest {
  readonly workspaceId: WorkspaceId;
  readonly keyId: KeyId;
  readonly release: number;
  /** Exact JSON text of the normalised inputs. */
  readonly inputs: string;
  readonly files: readonly StoredInputFile[];
  /** The same request as the endpoint's canary takes it; left out where there is none, or where it does not take it. */
  readonly canary?: Pick<EnqueueRequest, "release" | "inputs" | "files"> | undefined;
  readonly lane: Lane;
  readonly priority: number;
  readonly tags: readonly string[];
  readonly expiresInMs: number;
  readonly timeoutMs: number;
  readonly webhook?: JobWebhook;
  readonly batchId?: BatchId;
  readonly retryOf?: JobId;
  readonly idempotency?: Idempotency;
}

/** `fingerprint` is the sha256 of the request's raw body. */
export interface Idempotency {
  readonly key: string;
  readonly fingerprint: string;
}

/** The inputs of one job of a batch, in the order of the request. */
export interface BatchItem {
  readonly inputs: string;
  readonly files: readonly StoredInputFile[];
}

/** Everything the jobs of a batch share, and what each has of its own. */
export interface EnqueueBatchRequest
  extends Omit<EnqueueRequest, "inputs" | "files" | "canary" | "batchId" | "retryOf" | "idempotency"> {
  readonly items: readonly BatchItem[];
  readonly idempotency?: Idempotency;
}

/** A batch as stored; counts are read from its jobs. */
export interface BatchSnapshot {
  readonly id: BatchId;
  readonly endpointId: EndpointId;
  readonly slug: string;
  readonly total: number;
  readonly counts: Readonly<Record<JobState, number>>;
  readonly createdAt: number;
  /** When the last of its jobs ended; null while one lives. */
  readonly finishedAt: number | null;
}

/** Where a queue listing goes on: after this job's place. */
export interface QueuePlace {
  readonly lane: Lane;
  readonly rank: number;
  readonly id: JobId;
}

export interface OperationRequest {
  readonly kind: OperationKind;
  readonly keyId: KeyId;
  /** Times as in the request; state `retrying` and `dead` exist for purge only. */
  readonly selection: Omit<JobSelection, "state"> & { readonly state?: JobState | "retrying" | "dead" };
  /** Only these jobs. */
  readonly jobs?: readonly JobId[];
  /** Only jobs that ended at or after this, as in the request. */
  readonly since?: string;
  readonly idempotency?: Idempotency;
}

/** An output as stored; `key` is where R2 has it. */
export interface StoredOutput extends ManifestEntry {
  readonly key: string;
}

export interface TimelineRow {
  readonly phase: string;
  readonly attempt: number;
  readonly startedAt: number;
  readonly ms: number | null;
}

/** A job with everything the Worker needs to show it. */
export interface JobSnapshot {
  readonly id: JobId;
  readonly endpointId: EndpointId;
  readonly slug: string;
  readonly release: number;
  readonly state: JobState;
  readonly phase: JobPhase | null;
  readonly lane: Lane;
  readonly priority: number;
  readonly tags: readonly string[];
  readonly inputs: string;
  readonly attempt: number;
  readonly attemptsMax: number;
  readonly position: number | null;
  readonly progress: JobProgress | null;
  readonly outputs: readonly StoredOutput[];
  /** The outputs' retention is over: their files are gone, or going. */
  readonly outputsExpired: boolean;
  readonly error: JobError | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  readonly expiresAt: number | null;
  readonly keyId: KeyId;
  readonly batchId: BatchId | null;
  readonly retryOf: JobId | null;
  readonly retriedAs: JobId | null;
  readonly webhook: JobWebhook | null;
  readonly timeline: readonly TimelineRow[];
}

/** A job that was taken, or that the same request got before. */
export interface Enqueued {
  readonly job: JobSnapshot;
  readonly replayed: boolean;
}

export interface StoredEvent {
  readonly seq: number;
  readonly type: "queued" | "started" | "phase" | "retrying" | TerminalState;
  readonly at: number;
  /** JSON text of the event's data. */
  readonly data: string;
}

/** Events after `afterSeq`, and what is live beside them; empty when nothing happened within the wait. */
export interface WatchReply {
  readonly events: readonly StoredEvent[];
  /** Number of the job's newest event, whatever was asked for. */
  readonly lastSeq: number;
  /** Grows with every progress or preview; hand it back to hear only of newer ones. */
  readonly version: number;
  readonly progress: JobProgress | null;
  readonly preview: { readonly content_type: string; readonly data: string } | null;
  /** Place in the queue while the job waits. */
  readonly position: number | null;
  /** The terminal event is among `events` or before `afterSeq`: nothing more will come. */
  readonly ended: boolean;
}

export interface JobFilter {
  readonly state?: JobState;
  readonly lane?: Lane;
  readonly tag?: string;
  readonly keyId?: KeyId;
  readonly batchId?: BatchId;
  readonly errorCode?: JobErrorCode;
  /** Unix ms, inclusive. */
  readonly createdFrom?: number;
  /** Unix ms, exclusive. */
  readonly createdTo?: number;
  /** Only jobs with an id below this one (older). */
  readonly before?: JobId;
  readonly limit: number;
  /** Fewer jobs than `limit` when they would take more than this together, but always one: a message holds 32 MiB. */
  readonly bytesMax: number;
}

/** Who the agent's session says it is. */
export interface NodeIdentity {
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  readonly nodeId: NodeId;
}

/** What an endpoint has heard of a replica itself. */
export interface ReplicaHeard {
  /** It has said that it works, or has ended, or is not known here. */
  readonly works: boolean;
  /** Leases that it holds. */
  readonly leases: number;
}

/** Every message about a lease names it and proves it. */
export interface LeaseProof extends NodeIdentity {
  readonly leaseId: LeaseId;
  readonly token: string;
}

/** Where the outputs of a live lease go: R2 keys are `<prefix><index>`. */
export interface OutputGrant {
  readonly keyPrefix: string;
  readonly jobId: JobId;
}

/** What an agent hears of its complete. */
export interface Completed {
  readonly next: Lease | null;
  /** The complete goes on as a poll of this replica that waits so long; null: it does not. */
  readonly waits: { readonly replicaId: ReplicaId; readonly ms: number } | null;
}

/** How far one release is. */
export interface ReleaseStanding {
  readonly release: number;
  readonly state: ReleaseState;
  /** It was used before it was ready, by force. */
  readonly forced: boolean;
  readonly verification: readonly Verification[];
}

/** How the releases stand, and which of them waits for its place. */
export interface GateView {
  /** The active release has run on a GPU: it is only replaced by one that has, too. */
  readonly isActiveProven: boolean;
  readonly pending: PendingActivation | null;
  /** Those that were asked for. */
  readonly releases: readonly ReleaseStanding[];
}

/** Lines after the one that was named. `ended`: nothing more will come of this try. */
export interface ReleaseLogReply {
  readonly lines: readonly ReleaseLogLine[];
  readonly state: ReleaseState;
  readonly ended: boolean;
}

/** Lines from a number on. `ended`: it is ready or is no more, and writes nothing of its start after these. */
export interface ReplicaLogReply {
  readonly lines: readonly LogLine[];
  readonly next: number;
  readonly state: Replica["state"];
  readonly ended: boolean;
}

export interface EndpointRpc {
  configure(config: EndpointConfig): Promise<Reply<object>>;
  /** The endpoint is deleted: ends every living job as canceled, gives back its replicas, takes no more. */
  remove(workspaceId: WorkspaceId): Promise<Reply<object>>;

  enqueue(request: EnqueueRequest): Promise<Reply<Enqueued>>;
  /**
   * As enqueue, for a caller who only wants to hear that the job is stored: texts, because a record of so many fields takes
   * longer to hand over than to write.
   * @param request an EnqueueRequest as JSON
   * @param origin goes before the addresses in the answer
   * @returns the new job as callers see it, as JSON: its id comes first. Else JSON of a Reply, where `ok` comes first: a
   *   refusal, or the job that the same request got before
   */
  submit(request: string, origin: string): Promise<string>;
  /** The job that a repeated request got the first time; null when the key is new, over, or came with another body. */
  findReplay(workspaceId: WorkspaceId, idempotency: Idempotency): Promise<Reply<{ job: JobSnapshot | null }>>;
  /** All of them or none, in one transaction. */
  enqueueBatch(request: EnqueueBatchRequest): Promise<Reply<{ batch: BatchSnapshot; replayed: boolean }>>;
  /** As findReplay, for a batch. */
  findBatchReplay(workspaceId: WorkspaceId, idempotency: Idempotency): Promise<Reply<{ batch: BatchSnapshot | null }>>;
  getBatch(workspaceId: WorkspaceId, batchId: BatchId): Promise<Reply<{ batch: BatchSnapshot }>>;
  cancelBatch(workspaceId: WorkspaceId, batchId: BatchId): Promise<Reply<{ batch: BatchSnapshot }>>;
  /**
   * Jobs of the batch in the order of the request, after `after`, each with its place in it, from 0; fewer than all when
   * they exceed `bytesMax`.
   */
  batchJobs(
    workspaceId: WorkspaceId,
    batchId: BatchId,
    after: JobId | null,
    bytesMax: number,
  ): Promise<Reply<{ jobs: JobSnapshot[]; places: number[]; more: boolean }>>;
  getJob(workspaceId: WorkspaceId, jobId: JobId): Promise<Reply<{ job: JobSnapshot }>>;
  /** Answers when the job has ended or after `waitMs`, whichever is first. */
  waitForJob(workspaceId: WorkspaceId, jobId: JobId, waitMs: number): Promise<Reply<{ job: JobSnapshot }>>;
  watchJob(
    workspaceId: WorkspaceId,
    jobId: JobId,
    after: { seq: number; version: number },
    waitMs: number,
  ): Promise<Reply<WatchReply>>;
  /**
   * Newest first. `next`: where to go on (`before`), null at the end. A filter that hardly anything fits is looked through
   * piece by piece, so there may be fewer jobs than `limit`, even none, and more behind `next`.
   */
  listJobs(workspaceId: WorkspaceId, filter: JobFilter): Promise<Reply<{ jobs: JobSnapshot[]; next: JobId | null }>>;
  cancelJob(workspaceId: WorkspaceId, jobId: JobId): Promise<Reply<{ job: JobSnapshot }>>;
  whyJob(workspaceId: WorkspaceId, jobId: JobId): Promise<Reply<{ why: JobWhy }>>;
  patchJob(workspaceId: WorkspaceId, jobId: JobId, patch: JobPatch): Promise<Reply<{ job: JobSnapshot }>>;
  /** A new job with the inputs of an ended one, on the active release. */
  retryJob(
    workspaceId: WorkspaceId,
    jobId: JobId,
    keyId: KeyId,
    idempotency: Idempotency | null,
  ): Promise<Reply<{ job: JobSnapshot; replayed: boolean }>>;

  /** Waiting jobs in the order in which they will start. */
  listQueue(
    workspaceId: WorkspaceId,
    page: { readonly lane?: Lane; readonly after?: QueuePlace; readonly limit: number },
  ): Promise<Reply<{ entries: QueueEntry[]; next: QueuePlace | null }>>;
  /** Dead letters, newest first. */
  listDead(
    workspaceId: WorkspaceId,
    page: { readonly before?: JobId; readonly limit: number; readonly bytesMax: number },
  ): Promise<Reply<{ jobs: JobSnapshot[]; next: JobId | null }>>;
  pauseQueue(
    workspaceId: WorkspaceId,
    pause: { readonly reason: string | null; readonly refuseNew: boolean },
  ): Promise<Reply<{ summary: QueueSummary }>>;
  resumeQueue(workspaceId: WorkspaceId): Promise<Reply<{ summary: QueueSummary }>>;
  startOperation(
    workspaceId: WorkspaceId,
    request: OperationRequest,
  ): Promise<Reply<{ operation: Operation; replayed: boolean }>>;
  getOperation(workspaceId: WorkspaceId, operationId: OperationId): Promise<Reply<{ operation: Operation }>>;
  /** Newest first. */
  listOperations(
    workspaceId: WorkspaceId,
    page: { readonly before?: OperationId; readonly limit: number },
  ): Promise<Reply<{ operations: Operation[]; next: OperationId | null }>>;
  cancelOperation(workspaceId: WorkspaceId, operationId: OperationId): Promise<Reply<{ operation: Operation }>>;
  /** Ended attempts of jobs in the order of their ids, after the job `after`; all rows of a job are on one page. */
  usage(
    workspaceId: WorkspaceId,
    page: {
      readonly after?: JobId;
      readonly createdFrom?: number;
      readonly createdTo?: number;
      readonly limit: number;
    },
  ): Promise<Reply<{ rows: UsageRow[]; next: JobId | null }>>;
  /** What has come of the endpoint's canary; null when it has none. */
  canaryResults(workspaceId: WorkspaceId): Promise<Reply<{ results: CanaryResults | null }>>;
  /** @param releases those that are asked about */
  releaseGate(workspaceId: WorkspaceId, releases: readonly number[]): Promise<Reply<{ gate: GateView }>>;
  /** Somebody wants another release to take its place; the last wish counts. Repeated, it gets the same answer. */
  wishRelease(workspaceId: WorkspaceId, wish: WishRequest): Promise<Reply<{ decision: WishDecision }>>;
  /** Answers when there is a line after `after`, when the release is ready or has failed, or after `waitMs`. */
  watchReleaseLog(
    workspaceId: WorkspaceId,
    release: number,
    after: number,
    waitMs: number,
  ): Promise<Reply<ReleaseLogReply>>;
  /** @param limit decisions that are shown at most */
  scaling(workspaceId: WorkspaceId, limit: number): Promise<Reply<{ scaling: Scaling }>>;
  /** Keeps replicas warm by hand, in place of what was asked for before; null: no longer. */
  warm(
    workspaceId: WorkspaceId,
    wish: { readonly replicas: number; readonly forMs: number } | null,
    limit: number,
  ): Promise<Reply<{ scaling: Scaling }>>;
  queueSummary(workspaceId: WorkspaceId): Promise<Reply<{ summary: QueueSummary }>>;
  /** Those that run or have crashed within the hour, unless others are asked for. */
  listReplicas(workspaceId: WorkspaceId, which?: Listed): Promise<Reply<{ replicas: Replica[] }>>;
  getReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Promise<Reply<{ replica: Replica }>>;
  /** Answers when there is a line with this number or a higher one, when the replica does not start any more, or after `waitMs`. */
  watchReplicaLog(
    workspaceId: WorkspaceId,
    replicaId: ReplicaId,
    from: number,
    waitMs: number,
  ): Promise<Reply<ReplicaLogReply>>;
  /** Lines with this number or a higher one, oldest first. */
  replicaLog(
    workspaceId: WorkspaceId,
    replicaId: ReplicaId,
    from: number,
  ): Promise<Reply<{ lines: readonly LogLine[]; next: number }>>;
  /** It finishes the job in hand and stops. */
  stopReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Promise<Reply<{ replica: Replica }>>;
  /** It works until another one is ready in its place, or, without room for one, goes first. */
  replaceReplica(workspaceId: WorkspaceId, replicaId: ReplicaId): Promise<Reply<{ replica: Replica }>>;
  /** What the time of its replicas went to, by days since 1970, both inclusive. */
  replicaDays(workspaceId: WorkspaceId, from: number, to: number): Promise<Reply<{ days: readonly ReplicaDay[] }>>;

  reportReplica(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: ReplicaReport,
  ): Promise<Reply<{ answer: ReplicaReportAnswer }>>;
  /** How a replica's errand goes. */
  reportVerification(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: VerificationReport,
  ): Promise<Reply<{ answer: VerificationReportAnswer }>>;
  /** Waits up to poll.wait_ms for a lease. The same poll id again gets the same lease again. */
  pollReplica(
    node: NodeIdentity,
    replicaId: ReplicaId,
    poll: ReplicaPoll,
  ): Promise<Reply<{ answer: ReplicaPollAnswer }>>;
  /** The client of that poll is gone: forget its waiter. */
  abandonPoll(replicaId: ReplicaId, pollId: string): Promise<void>;

  progress(proof: LeaseProof, message: LeaseProgress): Promise<Reply<{ answer: LeaseProgressAnswer }>>;
  inputFile(proof: LeaseProof, index: number): Promise<Reply<{ file: StoredInputFile }>>;
  /** Checked before an upload starts; the token is checked again when the job completes. Renews the lease. */
  grantOutput(proof: LeaseProof): Promise<Reply<{ grant: OutputGrant }>>;
  /** Outputs have been checked against R2 by the caller. A repeated complete gets the same answer. It never waits. */
  complete(
    proof: LeaseProof,
    message: CompleteLease,
    outputs: readonly StoredOutput[],
  ): Promise<Reply<{ next: Lease | null }>>;
  fail(proof: LeaseProof, message: FailLease): Promise<Reply<object>>;
  release(proof: LeaseProof, reason: string): Promise<Reply<object>>;

  /** The workspace's subscriptions have changed. An older version than the known one is ignored. */
  setInterest(workspaceId: WorkspaceId, interest: Interest): Promise<void>;

  /** The pod wants this replica's slot for somebody who waits: true when it was idle and is now draining. */
  reclaimIdle(podId: PodId, replicaId: ReplicaId, onlyBatch?: boolean): Promise<boolean>;
  /** The pod doubts that the replica is of use: it is called ready, or has been on its way out for long. */
  heardOf(podId: PodId, replicaId: ReplicaId): Promise<ReplicaHeard>;
  /**
   * The pod says this replica is gone (crashed, stopped): its leases go back to the queue. When it was only not heard of
   * (`silent`), they run out by themselves: what the pod cannot hear may still be heard here.
   * @param heardAt when its node was last heard of, Unix ms; null or left out: nobody knows
   */
  replicaGone(
    podId: PodId,
    replicaId: ReplicaId,
    reason: string,
    silent: boolean,
    heardAt?: number | null,
  ): Promise<void>;
  /**
   * The pod's answer to this endpoint's demand would be another now (`floor`, `idleTimeoutMs`): ask it again.
   * @returns false when the endpoint has left the pod, or is no more, and will not ask
   */
  podChanged(podId: PodId): Promise<boolean>;
}

/** What a call comes with. */
export type Asked<Call extends keyof EndpointRpc> = Parameters<EndpointRpc[Call]>;

/** What a call is answered with. */
export type Answer<Call extends keyof EndpointRpc> = Awaited<ReturnType<EndpointRpc[Call]>>;
