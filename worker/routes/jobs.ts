/** Submitting, reading, watching and canceling jobs. */
import { cancelJob, createJob, getJob, getJobEvents, listJobs } from "#contract/api/jobs";
import { getJobWhy, patchJob, retryJob } from "#contract/api/queue";
import { type JsonObject, stringifyExactJson } from "#contract/exact-json";
import { JobId, type OwnerKey, ownerKey } from "#contract/ids";
import { isTerminal } from "#contract/job";
import { Problem } from "#contract/problems";
import type { Enqueued, Idempotency, JobFilter, JobSnapshot } from "#durable-objects/endpoint/rpc";
import { servedType } from "#durable-objects/outputs/served-type";
import type { Principal } from "#worker/auth/principal";
import { type EndpointSummary, findKeyOwner } from "#worker/catalog/endpoints";
import { acceptedMedia, acceptsEvents, firstAccepted } from "#worker/http/accept";
import { jsonAnswer } from "#worker/http/answer";
import type { Arrival, Call } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { isUnavailable } from "#worker/http/error-handler";
import { isProblem } from "#worker/http/is-problem";
import { handle } from "#worker/http/router";
import { type ResolvedInputs, resolveInputs } from "#worker/inputs/resolve-inputs";
import { canaryOffer } from "#worker/jobs/canary-offer";
import { enqueue, type Stored, submit } from "#worker/jobs/enqueue";
import { newEventStream, resumedEventStream } from "#worker/jobs/event-stream";
import { fetchingAlone } from "#worker/jobs/fetching-alone";
import { idempotencyOf, replayedHeader } from "#worker/jobs/idempotency-key";
import { jobView } from "#worker/jobs/job-view";
import { newestJobs } from "#worker/jobs/newest-jobs";
import { preferredWait } from "#worker/jobs/prefer";
import { submitFields } from "#worker/jobs/submit-fields";
import { outputAsAnswer } from "#worker/outputs/download";
import { rememberOutputs } from "#worker/outputs/remembered-outputs";
import { askEndpoint } from "#worker/placement/objects";
import { ownEndpointCached, ownJobKey } from "#worker/placement/own-endpoint";

type Caller = Arrival & { readonly principal: Principal };

const create = handle(createJob, async (call) => {
  const { principal, params, headers } = call;
  const idempotency = await idempotencyOf(headers["idempotency-key"], call.raw.bytes);
  const found = await ownEndpointCached(call.env, principal.workspaceId, params.endpoint);
  const wait = preferredWait(headers.prefer);
  const wanted = call.request.headers.get("accept");
  const wantsEvents = acceptsEvents(wanted);
  const { origin } = call.url;
  const accepted = await accept(call, found, idempotency, wait === undefined && !wantsEvents);
  if ("text" in accepted) return jsonAnswer(202, accepted.text, { location: `${origin}/v1/jobs/${accepted.id}` });
  const { job, replayed } = accepted;
  const headersOut = { location: `${origin}/v1/jobs/${job.id}`, ...replayedHeader(replayed) };
  try {
    if (wantsEvents) return await watchNew(call, found, job, headersOut);
    if (wait !== undefined) {
      const later = isTerminal(job.state) ? job : await waited(call, found.endpoint.key, job.id, wait);
      const applied = { ...headersOut, "preference-applied": `wait=${wait}` };
      return await answerJobOrOutput(call, wanted, later, isTerminal(later.state) ? 200 : 202, applied);
    }
  } catch (error) {
    // The job is in the queue: an answer that reads as a refusal would have the caller send it again.
    if (!isUnavailable(error) && !isProblem(error, "too_many_watchers")) throw error;
  }
  return answerJob(call, job, 202, headersOut);
});

/**
 * Queues the job, or finds the one that the same request got before. What was fine then may be refused now, because a
 * link in it has run out or another release is active: the first answer still holds.
 * @param onlyStored the caller only wants to hear that the job is stored
 */
async function accept(
  call: Call<typeof createJob>,
  found: EndpointSummary,
  idempotency: Idempotency | undefined,
  onlyStored: boolean,
): Promise<Stored | Enqueued> {
  // The values as they were sent: a schema's copy could drop a field whose name is special to JavaScript.
  const sent = (call.raw.document.inputs ?? {}) as JsonObject;
  let fields: ReturnType<typeof submitFields>;
  let inputs: ResolvedInputs;
  try {
    fields = submitFields(call, found);
    const alone = fetchingAlone(call, createJob.id, found, idempotency);
    inputs = await resolveInputs(call, call.principal.workspaceId, found.release.inputs, sent, alone);
  } catch (error) {
    const before = idempotency === undefined ? null : await replayOf(call, found, idempotency);
    if (before === null) throw error;
    return { job: before, replayed: true };
  }
  const request = {
    ...fields,
    inputs: stringifyExactJson(inputs.values),
    files: inputs.files,
    canary: canaryOffer(call, found.release.inputs, found.canary, sent, inputs),
    ...(idempotency === undefined ? {} : { idempotency }),
  };
  return onlyStored ? submit(call.env, found, request, call.url.origin) : enqueue(call.env, found, request);
}

/** The job that the same request got before; null when there is none, or an object too new to know any. */
async function replayOf(
  call: Caller,
  { endpoint }: EndpointSummary,
  idempotency: Idempotency,
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
  const wanted = call.request.headers.get("accept");
  if (wait === undefined) return answerJobOrOutput(call, wanted, await snapshotOf(call, key, call.params.job), 200, {});
  const job = await waited(call, key, call.params.job, wait);
  return answerJobOrOutput(call, wanted, job, 200, { "preference-applied": `wait=${wait}` });
});

const list = handle(listJobs, async (call) => {
  const { env, principal, query } = call;
  const { workspaceId } = principal;
  const only =
    query.endpoint === undefined ? undefined : (await ownEndpointCached(env, workspaceId, query.endpoint)).endpoint.key;
  const filter = filterOf(query);
  const filters = JSON.stringify([only ?? null, filter]);
  const place = await readCursor(env.SIGNING_SECRET, "jobs", workspaceId, query.cursor, filters);
  const before = place === undefined ? {} : { before: JobId.parse(place) };
  // A batch lies in one object, which its id names.
  const batchKey = query.batch === undefined ? undefined : ownerKey(query.batch);
  const isNowhere = batchKey !== undefined && !(await isKeyOf(call, batchKey, only));
  const { jobs, next } = isNowhere
    ? { jobs: [], next: null }
    : await newestJobs(env, workspaceId, batchKey ?? only, { ...filter, ...before, limit: query.limit });
  return {
    data: await Promise.all(jobs.map((job) => jobView(job, env, workspaceId, call.url.origin))),
    next_cursor: next === null ? null : await makeCursor(env.SIGNING_SECRET, "jobs", workspaceId, next, filters),
  };
});

/** The filters of a list, in one order, without those that were not given. */
function filterOf(query: Call<typeof listJobs>["query"]): Omit<JobFilter, "before" | "limit" | "bytesMax"> {
  const { state, lane, tag, key_id, batch, error_code, created_after, created_before } = query;
  return {
    ...(state === undefined ? {} : { state }),
    ...(lane === undefined ? {} : { lane }),
    ...(tag === undefined ? {} : { tag }),
    ...(key_id === undefined ? {} : { keyId: key_id }),
    ...(batch === undefined ? {} : { batchId: batch }),
    ...(error_code === undefined ? {} : { errorCode: error_code }),
    ...(created_after === undefined ? {} : { createdFrom: Date.parse(created_after) }),
    ...(created_before === undefined ? {} : { createdTo: Date.parse(created_before) }),
  };
}

/** Whether a key is of the caller's workspace, and of the endpoint asked about. */
async function isKeyOf(call: Caller, key: OwnerKey, only: OwnerKey | undefined): Promise<boolean> {
  if (only !== undefined) return key === only;
  return (await findKeyOwner(call.env.CATALOG, key))?.workspaceId === call.principal.workspaceId;
}

const events = handle(getJobEvents, async (call) => {
  const key = await ownJobKey(call.env, call.principal.workspaceId, call.params.job);
  const afterSeq = lastEventId(call.headers["last-event-id"]);
  return resumedEventStream(watched(call, key, call.params.job), afterSeq);
});

const cancel = handle(cancelJob, async (call) => {
  const { workspaceId } = call.principal;
  const key = await ownJobKey(call.env, workspaceId, call.params.job);
  const { job } = await askEndpoint(call.env, key, "repeatable", (endpoint) =>
    endpoint.cancelJob(workspaceId, call.params.job),
  );
  return answerJob(call, job, 200);
});

const why = handle(getJobWhy, async (call) => {
  const { workspaceId } = call.principal;
  const key = await ownJobKey(call.env, workspaceId, call.params.job);
  const reply = await askEndpoint(call.env, key, "repeatable", (endpoint) =>
    endpoint.whyJob(workspaceId, call.params.job),
  );
  return reply.why;
});

const patch = handle(patchJob, async (call) => {
  const { workspaceId } = call.principal;
  const key = await ownJobKey(call.env, workspaceId, call.params.job);
  const { job } = await askEndpoint(call.env, key, "repeatable", (endpoint) =>
    endpoint.patchJob(workspaceId, call.params.job, call.body),
  );
  return answerJob(call, job, 200);
});

const retry = handle(retryJob, async (call) => {
  const { workspaceId, keyId } = call.principal;
  const said = `POST ${call.url.pathname}`;
  const idempotency = (await idempotencyOf(call.headers["idempotency-key"], said)) ?? null;
  const key = await ownJobKey(call.env, workspaceId, call.params.job);
  const { job, replayed } = await askEndpoint(call.env, key, idempotency === null ? "once" : "repeatable", (endpoint) =>
    endpoint.retryJob(workspaceId, call.params.job, keyId, idempotency),
  );
  return answerJob(call, job, 202, {
    location: `${call.url.origin}/v1/jobs/${job.id}`,
    ...replayedHeader(replayed),
  });
});

export const jobRoutes = [create, list, get, events, cancel, why, patch, retry];

async function answerJob(
  call: Caller,
  job: JobSnapshot,
  status: number,
  headers: Record<string, string> = {},
): Promise<Response> {
  rememberOutputs(call.principal.workspaceId, job, Date.now());
  return jsonAnswer(status, await jobView(job, call.env, call.principal.workspaceId, call.url.origin), headers);
}

/**
 * The output that the caller asks for by its media type, once the job has succeeded; the job in every other case. The
 * bytes come straight from where the snapshot says they are.
 * @param wanted the Accept header
 */
async function answerJobOrOutput(
  call: Caller,
  wanted: string | null,
  job: JobSnapshot,
  status: number,
  headers: Record<string, string>,
): Promise<Response> {
  const media = acceptedMedia(wanted);
  if (media === undefined) return answerJob(call, job, status, headers);
  const varied = { ...headers, vary: "accept" };
  const outputs = job.state === "succeeded" && !job.outputsExpired ? job.outputs : [];
  const output = firstAccepted(media, outputs, (one) => servedType(one.content_type));
  if (output !== undefined) {
    try {
      return await outputAsAnswer(call.env, call.request.method, job.id, output, varied);
    } catch (error) {
      // The job has succeeded all the same: its links are there for another try.
      if (!isUnavailable(error) && !isProblem(error, "unavailable")) throw error;
    }
  }
  return answerJob(call, job, status, varied);
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
  return newEventStream(watched(call, found.endpoint.key, job.id), headers);
}

function lastEventId(header: string | undefined): number {
  if (header === undefined || header === "") return 0;
  if (!/^(?:0|[1-9][0-9]{0,14})$/.test(header)) {
    throw new Problem("malformed_request", "Last-Event-ID must be the id of an event of this job.");
  }
  return Number(header);
}
