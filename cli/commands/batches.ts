import { resolve } from "node:path";
import { inputLines, type SentValue, type Surroundings, sharedInputs, sweptValues } from "#cli/batch-inputs";
import type { Call, Command, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { readLocalFile } from "#cli/input-values";
import { chosen } from "#cli/job-filters";
import { progressBar } from "#cli/progress-bar";
import { type SavedOutput, saveOutputs } from "#cli/save-outputs";
import { byteSize, textTable } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import type { Batch, BatchResult } from "#contract/batch";
import type { JsonObject } from "#contract/exact-json";
import { Lane } from "#contract/job";
import { BATCH_JOBS_MAX, EXPIRES_IN_S_MAX, PRIORITY_MAX, PRIORITY_MIN, TIMEOUT_S_MAX } from "#contract/limits";

const batch = { name: "batch", required: true };
const folderOption = { "output-folder": { type: "string", short: "o" } } as const;
/** A job's place goes before its files' names, so that they sort as the batch does. */
const PLACE_DIGITS = String(BATCH_JOBS_MAX).length;

export const batchSubmit: Command = {
  path: ["batch", "submit"],
  summary: "Submit many jobs at once: a file of inputs, or a sweep",
  examples: [
    "pilotlight batch submit text-to-image --file inputs.jsonl",
    "pilotlight batch submit text-to-image --sweep seed=1..100 -i prompt=fox --wait -o out",
    "pilotlight batch submit text-to-image --sweep prompt=@prompts.txt --sweep steps=10,20",
  ],
  positionals: [{ name: "endpoint", required: true }],
  options: {
    file: { type: "string" },
    sweep: { type: "string", multiple: true },
    input: { type: "string", short: "i", multiple: true },
    wait: { type: "boolean" },
    ...folderOption,
    timeout: { type: "string" },
    lane: { type: "string" },
    priority: { type: "string" },
    tag: { type: "string", multiple: true },
    "expires-in": { type: "string" },
    "job-timeout": { type: "string" },
    webhook: { type: "string" },
    "idempotency-key": { type: "string" },
  },
  optionHelp: {
    file: "one JSON object of inputs on each line; - for standard input",
    sweep: "name=1..100, name=a,b,c or name=@file with a value on each line; may be repeated",
    input: "name=value, the same for all jobs of a sweep; a file is name=@path",
    wait: "wait until every job has ended; the exit code tells whether all succeeded",
    "output-folder": "wait, and download all outputs into this folder",
    timeout: "seconds to wait here; the jobs go on",
    lane: "interactive or batch; batch when left out",
    priority: `${PRIORITY_MIN} to ${PRIORITY_MAX}, 5 when left out`,
    tag: "a label to find the jobs by; may be repeated",
    "expires-in": "seconds until a job must have started",
    "job-timeout": "seconds one attempt may execute",
    webhook: "an address that is told of each job",
    "idempotency-key": "repeat it to get the first batch again",
  },
  run: async (call) => {
    const client = await call.connect();
    const endpoint = call.positionals[0] ?? "";
    const asked = await askedFor(call, client, endpoint);
    const fields = submitFields(call);
    const { signal } = call.interrupts;
    const made = await client.batches.submit(
      endpoint,
      { ...asked, ...fields },
      { signal, idempotencyKey: call.text("idempotency-key") },
    );
    call.output.event({ event: "submitted", batch: made.id });
    if (!call.flag("wait") && call.text("output-folder") === undefined) {
      const text = [made.id, `  ${made.total} jobs: pilotlight batch get ${made.id}`];
      return { data: { batch: made }, ids: [made.id], text };
    }
    return await waitAndSave(call, client, made.id);
  },
};

async function askedFor(
  call: Call,
  client: Pilotlight,
  endpoint: string,
): Promise<{ inputs: JsonObject[] | JsonObject; sweep?: Record<string, SentValue[]> }> {
  const file = call.text("file");
  const sweeps = call.texts("sweep");
  if ((file === undefined) === (sweeps.length === 0)) throw new CliError("usage", "Give either --file or --sweep");
  if (file !== undefined) {
    if (call.texts("input").length > 0)
      throw new CliError("usage", "-i goes with --sweep; put it into each line of --file");
    const bytes = file === "-" ? await call.readStdin() : await readLocalFile(file, call.workingDirectory);
    return { inputs: inputLines(new TextDecoder().decode(bytes), file === "-" ? "standard input" : file) };
  }
  const { signal } = call.interrupts;
  const around: Surroundings = {
    client,
    specs: (await client.endpoints.get(endpoint, { signal })).release.inputs,
    workingDirectory: call.workingDirectory,
    onUpload: (path) => call.output.progress(`uploading ${path}`, `uploading ${path}`),
    signal,
  };
  const sweep: Record<string, SentValue[]> = {};
  for (const words of sweeps) {
    const { name, values } = await sweptValues(words, around);
    if (sweep[name] !== undefined) throw new CliError("usage", `--sweep ${name} is given twice`);
    sweep[name] = values;
  }
  return { inputs: await sharedInputs(call.texts("input"), around), sweep };
}

function submitFields(call: Call) {
  const lane = chosen(call, "lane", Lane, Lane.options.join(" or "));
  const priority = call.integer("priority", PRIORITY_MIN, PRIORITY_MAX);
  const expiresIn = call.integer("expires-in", 1, EXPIRES_IN_S_MAX);
  const timeout = call.integer("job-timeout", 1, TIMEOUT_S_MAX);
  const webhook = call.text("webhook");
  return {
    tags: [...call.texts("tag")],
    ...(lane === undefined ? {} : { lane }),
    ...(priority === undefined ? {} : { priority }),
    ...(expiresIn === undefined ? {} : { expires_in: expiresIn }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(webhook === undefined ? {} : { webhook: { url: webhook } }),
  };
}

export const batchGet: Command = {
  path: ["batch", "get"],
  summary: "Show a batch with its counts",
  examples: ["pilotlight batch get batch_…"],
  positionals: [batch],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const found = await client.batches.get(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: { batch: found }, ids: [found.id], text: batchText(found) };
  },
};

export const batchCancel: Command = {
  path: ["batch", "cancel"],
  summary: "Cancel every job of a batch that has not ended",
  examples: ["pilotlight batch cancel batch_…"],
  positionals: [batch],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const after = await client.batches.cancel(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: { batch: after }, ids: [after.id], text: batchText(after) };
  },
};

export const batchResults: Command = {
  path: ["batch", "results"],
  summary: "Show one result for each job of a batch, and download their outputs",
  examples: ["pilotlight batch results batch_… -o out", "pilotlight batch results batch_… --json-stream"],
  positionals: [batch],
  options: folderOption,
  optionHelp: { "output-folder": "download all outputs into this folder" },
  run: async (call) => {
    const client = await call.connect();
    const { results, saved } = await readResults(call, client, call.positionals[0] ?? "");
    return {
      data: { results, saved },
      ids: results.map(({ job_id }) => job_id),
      text: textTable(
        ["#", "job", "state", "outputs", "error"],
        results.map(({ index, job_id, state, outputs, error }) => [
          String(index),
          job_id,
          state,
          outputs.map(({ name, size }) => `${name} (${byteSize(size)})`).join(" "),
          error?.code ?? "",
        ]),
      ),
    };
  },
};

/**
 * Waits for all jobs and downloads their outputs if a folder is named.
 * @throws CliError `job_failed` when not all succeeded, `interrupted`
 */
async function waitAndSave(call: Call, client: Pilotlight, id: string): Promise<Outcome> {
  const timeout = call.integer("timeout", 1, 30 * 86_400);
  const { output, interrupts } = call;
  const show = (now: Batch) => {
    output.event({ event: "batch", batch: now.id, data: now });
    const { counts, total, progress } = now;
    const failed = counts.failed + counts.canceled + counts.expired;
    const bad = failed === 0 ? "" : `, ${failed} failed`;
    const line = `${progressBar(progress)} ${counts.succeeded} of ${total}${bad}, ${counts.running} running`;
    output.progress(line, `${Math.floor(progress * 10)} tenths`);
  };
  let ended: Batch;
  try {
    ended = await client.batches.wait(id, {
      signal: interrupts.signal,
      onProgress: show,
      timeoutMs: timeout === undefined ? undefined : timeout * 1_000,
    });
  } catch (error) {
    if (!interrupts.signal.aborted) throw error;
    throw new CliError(
      "interrupted",
      `${id} goes on`,
      `\`pilotlight batch get ${id}\` shows it, \`batch cancel\` ends it.`,
    );
  }
  const saved = call.text("output-folder") === undefined ? [] : (await readResults(call, client, id)).saved;
  const { counts, total } = ended;
  if (counts.succeeded < total) {
    const hint = `\`pilotlight batch results ${id}\` shows the reasons.`;
    throw new CliError("job_failed", `${counts.succeeded} of ${total} jobs succeeded`, hint, {
      details: { batch: ended, saved },
    });
  }
  return {
    data: { batch: ended, saved },
    ids: [id],
    text: [...batchText(ended), ...saved.map(({ path }) => `  ${path}`)],
  };
}

async function readResults(
  call: Call,
  client: Pilotlight,
  id: string,
): Promise<{ results: BatchResult[]; saved: SavedOutput[] }> {
  const { signal } = call.interrupts;
  const folder = call.text("output-folder");
  const results: BatchResult[] = [];
  for await (const result of client.batches.results(id, { signal })) {
    call.output.event({ event: "result", batch: id, data: result });
    results.push(result);
  }
  const saved: SavedOutput[] = [];
  for (const { index, job_id, outputs } of folder === undefined ? [] : results) {
    const place = String(index).padStart(PLACE_DIGITS, "0");
    const files = await saveOutputs(
      client,
      { id: job_id, outputs },
      {
        folder: resolve(call.workingDirectory, folder ?? ""),
        replace: false,
        fileName: ({ name }) => `${place}-${name}`,
        output: call.output,
        signal,
      },
    );
    saved.push(...files);
  }
  return { results, saved };
}

function batchText({ id, endpoint, state, total, counts, progress, created_at, finished_at }: Batch): string[] {
  const parts = Object.entries(counts).filter(([, count]) => count > 0);
  return [
    `${id}  ${endpoint}  ${state}`,
    `${progressBar(progress)} ${Math.round(progress * 100)} % of ${total} jobs: ${parts.map(([name, count]) => `${count} ${name}`).join(", ")}`,
    `created ${created_at}${finished_at === null ? "" : `, finished ${finished_at}`}`,
  ];
}
