/** Builds at the server: registered, listed, fetched, and chosen by releases. */
import { readWholeBuild, writeWhole } from "#cli/build-report";
import type { Call, Command, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { byteSize, textTable } from "#cli/text-table";
import type { BuildSummary } from "#contract/api/builds";
import { stringifyExactJson } from "#contract/exact-json";
import { Sha256 } from "#contract/job";

export const buildsPush: Command = {
  path: ["builds", "push"],
  summary: "Register a build with the server, for releases to choose",
  examples: ["pilotlight builds push build.json"],
  positionals: [{ name: "file", required: true }],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const manifest = await readWholeBuild(call, call.positionals[0] ?? "");
    const client = await call.connect();
    const build = await client.builds.create(manifest, { signal: call.interrupts.signal });
    return {
      data: { build },
      ids: [build.digest],
      text: [`Build ${build.digest}`, "", `  pilotlight deploy workflow.json --build ${build.digest}`],
    };
  },
};

export const buildsList: Command = {
  path: ["builds", "ls"],
  summary: "List the builds of the workspace, newest first",
  examples: ["pilotlight builds ls"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const data: BuildSummary[] = [];
    for await (const each of client.builds.list({ signal: call.interrupts.signal })) data.push(each);
    const rows = data.map((build) => [
      build.digest,
      build.comfyui,
      build.python,
      String(build.custom_nodes),
      `${build.models} (${byteSize(build.model_bytes)})`,
      build.created_at,
    ]);
    return {
      data: { data },
      ids: data.map(({ digest }) => digest),
      text: textTable(["build", "ComfyUI", "Python", "custom nodes", "models", "registered"], rows),
    };
  },
};

const outOption = { out: { type: "string" } } as const;

export const buildsGet: Command = {
  path: ["builds", "get"],
  summary: "Fetch a build's manifest",
  examples: ["pilotlight builds get 3b1f… --out build.json"],
  positionals: [{ name: "digest", required: true }],
  options: outOption,
  optionHelp: { out: "write it there instead of printing it" },
  run: async (call) => {
    const digest = digestOf(call);
    const client = await call.connect();
    const { manifest } = await client.builds.get(digest, { signal: call.interrupts.signal });
    return written(call, manifest, { build: manifest });
  },
};

export const buildsRemove: Command = {
  path: ["builds", "rm"],
  summary: "Delete a build that no release uses",
  examples: ["pilotlight builds rm 3b1f…"],
  positionals: [{ name: "digest", required: true }],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const digest = digestOf(call);
    const client = await call.connect();
    await client.builds.delete(digest, { signal: call.interrupts.signal });
    return { data: { deleted: digest }, text: `Build ${digest} is deleted.` };
  },
};

/** @throws CliError `usage` when the first argument is no digest */
function digestOf(call: Call): string {
  const digest = call.positionals[0] ?? "";
  if (Sha256.safeParse(digest).success) return digest;
  throw new CliError(
    "usage",
    `${JSON.stringify(digest)} is no build's digest`,
    "It has 64 hexadecimal digits: pilotlight builds ls",
  );
}

export const releasesPackage: Command = {
  path: ["releases", "package"],
  summary: "Fetch a release with its build as one document: all that a machine must be given",
  examples: ["pilotlight releases package text-to-image 3 --out text-to-image.json"],
  positionals: [
    { name: "endpoint", required: true },
    { name: "number", required: true },
  ],
  options: outOption,
  optionHelp: { out: "write it there instead of printing it" },
  run: async (call) => {
    const [endpoint = "", number = ""] = call.positionals;
    if (!/^[1-9][0-9]{0,8}$/.test(number))
      throw new CliError("usage", `${JSON.stringify(number)} is no release's number`);
    const client = await call.connect();
    const document = await client.builds.standalone(endpoint, Number(number), { signal: call.interrupts.signal });
    return written(call, document, { release: document });
  },
};

/** The build that `deploy --build` names: a digest, a file that is registered first, or `none`. */
export async function chosenBuild(call: Call): Promise<string | null | undefined> {
  const named = call.text("build");
  if (named === undefined) return undefined;
  if (named === "none") return null;
  if (Sha256.safeParse(named).success) return named;
  const manifest = await readWholeBuild(call, named);
  const client = await call.connect();
  return (await client.builds.create(manifest, { signal: call.interrupts.signal })).digest;
}

async function written(call: Call, document: object, data: Record<string, unknown>): Promise<Outcome> {
  const out = call.text("out");
  const text = stringifyExactJson(document);
  if (out === undefined) return { data, text };
  await writeWhole(out, `${text}\n`, call.workingDirectory);
  return { data: { ...data, out }, text: `Written to ${out}.` };
}
