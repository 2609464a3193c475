/** Which changes of a job or a release webhooks hear of. Written beside the change itself, handed over later. */
import type { EndpointId, WorkspaceId } from "#contract/ids";
import type { JobEventType, JobProgress, JobWebhook, TERMINAL_STATES } from "#contract/job";
import { PROGRESS_PERSIST_MS } from "#contract/limits";
import type { WebhookEvent } from "#contract/webhook";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import type { JobPayload } from "#durable-objects/endpoint/job-rows";
import type { NewOutboxRow } from "#durable-objects/endpoint/outbox-store";
import { jobData, releaseData } from "#durable-objects/outbox/message-body";
import { eventMessageId, progressMessageId, releaseMessageId } from "#durable-objects/outbox/message-id";
import { isEnded, type JobRecord, type QueuedJob, type RunningJob } from "#durable-objects/queue/job-record";
import type { Interest, OutboxEvent } from "#durable-objects/webhooks/rpc";

/** Progress messages of one job are at least so far apart. */
const PROGRESS_PACE_MS = PROGRESS_PERSIST_MS;
/** What was written and not handed over by then is handed over by the alarm: whoever should have done it has died. */
const HAND_OVER_LATE_MS = 10_000;
/** Until a hand-over that failed is repeated: one second, doubling up to this. */
const HAND_OVER_RETRY_MS_MAX = 60_000;
/** Handed over at once: a message of RPC takes 32 MiB, and an event is 20 kB at most. */
const HAND_OVER_EVENTS_MAX = 500;

/** What goes to the WebhooksObject next. */
export interface HandOver {
  readonly workspaceId: WorkspaceId;
  readonly endpointId: EndpointId;
  /** The interest is not known: ask for it, and say who wants to hear of its changes. */
  readonly register: boolean;
  readonly events: readonly OutboxEvent[];
  /** The number of the last of them. */
  readonly last: number;
}

/** A job was added. */
export function tellQueued(state: EndpointState, job: QueuedJob, payload: JobPayload): void {
  const { interest } = state.outbox;
  if (payload.webhook !== null && !interest.jobWebhooks) state.outbox.interest = { ...interest, jobWebhooks: true };
  tell(state, job, "job.queued", job.createdAt, eventMessageId(job.id, job.events.length), payload);
}

/** A job went from one state to the next. */
export function tellMoved(state: EndpointState, before: QueuedJob | RunningJob, after: JobRecord): void {
  if (before.state === "running" && after.state !== "running") state.progressTold.delete(before.id);
  if (!isEnded(after)) return;
  // An agent whose first word is the result has started nevertheless.
  if (before.startedAt === null && after.startedAt !== null) tellStarted(state, after, after.startedAt);
  const type = `job.${after.state}` as const satisfies `job.${(typeof TERMINAL_STATES)[number]}`;
  tell(state, after, type, after.finishedAt, eventMessageId(after.id, after.events.length));
}

/** An agent spoke under the job's lease. @param progress what is new of it; null when nothing is */
export function tellHeard(
  state: EndpointState,
  before: RunningJob,
  after: RunningJob,
  progress: JobProgress | null,
  now: number,
): void {
  if (before.startedAt === null) tellStarted(state, after, now);
  if (progress === null || now - (state.progressTold.get(after.id) ?? state.wokeAt) < PROGRESS_PACE_MS) return;
  const messageId = progressMessageId(after.id, state.live.get(after.id).version);
  if (tell(state, after, "job.progress", now, messageId, null, progress)) state.progressTold.set(after.id, now);
}

/** It is known whether a release can run. @param failure null: it is ready */
export function tellRelease(
  state: EndpointState,
  release: number,
  failure: { readonly card: string | null; readonly error: string | null } | null,
  now: number,
): void {
  const { config } = state;
  const type = failure === null ? "release.ready" : "release.failed";
  if (config === null || !isWanted(state, type)) return;
  const { endpointId, slug: endpoint } = config;
  const data = releaseData({
    endpoint,
    endpointId,
    release,
    state: failure === null ? "ready" : "failed",
    card: failure?.card ?? null,
    error: failure?.error ?? null,
    at: now,
  });
  const messageId = releaseMessageId(endpointId, release, now);
  add(state, { messageId, type, jobId: null, at: now, data: JSON.stringify(data), url: null });
}

function tellStarted(state: EndpointState, job: JobRecord, at: number): void {
  const seq = job.events.findLast(({ type }) => type === "started")?.seq ?? 0;
  tell(state, job, "job.started", at, eventMessageId(job.id, seq));
}

/**
 * Writes an event down if anybody wants it.
 * @param known the job's payload where it is at hand; else it is read, but only for an event that is wanted
 * @returns whether it was written
 */
function tell(
  state: EndpointState,
  job: JobRecord,
  type: JobEventType,
  at: number,
  messageId: string,
  known: JobPayload | null = null,
  progress: JobProgress | null = null,
): boolean {
  const { outbox, config } = state;
  const { jobWebhooks } = outbox.interest;
  const webhook: JobWebhook | null = known?.webhook ?? (jobWebhooks ? outbox.webhookOf(job.id) : null);
  const url = webhook?.events.includes(type) ? webhook.url : null;
  if (config === null || (url === null && !isWanted(state, type))) return false;
  const payload = known ?? state.jobs.payload(job.id);
  const data = jobData({
    id: job.id,
    endpoint: config.slug,
    endpointId: config.endpointId,
    release: job.release,
    state: job.state,
    lane: job.lane,
    tags: payload?.tags ?? [],
    attempt: job.attempt,
    error: "error" in job ? job.error : null,
    createdAt: job.createdAt,
    startedAt: job.startedAt,
    finishedAt: isEnded(job) ? job.finishedAt : null,
    outputs: job.state === "succeeded" ? job.outputs : [],
    ...(progress === null ? {} : { progress }),
  });
  add(state, { messageId, type, jobId: job.id, at, data: JSON.stringify(data), url });
  return true;
}

/** Whether the workspace subscribes to it; before that is known, it might. */
function isWanted({ outbox }: EndpointState, type: WebhookEvent): boolean {
  const { events } = outbox.interest;
  return events === null || events.includes(type);
}

function add(state: EndpointState, row: NewOutboxRow): void {
  const { outbox } = state;
  outbox.add(row);
  if (outbox.interest.dueAt === null) state.effect({ type: "hand_over" });
  const now = state.world.now();
  // Not the time of a retry that is under way: each new event would ring the alarm for nothing.
  state.due(handOverDue(state, now) ?? now);
}

// --- handing over ----------------------------------------------------------------------------------------------------

/** What is to be handed over now; null when there is nothing, or its time has not come. */
export function nextHandOver(state: EndpointState, now: number): HandOver | null {
  const { config, outbox } = state;
  if (config === null || !isWorkLeft(state) || (outbox.interest.dueAt ?? 0) > now) return null;
  const { workspaceId, endpointId } = config;
  const register = outbox.interest.events === null && !config.removed;
  return { workspaceId, endpointId, register, ...outbox.first(endpointId, HAND_OVER_EVENTS_MAX) };
}

/** The WebhooksObject has taken it. @param last the number of the last event it took, 0 for none */
export function handedOver(state: EndpointState, last: number, interest: Interest): void {
  const { outbox } = state;
  state.handOverAskedAt = 0;
  outbox.learn(interest);
  if (last > 0) outbox.taken(last);
  if (outbox.interest.tries > 0) outbox.interest = { ...outbox.interest, tries: 0, dueAt: null };
}

/** The WebhooksObject did not answer: later again. */
export function handOverFailed(state: EndpointState, now: number): void {
  const { outbox } = state;
  state.handOverAskedAt = 0;
  const delayMs = Math.min(1_000 * 2 ** outbox.interest.tries, HAND_OVER_RETRY_MS_MAX);
  outbox.interest = { ...outbox.interest, tries: outbox.interest.tries + 1, dueAt: now + delayMs };
  state.due(now + delayMs);
}

/** The alarm rang: whatever is left goes out now. */
export function repeatHandOver(state: EndpointState, now: number): void {
  if (!isWorkLeft(state) || (state.outbox.interest.dueAt ?? 0) > now) return;
  state.handOverAskedAt = now;
  state.effect({ type: "hand_over" });
}

/** When the alarm must look after the outbox; null when there is nothing in it. */
export function handOverDue(state: EndpointState, now: number): number | null {
  if (!isWorkLeft(state)) return null;
  // One that is on its way may take long: the alarm must not ring in a circle until its answer is there.
  return Math.max(state.outbox.interest.dueAt ?? now + HAND_OVER_LATE_MS, state.handOverAskedAt + HAND_OVER_LATE_MS);
}

function isWorkLeft({ config, outbox }: EndpointState): boolean {
  return !outbox.isEmpty || (outbox.interest.events === null && config !== null && !config.removed);
}
