import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { OUTPUT_RETENTION_MS } from "#durable-objects/endpoint/endpoint-state";
import type { JobPayload } from "#durable-objects/endpoint/job-rows";
import type { JobSnapshot, StoredOutput, WatchReply } from "#durable-objects/endpoint/rpc";
import { isEnded, type JobRecord, phaseOf } from "#durable-objects/queue/job-record";
import { timelineOf } from "#durable-objects/queue/timeline";

/** Everything that is shown of a job. @throws Error when the endpoint is not configured: then there are no jobs */
export function snapshotOf(state: EndpointState, job: JobRecord, payload: JobPayload, now: number): JobSnapshot {
  if (state.config === null) throw new Error("the endpoint is not configured");
  const ended = isEnded(job) ? job : null;
  return {
    id: job.id,
    endpointId: state.config.endpointId,
    slug: state.config.slug,
    release: job.release,
    state: job.state,
    phase: phaseOf(job),
    lane: job.lane,
    priority: job.priority,
    tags: payload.tags,
    inputs: payload.inputs,
    attempt: job.attempt,
    attemptsMax: job.attemptsMax,
    position: positionOf(state, job),
    progress: job.state === "running" ? (state.live.get(job.id).progress ?? state.jobs.progress(job.id)) : null,
    outputs: ended?.state === "succeeded" ? (ended.outputs as readonly StoredOutput[]) : [],
    outputsExpired: ended !== null && now - ended.finishedAt >= OUTPUT_RETENTION_MS,
    error: ended !== null && ended.state !== "succeeded" ? ended.error : null,
    createdAt: job.createdAt,
    startedAt: job.startedAt,
    finishedAt: ended?.finishedAt ?? null,
    expiresAt: job.state === "queued" && job.startedAt === null ? job.expiresAt : null,
    keyId: payload.keyId,
    batchId: job.batchId,
    retryOf: job.retryOf,
    retriedAs: ended?.retriedAs ?? null,
    webhook: payload.webhook,
    timeline: timelineOf(job),
  };
}

/** Place in the queue, 1 is next; null when the job does not wait. */
export function positionOf(state: EndpointState, job: JobRecord): number | null {
  return job.state === "queued" ? state.waiting.position(job) : null;
}

/** What a watcher gets who has seen events up to `seq` and live news up to `version`. */
export function watchReplyOf(
  state: EndpointState,
  job: JobRecord,
  after: { seq: number; version: number },
): WatchReply {
  const live = state.live.get(job.id);
  const running = job.state === "running";
  const news = running && live.version > after.version;
  return {
    events: job.events.filter((event) => event.seq > after.seq),
    lastSeq: job.events.at(-1)?.seq ?? 0,
    version: Math.max(live.version, after.version),
    progress: running ? live.progress : null,
    preview: news ? live.preview : null,
    position: positionOf(state, job),
    ended: isEnded(job),
  };
}
