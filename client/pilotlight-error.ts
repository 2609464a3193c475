import { type FieldError, ProblemBody } from "#contract/problems";

/**
 * Codes the client itself raises, beside those of contract/problems.ts:
 * network_error   no answer arrived (status 0); the call may or may not have had an effect
 * invalid_answer  an answer arrived that is not one of this API's
 * wait_timeout    the wait is over and the job is not; the job goes on
 * output_damaged  the bytes downloaded are not those the job's record names
 */
export type ClientErrorCode = "network_error" | "invalid_answer" | "wait_timeout" | "output_damaged";

export interface PilotlightErrorFields {
  /** A code of docs/problems.md or a ClientErrorCode. */
  readonly code: string;
  /** The HTTP status, 0 when there was no answer. */
  readonly status: number;
  readonly detail: string;
  readonly retryable?: boolean;
  readonly errors?: readonly FieldError[] | undefined;
  readonly requestId?: string | undefined;
  /** Seconds the server asks to wait. */
  readonly retryAfterS?: number | undefined;
  readonly cause?: unknown;
}

/** What every call of the client throws when it does not succeed. */
export class PilotlightError extends Error {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly retryable: boolean;
  readonly errors: readonly FieldError[];
  readonly requestId: string | undefined;
  readonly retryAfterS: number | undefined;
  constructor(fields: PilotlightErrorFields) {
    super(`${fields.code}: ${fields.detail}`, { cause: fields.cause });
    this.name = "PilotlightError";
    this.code = fields.code;
    this.status = fields.status;
    this.detail = fields.detail;
    this.retryable = fields.retryable ?? false;
    this.errors = fields.errors ?? [];
    this.requestId = fields.requestId;
    this.retryAfterS = fields.retryAfterS;
  }
}

/** Statuses a proxy in front of the service answers with while the service is away. */
const PROXY_STATUSES = [502, 503, 504];

/** Turns an answer that is no success into an error; reads its body. Never throws. */
export async function errorOfAnswer(response: Response): Promise<PilotlightError> {
  const text = await response.text().catch(() => "");
  const retryAfterS = retryAfterOf(response.headers);
  const requestId = response.headers.get("request-id") ?? undefined;
  const problem = ProblemBody.safeParse(parseLoosely(text));
  if (problem.success) {
    const { code, status, detail, retryable, errors, request_id } = problem.data;
    return new PilotlightError({ code, status, detail, retryable, errors, requestId: request_id, retryAfterS });
  }
  return new PilotlightError({
    code: "invalid_answer",
    status: response.status,
    detail: `The server answered ${response.status} without a problem document`,
    retryable: PROXY_STATUSES.includes(response.status),
    requestId,
    retryAfterS,
  });
}

function parseLoosely(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Seconds of a Retry-After header in its numeric form; the date form is not sent by this API. */
function retryAfterOf(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  return text !== null && /^[0-9]{1,9}$/.test(text) ? Number(text) : undefined;
}
