import { resolve } from "node:path";
import type { Call, Command, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { followJob, phasesLine } from "#cli/follow-job";
import { type InputValue, inputValue, jsonInputs, uploadFiles } from "#cli/input-values";
import { type SavedOutput, saveOutputs } from "#cli/save-outputs";
import { byteSize } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import { type Job, Lane } from "#contract/job";
import { EXPIRES_IN_S_MAX, PRIORITY_MAX, PRIORITY_MIN, TIMEOUT_S_MAX } from "#contract/limits";

/** After the first Ctrl-C, a second one within this cancels the job. */
const SECOND_INTERRUPT_MS = 2_000;
const CANCEL_MS_MAX = 5_000;

export const run: Command = {
  path: ["run"],
  summary: "Call an endpoint, watch, and download what it made",
  examples: [
    'pilotlight run text-to-image -i prompt="a fox in the snow" -o out',
    "pilotlight run upscale -i image=@photo.jpg -i factor=4",
    "pilotlight run text-to-image --json-inputs @inputs.json --lane batch --detach",
  ],
  positionals: [{ name: "endpoint", required: true }],
  options: {
    input: { type: "string", short: "i", multiple: true },
    "json-inputs": { type: "string" },
    "output-folder": { type: "string", short: "o" },
    detach: { type: "boolean" },
    seed: { type: "string" },
    lane: { type: "string" },
    priority: { type: "string" },
    tag: { type: "string", multiple: true },
    timeout: { type: "string" },
    "expires-in": { type: "string" },
    "job-timeout": { type: "string" },
    webhook: { type: "string" },
    "idempotency-key": { type: "string" },
  },
  optionHelp: {
    input: "name=value; a file is name=@path",
    "json-inputs": "all inputs as JSON, @file or @- for standard input",
    "output-folder": "download the outputs into this folder",
    detach: "print the job's id and leave",
    seed: "the seed, of workflows that have one",
    lane: "interactive or batch",
    priority: "0 to 9, 5 when left out",
    tag: "a label to find the job by; may be repeated",
    timeout: "seconds to wait here; the job goes on",
    "expires-in": "seconds until it must have started",
    "job-timeout": "seconds one attempt may execute",
    webhook: "an address that is told when it has ended",
    "idempotency-key": "repeat it to get the first job again",
  },
  run: async (call) => {
    const client = await call.connect();
    const endpoint = call.positionals[0] ?? "";
    const job = await submit(call, client, endpoint);
    call.output.event({ event: "submitted", job: job.id });
    if (call.flag("detach")) {
      const text = [job.id, `  pilotlight jobs watch ${job.id}`];
      return { data: { job }, ids: [job.id], text };
    }
    return await watchAndSave(call, client, job.id);
  },
};

async function submit(call: Call, client: Pilotlight, endpoint: string): Promise<Job> {
  const { signal } = call.interrupts;
  const source = call.text("json-inputs");
  const inputs: Record<string, unknown> =
    source === undefined ? {} : { ...(await jsonInputs(source, call.workingDirectory, call.readStdin)) };
  const assignments = [...call.texts("input")];
  const seed = call.text("seed");
  if (assignments.length > 0 || seed !== undefined) {
    const specs = (await client.endpoints.get(endpoint, { signal })).release.inputs;
    if (seed !== undefined) {
      const seedInput = specs.find((spec) => spec.type === "integer" && spec.seed);
      if (seedInput === undefined) throw new CliError("invalid_input", `${endpoint} has no seed`);
      assignments.push(`${seedInput.name}=${seed}`);
    }
    const values = new Map<string, InputValue>();
    for (const assignment of assignments) {
      const { name, value } = inputValue(assignment, specs);
      values.set(name, value);
    }
    const onUpload = (path: string) => call.output.progress(`uploading ${path}`, `uploading ${path}`);
    Object.assign(inputs, await uploadFiles(values, client, call.workingDirectory, onUpload, signal));
  }
  const lane = Lane.safeParse(call.text("lane") ?? "interactive");
  if (!lane.success) throw new CliError("usage", `--lane is ${Lane.options.join(" or ")}, not ${call.text("lane")}`);
  const priority = call.integer("priority", PRIORITY_MIN, PRIORITY_MAX);
  const expiresIn = call.integer("expires-in", 1, EXPIRES_IN_S_MAX);
  const jobTimeout = call.integer("job-timeout", 1, TIMEOUT_S_MAX);
  const webhook = call.text("webhook");
  return await client.jobs.submit(
    endpoint,
    {
      inputs,
      lane: lane.data,
      tags: [...call.texts("tag")],
      ...(priority === undefined ? {} : { priority }),
      ...(expiresIn === undefined ? {} : { expires_in: expiresIn }),
      ...(jobTimeout === undefined ? {} : { timeout: jobTimeout }),
      ...(webhook === undefined ? {} : { webhook: { url: webhook } }),
    },
    { signal, idempotencyKey: call.text("idempotency-key") },
  );
}

/**
 * Watches a job to its end and downloads its outputs if a folder is named.
 * @throws CliError `job_failed` when it did not succeed, `interrupted`
 */
export async function watchAndSave(call: Call, client: Pilotlight, jobId: string): Promise<Outcome> {
  const timeout = call.integer("timeout", 1, 30 * 86_400);
  let job: Job;
  try {
    job = await followJob(client, jobId, call.output, {
      signal: call.interrupts.signal,
      timeoutMs: timeout === undefined ? undefined : timeout * 1_000,
    });
  } catch (error) {
    if (!call.interrupts.signal.aborted) throw error;
    throw await detached(call, client, jobId);
  }
  if (job.state !== "succeeded") throw jobFailure(job);
  const folder = call.text("output-folder");
  const saved =
    folder === undefined
      ? []
      : await saveOutputs(client, job, {
          folder: resolve(call.workingDirectory, folder),
          replace: false,
          output: call.output,
          signal: call.interrupts.signal,
        });
  return { data: { job, saved }, ids: [job.id], text: summary(job, saved) };
}

function summary(job: Job, saved: readonly SavedOutput[]): string[] {
  return [
    `${job.id} succeeded: ${phasesLine(job)}`,
    ...job.outputs.flatMap((output) => {
      const file = saved.find(({ name }) => name === output.name);
      if (output.text !== undefined) return [`  ${output.output}: ${output.text}`];
      return [`  ${file?.path ?? output.url} (${output.content_type}, ${byteSize(output.size)})`];
    }),
  ];
}

/** The error of a job that ended without success. */
export function jobFailure(job: Job): CliError {
  const reason = job.error === null ? "" : `: ${job.error.message} (${job.error.code})`;
  const at =
    job.error?.node_id === undefined ? "" : ` in node ${job.error.node_id} ${job.error.class_type ?? ""}`.trimEnd();
  return new CliError("job_failed", `${job.id} ${job.state}${at}${reason}`, undefined, { details: { job } });
}

/** The first Ctrl-C leaves the job alone and says how to come back; a second one cancels it. */
async function detached(call: Call, client: Pilotlight, jobId: string): Promise<CliError> {
  call.output.note(`${jobId} goes on: \`pilotlight jobs watch ${jobId}\`. Ctrl-C again cancels it.`);
  const wantsCancel = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), SECOND_INTERRUPT_MS);
    const onForce = () => {
      clearTimeout(timer);
      resolve(true);
    };
    if (call.interrupts.force.aborted) onForce();
    call.interrupts.force.addEventListener("abort", onForce, { once: true });
  });
  if (!wantsCancel) return new CliError("interrupted", `Stopped watching ${jobId}`);
  call.output.note(`canceling ${jobId} …`);
  const job = await client.jobs.cancel(jobId, { signal: AbortSignal.timeout(CANCEL_MS_MAX) });
  return new CliError("interrupted", `${jobId} is ${job.state}`);
}
