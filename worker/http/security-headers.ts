/** For answers that are not pages: nothing in them may run, load or be framed. */
const CLOSED_POLICY = "default-src 'none'; frame-ancestors 'none'";

/** The answer with the headers every answer has; what a handler set stays. @param url null when it could not be read */
export function secured(answer: Response, requestId: string, url: URL | null): Response {
  try {
    set(answer.headers, requestId, url);
    return answer;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  // Headers of an answer that was fetched (a static file) cannot be changed; a copy for each answer of ours costs a lot.
  const headers = new Headers(answer.headers);
  set(headers, requestId, url);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

function set(headers: Headers, requestId: string, url: URL | null): void {
  headers.set("request-id", requestId);
  headers.set("x-content-type-options", "nosniff");
  headers.set("referrer-policy", "no-referrer");
  headers.set("x-frame-options", "DENY");
  if (!headers.has("content-security-policy")) headers.set("content-security-policy", CLOSED_POLICY);
  if (!headers.has("cross-origin-resource-policy")) headers.set("cross-origin-resource-policy", "same-origin");
  if (url?.protocol === "https:") headers.set("strict-transport-security", "max-age=31536000");
}
