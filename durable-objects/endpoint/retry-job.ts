import type { JobId, KeyId } from "#contract/ids";
import { refusal } from "#contract/problems";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { snapshotOf } from "#durable-objects/endpoint/job-snapshots";
import { dispatch } from "#durable-objects/endpoint/matcher";
import { rememberKey, runAgain, type ScopedKey } from "#durable-objects/endpoint/new-jobs";
import type { Idempotency, JobSnapshot, Reply } from "#durable-objects/endpoint/rpc";
import { checkIdempotency } from "#durable-objects/queue/idempotency";
import { isEnded } from "#durable-objects/queue/job-record";

/** Runs an ended job again, as a new one. @param keyId of who asks for it */
export function retryJob(
  state: EndpointState,
  jobId: JobId,
  keyId: KeyId,
  idempotency: Idempotency | null,
  now: number,
): Reply<{ job: JobSnapshot; replayed: boolean }> {
  const found = state.jobs.find(jobId);
  if (found === null) return refusal("job_not_found", "There is no such job.");
  const { job, payload } = found;
  // The request has no body, so the job is what tells one request from another.
  const key: ScopedKey | null =
    idempotency === null
      ? null
      : { scope: "retryJob", key: idempotency.key, fingerprint: `${jobId} ${idempotency.fingerprint}` };
  if (key !== null) {
    const answer = checkIdempotency(state.idempotency.find(key.scope, key.key, now), key.fingerprint, now);
    if (answer.type === "reused") {
      return refusal("idempotency_key_reused", "This Idempotency-Key came with another request before. Use a new key.");
    }
    if (answer.type === "replay") {
      const known = state.jobs.find(answer.result as JobId);
      if (known === null) return refusal("job_not_found", "The job of this Idempotency-Key is gone.");
      return { ok: true, job: snapshotOf(state, known.job, known.payload, now), replayed: true };
    }
  }
  if (!isEnded(job)) return refusal("job_not_finished", `The job is ${job.state}; only an ended job can run again.`);
  const again = runAgain(state, { job, payload }, keyId, now);
  if (typeof again !== "string") return again;
  rememberKey(state, key, again, now);
  dispatch(state, now);
  const made = state.jobs.find(again);
  if (made === null) throw new Error(`the job ${again} was just made`);
  return { ok: true, job: snapshotOf(state, made.job, made.payload, now), replayed: false };
}
