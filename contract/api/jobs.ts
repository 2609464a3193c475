import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { Slug } from "#contract/endpoint";
import { BatchId, EndpointId, JobId, KeyId } from "#contract/ids";
import { Job, JobErrorCode, JobState, Lane, NewJob, Tag } from "#contract/job";

const tag = "Jobs";
/** Names the job in an answer that is one of its outputs. */
export const JOB_HEADER = "pilotlight-job";

export const JobParams = z.object({ job: JobId });

/** What an output may be when it is the answer. */
const OUTPUT_TYPES = ["image/*", "video/*", "audio/*", "*/*"];

export const createJob = route({
  id: "createJob",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/jobs",
  summary: "Submit a job",
  description:
    "Answers 202 once the job is stored. `Prefer: wait=N` (N ≤ 60 seconds) holds the answer until the job ends and answers 200, or 202 when it has not ended by then. `Accept: text/event-stream` streams the job's events instead. With an `Accept` that names media (`image/png`, `video/*`) beside `Prefer: wait`, the answer of a job that has succeeded is the file itself: its first output of the type liked best, with the job's id in `pilotlight-job` and the output's address in `content-location`. In every other case, and where no output fits, it is JSON. `Idempotency-Key` makes a repeated submit answer with the first one's job.",
  scope: "run",
  params: EndpointParams,
  headers: z.object({
    "idempotency-key": z.string().optional(),
    prefer: z
      .string()
      .optional()
      .meta({ examples: ["wait=30"] }),
  }),
  body: NewJob,
  status: 202,
  returns: Job,
  alsoReturns: {
    200: "The job, ended (Prefer: wait), or its output (and Accept: image/png), or its events (Accept: text/event-stream)",
  },
  alsoReturnTypes: { 200: [...OUTPUT_TYPES, "text/event-stream"] },
  problems: [
    "endpoint_not_found",
    "invalid_inputs",
    "invalid_file",
    "invalid_url",
    "url_fetch_failed",
    "file_not_found",
    "invalid_idempotency_key",
    "request_in_flight",
    "idempotency_key_reused",
    "queue_full",
    "storage_full",
    "queue_paused",
    "budget_exceeded",
  ],
});
export const listJobs = route({
  id: "listJobs",
  tag,
  method: "get",
  path: "/v1/jobs",
  summary: "List jobs, newest first",
  description:
    "All filters given must hold. A page may hold fewer jobs than asked for, even none, while `next_cursor` is not null: a filter that hardly anything fits is answered piece by piece.",
  scope: "read",
  query: PageQuery.extend({
    endpoint: z.union([EndpointId, Slug]).optional(),
    state: JobState.optional(),
    lane: Lane.optional(),
    tag: Tag.optional(),
    key_id: KeyId.optional(),
    batch: BatchId.optional(),
    error_code: JobErrorCode.optional(),
    created_after: z.iso.datetime({ offset: true }).optional().meta({ description: "At or after" }),
    created_before: z.iso.datetime({ offset: true }).optional(),
  }),
  status: 200,
  returns: page(Job),
  problems: ["invalid_cursor", "endpoint_not_found"],
});
export const getJob = route({
  id: "getJob",
  tag,
  method: "get",
  path: "/v1/jobs/{job}",
  summary: "Get a job: state, progress, outputs, timeline",
  description:
    "`Prefer: wait=N` holds the answer until the job ends, N ≤ 60 seconds. With an `Accept` that names media (`image/png`, `video/*`), the answer for a job that has succeeded is its first output of the type liked best, if it has one.",
  scope: "read",
  params: JobParams,
  headers: z.object({ prefer: z.string().optional() }),
  status: 200,
  returns: Job,
  alsoReturnTypes: { 200: OUTPUT_TYPES },
  problems: ["job_not_found", "too_many_watchers"],
});
export const getJobEvents = route({
  id: "getJobEvents",
  tag,
  method: "get",
  path: "/v1/jobs/{job}/events",
  summary: "Stream a job's events (SSE); resumes after Last-Event-ID",
  description:
    "Numbered events (`queued`, `started`, `phase`, `retrying`, `succeeded`, `failed`, `canceled`, `expired`) carry an id and are replayed after `Last-Event-ID`. `progress` and `preview` show the moment and carry no id. The stream ends after the terminal event.",
  scope: "read",
  params: JobParams,
  headers: z.object({ "last-event-id": z.string().optional() }),
  status: 200,
  returnTypes: ["text/event-stream"],
  alsoReturns: { 204: "The job has ended and `Last-Event-ID` is its last event: an EventSource stops asking" },
  problems: ["job_not_found", "too_many_watchers"],
});
export const cancelJob = route({
  id: "cancelJob",
  tag,
  method: "post",
  path: "/v1/jobs/{job}/cancel",
  summary: "Cancel a job that waits or runs",
  description: "Answers the job as it is after the cancel: `canceled`, or the state in which it had already ended.",
  scope: "run",
  params: JobParams,
  status: 200,
  returns: Job,
  problems: ["job_not_found"],
});
export const getOutput = route({
  id: "getOutput",
  tag,
  method: "get",
  path: "/v1/jobs/{job}/outputs/{name}",
  summary: "Download an output (Range, ETag, HEAD)",
  description: "With a key, or without one through the signed `url` of the output.",
  scope: "read",
  params: JobParams.extend({ name: z.string().max(200) }),
  query: z.object({ expires: z.string().optional(), signature: z.string().optional() }),
  status: 200,
  returnTypes: ["*/*"],
  alsoReturns: { 206: "A range", 304: "Unchanged" },
  problems: ["job_not_found", "output_not_found", "output_expired", "invalid_signature", "range_not_satisfiable"],
});
