/** Many jobs at once: all of them are taken or none, and they are canceled and shown together. */
import { BatchId, type JobId, makeId, ownerKey } from "#contract/ids";
import type { JobState } from "#contract/job";
import { BATCH_JOBS_MAX } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { BatchRecord } from "#durable-objects/endpoint/batch-store";
import { cancelLiving } from "#durable-objects/endpoint/cancel";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { snapshotOf } from "#durable-objects/endpoint/job-snapshots";
import { dispatch } from "#durable-objects/endpoint/matcher";
import { admission, rememberKey, takeJob } from "#durable-objects/endpoint/new-jobs";
import type {
  BatchSnapshot,
  EnqueueBatchRequest,
  Idempotency,
  JobSnapshot,
  Reply,
} from "#durable-objects/endpoint/rpc";
import { checkIdempotency } from "#durable-objects/queue/idempotency";

const SCOPE = "createBatch";

export function enqueueBatch(
  state: EndpointState,
  request: EnqueueBatchRequest,
  now: number,
): Reply<{ batch: BatchSnapshot; replayed: boolean }> {
  const { config } = state;
  const { items, keyId, tags, webhook, release, lane, priority, timeoutMs, expiresInMs, idempotency } = request;
  if (config === null) return refusal("endpoint_not_found", "There is no such endpoint.");
  if (items.length === 0 || items.length > BATCH_JOBS_MAX) {
    return refusal("invalid_batch", `A batch has 1 to ${BATCH_JOBS_MAX} jobs, not ${items.length}.`);
  }
  const key = idempotency === undefined ? null : { scope: SCOPE, ...idempotency };
  const answer = admission(state, items.length, key, now);
  if ("ok" in answer) return answer;
  if (answer.type === "replay") {
    const known = state.batches.get(answer.result as BatchId);
    return known === null
      ? refusal("batch_not_found", "The batch of this Idempotency-Key is gone.")
      : { ok: true, batch: snapshot(state, known), replayed: true };
  }
  const randomBytes = (length: number) => state.world.randomBytes(length);
  const id = makeId(BatchId, "batch", now, randomBytes, ownerKey(config.endpointId));
  const batch = { id, total: items.length, createdAt: now };
  const jobs = items.map(({ inputs, files }) => {
    const fields = { release, lane, priority, timeoutMs, expiresInMs, batchId: id };
    return takeJob(state, fields, { keyId, inputs, files, tags, webhook: webhook ?? null }, now).id;
  });
  state.batches.insert(batch, jobs);
  rememberKey(state, key, id, now);
  dispatch(state, now);
  return { ok: true, batch: snapshot(state, batch), replayed: false };
}

/** The batch that a repeated request got the first time; null when the key is new, over, or came with another body. */
export function findBatchReplay(
  state: EndpointState,
  { key, fingerprint }: Idempotency,
  now: number,
): Reply<{ batch: BatchSnapshot | null }> {
  const answer = checkIdempotency(state.idempotency.find(SCOPE, key, now), fingerprint, now);
  const known = answer.type === "replay" ? state.batches.get(answer.result as BatchId) : null;
  return { ok: true, batch: known === null ? null : snapshot(state, known) };
}

export function getBatch(state: EndpointState, id: BatchId): Reply<{ batch: BatchSnapshot }> {
  const known = state.batches.get(id);
  return known === null ? noBatch() : { ok: true, batch: snapshot(state, known) };
}

/** Cancels every job of the batch that has not ended, in this turn. */
export function cancelBatch(state: EndpointState, id: BatchId, now: number): Reply<{ batch: BatchSnapshot }> {
  const known = state.batches.get(id);
  if (known === null) return noBatch();
  for (const { id: jobId, state: jobState } of state.queries.ofBatch(id)) {
    if (jobState === "queued" || jobState === "running") cancelLiving(state, jobId, now);
  }
  dispatch(state, now);
  return { ok: true, batch: snapshot(state, known) };
}

/**
 * Jobs of the batch in the order of the request, as many as fit into `bytesMax`, but always one, with their places in the
 * request, from 0. Jobs whose records are past their retention are left out.
 */
export function batchJobs(
  state: EndpointState,
  id: BatchId,
  page: { readonly after: JobId | null; readonly bytesMax: number },
  now: number,
): Reply<{ jobs: JobSnapshot[]; places: number[]; more: boolean }> {
  if (state.batches.get(id) === null) return noBatch();
  const { after, bytesMax } = page;
  const kept = state.queries.ofBatch(id);
  const placeOf = new Map((state.batches.jobs(id) ?? kept.map((job) => job.id)).map((jobId, place) => [jobId, place]));
  const jobs: JobSnapshot[] = [];
  const places: number[] = [];
  let bytes = 0;
  for (const { id: jobId } of kept) {
    if (after !== null && jobId <= after) continue;
    const found = state.jobs.find(jobId);
    if (found === null) continue;
    const shown = snapshotOf(state, found.job, found.payload, now);
    bytes += JSON.stringify(shown).length;
    if (jobs.length > 0 && bytes > bytesMax) return { ok: true, jobs, places, more: true };
    jobs.push(shown);
    places.push(placeOf.get(jobId) ?? 0);
  }
  return { ok: true, jobs, places, more: false };
}

/** After a job's record is deleted: its batch's goes with the last one. */
export function forgetBatch(state: EndpointState, id: BatchId): void {
  if (!state.queries.hasBatch(id)) state.batches.delete(id);
}

function snapshot(state: EndpointState, batch: BatchRecord): BatchSnapshot {
  if (state.config === null) throw new Error("the endpoint is not configured");
  const counts: Record<JobState, number> = { queued: 0, running: 0, succeeded: 0, failed: 0, canceled: 0, expired: 0 };
  let endedAt = batch.createdAt;
  for (const job of state.queries.ofBatch(batch.id)) {
    counts[job.state] += 1;
    endedAt = Math.max(endedAt, job.finishedAt ?? 0);
  }
  const { endpointId, slug } = state.config;
  const { id, total, createdAt } = batch;
  const lives = counts.queued + counts.running > 0;
  return { id, endpointId, slug, total, counts, createdAt, finishedAt: lives ? null : endedAt };
}

export const noBatch = (): Refusal => refusal("batch_not_found", "There is no such batch.");
