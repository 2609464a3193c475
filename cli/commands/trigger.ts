import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { eventNamed } from "#cli/event-names";

export const trigger: Command = {
  path: ["trigger"],
  summary: "Send an example of an event to the webhooks that are subscribed to it",
  examples: ["pilotlight trigger job.succeeded", "pilotlight trigger job.failed --webhook wh_…"],
  positionals: [{ name: "event", required: true }],
  options: { webhook: { type: "string" } },
  optionHelp: { webhook: "to this webhook alone, whatever it is subscribed to" },
  run: async (call) => {
    const event = eventNamed(call.positionals[0] ?? "");
    const client = await call.connect();
    const { signal } = call.interrupts;
    const named = call.text("webhook");
    const wanting = async () =>
      (await client.webhooks.list({ signal }))
        .filter((each) => each.state === "enabled" && (each.events.includes(event) || event === "webhook.test"))
        .map(({ id }) => id);
    const ids = named === undefined ? await wanting() : [named];
    if (ids.length === 0) {
      const hint = "`pilotlight listen --forward-to …` subscribes a program on this machine";
      throw new CliError("usage", `No enabled webhook is subscribed to ${event}`, hint);
    }
    const deliveries = [];
    for (const id of ids) deliveries.push(await client.webhooks.test(id, event, { signal }));
    return {
      data: { deliveries },
      ids: deliveries.map(({ id }) => id),
      text: deliveries.map(({ webhook_id, message_id }) => `${event} is on its way to ${webhook_id} as ${message_id}.`),
    };
  },
};
