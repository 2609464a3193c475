/** A job as callers see it. The object writes it for a submit that was just taken, the Worker for everything else. */
import { JsonText } from "#contract/exact-json";
import type { Job, JobOutput } from "#contract/job";
import type { JobSnapshot } from "#durable-objects/endpoint/rpc";

/**
 * The job with its addresses.
 * @param outputs with their links
 * @param origin by which the caller reaches the service, such as `https://api.example.com`
 */
export function shownJob(
  snapshot: JobSnapshot,
  outputs: JobOutput[],
  origin: string,
): Omit<Job, "inputs"> & { inputs: JsonText } {
  const self = `${origin}/v1/jobs/${snapshot.id}`;
  return {
    id: snapshot.id,
    endpoint_id: snapshot.endpointId,
    endpoint: snapshot.slug,
    release: snapshot.release,
    state: snapshot.state,
    phase: snapshot.phase,
    lane: snapshot.lane,
    priority: snapshot.priority,
    tags: [...snapshot.tags],
    // Written by the submit, every digit; whoever shows a job need not read it.
    inputs: new JsonText(snapshot.inputs),
    attempt: snapshot.attempt,
    attempts_max: snapshot.attemptsMax,
    position: snapshot.position,
    progress: snapshot.progress,
    outputs,
    error: snapshot.error,
    created_at: iso(snapshot.createdAt),
    started_at: isoOrNull(snapshot.startedAt),
    finished_at: isoOrNull(snapshot.finishedAt),
    expires_at: isoOrNull(snapshot.expiresAt),
    timeline: snapshot.timeline.map((row) => ({
      phase: row.phase,
      attempt: row.attempt,
      started_at: iso(row.startedAt),
      ms: row.ms,
    })),
    key_id: snapshot.keyId,
    batch_id: snapshot.batchId,
    retry_of: snapshot.retryOf,
    retried_as: snapshot.retriedAs,
    webhook: snapshot.webhook,
    urls: { self, events: `${self}/events`, cancel: `${self}/cancel`, why: `${self}/why` },
  };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

export function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : iso(ms);
}
