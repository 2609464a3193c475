import type { JobWebhook } from "#contract/job";
import { Problem } from "#contract/problems";
import { guardUrl } from "#contract/public-url";
import type { Arrival } from "#worker/http/call";

/**
 * A job's own webhook, as it is kept.
 * @throws Problem invalid_url when nothing may be posted to its address
 */
export function checkedWebhook({ env, url }: Arrival, webhook: JobWebhook | undefined): { webhook?: JobWebhook } {
  if (webhook === undefined) return {};
  const guarded = guardUrl(webhook.url, {
    allowLoopback: env.ALLOW_LOOPBACK_URLS === "true",
    ownHosts: [url.host],
  });
  if (!guarded.ok) {
    throw new Problem("invalid_url", `/webhook/url: ${guarded.reason}`, {
      errors: [{ path: "/webhook/url", reason: guarded.reason }],
    });
  }
  return { webhook: { url: webhook.url, events: [...new Set(webhook.events)] } };
}
