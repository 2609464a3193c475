/** Every error the API answers with, sent as application/problem+json (RFC 9457). Codes are contract: add, never rename. */
import * as z from "zod";

interface ProblemRow {
  readonly status: number;
  /** The same request may succeed later without a change. */
  readonly retryable: boolean;
  readonly title: string;
}

export const problems = {
  // 400: the request cannot be read
  malformed_request: { status: 400, retryable: false, title: "The request cannot be read" },
  malformed_json: { status: 400, retryable: false, title: "The body is not one well-formed JSON document" },
  invalid_cursor: { status: 400, retryable: false, title: "The cursor is not one this list gave out" },
  invalid_idempotency_key: { status: 400, retryable: false, title: "The Idempotency-Key header is malformed" },
  // 401, 402, 403
  unauthenticated: { status: 401, retryable: false, title: "No valid credentials" },
  join_token_used: { status: 401, retryable: false, title: "As many machines have joined with the token as may" },
  join_token_expired: { status: 401, retryable: false, title: "The join token has expired" },
  join_token_revoked: { status: 401, retryable: false, title: "The join token was revoked" },
  budget_exceeded: { status: 402, retryable: false, title: "The budget is used up" },
  missing_scope: { status: 403, retryable: false, title: "The key lacks the scope this call needs" },
  invalid_signature: { status: 403, retryable: false, title: "The signed link is altered or has expired" },
  // 404, 405, 408
  not_found: { status: 404, retryable: false, title: "There is nothing at this address" },
  endpoint_not_found: { status: 404, retryable: false, title: "There is no such endpoint" },
  release_not_found: { status: 404, retryable: false, title: "There is no such release" },
  job_not_found: { status: 404, retryable: false, title: "There is no such job" },
  output_not_found: { status: 404, retryable: false, title: "There is no such output" },
  file_not_found: { status: 404, retryable: false, title: "There is no such file" },
  key_not_found: { status: 404, retryable: false, title: "There is no such API key" },
  pod_not_found: { status: 404, retryable: false, title: "There is no such pod" },
  node_not_found: { status: 404, retryable: false, title: "There is no such node" },
  join_token_not_found: { status: 404, retryable: false, title: "There is no such join token" },
  gpu_type_not_found: { status: 404, retryable: false, title: "There is no such type of GPU" },
  replica_not_found: { status: 404, retryable: false, title: "There is no such replica" },
  batch_not_found: { status: 404, retryable: false, title: "There is no such batch" },
  operation_not_found: { status: 404, retryable: false, title: "There is no such operation" },
  webhook_not_found: { status: 404, retryable: false, title: "There is no such webhook" },
  delivery_not_found: { status: 404, retryable: false, title: "There is no such delivery" },
  build_not_found: { status: 404, retryable: false, title: "There is no such build" },
  model_not_found: { status: 404, retryable: false, title: "There is no such model" },
  method_not_allowed: { status: 405, retryable: false, title: "This address does not take that method" },
  request_timeout: { status: 408, retryable: true, title: "The body did not arrive in time" },
  // 409
  slug_taken: { status: 409, retryable: false, title: "The workspace has an endpoint of that name" },
  request_in_flight: { status: 409, retryable: true, title: "A request with this Idempotency-Key is still running" },
  replica_ended: { status: 409, retryable: false, title: "The replica has ended" },
  job_finished: { status: 409, retryable: false, title: "The job has already ended" },
  job_running: { status: 409, retryable: false, title: "The job has already started" },
  job_not_finished: { status: 409, retryable: false, title: "The job has not ended yet" },
  operation_limit: { status: 409, retryable: true, title: "Too many operations run on this endpoint at once" },
  webhook_limit: { status: 409, retryable: false, title: "The workspace has as many webhooks as it may have" },
  webhook_disabled: { status: 409, retryable: false, title: "The webhook is disabled" },
  lease_lost: { status: 409, retryable: false, title: "The lease is no longer held" },
  output_pending: { status: 409, retryable: true, title: "An output of the manifest is still being stored" },
  output_missing: { status: 409, retryable: true, title: "An output of the manifest is not stored" },
  output_conflict: { status: 409, retryable: false, title: "Another file is stored for this output" },
  no_previous_release: { status: 409, retryable: false, title: "No release is known to have been active before" },
  release_not_active: { status: 409, retryable: false, title: "Another release is active" },
  release_active: { status: 409, retryable: false, title: "The release is the active one" },
  release_failed: { status: 409, retryable: false, title: "The release cannot run on the machines" },
  release_limit: { status: 409, retryable: false, title: "The endpoint has as many releases as it may have" },
  model_conflict: { status: 409, retryable: false, title: "The model is not in the state this call needs" },
  model_in_use: { status: 409, retryable: false, title: "Releases need the model" },
  model_incomplete: { status: 409, retryable: false, title: "Parts of the model are missing" },
  model_limit: { status: 409, retryable: false, title: "The workspace stores as many models as it may" },
  build_in_use: { status: 409, retryable: false, title: "Releases need the build" },
  build_limit: { status: 409, retryable: false, title: "The workspace has as many builds as it may have" },
  pod_name_taken: { status: 409, retryable: false, title: "The workspace has a pod of that name" },
  pod_in_use: { status: 409, retryable: false, title: "The pod is in use" },
  pod_limit: { status: 409, retryable: false, title: "The workspace has as many pods as it may have" },
  join_token_limit: { status: 409, retryable: false, title: "The pod has as many living join tokens as it may have" },
  node_limit: { status: 409, retryable: false, title: "The pod has as many nodes as it may have" },
  gpu_mismatch: { status: 409, retryable: false, title: "The pod does not take machines with these GPUs" },
  gpu_type_in_use: { status: 409, retryable: false, title: "Pods name the type of GPU" },
  gpu_type_limit: { status: 409, retryable: false, title: "The workspace has as many own types of GPU as it may have" },
  endpoint_limit: { status: 409, retryable: false, title: "The workspace has as many endpoints as it may have" },
  // 410, 411, 413, 415, 416
  output_expired: { status: 410, retryable: false, title: "The output's retention is over" },
  length_required: { status: 411, retryable: false, title: "The body needs a Content-Length" },
  body_too_large: { status: 413, retryable: false, title: "The body is too large" },
  unsupported_media_type: { status: 415, retryable: false, title: "The content type is not taken here" },
  range_not_satisfiable: { status: 416, retryable: false, title: "The range lies outside the file" },
  // 422: readable, but it does not mean anything possible
  invalid_body: { status: 422, retryable: false, title: "Fields of the body are not valid" },
  invalid_query: { status: 422, retryable: false, title: "Parameters of the query are not valid" },
  invalid_inputs: { status: 422, retryable: false, title: "Inputs do not fit the endpoint's schema" },
  invalid_workflow: { status: 422, retryable: false, title: "The workflow cannot be used" },
  workflow_format_ui: { status: 422, retryable: false, title: "The editor's format needs object_info here" },
  invalid_batch: { status: 422, retryable: false, title: "The batch cannot be used" },
  confirmation_mismatch: { status: 422, retryable: false, title: "The confirmation does not name the endpoint" },
  invalid_file: { status: 422, retryable: false, title: "The file cannot be used" },
  invalid_model: { status: 422, retryable: false, title: "The model cannot be taken" },
  invalid_url: { status: 422, retryable: false, title: "The URL may not be used" },
  url_fetch_failed: { status: 422, retryable: false, title: "The URL could not be fetched" },
  checksum_mismatch: { status: 422, retryable: false, title: "The bytes do not have the stated checksum" },
  idempotency_key_reused: { status: 422, retryable: false, title: "The Idempotency-Key was used for another request" },
  upgrade_required: { status: 426, retryable: false, title: "The agent is too old for this server" },
  // 429, 5xx
  queue_full: { status: 429, retryable: true, title: "The endpoint's queue is full" },
  too_many_watchers: { status: 429, retryable: true, title: "Too many open streams for one job" },
  queue_paused: { status: 503, retryable: true, title: "The endpoint's queue is paused and takes no new jobs" },
  storage_full: { status: 503, retryable: true, title: "The endpoint's storage is full" },
  internal: { status: 500, retryable: true, title: "Something went wrong on our side" },
  unavailable: { status: 503, retryable: true, title: "A part of the service does not answer" },
} as const satisfies Record<string, ProblemRow>;

export type ProblemCode = keyof typeof problems;

/** One wrong field of a request. */
export const FieldError = z
  .object({
    path: z
      .string()
      .meta({ description: "JSON Pointer into the body, such as /inputs/width", examples: ["/inputs/width"] }),
    reason: z.string().meta({ description: "What is wrong and how to mend it" }),
    allowed: z
      .record(z.string(), z.unknown())
      .optional()
      .meta({ description: "What would be taken: minimum, maximum, choices, type, maxLength …" }),
  })
  .meta({ id: "FieldError" });
export type FieldError = z.infer<typeof FieldError>;

export const ProblemBody = z
  .object({
    type: z.string().meta({ description: "Address of the problem's description" }),
    title: z.string(),
    status: z.int(),
    code: z.string().meta({ description: "Stable code; the table is in docs/problems.md" }),
    detail: z.string(),
    request_id: z.string(),
    retryable: z.boolean(),
    errors: z.array(FieldError).optional(),
  })
  .meta({ id: "Problem" });
export type ProblemBody = z.infer<typeof ProblemBody>;

/** Refusals as data, for pure code and across object boundaries, where a thrown class arrives as a plain Error. */
export interface Refusal {
  readonly ok: false;
  readonly code: ProblemCode;
  readonly detail: string;
  readonly errors?: FieldError[];
  /** Seconds, for the Retry-After header. */
  readonly retryAfterS?: number;
}

export function refusal(
  code: ProblemCode,
  detail: string,
  more: { errors?: FieldError[]; retryAfterS?: number } = {},
): Refusal {
  return { ok: false, code, detail, ...more };
}

/** Thrown inside the Worker; the one error handler turns it into the answer. `cause` is for the log only. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly errors: FieldError[] | undefined;
  readonly retryAfterS: number | undefined;
  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: FieldError[] | undefined; retryAfterS?: number | undefined; cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause });
    this.name = "Problem";
    this.code = code;
    this.errors = more.errors;
    this.retryAfterS = more.retryAfterS;
  }
}

/** The answer's body for a code. */
export function problemBody(code: ProblemCode, detail: string, requestId: string, errors?: FieldError[]): ProblemBody {
  const { status, title, retryable } = problems[code];
  return {
    type: `/docs/problems#${code}`,
    title,
    status,
    code,
    detail,
    request_id: requestId,
    retryable,
    ...(errors === undefined ? {} : { errors }),
  };
}
