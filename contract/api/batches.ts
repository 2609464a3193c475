import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { route } from "#contract/api/route";
import { Batch, BatchResult, NewBatch } from "#contract/batch";
import { BatchId } from "#contract/ids";
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";

const tag = "Batches";
const BatchParams = z.object({ batch: BatchId });

export const createBatch = route({
  id: "createBatch",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/batches",
  summary: "Submit up to 1,000 jobs at once: a list of inputs, or a sweep over named fields",
  description:
    "All jobs are taken or none is. Errors name the job by its index: `/inputs/17/width`. A seed that is left out is drawn for each job.",
  scope: "run",
  params: EndpointParams,
  headers: z.object({ "idempotency-key": z.string().optional() }),
  body: NewBatch,
  bodyBytesMax: WORKFLOW_BODY_BYTES_MAX,
  status: 202,
  returns: Batch,
  problems: [
    "endpoint_not_found",
    "invalid_batch",
    "invalid_inputs",
    "invalid_file",
    "invalid_url",
    "url_fetch_failed",
    "file_not_found",
    "queue_full",
    "storage_full",
    "queue_paused",
    "budget_exceeded",
    "invalid_idempotency_key",
    "request_in_flight",
    "idempotency_key_reused",
  ],
});
export const getBatch = route({
  id: "getBatch",
  tag,
  method: "get",
  path: "/v1/batches/{batch}",
  summary: "A batch with its counts",
  scope: "read",
  params: BatchParams,
  status: 200,
  returns: Batch,
  problems: ["batch_not_found"],
});
export const cancelBatch = route({
  id: "cancelBatch",
  tag,
  method: "post",
  path: "/v1/batches/{batch}/cancel",
  summary: "Cancel every job of the batch that has not ended",
  scope: "run",
  params: BatchParams,
  status: 200,
  returns: Batch,
  problems: ["batch_not_found"],
});
export const getBatchResults = route({
  id: "getBatchResults",
  tag,
  method: "get",
  path: "/v1/batches/{batch}/results",
  summary: "One JSON line for each job, in the order of the request",
  description: "Each line is a `BatchResult`. `state` tells which have ended; ask again for the others.",
  scope: "read",
  params: BatchParams,
  status: 200,
  returnTypes: ["application/x-ndjson"],
  returnLines: BatchResult,
  problems: ["batch_not_found"],
});
