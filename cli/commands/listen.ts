import type { Call, Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { eventsNamed } from "#cli/event-names";
import { forwardMessage } from "#cli/forward-message";
import { duration } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import { PilotlightError } from "#client/pilotlight-error";
import { type ListenedMessage, type Webhook, WebhookEvent } from "#contract/webhook";

export const listen: Command = {
  path: ["listen"],
  summary: "Forward webhooks to a program on this machine, signed as the real ones are",
  examples: ["pilotlight listen --forward-to http://127.0.0.1:3000/webhooks", "pilotlight listen --print-json"],
  positionals: [],
  options: {
    "forward-to": { type: "string" },
    events: { type: "string" },
    endpoint: { type: "string" },
    name: { type: "string" },
    "print-json": { type: "boolean" },
  },
  optionHelp: {
    "forward-to": "where to POST each message, byte by byte and with its headers",
    events: `some of ${WebhookEvent.options.join(",")}; left out: all of them`,
    endpoint: "only events of this endpoint",
    name: "the same name has the same secret each time; `cli` when left out",
    "print-json": "write each message's body as a line",
  },
  forPeople: true,
  run: async (call) => {
    const target = call.text("forward-to");
    if (target === undefined && !call.flag("print-json")) {
      throw new CliError("usage", "Say what to do with the messages: --forward-to URL, --print-json, or both");
    }
    if (target !== undefined && !/^https?:\/\//.test(target)) {
      throw new CliError("usage", `--forward-to takes a URL that starts with http:// or https://, not ${target}`);
    }
    const client = await call.connect();
    let webhook = await subscribe(call, client);
    call.output.note(`Listening as ${webhook.id} to ${webhook.events.join(", ")}. Ctrl-C ends it.`);
    call.output.note(`The signing secret is ${webhook.secret ?? ""} (the same each time under this name).`);
    call.output.event({ event: "listening", webhook: webhook.id, secret: webhook.secret ?? null });
    let count = 0;
    try {
      while (!call.interrupts.signal.aborted) {
        let messages: ListenedMessage[];
        try {
          messages = await client.webhooks.listen(webhook.id, { signal: call.interrupts.signal });
        } catch (error) {
          if (!(error instanceof PilotlightError) || error.code !== "webhook_not_found") throw error;
          // This machine slept for so long that the subscription was given up.
          webhook = await subscribe(call, client);
          call.output.note(`The subscription was gone; listening again as ${webhook.id}.`);
          continue;
        }
        count += messages.length;
        // In their order: a program that handles one at a time sees what it would see from the service.
        for (const message of messages) await forward(call, client, webhook.id, target, message);
      }
    } catch (error) {
      if (!call.interrupts.signal.aborted) throw error;
    } finally {
      await client.webhooks.remove(webhook.id, { signal: call.interrupts.force }).catch((error: unknown) => {
        call.output.note(`${webhook.id} could not be deleted (${String(error)}); it goes by itself in 5 minutes.`);
      });
    }
    return { data: { messages: count }, text: count === 1 ? "1 message was heard." : `${count} messages were heard.` };
  },
};

function subscribe(call: Call, client: Pilotlight): Promise<Webhook> {
  const endpoint = call.text("endpoint");
  return client.webhooks.create(
    {
      kind: "listen",
      events: eventsNamed(call.text("events")) ?? [...WebhookEvent.options],
      description: call.text("name") ?? "cli",
      ...(endpoint === undefined ? {} : { endpoint }),
    },
    { signal: call.interrupts.signal },
  );
}

async function forward(
  call: Call,
  client: Pilotlight,
  webhook: string,
  target: string | undefined,
  message: ListenedMessage,
): Promise<void> {
  if (call.flag("print-json")) call.output.say(message.body);
  const report =
    target === undefined
      ? { status: 200, ms: 0, error: null, answer: null }
      : await forwardMessage(target, message, call.interrupts.force);
  const outcome = report.status === null ? (report.error ?? "no answer") : String(report.status);
  if (target !== undefined) call.output.note(`${message.event}  ${outcome}  ${duration(report.ms)}`);
  call.output.event({ event: "forwarded", type: message.event, delivery: message.delivery_id, ...report });
  try {
    // Also after a Ctrl-C: the program has the message, and the log should say so.
    await client.webhooks.report(webhook, message.delivery_id, report, { signal: call.interrupts.force });
  } catch (error) {
    call.output.note(`The outcome could not be reported: ${String(error)}`);
  }
}
