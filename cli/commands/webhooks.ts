import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { eventNamed, eventsNamed } from "#cli/event-names";
import { textTable } from "#cli/text-table";
import { timeOf } from "#cli/times";
import { PAGE_SIZE_MAX } from "#contract/limits";
import { type Delivery, DeliveryState, type Webhook, WebhookEvent } from "#contract/webhook";

const webhook = { name: "webhook", required: true };
const delivery = { name: "delivery", required: true };
const nothing = { options: {}, optionHelp: {} };

export const webhooksList: Command = {
  path: ["webhooks", "ls"],
  summary: "List webhooks",
  examples: ["pilotlight webhooks ls"],
  positionals: [],
  ...nothing,
  run: async (call) => {
    const data = await (await call.connect()).webhooks.list({ signal: call.interrupts.signal });
    const rows = data.map((each) => [each.id, stateOf(each), each.url ?? "(listen)", each.events.join(",")]);
    return {
      data: { data },
      ids: data.map(({ id }) => id),
      text: textTable(["webhook", "state", "url", "events"], rows),
    };
  },
};

export const webhooksCreate: Command = {
  path: ["webhooks", "create"],
  summary: "Subscribe a URL to events of jobs",
  examples: ["pilotlight webhooks create https://example.com/hook --events job.succeeded,job.failed"],
  positionals: [{ name: "url", required: true }],
  options: { events: { type: "string" }, endpoint: { type: "string" }, description: { type: "string" } },
  optionHelp: {
    events: `some of ${WebhookEvent.options.join(",")}; left out: how jobs end`,
    endpoint: "only of this endpoint",
    description: "what it is for",
  },
  run: async (call) => {
    const events = eventsNamed(call.text("events"));
    const endpoint = call.text("endpoint");
    const description = call.text("description");
    const client = await call.connect();
    const made = await client.webhooks.create(
      {
        url: call.positionals[0] ?? "",
        ...(events === undefined ? {} : { events }),
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(description === undefined ? {} : { description }),
      },
      { signal: call.interrupts.signal },
    );
    return {
      data: { webhook: made },
      ids: [made.id],
      text: [`${made.id} is told of ${made.events.join(", ")}.`, `secret  ${made.secret ?? ""}`],
    };
  },
};

export const webhooksRemove: Command = {
  path: ["webhooks", "rm"],
  summary: "Delete a webhook; what is pending is discarded",
  examples: ["pilotlight webhooks rm wh_…"],
  positionals: [webhook],
  ...nothing,
  run: async (call) => {
    const id = call.positionals[0] ?? "";
    await (await call.connect()).webhooks.remove(id, { signal: call.interrupts.signal });
    return { data: { removed: id }, text: `${id} is deleted.` };
  },
};

export const webhooksSecret: Command = {
  path: ["webhooks", "secret"],
  summary: "Show the secret that signs; `default` for the webhooks of single jobs",
  examples: ["pilotlight webhooks secret wh_…", "pilotlight webhooks secret default"],
  positionals: [webhook],
  ...nothing,
  run: async (call) => {
    const client = await call.connect();
    const secret = await client.webhooks.secret(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: { secret }, ids: [secret.secret], text: secret.secret };
  },
};

export const webhooksRotate: Command = {
  path: ["webhooks", "rotate"],
  summary: "Make a new secret; the old one signs beside it for 24 hours",
  examples: ["pilotlight webhooks rotate wh_…"],
  positionals: [webhook],
  ...nothing,
  run: async (call) => {
    const client = await call.connect();
    const secret = await client.webhooks.rotate(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return {
      data: { secret },
      ids: [secret.secret],
      text: [secret.secret, `  The one before signs as well until ${secret.previous_expires_at ?? "now"}.`],
    };
  },
};

export const webhooksEnable: Command = {
  path: ["webhooks", "enable"],
  summary: "Enable a webhook again",
  examples: ["pilotlight webhooks enable wh_…"],
  positionals: [webhook],
  ...nothing,
  run: async (call) => {
    const client = await call.connect();
    const { signal } = call.interrupts;
    const changed = await client.webhooks.update(call.positionals[0] ?? "", { state: "enabled" }, { signal });
    return {
      data: { webhook: changed },
      ids: [changed.id],
      text: `${changed.id} is enabled. \`pilotlight webhooks recover ${changed.id} --since …\` sends what it missed.`,
    };
  },
};

export const webhooksAttempts: Command = {
  path: ["webhooks", "attempts"],
  summary: "What was sent to a webhook, newest first, with every try",
  examples: ["pilotlight webhooks attempts wh_… --state failed", "pilotlight webhooks attempts default"],
  positionals: [webhook],
  options: {
    state: { type: "string" },
    event: { type: "string" },
    job: { type: "string" },
    limit: { type: "string" },
    cursor: { type: "string" },
  },
  optionHelp: {
    state: DeliveryState.options.join(", "),
    event: "of this event alone",
    job: "about this job alone",
    limit: `1 to ${PAGE_SIZE_MAX}`,
    cursor: "next_cursor of the page before",
  },
  run: async (call) => {
    const state = DeliveryState.optional().safeParse(call.text("state"));
    if (!state.success) throw new CliError("usage", `--state is one of ${DeliveryState.options.join(", ")}`);
    const named = call.text("event");
    const query = {
      state: state.data,
      event: named === undefined ? undefined : eventNamed(named),
      job: call.text("job"),
      cursor: call.text("cursor"),
      limit: call.integer("limit", 1, PAGE_SIZE_MAX),
    };
    const client = await call.connect();
    const { signal } = call.interrupts;
    const of = call.positionals[0] ?? "";
    let page = await client.webhooks.deliveriesPage(of, query, { signal });
    // A page is looked for in so many rows of a long log: nothing yet does not mean nothing at all.
    while (page.data.length === 0 && page.next_cursor !== null) {
      page = await client.webhooks.deliveriesPage(of, { ...query, cursor: page.next_cursor }, { signal });
    }
    const rows = page.data.map((each) => [
      each.id,
      each.event,
      each.state,
      String(each.tries.length),
      lastTry(each),
      each.next_try_at ?? "",
    ]);
    return {
      data: page,
      ids: page.data.map(({ id }) => id),
      text: [
        ...textTable(["delivery", "event", "state", "tries", "last", "next"], rows),
        ...(page.next_cursor === null ? [] : ["", `More: --cursor ${page.next_cursor}`]),
      ],
    };
  },
};

export const webhooksRedeliver: Command = {
  path: ["webhooks", "redeliver"],
  summary: "Send a message again now, under its own id",
  examples: ["pilotlight webhooks redeliver wh_… dlv_…"],
  positionals: [webhook, delivery],
  ...nothing,
  run: async (call) => {
    const [of = "", id = ""] = call.positionals;
    const sent = await (await call.connect()).webhooks.redeliver(of, id, { signal: call.interrupts.signal });
    return { data: { delivery: sent }, ids: [sent.id], text: `${sent.message_id} is sent again.` };
  },
};

export const webhooksRecover: Command = {
  path: ["webhooks", "recover"],
  summary: "Send again everything that failed since a moment",
  examples: [
    "pilotlight webhooks recover wh_… --since 2h",
    "pilotlight webhooks recover wh_… --since 2027-01-15T08:00:00Z",
  ],
  positionals: [webhook],
  options: { since: { type: "string" } },
  optionHelp: { since: "2h, 1d … ago, or a time such as 2027-01-15T08:00:00Z" },
  run: async (call) => {
    const text = call.text("since");
    if (text === undefined) throw new CliError("usage", "--since is missing: say since when, such as 2h");
    const since = new Date(timeOf(text, "since", Date.now()));
    const client = await call.connect();
    const { signal } = call.interrupts;
    const recovered = await client.webhooks.recover(call.positionals[0] ?? "", since, { signal });
    return {
      data: { recovered },
      text: recovered === 1 ? "1 message is sent again." : `${recovered} messages are sent again.`,
    };
  },
};

export const webhooksTest: Command = {
  path: ["webhooks", "test"],
  summary: "Send an example message the way all messages go",
  examples: ["pilotlight webhooks test wh_…", "pilotlight webhooks test wh_… --event job.failed"],
  positionals: [webhook],
  options: { event: { type: "string" } },
  optionHelp: { event: `one of ${WebhookEvent.options.join(", ")}; webhook.test when left out` },
  run: async (call) => {
    const event = eventNamed(call.text("event") ?? "webhook.test");
    const client = await call.connect();
    const { signal } = call.interrupts;
    const sent = await client.webhooks.test(call.positionals[0] ?? "", event, { signal });
    return { data: { delivery: sent }, ids: [sent.id], text: `${sent.event} is on its way as ${sent.message_id}.` };
  },
};

function stateOf({ state, failing_since, disabled_reason }: Webhook): string {
  if (state === "disabled") return `disabled: ${disabled_reason ?? ""}`;
  return failing_since === null ? "enabled" : `failing since ${failing_since}`;
}

function lastTry({ tries }: Delivery): string {
  const last = tries.at(-1);
  if (last === undefined) return "";
  return last.status === null ? (last.error ?? "no answer") : `${last.status} in ${last.ms} ms`;
}
