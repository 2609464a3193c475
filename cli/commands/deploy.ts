import { basename, extname } from "node:path";
import type * as z from "zod";
import { accepted } from "#cli/accepted";
import { podHelp, podOptions, podsOf } from "#cli/chosen-pods";
import type { Call, Command, Outcome } from "#cli/command";
import { chosenBuild } from "#cli/commands/builds";
import { settingHelp, settingOptions, settingsOf } from "#cli/endpoint-settings";
import { CliError } from "#cli/errors";
import { placed, placeHelp, placeOptions, standingLines } from "#cli/follow-release";
import { readLocalFile } from "#cli/input-values";
import { givenObjectInfo, objectInfoHelp, objectInfoOptions, readJsonFile } from "#cli/json-file";
import { textTable } from "#cli/text-table";
import { PilotlightError } from "#client/pilotlight-error";
import { SmokeTest } from "#contract/build";
import type { Endpoint, EndpointPatch } from "#contract/endpoint";
import { Slug } from "#contract/endpoint";
import type { JsonObject } from "#contract/exact-json";
import type { InputSpec } from "#contract/workflow";
import { readSource } from "#workflow/sources/read-source";
import { formOf, graphText } from "#workflow/sources/source-contents";

export const deploy: Command = {
  path: ["deploy"],
  summary: "Make an endpoint of a workflow, or a new release of the endpoint that has the slug",
  examples: [
    "pilotlight deploy workflow_api.json",
    "pilotlight deploy picture.png --slug portraits --name Portraits",
    "pilotlight deploy workflow_api.json --comfyui-url http://127.0.0.1:8188",
    "pilotlight deploy workflow_api.json --build build.json",
    "pilotlight deploy workflow_api.json --no-activate",
  ],
  positionals: [{ name: "workflow.json|.png|.webp|.zip", required: true }],
  options: {
    slug: { type: "string" },
    name: { type: "string" },
    ...objectInfoOptions,
    "override-file": { type: "string" },
    "view-comfy": { type: "string" },
    build: { type: "string" },
    "smoke-test": { type: "string" },
    "no-activate": { type: "boolean" },
    ...placeOptions,
    ...podOptions,
    ...settingOptions,
  },
  optionHelp: {
    slug: "the endpoint's name in addresses; the file's name when left out",
    name: "its name for people",
    ...objectInfoHelp,
    "override-file": "JSON: rename, hide, bound inputs and outputs",
    "view-comfy": "a view_comfy.json for the graph: its fields are the inputs",
    build: "what it needs on a GPU: a build's digest, a file of one, or none",
    "smoke-test":
      'JSON: {"inputs": {…}, "outputs": ["image"]}, what must run on a machine before it gets jobs; or none',
    "no-activate": "make the new release of an endpoint without running new jobs on it",
    ...placeHelp,
    ...podHelp,
    ...settingHelp,
  },
  run: async (call) => {
    const path = call.positionals[0] ?? "";
    const workflow = await workflowOf(path, call);
    const slug = slugOf(call.text("slug") ?? basename(path, extname(path)), call.text("slug") !== undefined);
    const objectInfo = (await givenObjectInfo(call))?.classes;
    const overrides = await overridesOf(call);
    const settings = settingsOf(call);
    const name = call.text("name");
    const build = await chosenBuild(call);
    const smokeTest = await chosenSmokeTest(call);
    const client = await call.connect();
    const pods = await podsOf(call, client);
    const release = {
      ...workflow,
      ...(pods === undefined ? {} : { pods }),
      ...(name === undefined ? {} : { name }),
      ...(objectInfo === undefined ? {} : { object_info: objectInfo }),
      ...(overrides === undefined ? {} : { overrides }),
      ...(settings === undefined ? {} : { settings }),
      ...(build === undefined ? {} : { build }),
      ...(smokeTest === undefined ? {} : { smoke_test: smokeTest }),
    };
    const { signal } = call.interrupts;
    let endpoint: Endpoint;
    let isNew = true;
    try {
      endpoint = await client.endpoints.create({ slug, ...release }, { signal });
    } catch (error) {
      if (!(error instanceof PilotlightError && error.code === "slug_taken")) throw error;
      isNew = false;
      const activate = !call.flag("no-activate");
      const how = { ...(activate ? {} : { activate }), ...(call.flag("force") ? { force: true } : {}) };
      endpoint = await client.endpoints.patch(slug, { ...release, ...how }, { signal });
      if (!activate) return onlyMade(endpoint);
      endpoint = await placed(call, client, endpoint);
      if (endpoint.pending !== null) return waits(endpoint);
    }
    return deployed(endpoint, isNew, client.baseUrl);
  },
};

/** The endpoint runs on as before; the release waits to be looked at. */
function onlyMade(endpoint: Endpoint): Outcome {
  const { slug, release, newest_release: newest } = endpoint;
  return {
    data: { endpoint, created: false },
    ids: [endpoint.id],
    text: [
      `${slug} still runs new jobs on release ${release.number}; its newest is release ${newest}.`,
      "",
      `  pilotlight releases diff ${slug} ${newest}`,
      `  pilotlight releases activate ${slug} ${newest}`,
    ],
  };
}

/** It was not to be waited for. */
function waits(endpoint: Endpoint): Outcome {
  return { data: { endpoint, created: false }, ids: [endpoint.id], text: standingLines(endpoint) };
}

function deployed(endpoint: Endpoint, isNew: boolean, baseUrl: string): Outcome {
  const { release, slug } = endpoint;
  const example = release.inputs.find((input) => input.type === "string") ?? release.inputs[0];
  const flag = example === undefined ? "" : ` -i ${example.name}=${example.type === "file" ? "@file.png" : "…"}`;
  return {
    data: { endpoint, created: isNew },
    ids: [endpoint.id],
    text: [
      `${isNew ? "Created" : "Updated"} ${slug}, release ${release.number} (${release.digest.slice(0, 12)}).`,
      ...release.warnings.map((warning) => `warning: ${warning}`),
      ...standingLines(endpoint),
      "",
      ...inputTable(release.inputs),
      "",
      `Outputs: ${release.outputs.map(({ name, kind }) => `${name} (${kind})`).join(", ") || "none"}`,
      "",
      `  pilotlight run ${slug}${flag} -o out`,
      `  POST ${baseUrl}/v1/endpoints/${slug}/jobs`,
    ],
  };
}

/** The endpoint's inputs as a table. */
export function inputTable(inputs: readonly InputSpec[]): string[] {
  return textTable(
    ["input", "type", "default", "takes", "sets"],
    inputs.map((input) => [
      input.name,
      input.type === "file" ? input.media : input.type,
      defaultOf(input),
      rangeOf(input),
      input.targets.map(({ node, field }) => `${node}.${field}`).join(" "),
    ]),
  );
}

function defaultOf(input: InputSpec): string {
  if (input.type === "integer" && input.seed) return "random";
  if (input.type === "file" || input.default === undefined) return input.required ? "(required)" : "";
  const text = String(input.default).replace(/\s+/g, " ");
  return text.length > 32 ? `${text.slice(0, 31)}…` : text;
}

function rangeOf(input: InputSpec): string {
  switch (input.type) {
    case "integer":
    case "number": {
      const { minimum, maximum } = input;
      return minimum === undefined && maximum === undefined ? "" : `${minimum ?? ""}…${maximum ?? ""}`;
    }
    case "choice": {
      const text = input.choices.slice(0, 4).join(" | ");
      return input.choices.length > 4 ? `${text} | … (${input.choices.length})` : text;
    }
    case "file":
      return "file, URL or data: URI";
    default:
      return "";
  }
}

/** The graph as text, which keeps every digit; of a picture or an archive only that travels, however large it is. */
async function workflowOf(path: string, call: Call): Promise<{ workflow: string; view_comfy?: JsonObject }> {
  const bytes = path === "-" ? await call.readStdin() : await readLocalFile(path, call.workingDirectory);
  const source = accepted(await readSource(bytes));
  const given = call.text("view-comfy");
  const form = given === undefined ? formOf(source) : await readJsonFile(given, call.workingDirectory);
  return { workflow: graphText(source) ?? "", ...(form === undefined ? {} : { view_comfy: form }) };
}

function slugOf(text: string, isExact: boolean): string {
  const slug = isExact
    ? text
    : text
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, "-")
        .slice(0, 63)
        .replace(/^-+|-+$/g, "");
  if (Slug.safeParse(slug).success) return slug;
  throw new CliError(
    "usage",
    `${JSON.stringify(slug)} cannot be an endpoint's name`,
    "--slug gives one: a-z, 0-9 and inner hyphens.",
  );
}

/** @returns null for none, undefined to leave it as it is */
async function chosenSmokeTest(call: Call): Promise<z.input<typeof EndpointPatch>["smoke_test"]> {
  const path = call.text("smoke-test");
  if (path === undefined) return undefined;
  if (path === "none") return null;
  const document = SmokeTest.safeParse(await readJsonFile(path, call.workingDirectory));
  if (document.success) return document.data;
  const issue = document.error.issues[0];
  throw new CliError(
    "usage",
    `${path} is no smoke test: /${issue?.path.join("/") ?? ""}: ${issue?.message ?? ""}`,
    'It looks like {"inputs": {"seed": 1}, "outputs": ["image"]}.',
  );
}

async function overridesOf(call: Call): Promise<z.input<typeof EndpointPatch>["overrides"]> {
  const path = call.text("override-file");
  if (path === undefined) return undefined;
  // The service checks what is in it and names each wrong field.
  return readJsonFile(path, call.workingDirectory);
}
