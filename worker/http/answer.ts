import { stringifyExactJson } from "#contract/exact-json";
import { type FieldError, type Problem, type ProblemCode, problemBody, problems } from "#contract/problems";
import { SECURITY_HEADERS } from "#worker/http/security-headers";

/** Headers are copied from these without passing through JavaScript, which setting each of them would cost. */
const EMPTY_HEADERS = new Headers({ ...SECURITY_HEADERS, "cache-control": "no-store" });
const JSON_HEADERS = new Headers({
  ...SECURITY_HEADERS,
  "cache-control": "no-store",
  "content-type": "application/json",
});

/** A JSON answer. Whole numbers beyond 2^53 are written with all their digits. */
export function jsonAnswer(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return withHeaders(new Response(stringifyExactJson(body), { status, headers: JSON_HEADERS }), headers);
}

/** An answer without a body. */
export function emptyAnswer(headers: Record<string, string> = {}): Response {
  return withHeaders(new Response(null, { status: 204, headers: EMPTY_HEADERS }), headers);
}

function withHeaders(answer: Response, headers: Record<string, string>): Response {
  for (const [name, value] of Object.entries(headers)) answer.headers.set(name, value);
  return answer;
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
