import type { LeaseProgress, ReplicaPoll } from "#contract/agent";
import type { BatchId, JobId, ReplicaId } from "#contract/ids";
import type { ReplicaState } from "#contract/replica";
import type { EnqueueBatchRequest, EnqueueRequest, LeaseProof, OperationRequest } from "#durable-objects/endpoint/rpc";

export interface LeaseMessage {
  readonly type: "message";
  readonly what: "progress" | "input" | "grant" | "complete" | "fail" | "release";
  readonly proof: LeaseProof;
  readonly phase?: LeaseProgress["phase"];
  /** Of a completion: the poll that the next lease would answer. */
  readonly nextPollId?: string;
  /** Of a completion: how long it would wait as that poll, ms. */
  readonly nextWaitMs?: number;
}

/** One thing that reaches the object. */
export type Operation =
  | { readonly type: "enqueue"; readonly request: EnqueueRequest }
  | { readonly type: "cancel"; readonly jobId: JobId }
  | LeaseMessage
  | { readonly type: "poll"; readonly replicaId: ReplicaId; readonly poll: ReplicaPoll }
  | { readonly type: "abandon"; readonly replicaId: ReplicaId; readonly pollId: string }
  | { readonly type: "admit"; readonly replicaId: ReplicaId }
  | { readonly type: "report"; readonly replicaId: ReplicaId; readonly state: ReplicaState }
  | { readonly type: "gone"; readonly replicaId: ReplicaId; readonly silent: boolean }
  | { readonly type: "reclaim"; readonly replicaId: ReplicaId }
  | { readonly type: "demand" }
  /** The webhooks have taken events, or did not answer. */
  | { readonly type: "hand over" }
  | { readonly type: "wake" }
  | { readonly type: "restart" }
  | { readonly type: "configure" }
  | { readonly type: "remove" }
  | { readonly type: "outputs" }
  | { readonly type: "pause" }
  | { readonly type: "resume" }
  | { readonly type: "batch"; readonly request: EnqueueBatchRequest }
  | { readonly type: "cancel batch"; readonly batchId: BatchId }
  | { readonly type: "retry"; readonly jobId: JobId }
  | { readonly type: "patch"; readonly jobId: JobId }
  | { readonly type: "operate"; readonly request: OperationRequest }
  /** Asks without changing anything. */
  | { readonly type: "read"; readonly what: string; readonly jobId: JobId | null }
  /** Somebody of another workspace asks for what is not his. */
  | { readonly type: "stranger"; readonly what: string };

/** The operation in a few words, for the trace. */
export function inWords(operation: Operation): string {
  switch (operation.type) {
    case "enqueue": {
      const { lane, priority, idempotency } = operation.request;
      return `enqueue ${lane} ${priority} ${idempotency === undefined ? "" : `${idempotency.key}/${idempotency.fingerprint}`}`;
    }
    case "cancel":
      return `cancel ${operation.jobId}`;
    case "message":
      return `${operation.what} ${operation.phase ?? ""} ${operation.proof.leaseId} ${operation.proof.token}`;
    case "poll":
      return `poll ${operation.replicaId} ${operation.poll.poll_id} holds ${operation.poll.leases.length}`;
    case "gone":
      return `gone ${operation.replicaId}${operation.silent ? " silently" : ""}`;
    case "report":
      return `report ${operation.replicaId} ${operation.state}`;
    case "read":
      return `${operation.what} ${operation.jobId ?? ""}`;
    case "batch":
      return `batch of ${operation.request.items.length} ${operation.request.idempotency?.key ?? ""}`;
    case "cancel batch":
      return `cancel ${operation.batchId}`;
    case "retry":
    case "patch":
      return `${operation.type} ${operation.jobId}`;
    case "operate":
      return `${operation.request.kind} ${JSON.stringify(operation.request.selection)}`;
    case "stranger":
      return `stranger: ${operation.what}`;
    default:
      return "replicaId" in operation ? `${operation.type} ${operation.replicaId}` : operation.type;
  }
}

/** The job that the operation is about, as far as it names one. */
export function aboutJob(operation: Operation, jobOfLease: (leaseId: string) => JobId | null): JobId | null {
  if (operation.type === "message") return jobOfLease(operation.proof.leaseId);
  return "jobId" in operation ? operation.jobId : null;
}
