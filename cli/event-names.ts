import { CliError } from "#cli/errors";
import { WebhookEvent } from "#contract/webhook";

/** One event as people write it. @throws CliError `usage` when there is none of that name */
export function eventNamed(text: string): WebhookEvent {
  const event = WebhookEvent.safeParse(text.trim());
  if (event.success) return event.data;
  throw new CliError("usage", `There is no event ${text.trim()}; there are ${WebhookEvent.options.join(", ")}`);
}

/** `a,b`; undefined when nothing was given. */
export function eventsNamed(text: string | undefined): WebhookEvent[] | undefined {
  return text?.split(",").map(eventNamed);
}
