/** Where messages go, and what shares its health: a webhook's id, a single job's origin, or a listening command. */
import type { WebhookRecord } from "#durable-objects/webhooks/webhook-store";

/** The destination of a `listen` webhook begins so: nothing is sent there, its command fetches. */
const LISTENED = "listen ";

export function listenDestination(webhookId: string): string {
  return `${LISTENED}${webhookId}`;
}

export function isListened(destination: string): boolean {
  return destination.startsWith(LISTENED);
}

/** Of a subscription. */
export function destinationOf(webhook: WebhookRecord): string {
  return webhook.kind === "listen" ? listenDestination(webhook.id) : webhook.id;
}

/** Of a single job's own URL. */
export function originOf(url: string): string {
  return new URL(url).origin;
}

/** It is where single jobs post to. */
export function isOrigin(destination: string): boolean {
  return destination.includes("://");
}
