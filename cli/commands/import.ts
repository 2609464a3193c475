import { basename } from "node:path";
import { accepted } from "#cli/accepted";
import type { Call, Command, Outcome } from "#cli/command";
import { inputTable } from "#cli/commands/deploy";
import { CliError } from "#cli/errors";
import { readLocalFile } from "#cli/input-values";
import { type GivenObjectInfo, givenObjectInfo, objectInfoHelp, objectInfoOptions, readJsonFile } from "#cli/json-file";
import { textTable } from "#cli/text-table";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { type Refusal, refusal } from "#contract/problems";
import { Overrides } from "#contract/workflow";
import { type DryRun, dryRun } from "#workflow/sources/dry-run";
import { readSource } from "#workflow/sources/read-source";
import type { SourceContents } from "#workflow/sources/source-contents";

/** The dry run of `deploy`: needs no server, no key and no GPU. */
export const importWorkflowFile: Command = {
  path: ["import"],
  summary: "Show what would be understood of a workflow, without a server: inputs, outputs, models, nodes",
  examples: [
    "pilotlight import workflow_api.json",
    "pilotlight import picture.png --json",
    "pilotlight import workflow_api.json --comfyui-url http://127.0.0.1:8188",
    "pilotlight import workflow_api.json --object-info object_info.json --overrides overrides.json",
  ],
  positionals: [{ name: "file", required: true }],
  options: { ...objectInfoOptions, overrides: { type: "string" }, "view-comfy": { type: "string" } },
  optionHelp: {
    ...objectInfoHelp,
    overrides: "JSON: rename, hide, bound, group inputs and choose outputs, as for deploy",
    "view-comfy": "a view_comfy.json for the graph: its fields are the inputs",
  },
  forPeople: true,
  run: async (call) => {
    const path = call.positionals[0] ?? "";
    const bytes = path === "-" ? await call.readStdin() : await readLocalFile(path, call.workingDirectory);
    const given = await givenObjectInfo(call);
    if (given !== undefined) checkObjectInfo(given);
    const form = call.text("view-comfy");
    const viewComfy = form === undefined ? undefined : await readJsonFile(form, call.workingDirectory);
    const overrides = accepted(await overridesOf(call));
    const source = accepted(await readSource(bytes));
    const understood = accepted(
      await dryRun(source, {
        ...(given === undefined ? {} : { objectInfo: given.classes }),
        ...(overrides.values === undefined ? {} : { overrides: overrides.values }),
        ...(viewComfy === undefined ? {} : { viewComfy }),
      }),
    );
    return shown(path === "-" ? "standard input" : basename(path), source, understood, given);
  },
};

function checkObjectInfo({ source, classes }: GivenObjectInfo): void {
  const entries = Object.values(classes);
  if (entries.some((entry) => isJsonObject(entry) && isJsonObject(entry.input))) return;
  const hint = "It maps class names to objects with `input`: curl <ComfyUI>/object_info > object_info.json";
  throw new CliError("file_unreadable", `${source} is not ComfyUI's answer to GET /object_info`, hint);
}

async function overridesOf(call: Call): Promise<{ ok: true; values: Overrides | undefined } | Refusal> {
  const path = call.text("overrides");
  if (path === undefined) return { ok: true, values: undefined };
  const parsed = Overrides.safeParse(await readJsonFile(path, call.workingDirectory));
  if (parsed.success) return { ok: true, values: parsed.data };
  const errors = parsed.error.issues.map(({ path: at, message }) => ({
    path: ["/overrides", ...at.map(String)].join("/"),
    reason: message,
  }));
  return refusal("invalid_body", `${path} does not hold overrides: ${errors[0]?.path}: ${errors[0]?.reason}`, {
    errors,
  });
}

/** `--json`: the shape is contract and described in docs/operators.md. */
function shown(file: string, source: SourceContents, understood: DryRun, given: GivenObjectInfo | undefined): Outcome {
  const { workflow, models, classes, unknown } = understood;
  const graph = parseExactJson(workflow.graph);
  return {
    data: {
      schema: "import/1",
      file,
      container: source.container,
      format: understood.format,
      name: source.name ?? null,
      files: source.files,
      object_info: { used: given === undefined ? "core_tables" : "given", source: given?.source ?? null },
      inputs: workflow.inputs,
      outputs: workflow.outputs,
      models,
      nodes: classes.map(({ class: name, nodes, origin, package: from, describedBy }) => ({
        class: name,
        nodes,
        origin,
        package: from,
        described_by: describedBy,
      })),
      snapshot: snapshotData(understood),
      unknown,
      warnings: workflow.warnings,
      graph,
    },
    text: [
      `${file}: ${sourceWords(source, understood)}; ${count(isJsonObject(graph) ? graph : {})}.`,
      given === undefined
        ? "Types and bounds: the bundled tables of ComfyUI's core nodes (--object-info or --comfyui-url has your server's)."
        : `Types and bounds: ${given.source}, and the bundled tables of ComfyUI's core nodes for what it lacks.`,
      "",
      ...(workflow.inputs.length === 0 ? ["Inputs: none"] : inputTable(workflow.inputs)),
      "",
      ...textTable(
        ["output", "kind", "node", ""],
        workflow.outputs.map(({ name, kind, node, temporary }) => [name, kind, node, temporary ? "(temporary)" : ""]),
      ),
      "",
      ...(models.length === 0
        ? ["Models: none"]
        : textTable(
            ["model", "folder", "named at", "class", "from"],
            models.map((model) => [
              model.filename,
              model.folder ?? "(unknown)",
              `${model.node}.${model.field}`,
              model.class,
              model.url === null ? "" : hostOf(model.url),
            ]),
          )),
      "",
      ...textTable(
        ["node class", "from", "types by", "nodes"],
        classes.map((each) => [
          each.class,
          each.package === null ? each.origin : packageWords(each.package),
          each.describedBy?.replace("_", " ") ?? "(guessed)",
          nodesWords(each.nodes),
        ]),
      ),
      ...snapshotLines(understood),
      ...(source.files.length === 0 ? [] : ["", `Files beside it: ${source.files.map(({ name }) => name).join(", ")}`]),
      ...(unknown.length + workflow.warnings.length === 0 ? [] : [""]),
      ...unknown.map((sentence) => `unknown: ${sentence}`),
      ...workflow.warnings.map((warning) => `warning: ${warning}`),
    ],
  };
}

function snapshotData({ snapshot }: DryRun) {
  if (snapshot === null) return null;
  const { comfyui, python, customNodes } = snapshot;
  return { comfyui, python, custom_nodes: customNodes };
}

function snapshotLines({ snapshot }: DryRun): string[] {
  if (snapshot === null) return [];
  const { comfyui, python, customNodes } = snapshot;
  return [
    "",
    `Snapshot: ComfyUI ${comfyui ?? "(unknown)"}, Python ${python ?? "(unknown)"}`,
    ...customNodes.map(({ repository, ref }) => `  ${repository}${ref === null ? "" : ` at ${ref}`}`),
  ];
}

/** The host of an address; what is none is shown as it is. */
function hostOf(url: string): string {
  return URL.parse(url)?.host || url;
}

const CONTAINERS: Readonly<Record<SourceContents["container"], string>> = {
  json: "JSON",
  png: "a PNG",
  webp: "a WebP",
  zip: "an archive",
};

function sourceWords(source: SourceContents, { format }: DryRun): string {
  const container = CONTAINERS[source.container];
  return format === "api" ? `${container} with a graph in API format` : `${container} in the editor's format`;
}

function count(graph: JsonObject): string {
  const nodes = Object.keys(graph).length;
  return nodes === 1 ? "1 node" : `${nodes} nodes`;
}

function packageWords({ id, version }: { readonly id: string; readonly version: string | null }): string {
  return version === null ? id : `${id} ${version}`;
}

const NODES_SHOWN_MAX = 6;

function nodesWords(ids: readonly string[]): string {
  const more = ids.length - NODES_SHOWN_MAX;
  return more <= 0 ? ids.join(" ") : `${ids.slice(0, NODES_SHOWN_MAX).join(" ")} and ${more} more`;
}
