/** The demonstration: everything real, on this machine, in about ten seconds. */
import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import type { Call, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { followJob } from "#cli/follow-job";
import { placed } from "#cli/follow-release";
import { chooseComfyUi, describeComfyUi } from "#cli/local/comfyui";
import { AlreadyRunning, startStack } from "#cli/local/stack";
import {
  Credentials,
  PROJECT_ROOT,
  readJsonFile,
  type StateFolder,
  stateFolderAt,
  stateRootOf,
} from "#cli/local/state-folder";
import { nodeOnline } from "#cli/node-online";
import { checkPng } from "#cli/png-check";
import { saveOutputs } from "#cli/save-outputs";
import { byteSize, textTable } from "#cli/text-table";
import { Pilotlight } from "#client/pilotlight";
import { PilotlightError } from "#client/pilotlight-error";
import type { Job, JobErrorCode } from "#contract/job";

interface Example {
  readonly slug: string;
  readonly what: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  /** It needs a checkpoint that a real ComfyUI may lack. */
  readonly needsModel: boolean;
}

const EXAMPLES: readonly Example[] = [
  {
    slug: "text-to-image",
    what: "the workflow everybody starts with: checkpoint, prompt, sampler",
    inputs: { prompt: "a fox in the snow" },
    needsModel: true,
  },
  { slug: "model-free", what: "pixels computed without a model", inputs: {}, needsModel: false },
];
/** What a ComfyUI without the checkpoint answers, at its own check or at the agent's. */
const MODEL_ERRORS: readonly JobErrorCode[] = ["missing_model", "invalid_workflow"];

interface Shown {
  readonly slug: string;
  readonly job: Job;
  readonly files: readonly { path: string; width: number; height: number }[];
}

/** Runs the demonstration; reuses a server that runs already, and what an earlier run left. */
export async function runDemo(call: Call): Promise<Outcome> {
  const state = stateFolderAt(stateRootOf(call.env));
  const startedAt = performance.now();
  const service = await startOrReuse(call, state);
  try {
    const { signal } = call.interrupts;
    const { client } = service;
    const say = (line: string) => call.output.say(line);
    call.output.progress("waiting for the agent …", "agent");
    const node = await nodeOnline(client, service.podId, signal);
    say(`Node       ${node.name} (${node.comfyui})`);
    const shown: Shown[] = [];
    const folder = resolve(call.workingDirectory, call.text("output-folder") ?? "demo-output");
    for (const example of EXAMPLES) {
      const result = await showExample(call, client, example, folder, node.comfyui.includes("stand-in"));
      if (result !== null) shown.push(result);
    }
    if (shown.length === 0) throw new CliError("demo_failed", "No workflow ran");
    const tookMs = performance.now() - startedAt;
    say("");
    say(`Done in ${(tookMs / 1_000).toFixed(1)} s.`);
    sayWhatNext(call, client, service, shown);
    return { data: { url: client.baseUrl, jobs: shown.map(({ job, files }) => ({ job, files })) } };
  } finally {
    await service.stop();
  }
}

interface Service {
  readonly client: Pilotlight;
  readonly podId: string;
  readonly isOurs: boolean;
  readonly state: StateFolder;
  stop(): Promise<void>;
}

async function startOrReuse(call: Call, state: StateFolder): Promise<Service> {
  const { signal, force } = call.interrupts;
  call.output.progress("starting the server …", "server");
  try {
    const report = (line: string) => call.output.note(line);
    const stack = await startStack({ state, report, signal });
    force.addEventListener("abort", () => stack.kill(), { once: true });
    try {
      call.output.say(`Server     ${stack.url} (development mode, this machine alone)`);
      const choice = await chooseComfyUi(call.env);
      call.output.say(`Jobs       ${describeComfyUi(choice)}`);
      await stack.startAgent(choice);
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return { client: stack.client, podId: stack.credentials.pod_id, isOurs: true, state, stop: () => stack.stop() };
  } catch (error) {
    if (!(error instanceof AlreadyRunning) || error.url === null) throw error;
    const credentials = await readJsonFile(state.credentials, Credentials);
    if (credentials === null) throw new CliError("demo_failed", `${state.credentials} is missing`);
    call.output.say(`Server     ${error.url} (it was running already)`);
    const client = new Pilotlight({ baseUrl: error.url, token: credentials.key });
    return { client, podId: credentials.pod_id, isOurs: false, state, stop: async () => {} };
  }
}

async function showExample(
  call: Call,
  client: Pilotlight,
  example: Example,
  folder: string,
  isStandIn: boolean,
): Promise<Shown | null> {
  const { signal } = call.interrupts;
  const say = (line: string) => call.output.say(line);
  const { slug } = example;
  const workflow = await readFile(join(PROJECT_ROOT, "examples", `${slug}.json`), "utf8");
  const endpoint = await deploy(call, client, slug, workflow, signal);
  say("");
  say(`${slug}: ${example.what}`);
  say(`  endpoint   ${client.baseUrl}/v1/endpoints/${slug}, release ${endpoint.release.number}`);
  say(`  inputs     ${endpoint.release.inputs.map(({ name }) => name).join(", ")}`);
  const known = new Set(endpoint.release.inputs.map(({ name }) => name));
  const inputs = Object.fromEntries(Object.entries(example.inputs).filter(([name]) => known.has(name)));
  const submitted = await client.jobs.submit(slug, { inputs, tags: ["demo"] }, { signal });
  say(`  job        ${submitted.id}`);
  const job = await followJob(client, submitted.id, call.output, { signal });
  if (job.state !== "succeeded") {
    const code = job.error?.code;
    if (example.needsModel && code !== undefined && MODEL_ERRORS.includes(code)) {
      say(`  This ComfyUI cannot run it: ${job.error?.message ?? code}`);
      say("  The workflow needs the checkpoint it names. Put it into ComfyUI's models/checkpoints, or deploy your own");
      say("  workflow; the demonstration goes on with the one that needs no model.");
      return null;
    }
    throw new CliError("demo_failed", `${job.id} ${job.state}: ${job.error?.message ?? "no reason given"}`);
  }
  for (const line of textTable(
    ["phase", "ms"],
    job.timeline.map(({ phase, ms }) => [phase, String(ms ?? "")]),
  )) {
    say(`  ${line}`);
  }
  const saved = await saveOutputs(client, job, {
    folder,
    replace: true,
    fileName: ({ name }) => `${slug}-${name}`,
    output: call.output,
    signal,
  });
  if (saved.length === 0) throw new CliError("demo_failed", `${job.id} made no output`);
  const files: { path: string; width: number; height: number }[] = [];
  for (const { path, content_type, size } of saved) {
    if (content_type !== "image/png") {
      say(`  saved      ${shortPath(call, path)} (${content_type}, ${byteSize(size)})`);
      continue;
    }
    const { width, height } = checkPng(await readFile(path));
    files.push({ path, width, height });
    say(`  saved      ${shortPath(call, path)} (PNG, ${width} × ${height}, ${byteSize(size)}, checked)`);
  }
  if (example.needsModel && isStandIn) say("  This picture is the stand-in's placeholder: no model drew it.");
  return { slug, job, files };
}

async function deploy(call: Call, client: Pilotlight, slug: string, workflow: string, signal: AbortSignal) {
  try {
    return await client.endpoints.create({ slug, workflow }, { signal });
  } catch (error) {
    if (!(error instanceof PilotlightError && error.code === "slug_taken")) throw error;
    // What is shown is the new one: where the old one has run, the new one has to run first.
    return await placed(call, client, await client.endpoints.patch(slug, { workflow }, { signal }));
  }
}

function sayWhatNext(call: Call, client: Pilotlight, service: Service, shown: readonly Shown[]): void {
  const say = (line: string) => call.output.say(line);
  const url = client.baseUrl;
  const last = shown[0];
  say("");
  say(
    service.isOurs
      ? "The server stops now; `npm start` keeps one running. With it, call it yourself:"
      : "Call it yourself:",
  );
  say(`  export PILOTLIGHT_TOKEN=$(node -p 'require("${service.state.credentials}").key')`);
  say(`  curl -s ${url}/v1/endpoints/${last?.slug}/jobs -H "Authorization: Bearer $PILOTLIGHT_TOKEN" \\`);
  say(
    `    -H "Content-Type: application/json" -H "Prefer: wait=60" -d '{"inputs": ${JSON.stringify(exampleInputs(last))}}'`,
  );
  say("Look further:");
  say(`  ${url}/docs                the reference of every route`);
  say(`  ${url}/openapi.json        the same for programs`);
  for (const { job } of shown) say(`  ${url}/v1/jobs/${job.id}`);
}

/** Relative to where the person stands, when it lies below. */
function shortPath(call: Call, path: string): string {
  const short = relative(call.workingDirectory, path);
  return short.startsWith("..") ? path : short;
}

function exampleInputs(shown: Shown | undefined): Readonly<Record<string, unknown>> {
  return EXAMPLES.find(({ slug }) => slug === shown?.slug)?.inputs ?? {};
}
