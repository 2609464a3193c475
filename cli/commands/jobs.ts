import type { Call, Command, Outcome } from "#cli/command";
import { watchAndSave } from "#cli/commands/run";
import { CliError } from "#cli/errors";
import { phasesLine } from "#cli/follow-job";
import { followOperation } from "#cli/follow-operation";
import { jobFilterHelp, jobFilterOptions, jobFilters } from "#cli/job-filters";
import { byteSize, duration, textTable } from "#cli/text-table";
import type { Job } from "#contract/job";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "#contract/limits";

const job = { name: "job", required: true };
const maybeJob = { name: "job", required: false };

export const jobsList: Command = {
  path: ["jobs", "ls"],
  summary: "List jobs, newest first",
  examples: [
    "pilotlight jobs ls --endpoint text-to-image --state failed",
    "pilotlight jobs ls --tag nightly --since 2d --error out_of_memory",
  ],
  positionals: [],
  options: {
    ...jobFilterOptions,
    limit: { type: "string" },
    cursor: { type: "string" },
  },
  optionHelp: {
    ...jobFilterHelp,
    limit: `1 to ${PAGE_SIZE_MAX}, ${PAGE_SIZE_DEFAULT} when left out`,
    cursor: "next_cursor of the page before",
  },
  run: async (call) => {
    const { batch_id, ...filters } = jobFilters(call);
    const limit = call.integer("limit", 1, PAGE_SIZE_MAX);
    const client = await call.connect();
    const query = { ...filters, endpoint: call.text("endpoint"), batch: batch_id, limit };
    const { signal } = call.interrupts;
    let page = await client.jobs.page({ ...query, cursor: call.text("cursor") }, { signal });
    // A filter that hardly anything fits is answered piece by piece; people want the first piece that holds a job.
    while (page.data.length === 0 && page.next_cursor !== null) {
      call.output.progress("looking further back …", "looking further back");
      page = await client.jobs.page({ ...query, cursor: page.next_cursor }, { signal });
    }
    return {
      data: page,
      ids: page.data.map(({ id }) => id),
      text: [...jobTable(page.data), ...(page.next_cursor === null ? [] : ["", `More: --cursor ${page.next_cursor}`])],
    };
  },
};

export const jobsGet: Command = {
  path: ["jobs", "get"],
  summary: "Show a job: state, phases, outputs",
  examples: ["pilotlight jobs get job_…"],
  positionals: [job],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const found = await client.jobs.get(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: { job: found }, ids: [found.id], text: jobText(found) };
  },
};

export const jobsWatch: Command = {
  path: ["jobs", "watch"],
  summary: "Watch a job to its end; its outcome is the exit code",
  examples: ["pilotlight jobs watch job_… -o out"],
  positionals: [job],
  options: { "output-folder": { type: "string", short: "o" }, timeout: { type: "string" } },
  optionHelp: {
    "output-folder": "download the outputs into this folder",
    timeout: "seconds to wait here; the job goes on",
  },
  run: async (call) => watchAndSave(call, await call.connect(), call.positionals[0] ?? ""),
};

export const jobsCancel: Command = {
  path: ["jobs", "cancel"],
  summary: "Cancel a job that waits or runs, or all that fit",
  examples: [
    "pilotlight jobs cancel job_…",
    "pilotlight jobs cancel --endpoint text-to-image --state queued --tag nightly",
  ],
  positionals: [maybeJob],
  options: jobFilterOptions,
  optionHelp: jobFilterHelp,
  run: async (call) => {
    const one = chosenJob(call);
    if (one === undefined) return operate(call, "cancel");
    const client = await call.connect();
    const after = await client.jobs.cancel(one, { signal: call.interrupts.signal });
    return { data: { job: after }, ids: [after.id], text: `${after.id} is ${after.state}.` };
  },
};

export const jobsRetry: Command = {
  path: ["jobs", "retry"],
  summary: "Run an ended job again as a new job, or all that fit",
  examples: [
    "pilotlight jobs retry job_…",
    "pilotlight jobs retry --endpoint text-to-image --state failed --error out_of_memory --since 1h",
  ],
  positionals: [maybeJob],
  options: { ...jobFilterOptions, "idempotency-key": { type: "string" } },
  optionHelp: { ...jobFilterHelp, "idempotency-key": "repeat it to get the first new job again" },
  run: async (call) => {
    const one = chosenJob(call);
    if (one === undefined) return operate(call, "retry");
    const client = await call.connect();
    const { signal } = call.interrupts;
    const made = await client.jobs.retry(one, { signal, idempotencyKey: call.text("idempotency-key") });
    return {
      data: { job: made },
      ids: [made.id],
      text: [made.id, `  runs ${one} again: pilotlight jobs watch ${made.id}`],
    };
  },
};

export const jobsWhy: Command = {
  path: ["jobs", "why"],
  summary: "Say why a job has not started",
  examples: ["pilotlight jobs why job_…"],
  positionals: [job],
  options: {},
  optionHelp: {},
  run: whyOutcome,
};

/** Why the job of the first argument waits. */
export async function whyOutcome(call: Call): Promise<Outcome> {
  const client = await call.connect();
  const why = await client.jobs.why(call.positionals[0] ?? "", { signal: call.interrupts.signal });
  const reasons = why.reasons.map(
    ({ code, detail, until }) => `${detail} (${code}${until === null ? "" : `, until ${until}`})`,
  );
  // The summary is often the first reason, which has a line of its own.
  const first = why.reasons[0]?.detail;
  const said = first !== undefined && why.summary.startsWith(first);
  return {
    data: { why },
    ids: [why.job_id],
    text: said ? reasons : [why.summary, ...reasons.map((reason) => `  ${reason}`)],
  };
}

/** The one job that is named; undefined when filters choose. @throws CliError `usage` when it is both or neither */
function chosenJob(call: Call): string | undefined {
  const [one] = call.positionals;
  const given = Object.keys(jobFilterOptions).filter((option) => call.text(option) !== undefined);
  if (one !== undefined && given.length > 0) {
    throw new CliError("usage", `Name a job, or choose jobs with --${given[0]}: not both`);
  }
  if (one !== undefined) return one;
  if (call.text("endpoint") === undefined || given.length < 2) {
    const hint = "--endpoint and at least one of --state, --lane, --tag, --key, --batch, --error, --since, --until.";
    throw new CliError("usage", "Name a job, or say which jobs of which endpoint", hint);
  }
  return undefined;
}

async function operate(call: Call, action: "cancel" | "retry"): Promise<Outcome> {
  const selection = jobFilters(call);
  const client = await call.connect();
  const operation = await client.queues.operate(
    call.text("endpoint") ?? "",
    { action, selection },
    { signal: call.interrupts.signal, idempotencyKey: call.text("idempotency-key") },
  );
  return followOperation(call, client, operation);
}

/** Jobs as a table. */
export function jobTable(jobs: readonly Job[]): string[] {
  const rows = jobs.map((each) => [
    each.id,
    each.endpoint,
    each.phase === null ? each.state : `${each.state} ${each.phase}`,
    each.created_at,
    each.finished_at === null ? "" : duration(Date.parse(each.finished_at) - Date.parse(each.created_at)),
    each.error?.code ?? "",
  ]);
  return textTable(["job", "endpoint", "state", "created", "took", "error"], rows);
}

function jobText(shown: Job): string[] {
  const phase = shown.phase === null ? "" : ` (${shown.phase}${shown.position === null ? "" : ` #${shown.position}`})`;
  return [
    `${shown.id}  ${shown.endpoint} release ${shown.release}`,
    `state     ${shown.state}${phase}, attempt ${shown.attempt} of ${shown.attempts_max}`,
    `created   ${shown.created_at}`,
    ...(shown.finished_at === null ? [] : [`finished  ${shown.finished_at}`]),
    `phases    ${phasesLine(shown)}`,
    ...(shown.retry_of === null ? [] : [`retry of  ${shown.retry_of}`]),
    ...(shown.retried_as === null ? [] : [`again as  ${shown.retried_as}`]),
    ...(shown.batch_id === null ? [] : [`batch     ${shown.batch_id}`]),
    ...(shown.error === null ? [] : [`error     ${shown.error.message} (${shown.error.code})`]),
    ...shown.outputs.map(
      ({ name, content_type, size, url }) => `output    ${name} (${content_type}, ${byteSize(size)})\n          ${url}`,
    ),
  ];
}
