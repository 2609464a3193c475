/** What every answer has unless its handler says otherwise: it is not a page, so nothing in it may run, load or be framed. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
};
const NAMES_AND_VALUES = Object.entries(SECURITY_HEADERS);
/** No handler sets this one alone: an answer that has it was made with all of them. */
const LAST_SET = "x-content-type-options";

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
  if (!headers.has(LAST_SET)) {
    for (const [name, value] of NAMES_AND_VALUES) if (!headers.has(name)) headers.set(name, value);
  }
  if (url?.protocol === "https:") headers.set("strict-transport-security", "max-age=31536000");
}
