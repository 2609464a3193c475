/** One try of a webhook message as the network sees it: the request, its deadline, and what came back. */
import { WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_ANSWER_READ_BYTES_MAX, WEBHOOK_TIMEOUT_MS } from "#contract/limits";
import { guardUrl } from "#contract/public-url";
import { fetchGuarded } from "#durable-objects/egress/guarded-fetch";
import type { TryResult } from "#durable-objects/outbox/outcome";
import type { Posting } from "#durable-objects/webhooks/rpc";
import type { Env } from "#worker/env";

const FAILURES = {
  timeout: "No whole answer came within 15 seconds.",
  unreachable: "No answer came: the address cannot be reached, or what is there does not speak HTTP.",
  broken_off: "The answer broke off.",
} as const;

/** Posts a message and waits for the answer, 15 s at most. Never follows a redirect. */
export async function postMessage(
  { url, headers, body }: Posting,
  env: Pick<Env, "ALLOW_LOOPBACK_URLS" | "PUBLIC_URL">,
): Promise<TryResult> {
  // Checked when it was given, and again now: the rules may have changed, and the service's own name.
  const verdict = guardUrl(url, {
    allowLoopback: env.ALLOW_LOOPBACK_URLS === "true",
    ownHosts: env.PUBLIC_URL === "" ? [] : [new URL(env.PUBLIC_URL).host],
  });
  if (!verdict.ok) return notPosted(`The URL may not be used. ${verdict.reason}`, 0);
  const answer = await fetchGuarded(verdict.url, {
    method: "POST",
    headers,
    body,
    deadlineMs: WEBHOOK_TIMEOUT_MS,
    bytesMax: WEBHOOK_ANSWER_READ_BYTES_MAX,
  });
  if (!answer.ok) return notPosted(FAILURES[answer.why], answer.ms);
  return {
    status: answer.status,
    ms: answer.ms,
    error: null,
    answer: shownText(answer.body),
    retryAfter: answer.headers.get("retry-after"),
  };
}

/** A try that no answer came to. @param error a sentence for the log */
export function notPosted(error: string, ms: number): TryResult {
  return { status: null, ms, error, answer: null, retryAfter: null };
}

/** The first 4 kB as text; what is no UTF-8 is shown as such. */
function shownText(body: Uint8Array<ArrayBuffer>): string {
  return new TextDecoder().decode(body.subarray(0, WEBHOOK_ANSWER_BYTES_MAX));
}
