import { canaryLines } from "#cli/canary-text";
import type { Call, Command } from "#cli/command";
import { inputTable } from "#cli/commands/deploy";
import { CliError } from "#cli/errors";
import { logLine, placed, placeHelp, placeOptions, standingLines } from "#cli/follow-release";
import { releaseDiffLines } from "#cli/release-diff-text";
import { textTable } from "#cli/text-table";
import type { Endpoint } from "#contract/endpoint";
import { stringifyExactJson } from "#contract/exact-json";
import type { EndpointRelease } from "#contract/release";
import type { ReleaseLogLine } from "#contract/verification";

const endpoint = { name: "endpoint", required: true };
const number = { name: "number", required: true };
const DIGEST_SHOWN = 12;

export const releasesList: Command = {
  path: ["releases", "ls"],
  summary: "List the releases of an endpoint, newest first",
  examples: ["pilotlight releases ls text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const data: EndpointRelease[] = [];
    for await (const each of client.releases.list(nameOf(call), { signal: call.interrupts.signal })) data.push(each);
    const rows = data.map((release) => [
      String(release.number),
      standing(release),
      release.digest.slice(0, DIGEST_SHOWN),
      String(release.inputs.length),
      release.outputs.map(({ name }) => name).join(", "),
      release.created_at,
    ]);
    return {
      data: { data },
      ids: data.map((release) => String(release.number)),
      text: textTable(["release", "state", "digest", "inputs", "outputs", "made"], rows),
    };
  },
};

export const releasesShow: Command = {
  path: ["releases", "show"],
  summary: "Show a release: its inputs, outputs and node classes",
  examples: [
    "pilotlight releases show text-to-image 3",
    "pilotlight releases show text-to-image 3 --graph > graph.json",
  ],
  positionals: [endpoint, number],
  options: { graph: { type: "boolean" } },
  optionHelp: { graph: "with the workflow in API format; for people, that alone" },
  run: async (call) => {
    const client = await call.connect();
    const graph = call.flag("graph");
    const { signal } = call.interrupts;
    const release = await client.releases.get(nameOf(call), numberOf(call), { graph }, { signal });
    return {
      data: { release },
      ids: [String(release.number)],
      text: graph
        ? stringifyExactJson(release.graph ?? {})
        : [
            `release ${release.number} (${release.digest.slice(0, DIGEST_SHOWN)}), made ${release.created_at}${release.active ? ", active" : ""}`,
            ...release.warnings.map((warning) => `warning: ${warning}`),
            ...verificationLines(release),
            "",
            ...inputTable(release.inputs),
            "",
            `outputs: ${release.outputs.map(({ name }) => name).join(", ")}`,
            `classes: ${release.classes.join(", ")}`,
          ],
    };
  },
};

export const releasesDiff: Command = {
  path: ["releases", "diff"],
  summary: "Show what a release changes against another one, or against the active one",
  examples: ["pilotlight releases diff text-to-image 4", "pilotlight releases diff text-to-image 4 --from 2"],
  positionals: [endpoint, number],
  options: { from: { type: "string" } },
  optionHelp: { from: "the other release; the active one when left out" },
  run: async (call) => {
    const client = await call.connect();
    const from = call.integer("from", 1, Number.MAX_SAFE_INTEGER);
    const { signal } = call.interrupts;
    const diff = await client.releases.diff(nameOf(call), numberOf(call), from, { signal });
    return { data: { diff }, text: releaseDiffLines(diff) };
  },
};

export const releasesLogs: Command = {
  path: ["releases", "logs"],
  summary: "Show what came of trying a release on the machines, and follow it until that is known",
  examples: ["pilotlight releases logs text-to-image 4"],
  positionals: [endpoint, number],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const release = numberOf(call);
    const client = await call.connect();
    const { signal } = call.interrupts;
    const data: ReleaseLogLine[] = [];
    for await (const line of client.releases.logs(nameOf(call), release, { signal })) {
      call.output.event({ event: "release_log", release, data: line });
      if (call.output.format === "text") call.output.say(`${line.at}  ${logLine(line)}`);
      data.push(line);
    }
    return { data: { data }, ids: [String(release)], text: [] };
  },
};

export const releasesActivate: Command = {
  path: ["releases", "activate"],
  summary: "Make new jobs run on this release, as soon as it is ready; jobs already accepted keep theirs",
  examples: ["pilotlight releases activate text-to-image 3", "pilotlight releases activate text-to-image 3 --force"],
  positionals: [endpoint, number],
  options: placeOptions,
  optionHelp: placeHelp,
  run: async (call) => {
    const client = await call.connect();
    const { signal } = call.interrupts;
    const asked = await client.releases.activate(nameOf(call), numberOf(call), { force: call.flag("force"), signal });
    return activated(await placed(call, client, asked));
  },
};

export const releasesRollback: Command = {
  path: ["releases", "rollback"],
  summary: "Activate the release that was active before the present one",
  examples: ["pilotlight releases rollback text-to-image"],
  positionals: [endpoint],
  options: placeOptions,
  optionHelp: placeHelp,
  run: async (call) => {
    const client = await call.connect();
    const { signal } = call.interrupts;
    // The release the person sees: if somebody else is faster, nothing is rolled back twice.
    const { release } = await client.endpoints.get(nameOf(call), { signal });
    const force = call.flag("force");
    const asked = await client.releases.rollback(nameOf(call), release.number, { force, signal });
    return activated(await placed(call, client, asked));
  },
};

export const releasesCanary: Command = {
  path: ["releases", "canary"],
  summary: "Let a part of the new jobs run on a release, until it does worse than the active one",
  examples: [
    "pilotlight releases canary text-to-image 4 --weight 0.1",
    "pilotlight releases canary text-to-image 4 --weight 0.5 --max-latency-ratio 1.2 --min-jobs 100",
    "pilotlight releases canary text-to-image 4 --weight 0",
  ],
  positionals: [endpoint, number],
  options: {
    weight: { type: "string" },
    "max-error-increase": { type: "string" },
    "max-latency-ratio": { type: "string" },
    "min-jobs": { type: "string" },
    ...placeOptions,
  },
  optionHelp: {
    weight: "part of the new jobs, 0 to 1; 0 ends the canary",
    "max-error-increase": "its share of failed jobs may be above the active release's by this, 0 to 1",
    "max-latency-ratio": "its jobs may execute this many times as long, 1 or more",
    "min-jobs": "so many of its jobs must have ended before it is judged",
    ...placeHelp,
  },
  run: async (call) => {
    const weight = decimal(call, "weight");
    if (weight === undefined) throw new CliError("usage", "Say which part of the new jobs: --weight 0.1");
    const increase = decimal(call, "max-error-increase");
    const ratio = decimal(call, "max-latency-ratio");
    const minJobs = call.integer("min-jobs", 1, Number.MAX_SAFE_INTEGER);
    const client = await call.connect();
    const asked = await client.releases.canary(
      nameOf(call),
      numberOf(call),
      {
        weight,
        ...(increase === undefined ? {} : { max_error_rate_increase: increase }),
        ...(ratio === undefined ? {} : { max_latency_ratio: ratio }),
        ...(minJobs === undefined ? {} : { min_jobs: minJobs }),
        ...(call.flag("force") ? { force: true } : {}),
      },
      { signal: call.interrupts.signal },
    );
    const changed = await placed(call, client, asked);
    const text = changed.pending === null ? canaryLines(changed) : standingLines(changed);
    return { data: { endpoint: changed }, ids: [changed.id], text };
  },
};

/** A number with decimals. @throws CliError `usage` when it is none; the service knows the bounds */
function decimal(call: Call, option: string): number | undefined {
  const text = call.text(option);
  if (text === undefined) return undefined;
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) return Number(text);
  throw new CliError("usage", `--${option} must be a number such as 0.1, not "${text}"`);
}

function activated(changed: Endpoint) {
  return {
    data: { endpoint: changed },
    ids: [changed.id],
    text:
      changed.pending === null
        ? [`${changed.slug} runs new jobs on release ${changed.release.number}.`, ...standingLines(changed)]
        : standingLines(changed),
  };
}

/** What it is used for, or how far it is: `active`, `canary`, `verifying`. */
function standing({ active, canary, state, forced }: EndpointRelease): string {
  const role = active ? "active" : canary === null ? "" : "canary";
  const shown = state === null || state === "untried" || (state === "ready" && role !== "") ? "" : state;
  const words = [role, shown, forced && state !== "ready" ? "forced" : ""].filter((word) => word !== "");
  return words.join(", ");
}

/** Where it was tried, and what came of it. */
function verificationLines({ verification }: EndpointRelease): string[] {
  return verification.map(({ gpu_type: card, state, error }) => {
    const reason = error === null ? "" : `: ${error.split("\n", 1)[0]}`;
    return `${card ?? "machines without a known card"}: ${state}${reason}`;
  });
}

function nameOf(call: Call): string {
  return call.positionals[0] ?? "";
}

function numberOf(call: Call): number {
  const text = call.positionals[1] ?? "";
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new CliError("usage", `"${text}" is no release number; pilotlight releases ls ${nameOf(call)} lists them`);
}
