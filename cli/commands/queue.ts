import type { Call, Command } from "#cli/command";
import { jobTable, whyOutcome } from "#cli/commands/jobs";
import { confirmName } from "#cli/confirm-name";
import { CliError } from "#cli/errors";
import { followOperation } from "#cli/follow-operation";
import { chosen } from "#cli/job-filters";
import { queueText } from "#cli/queue-text";
import { duration, textTable } from "#cli/text-table";
import { timeOf } from "#cli/times";
import { JobId, KeyId } from "#contract/ids";
import { Lane } from "#contract/job";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PRIORITY_MAX, PRIORITY_MIN } from "#contract/limits";
import type { PurgeQueue, RedriveDead } from "#contract/queue";

const endpoint = { name: "endpoint", required: true };
const job = { name: "job", required: true };
const pageOptions = { limit: { type: "string" }, cursor: { type: "string" } } as const;
const pageHelp = {
  limit: `1 to ${PAGE_SIZE_MAX}, ${PAGE_SIZE_DEFAULT} when left out`,
  cursor: "next_cursor of the page before",
};
const LANES = Lane.options.join(" or ");

export const queueStats: Command = {
  path: ["queue", "stats"],
  summary: "Show how an endpoint's queue and replicas stand",
  examples: ["pilotlight queue stats text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const queue = await client.queues.get(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: queue, text: queueText(queue) };
  },
};

export const queueList: Command = {
  path: ["queue", "ls"],
  summary: "List waiting jobs in the order in which they will start",
  examples: ["pilotlight queue ls text-to-image --lane interactive"],
  positionals: [endpoint],
  options: { lane: { type: "string" }, ...pageOptions },
  optionHelp: { lane: LANES, ...pageHelp },
  run: async (call) => {
    const lane = chosen(call, "lane", Lane, LANES);
    const limit = call.integer("limit", 1, PAGE_SIZE_MAX);
    const client = await call.connect();
    const query = { lane, limit, cursor: call.text("cursor") };
    const page = await client.queues.page(call.positionals[0] ?? "", query, { signal: call.interrupts.signal });
    const rows = page.data.map((entry) => [
      String(entry.position),
      entry.job_id,
      entry.lane,
      String(entry.priority),
      entry.phase,
      duration(entry.waited_ms),
      entry.eta_ms === null ? "?" : duration(entry.eta_ms),
      entry.tags.join(" "),
    ]);
    return {
      data: page,
      ids: page.data.map(({ job_id }) => job_id),
      text: [
        ...textTable(["#", "job", "lane", "priority", "phase", "waited", "starts in", "tags"], rows),
        ...more(page.next_cursor),
      ],
    };
  },
};

export const queuePause: Command = {
  path: ["queue", "pause"],
  summary: "Start no more jobs; running ones go on and new ones wait",
  examples: ['pilotlight queue pause text-to-image --reason "a new driver"'],
  positionals: [endpoint],
  options: { reason: { type: "string" }, "refuse-new": { type: "boolean" } },
  optionHelp: {
    reason: "shown to whoever asks why jobs wait",
    "refuse-new": "refuse new jobs instead of letting them wait",
  },
  run: async (call) => {
    const client = await call.connect();
    const reason = call.text("reason");
    const queue = await client.queues.pause(
      call.positionals[0] ?? "",
      { refuse_new: call.flag("refuse-new"), ...(reason === undefined ? {} : { reason }) },
      { signal: call.interrupts.signal },
    );
    return { data: queue, text: queueText(queue) };
  },
};

export const queueResume: Command = {
  path: ["queue", "resume"],
  summary: "Start jobs again",
  examples: ["pilotlight queue resume text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const queue = await client.queues.resume(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: queue, text: queueText(queue) };
  },
};

const PURGE_STATES = ["queued", "retrying", "dead"] as const;
const PURGED = {
  queued: "every waiting job",
  retrying: "the jobs that wait for another try",
  dead: "the dead letters",
} as const;

export const queuePurge: Command = {
  path: ["queue", "purge"],
  summary: "Cancel the jobs that wait, or empty the dead-letter list; asks for the endpoint's name",
  examples: [
    "pilotlight queue purge text-to-image --tag nightly",
    "pilotlight queue purge text-to-image --state dead --yes",
  ],
  positionals: [endpoint],
  options: {
    state: { type: "string" },
    lane: { type: "string" },
    tag: { type: "string" },
    key: { type: "string" },
    yes: { type: "boolean" },
  },
  optionHelp: {
    state: `${PURGE_STATES.join(", ")}; queued when left out`,
    lane: LANES,
    tag: "with this tag",
    key: "submitted with this API key (key_…)",
    yes: "do not ask",
  },
  run: async (call) => {
    const state = PURGE_STATES.find((each) => each === (call.text("state") ?? "queued"));
    if (state === undefined) {
      throw new CliError("usage", `--state is one of ${PURGE_STATES.join(", ")}, not ${call.text("state")}`);
    }
    const lane = chosen(call, "lane", Lane, LANES);
    const key = chosen(call, "key", KeyId, "an id like key_…");
    const tag = call.text("tag");
    const client = await call.connect();
    const { slug } = await client.endpoints.get(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    await confirmName(call, slug, `This removes ${PURGED[state]} of ${slug}, so far as they fit.`, "queue purge");
    const purge: PurgeQueue = { confirm: slug, state, lane, tag, key_id: key };
    const operation = await client.queues.purge(slug, purge, { signal: call.interrupts.signal });
    return followOperation(call, client, operation);
  },
};

export const queueBump: Command = {
  path: ["queue", "bump"],
  summary: "Move a waiting job to the front, or change its priority or lane",
  examples: ["pilotlight queue bump job_…", "pilotlight queue bump job_… --priority 9"],
  positionals: [job],
  options: { priority: { type: "string" }, lane: { type: "string" } },
  optionHelp: { priority: `${PRIORITY_MIN} to ${PRIORITY_MAX}, instead of moving it to the front`, lane: LANES },
  run: async (call) => {
    const priority = call.integer("priority", PRIORITY_MIN, PRIORITY_MAX);
    const lane = chosen(call, "lane", Lane, LANES);
    const client = await call.connect();
    const changes = { ...(priority === undefined ? {} : { priority }), ...(lane === undefined ? {} : { lane }) };
    const patch = Object.keys(changes).length === 0 ? { position: "front" as const } : changes;
    const after = await client.jobs.patch(call.positionals[0] ?? "", patch, { signal: call.interrupts.signal });
    const place = after.position === null ? after.state : `#${after.position}`;
    return {
      data: { job: after },
      ids: [after.id],
      text: `${after.id} is ${place}, ${after.lane}, priority ${after.priority}.`,
    };
  },
};

export const queueWhy: Command = {
  path: ["queue", "why"],
  summary: "Say why a job has not started",
  examples: ["pilotlight queue why job_…"],
  positionals: [job],
  options: {},
  optionHelp: {},
  run: whyOutcome,
};

export const queueDead: Command = {
  path: ["queue", "dead"],
  summary: "List failed jobs that nobody has redriven or dismissed, newest first",
  examples: ["pilotlight queue dead text-to-image"],
  positionals: [endpoint],
  options: pageOptions,
  optionHelp: pageHelp,
  run: async (call) => {
    const limit = call.integer("limit", 1, PAGE_SIZE_MAX);
    const client = await call.connect();
    const query = { limit, cursor: call.text("cursor") };
    const page = await client.queues.deadPage(call.positionals[0] ?? "", query, { signal: call.interrupts.signal });
    return {
      data: page,
      ids: page.data.map(({ id }) => id),
      text: [...jobTable(page.data), ...more(page.next_cursor)],
    };
  },
};

export const queueRedrive: Command = {
  path: ["queue", "redrive"],
  summary: "Run dead letters again, each as a new job",
  examples: [
    "pilotlight queue redrive text-to-image --job job_… --job job_…",
    "pilotlight queue redrive text-to-image --since 2h",
    "pilotlight queue redrive text-to-image --all",
  ],
  positionals: [endpoint],
  options: { job: { type: "string", multiple: true }, since: { type: "string" }, all: { type: "boolean" } },
  optionHelp: {
    job: "this one; may be repeated",
    since: "all that failed at or after: 1h, 2d … ago, or an ISO time",
    all: "every one",
  },
  run: async (call) => {
    const redrive = redriveOf(call);
    const client = await call.connect();
    const name = call.positionals[0] ?? "";
    const operation = await client.queues.redrive(name, redrive, { signal: call.interrupts.signal });
    return followOperation(call, client, operation);
  },
};

function redriveOf(call: Call): RedriveDead {
  const jobs = call.texts("job").map((text) => {
    const id = JobId.safeParse(text);
    if (!id.success) throw new CliError("usage", `--job is an id like job_…, not ${text}`);
    return id.data;
  });
  const since = call.text("since");
  const ways = [jobs.length > 0, since !== undefined, call.flag("all")].filter((given) => given);
  if (ways.length !== 1) throw new CliError("usage", "Give exactly one of --job, --since, --all");
  if (since !== undefined) return { since: timeOf(since, "since", Date.now()) };
  return jobs.length > 0 ? { jobs } : { all: true };
}

function more(cursor: string | null): string[] {
  return cursor === null ? [] : ["", `More: --cursor ${cursor}`];
}
