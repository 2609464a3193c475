import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { JobParams } from "#contract/api/jobs";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { OperationId } from "#contract/ids";
import { Job, JobPatch, JobWhy, Lane } from "#contract/job";
import {
  NewOperation,
  Operation,
  PauseQueue,
  PurgeQueue,
  QueueEntry,
  QueueSummary,
  RedriveDead,
} from "#contract/queue";

const tag = "Queue";
const OperationParams = z.object({ operation: OperationId });
const IdempotencyHeader = z.object({ "idempotency-key": z.string().optional() });

export const getQueue = route({
  id: "getQueue",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/queue",
  summary: "How the endpoint's queue stands",
  scope: "read",
  params: EndpointParams,
  status: 200,
  returns: QueueSummary,
  problems: ["endpoint_not_found"],
});
export const listQueue = route({
  id: "listQueue",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/queue/jobs",
  summary: "Waiting jobs in the order in which they will start",
  description:
    "By lane, then priority (waiting 60 seconds is worth one level), then age. Jobs between two tries stand at the place they will return to.",
  scope: "read",
  params: EndpointParams,
  query: PageQuery.extend({ lane: Lane.optional() }),
  status: 200,
  returns: page(QueueEntry),
  problems: ["endpoint_not_found", "invalid_cursor"],
});
export const pauseQueue = route({
  id: "pauseQueue",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/queue/pause",
  summary: "Start no more jobs; go on accepting them, unless `refuse_new`",
  description: "Jobs that run go on. Pausing again changes the reason and `refuse_new`.",
  scope: "deploy",
  params: EndpointParams,
  body: PauseQueue,
  bodyOptional: true,
  status: 200,
  returns: QueueSummary,
  problems: ["endpoint_not_found"],
});
export const resumeQueue = route({
  id: "resumeQueue",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/queue/resume",
  summary: "Start jobs again",
  scope: "deploy",
  params: EndpointParams,
  status: 200,
  returns: QueueSummary,
  problems: ["endpoint_not_found"],
});
export const purgeQueue = route({
  id: "purgeQueue",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/queue/purge",
  summary: "Cancel the jobs that wait, or empty the dead-letter list, as an operation",
  scope: "deploy",
  params: EndpointParams,
  headers: IdempotencyHeader,
  body: PurgeQueue,
  status: 202,
  returns: Operation,
  problems: [
    "endpoint_not_found",
    "confirmation_mismatch",
    "operation_limit",
    "invalid_idempotency_key",
    "idempotency_key_reused",
  ],
});
export const listDead = route({
  id: "listDead",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/queue/dead",
  summary: "Failed jobs that nobody has redriven or dismissed, newest first",
  scope: "read",
  params: EndpointParams,
  query: PageQuery,
  status: 200,
  returns: page(Job),
  problems: ["endpoint_not_found", "invalid_cursor"],
});
export const redriveDead = route({
  id: "redriveDead",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/queue/dead/redrive",
  summary: "Run dead letters again, each as a new job, as an operation",
  scope: "run",
  params: EndpointParams,
  headers: IdempotencyHeader,
  body: RedriveDead,
  status: 202,
  returns: Operation,
  problems: ["endpoint_not_found", "operation_limit", "invalid_idempotency_key", "idempotency_key_reused"],
});
export const createOperation = route({
  id: "createOperation",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/operations",
  summary: "Cancel or retry many jobs at once",
  scope: "run",
  params: EndpointParams,
  headers: IdempotencyHeader,
  body: NewOperation,
  status: 202,
  returns: Operation,
  problems: ["endpoint_not_found", "operation_limit", "invalid_idempotency_key", "idempotency_key_reused"],
});
export const listOperations = route({
  id: "listOperations",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/operations",
  summary: "Operations on the endpoint's jobs, newest first",
  scope: "read",
  params: EndpointParams,
  query: PageQuery,
  status: 200,
  returns: page(Operation),
  problems: ["endpoint_not_found", "invalid_cursor"],
});
export const getOperation = route({
  id: "getOperation",
  tag,
  method: "get",
  path: "/v1/operations/{operation}",
  summary: "How far an operation is",
  scope: "read",
  params: OperationParams,
  status: 200,
  returns: Operation,
  problems: ["operation_not_found"],
});
export const cancelOperation = route({
  id: "cancelOperation",
  tag,
  method: "post",
  path: "/v1/operations/{operation}/cancel",
  summary: "Stop an operation; what it has done stays done",
  scope: "run",
  params: OperationParams,
  status: 200,
  returns: Operation,
  problems: ["operation_not_found"],
});
export const getJobWhy = route({
  id: "getJobWhy",
  tag,
  method: "get",
  path: "/v1/jobs/{job}/why",
  summary: "Why a job has not started",
  scope: "read",
  params: JobParams,
  status: 200,
  returns: JobWhy,
  problems: ["job_not_found"],
});
export const patchJob = route({
  id: "patchJob",
  tag,
  method: "patch",
  path: "/v1/jobs/{job}",
  summary: "Change a waiting job's lane or priority, or move it to the front",
  scope: "run",
  params: JobParams,
  body: JobPatch,
  status: 200,
  returns: Job,
  problems: ["job_not_found", "job_finished", "job_running"],
});
export const retryJob = route({
  id: "retryJob",
  tag,
  method: "post",
  path: "/v1/jobs/{job}/retry",
  summary: "Run an ended job again, as a new job with the same inputs and the active release",
  scope: "run",
  params: JobParams,
  headers: IdempotencyHeader,
  status: 202,
  returns: Job,
  problems: [
    "job_not_found",
    "job_not_finished",
    "queue_full",
    "storage_full",
    "queue_paused",
    "budget_exceeded",
    "invalid_idempotency_key",
    "idempotency_key_reused",
  ],
});
