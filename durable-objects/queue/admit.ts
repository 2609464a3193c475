/** Whether a new job is taken, decided before anything is stored. */
import type { BatchId, JobId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { type Refusal, refusal } from "#contract/problems";
import { checkIdempotency, type IdempotencyRecord } from "#durable-objects/queue/idempotency";
import { type QueuedJob, withEvent } from "#durable-objects/queue/job-record";
import { rankOf } from "#durable-objects/queue/order";

/** Seconds after which asking again makes sense when the queue is full, when it is paused, and when its storage is full. */
const QUEUE_FULL_RETRY_S = 5;
const STORAGE_FULL_RETRY_S = 60;
const QUEUE_PAUSED_RETRY_S = 30;

export interface Admission {
  readonly now: number;
  readonly removed: boolean;
  readonly queued: number;
  /** Jobs of this request: all of them are taken, or none. */
  readonly adding: number;
  readonly queueDepthMax: number;
  /** Why the queue is paused, when it takes no new jobs meanwhile. */
  readonly pausedFor: string | null;
  /** How full the endpoint's storage is, in percent, when it takes nothing more. */
  readonly storageFullPercent: number | null;
  /** The bound of the day's GPU-seconds, when it is reached. */
  readonly budgetUsedUpS: number | null;
  /** The request's key and fingerprint, and what is known of that key. */
  readonly idempotency: { readonly known: IdempotencyRecord | null; readonly fingerprint: string } | null;
}

export type AdmissionAnswer =
  | { readonly type: "admitted" }
  | { readonly type: "replay"; readonly result: string }
  | Refusal;

/** A repeated request gets its job even when the queue is full by now. */
export function admit(admission: Admission): AdmissionAnswer {
  if (admission.removed) return refusal("endpoint_not_found", "The endpoint has been deleted.");
  if (admission.idempotency !== null) {
    const { known, fingerprint } = admission.idempotency;
    const answer = checkIdempotency(known, fingerprint, admission.now);
    if (answer.type === "replay") return answer;
    if (answer.type === "reused") {
      return refusal("idempotency_key_reused", "This Idempotency-Key came with another body before. Use a new key.");
    }
  }
  if (admission.pausedFor !== null) {
    return refusal("queue_paused", `The queue takes no new jobs while it is paused: ${admission.pausedFor}.`, {
      retryAfterS: QUEUE_PAUSED_RETRY_S,
    });
  }
  if (admission.storageFullPercent !== null) {
    const detail =
      `${admission.storageFullPercent} % of what the endpoint can store is in use: by jobs that wait, and by ended ones whose ` +
      "outputs are still kept. It takes new jobs again when some of them are gone.";
    return refusal("storage_full", detail, { retryAfterS: STORAGE_FULL_RETRY_S });
  }
  if (admission.budgetUsedUpS !== null) {
    const detail = `The endpoint's ${admission.budgetUsedUpS} GPU-seconds of this UTC day are used up.`;
    return refusal("budget_exceeded", detail);
  }
  if (admission.adding > admission.queueDepthMax) {
    // Also an empty queue would not take them: to ask again is of no use.
    const reason = `Has ${admission.adding} jobs; the endpoint's whole queue takes ${admission.queueDepthMax} (queue_depth_max).`;
    return refusal("invalid_batch", `${reason} Send fewer at once.`);
  }
  if (admission.queued + admission.adding > admission.queueDepthMax) {
    const more = admission.adding === 1 ? "" : ` and ${admission.adding} would come`;
    return refusal(
      "queue_full",
      `${admission.queued} jobs wait${more}; the endpoint takes ${admission.queueDepthMax}.`,
      {
        retryAfterS: QUEUE_FULL_RETRY_S,
      },
    );
  }
  return { type: "admitted" };
}

export interface NewJobFields {
  readonly id: JobId;
  readonly release: number;
  readonly lane: Lane;
  readonly priority: number;
  readonly attemptsMax: number;
  readonly timeoutMs: number;
  readonly expiresInMs: number;
  readonly batchId?: BatchId;
  readonly retryOf?: JobId;
}

/** The first record of an admitted job, with its first event. */
export function newJob(fields: NewJobFields, now: number): QueuedJob {
  const { expiresInMs, batchId, retryOf, ...kept } = fields;
  const job: QueuedJob = {
    ...kept,
    batchId: batchId ?? null,
    retryOf: retryOf ?? null,
    state: "queued",
    rank: rankOf(now, fields.priority),
    attempt: 0,
    handbacks: 0,
    createdAt: now,
    expiresAt: now + expiresInMs,
    startedAt: null,
    leases: [],
    events: [],
    availableAt: null,
    avoid: null,
  };
  return withEvent(job, "queued", now, {});
}
