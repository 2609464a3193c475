/** Taking jobs: the one way in for submits, batches, retries and redrives. */
import type { JobId, KeyId } from "#contract/ids";
import { type Refusal, refusal } from "#contract/problems";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { forgetDue } from "#durable-objects/endpoint/forgetting";
import type { JobPayload } from "#durable-objects/endpoint/job-rows";
import type { StoredJob } from "#durable-objects/endpoint/job-store";
import { budgetHold } from "#durable-objects/endpoint/queue-control";
import type { EnqueueRequest, Idempotency } from "#durable-objects/endpoint/rpc";
import { type AdmissionAnswer, admit, type NewJobFields, newJob } from "#durable-objects/queue/admit";
import { dayIsOver, dayOf } from "#durable-objects/queue/idempotency";
import type { EndedJob, QueuedJob } from "#durable-objects/queue/job-record";

/** A key within the operation it came with. */
export interface ScopedKey extends Idempotency {
  /** The operation's id in contract/api. */
  readonly scope: string;
}

/**
 * Whether so many jobs more are taken now.
 * @param key of the request, null when it has none
 */
export function admission(state: EndpointState, jobs: number, key: ScopedKey | null, now: number): AdmissionAnswer {
  const { config, pause } = state;
  if (config === null) return refusal("endpoint_not_found", "There is no such endpoint.");
  return admit({
    now,
    removed: config.removed,
    queued: state.queuedTotal,
    adding: jobs,
    queueDepthMax: config.settings.queue_depth_max,
    pausedFor: pause?.refuseNew ? (pause.reason ?? "no reason given") : null,
    storageFullPercent: fullPercent(state, now),
    budgetUsedUpS: budgetHold(state, now)?.maxS ?? null,
    idempotency:
      key === null ? null : { known: state.idempotency.find(key.scope, key.key, now), fingerprint: key.fingerprint },
  });
}

/** How full the storage is when it takes nothing more; where it is short, the alarm forgets what it may. */
function fullPercent(state: EndpointState, now: number): number | null {
  const { storedBytes } = state;
  const fill = storedBytes.fill(now);
  const due = fill === "ample" ? null : forgetDue(state, now);
  if (due !== null) state.due(due);
  return fill === "full" ? Math.floor((100 * storedBytes.bytes) / storedBytes.bytesMax) : null;
}

/** From now on the key leads to what its first request made. */
export function rememberKey(state: EndpointState, key: ScopedKey | null, result: string, now: number): void {
  if (key === null) return;
  const { scope, key: name, fingerprint } = key;
  state.idempotency.put({ scope, key: name, fingerprint, result, createdAt: now });
  state.due(dayIsOver(dayOf(now)));
}

/** The release a new job runs on: the active one, or the canary by its weight. @throws Error as {@link takeJob} */
export function drawnRelease(
  state: EndpointState,
  request: EnqueueRequest,
): Pick<EnqueueRequest, "release" | "inputs" | "files"> {
  if (state.config === null) throw new Error("the endpoint is not configured");
  return state.canary.drawn(request, state.config, state.world);
}

/** Writes an admitted job with the next id. @throws Error when the endpoint is not configured: then nothing is admitted */
export function takeJob(
  state: EndpointState,
  fields: Omit<NewJobFields, "id" | "attemptsMax">,
  payload: JobPayload,
  now: number,
): QueuedJob {
  if (state.config === null) throw new Error("the endpoint is not configured");
  const id = state.nextJobId(now);
  const job = newJob({ ...fields, id, attemptsMax: state.config.settings.attempts_max }, now);
  state.add(job, payload);
  return job;
}

/**
 * Runs an ended job again, as a new one with its inputs on the active release. The old one leaves the dead-letter list.
 * Its input files are the old job's: what has been deleted since shows as `input_failed` when an agent asks for it.
 * @param keyId of who asks for it
 */
export function runAgain(
  state: EndpointState,
  { job, payload }: StoredJob & { readonly job: EndedJob },
  keyId: KeyId,
  now: number,
): JobId | Refusal {
  const { config } = state;
  const answer = admission(state, 1, null, now);
  if ("ok" in answer || config === null) return "ok" in answer ? answer : refusal("endpoint_not_found", "Gone.");
  const { lane, priority, timeoutMs, createdAt, expiresAt } = job;
  const again = takeJob(
    state,
    { release: config.release, lane, priority, timeoutMs, expiresInMs: expiresAt - createdAt, retryOf: job.id },
    { ...payload, keyId },
    now,
  );
  const after: EndedJob =
    job.state === "succeeded" ? { ...job, retriedAs: again.id } : { ...job, dead: false, retriedAs: again.id };
  state.marked(job, after);
  return again.id;
}
