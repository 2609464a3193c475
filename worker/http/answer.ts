import { stringifyExactJson } from "#contract/exact-json";
import { type FieldError, type Problem, type ProblemCode, problemBody, problems } from "#contract/problems";

/** A JSON answer. Whole numbers beyond 2^53 are written with all their digits. */
export function jsonAnswer(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(stringifyExactJson(body), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
  });
}

/** An answer without a body. */
export function emptyAnswer(headers: Record<string, string> = {}): Response {
  return new Response(null, { status: 204, headers: { "cache-control": "no-store", ...headers } });
}

/** A refusal as application/problem+json (RFC 9457). */
export function problemAnswer(
  code: ProblemCode,
  detail: string,
  requestId: string,
  more: { errors?: FieldError[] | undefined; retryAfterS?: number | undefined; headers?: Record<string, string> } = {},
): Response {
  const { status, retryable } = problems[code];
  const headers = new Headers({
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    ...more.headers,
  });
  const retryAfterS = more.retryAfterS ?? (retryable && (status === 429 || status === 503) ? 1 : undefined);
  if (retryAfterS !== undefined) headers.set("retry-after", String(Math.max(1, Math.ceil(retryAfterS))));
  if (status === 401) headers.set("www-authenticate", 'Bearer realm="pilotlight"');
  return new Response(stringifyExactJson(problemBody(code, detail, requestId, more.errors)), { status, headers });
}

export function answerFor(problem: Problem, requestId: string): Response {
  return problemAnswer(problem.code, problem.message, requestId, {
    errors: problem.errors,
    retryAfterS: problem.retryAfterS,
  });
}
