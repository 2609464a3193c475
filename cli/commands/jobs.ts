import type { Command } from "#cli/command";
import { watchAndSave } from "#cli/commands/run";
import { CliError } from "#cli/errors";
import { phasesLine } from "#cli/follow-job";
import { byteSize, duration, textTable } from "#cli/text-table";
import { type Job, JobState } from "#contract/job";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "#contract/limits";

const job = { name: "job", required: true };

export const jobsList: Command = {
  path: ["jobs", "ls"],
  summary: "List jobs, newest first",
  examples: ["pilotlight jobs ls --endpoint text-to-image --state failed"],
  positionals: [],
  options: {
    endpoint: { type: "string" },
    state: { type: "string" },
    tag: { type: "string" },
    limit: { type: "string" },
    cursor: { type: "string" },
  },
  optionHelp: {
    endpoint: "of this endpoint alone",
    state: JobState.options.join(", "),
    tag: "with this tag",
    limit: `1 to ${PAGE_SIZE_MAX}, ${PAGE_SIZE_DEFAULT} when left out`,
    cursor: "next_cursor of the page before",
  },
  run: async (call) => {
    const state = JobState.optional().safeParse(call.text("state"));
    if (!state.success) throw new CliError("usage", `--state is one of ${JobState.options.join(", ")}`);
    const limit = call.integer("limit", 1, PAGE_SIZE_MAX);
    const client = await call.connect();
    const page = await client.jobs.page(
      {
        endpoint: call.text("endpoint"),
        state: state.data,
        tag: call.text("tag"),
        cursor: call.text("cursor"),
        limit,
      },
      { signal: call.interrupts.signal },
    );
    const rows = page.data.map((each) => [
      each.id,
      each.endpoint,
      each.phase === null ? each.state : `${each.state} ${each.phase}`,
      each.created_at,
      each.finished_at === null ? "" : duration(Date.parse(each.finished_at) - Date.parse(each.created_at)),
      each.error?.code ?? "",
    ]);
    return {
      data: page,
      ids: page.data.map(({ id }) => id),
      text: [
        ...textTable(["job", "endpoint", "state", "created", "took", "error"], rows),
        ...(page.next_cursor === null ? [] : ["", `More: --cursor ${page.next_cursor}`]),
      ],
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
  summary: "Cancel a job that waits or runs",
  examples: ["pilotlight jobs cancel job_…"],
  positionals: [job],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const after = await client.jobs.cancel(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: { job: after }, ids: [after.id], text: `${after.id} is ${after.state}.` };
  },
};

function jobText(shown: Job): string[] {
  const phase = shown.phase === null ? "" : ` (${shown.phase}${shown.position === null ? "" : ` #${shown.position}`})`;
  return [
    `${shown.id}  ${shown.endpoint} release ${shown.release}`,
    `state     ${shown.state}${phase}, attempt ${shown.attempt} of ${shown.attempts_max}`,
    `created   ${shown.created_at}`,
    ...(shown.finished_at === null ? [] : [`finished  ${shown.finished_at}`]),
    `phases    ${phasesLine(shown)}`,
    ...(shown.error === null ? [] : [`error     ${shown.error.message} (${shown.error.code})`]),
    ...shown.outputs.map(
      ({ name, content_type, size, url }) => `output    ${name} (${content_type}, ${byteSize(size)})\n          ${url}`,
    ),
  ];
}
