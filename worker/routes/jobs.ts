/** Submitting, reading, watching and canceling jobs. */
import { cancelJob, createJob, getJob, getJobEvents, listJobs } from "#contract/api/jobs";
import { type JsonObject, stringifyExactJson } from "#contract/exact-json";
import { JobId, type OwnerKey } from "#contract/ids";
import { isTerminal } from "#contract/job";
import { EXPIRES_IN_S_DEFAULT, PRIORITY_DEFAULT } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { EnqueueRequest, JobSnapshot } from "#durable-objects/endpoint/rpc";
import { sha256Hex } from "#worker/auth/digest";
import type { Principal } from "#worker/auth/principal";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import { jsonAnswer } from "#worker/http/answer";
import type { Arrival, Call } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { isUnavailable } from "#worker/http/error-handler";
import { isProblem } from "#worker/http/is-problem";
import { handle } from "#worker/http/router";
import { type ResolvedInputs, resolveInputs } from "#worker/inputs/resolve-inputs";
import { enqueue } from "#worker/jobs/enqueue";
import { eventStreamAnswer } from "#worker/jobs/event-stream";
import { idempotencyKey } from "#worker/jobs/idempotency-key";
import { jobView } from "#worker/jobs/job-view";
import { newestJobs } from "#worker/jobs/newest-jobs";
import { preferredWait } from "#worker/jobs/prefer";
import { askEndpoint } from "#worker/placement/objects";
import { ownEndpointCached, ownJobKey } from "#worker/placement/own-endpoint";

type Caller = Arrival & { readonly principal: Principal };

const submit = handle(createJob, async (call) => {
  const { principal, params, headers } = call;
  const key = idempotencyKey(headers["idempotency-key"]);
  const idempotency = key === undefined ? undefined : { key, fingerprint: await sha256Hex(call.raw.bytes) };
  const found = await ownEndpointCached(call.env, principal.workspaceId, params.endpoint);
  const { job, replayed } = await accept(call, found, idempotency);
  const headersOut: Record<string, string> = { location: `${call.url.origin}/v1/jobs/${job.id}` };
  if (replayed) headersOut["idempotency-replayed"] = "true";
  const wait = preferredWait(headers.prefer);
  try {
    if (acceptsEvents(call.request)) return await watchNew(call, found, job, headersOut);
    if (wait !== undefined) {
      const later = isTerminal(job.state) ? job : await waited(call, found.endpoint.key, job.id, wait);
      const applied = { ...headersOut, "preference-applied": `wait=${wait}` };
      return await answerJob(call, later, isTerminal(later.state) ? 200 : 202, applied);
    }
  } catch (error) {
    // The job is in the queue: an answer that reads as a refusal would have the caller send it again.
    if (!isUnavailable(error) && !isProblem(error, "too_many_watchers")) throw error;
  }
  return answerJob(call, job, 202, headersOut);
});

type Accepted = { readonly job: JobSnapshot; readonly replayed: boolean };

/**
 * Queues the job, or finds the one that the same request got before. What was fine then may be refused now, because a
 * link in it has run out or another release is active: the first answer still holds.
 */
async function accept(
  call: Call<typeof createJob>,
  found: EndpointSummary,
  idempotency: EnqueueRequest["idempotency"],
): Promise<Accepted> {
  const { workspaceId, keyId } = call.principal;
  const { body } = call;
  // The values as they were sent: a schema's copy could drop a field whose name is special to JavaScript.
  const sent = (call.raw.document.inputs ?? {}) as JsonObject;
  let inputs: ResolvedInputs;
  try {
    inputs = await resolveInputs(call, workspaceId, found.release.inputs, sent);
  } catch (error) {
    const before = idempotency === undefined ? null : await replayOf(call, found, idempotency);
    if (before === null) throw error;
    return { job: before, replayed: true };
  }
  return enqueue(call.env, found, {
    workspaceId,
    keyId,
    inputs: stringifyExactJson(inputs.values),
    files: inputs.files,
    lane: body.lane,
    priority: body.priority ?? PRIORITY_DEFAULT,
    tags: body.tags,
    expiresInMs: (body.expires_in ?? EXPIRES_IN_S_DEFAULT) * 1000,
    timeoutMs: (body.timeout ?? found.endpoint.settings.timeout_s) * 1000,
    ...(idempotency === undefined ? {} : { idempotency }),
  });
}

/** The job that the same request got before; null when there is none, or an object too new to know any. */
async function replayOf(
  call: Caller,
  { endpoint }: EndpointSummary,
  idempotency: { readonly key: string; readonly fingerprint: string },
): Promise<JobSnapshot | null> {
  try {
    const { job } = await askEndpoint(call.env, endpoint.key, "repeatable", (object) =>
      object.findReplay(call.principal.workspaceId, idempotency),
    );
    return job;
  } catch (error) {
    if (isProblem(error, "endpoint_not_found")) return null;
    throw error;
  }
}

const get = handle(getJob, async (call) => {
  const key = await ownJobKey(call.env, call.principal.workspaceId, call.params.job);
  const wait = preferredWait(call.headers.prefer);
  if (wait === undefined) return answerJob(call, await snapshotOf(call, key, call.params.job), 200);
  return answerJob(call, await waited(call, key, call.params.job, wait), 200, { "preference-applied": `wait=${wait}` });
});

const list = handle(listJobs, async (call) => {
  const { env, principal, query } = call;
  const { workspaceId } = principal;
  const place = await readCursor(env.SIGNING_SECRET, "jobs", workspaceId, query.cursor);
  const only =
    query.endpoint === undefined ? undefined : (await ownEndpointCached(env, workspaceId, query.endpoint)).endpoint.key;
  const { jobs, more } = await newestJobs(env, workspaceId, only, {
    limit: query.limit,
    ...(place === undefined ? {} : { before: JobId.parse(place) }),
    ...(query.state === undefined ? {} : { state: query.state }),
    ...(query.tag === undefined ? {} : { tag: query.tag }),
  });
  const last = jobs.at(-1);
  return {
    data: await Promise.all(jobs.map((job) => jobView(job, env, workspaceId, call.url.origin))),
    next_cursor: more && last !== undefined ? await makeCursor(env.SIGNING_SECRET, "jobs", workspaceId, last.id) : null,
  };
});

const events = handle(getJobEvents, async (call) => {
  const key = await ownJobKey(call.env, call.principal.workspaceId, call.params.job);
  return eventStreamAnswer(watched(call, key, call.params.job), lastEventId(call.headers["last-event-id"]));
});

const cancel = handle(cancelJob, async (call) => {
  const { workspaceId } = call.principal;
  const key = await ownJobKey(call.env, workspaceId, call.params.job);
  const { job } = await askEndpoint(call.env, key, "repeatable", (endpoint) =>
    endpoint.cancelJob(workspaceId, call.params.job),
  );
  return answerJob(call, job, 200);
});

export const jobRoutes = [submit, list, get, events, cancel];

async function answerJob(
  call: Caller,
  job: JobSnapshot,
  status: number,
  headers: Record<string, string> = {},
): Promise<Response> {
  return jsonAnswer(status, await jobView(job, call.env, call.principal.workspaceId, call.url.origin), headers);
}

async function snapshotOf(call: Caller, key: OwnerKey, jobId: JobId): Promise<JobSnapshot> {
  const { job } = await askEndpoint(call.env, key, "repeatable", (endpoint) =>
    endpoint.getJob(call.principal.workspaceId, jobId),
  );
  return job;
}

/** Waits in the object; a restart in between costs no more than the time that is left. */
async function waited(call: Caller, key: OwnerKey, jobId: JobId, seconds: number): Promise<JobSnapshot> {
  const endAt = Date.now() + seconds * 1000;
  const { job } = await askEndpoint(call.env, key, "repeatable", (endpoint) =>
    endpoint.waitForJob(call.principal.workspaceId, jobId, Math.max(0, endAt - Date.now())),
  );
  return job;
}

function watched(call: Caller, key: OwnerKey, jobId: JobId) {
  return { env: call.env, key, workspaceId: call.principal.workspaceId, jobId, origin: call.url.origin };
}

function watchNew(
  call: Caller,
  found: EndpointSummary,
  job: JobSnapshot,
  headers: Record<string, string>,
): Promise<Response> {
  return eventStreamAnswer(watched(call, found.endpoint.key, job.id), 0, headers);
}

/** True when the caller asks for events by name; a wildcard gets JSON. */
function acceptsEvents(request: Request): boolean {
  return (request.headers.get("accept") ?? "")
    .split(",")
    .some((type) => type.split(";", 1)[0]?.trim().toLowerCase() === "text/event-stream");
}

function lastEventId(header: string | undefined): number {
  if (header === undefined || header === "") return 0;
  if (!/^(?:0|[1-9][0-9]{0,14})$/.test(header)) {
    throw new Problem("malformed_request", "Last-Event-ID must be the id of an event of this job.");
  }
  return Number(header);
}
