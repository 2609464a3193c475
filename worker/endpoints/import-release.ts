/** From what a caller sends as a workflow to a release. */

import type { SmokeTest } from "#contract/build";
import { isJsonObject, type Json, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import type { EndpointId } from "#contract/ids";
import { Problem } from "#contract/problems";
import type { ImportedWorkflow, Overrides } from "#contract/workflow";
import { sha256Hex } from "#worker/auth/digest";
import { type NewRelease, type PackedSource, type ReleaseRow, releaseBytes } from "#worker/catalog/releases";
import { objectInfoOf } from "#worker/endpoints/object-info-body";
import { packSource, unpackSource, type WorkflowText } from "#worker/endpoints/release-source";
import { decodeDataUri } from "#worker/inputs/data-uri";
import { problemOf } from "#worker/placement/objects";
import { importWorkflow } from "#workflow/import-workflow";
import type { ObjectInfo } from "#workflow/object-info";
import { graphOfViewComfy } from "#workflow/sources/json-source";
import { readSource } from "#workflow/sources/read-source";
import { formOf, graphText } from "#workflow/sources/source-contents";

/** D1 refuses rows above 2 MB; the rest of the row is small. */
const RELEASE_BYTES_MAX = 1_900_000;
/** Overrides are kept beside the endpoint, in a row of their own; those of hundreds of inputs take a tenth of this. */
const OVERRIDES_BYTES_MAX = 250_000;
/** ComfyUI's own description of a class is deeper than a request's fields, but bounded by the request's depth. */
const STORED_DEPTH_MAX = 96;

/** Files that carry a workflow, as data URIs. */
const FILE_TYPES = ["image/png", "image/webp", "application/zip", "application/x-zip-compressed"];

/** What a release is to be. */
export interface ReleasePlan {
  readonly endpointId: EndpointId;
  readonly number: number;
  readonly createdAt: number;
  /** Digest of its build, or null. */
  readonly build: string | null;
  readonly smokeTest: SmokeTest | null;
  /** The release before, whose names are kept where the graph still has them. */
  readonly previous?: ReleaseRow;
}

/**
 * Imports `workflow` of a request body.
 * @param document the body as parsed: the workflow keeps every digit and every field
 * @throws Problem invalid_workflow, workflow_format_ui, invalid_body
 */
export async function importedRelease(
  document: JsonObject,
  overrides: Overrides,
  made: ReleasePlan,
): Promise<NewRelease> {
  const objectInfo = document.object_info === undefined ? undefined : objectInfoOf(document.object_info);
  const source = await workflowSource(document.workflow);
  return release({ ...source, viewComfy: givenForm(document) ?? source.viewComfy }, objectInfo, overrides, made);
}

/**
 * Imports again what the active release was imported from, with other overrides, another /object_info or a form: App mode,
 * promoted widgets and forms say the same as the first time.
 * @param source of the active release; its graph is imported where there is none
 */
export async function reimportedRelease(
  active: ReleaseRow,
  source: PackedSource | undefined,
  document: JsonObject,
  overrides: Overrides,
  made: ReleasePlan,
): Promise<NewRelease> {
  const stored =
    active.objectInfo === null ? undefined : parseExactJson(active.objectInfo, { depthMax: STORED_DEPTH_MAX });
  const objectInfo =
    document.object_info !== undefined
      ? objectInfoOf(document.object_info)
      : stored === undefined
        ? undefined
        : objectInfoOf(stored);
  const before = source === undefined ? { text: active.graph } : await unpackSource(source);
  const viewComfy = givenForm(document) ?? before.viewComfy;
  return release({ text: before.text, viewComfy }, objectInfo, overrides, made);
}

async function release(
  source: WorkflowText,
  objectInfo: ObjectInfo | undefined,
  overrides: Overrides,
  made: ReleasePlan,
): Promise<NewRelease> {
  refuseLargeOverrides(overrides);
  const { previous, ...names } = made;
  const { text, viewComfy } = source;
  const imported = await importWorkflow(
    { text },
    {
      viewComfy,
      ...(objectInfo === undefined ? {} : { objectInfo }),
      overrides,
      ...(previous === undefined ? {} : { previous: { inputs: previous.inputs, outputs: previous.outputs } }),
    },
  );
  if (!imported.ok) throw problemOf(imported);
  const { graph, inputs, outputs, classes, warnings }: ImportedWorkflow = imported.workflow;
  const row: ReleaseRow = {
    ...names,
    digest: await sha256Hex(stringifyExactJson(contentOf({ graph, inputs, outputs }, made))),
    graph,
    inputs,
    outputs,
    classes,
    warnings,
    overrides,
    objectInfo: objectInfo === undefined ? null : stringifyExactJson(only(objectInfo, namedClasses(text))),
  };
  if (releaseBytes(row) > RELEASE_BYTES_MAX) {
    throw new Problem(
      "invalid_workflow",
      `The workflow takes more than ${RELEASE_BYTES_MAX} bytes with its schema; move texts and lists out of it.`,
    );
  }
  return { row, source: await packSource(source) };
}

/** All that makes one release another; what it does not have is left out, so that releases from before keep their digest. */
function contentOf(content: Pick<ImportedWorkflow, "graph" | "inputs" | "outputs">, { build, smokeTest }: ReleasePlan) {
  return {
    ...content,
    ...(build === null ? {} : { build }),
    ...(smokeTest === null ? {} : { smoke_test: smokeTest }),
  };
}

/** What an override of a hidden input holds is looked at by nobody else. */
function refuseLargeOverrides(overrides: Overrides): void {
  if (new TextEncoder().encode(stringifyExactJson(overrides)).byteLength <= OVERRIDES_BYTES_MAX) return;
  const reason = `Must have at most ${OVERRIDES_BYTES_MAX} bytes.`;
  throw new Problem("invalid_body", `/overrides: ${reason}`, { errors: [{ path: "/overrides", reason }] });
}

/** The graph as text, whichever way it was sent; with files, what they hold counts and not what they are called. */
async function workflowSource(workflow: unknown): Promise<WorkflowText> {
  if (isJsonObject(workflow)) {
    const graph = graphOfViewComfy(workflow);
    return graph === undefined
      ? { text: stringifyExactJson(workflow) }
      : { text: stringifyExactJson(graph), viewComfy: workflow };
  }
  const text = String(workflow);
  if (!text.startsWith("data:")) return { text };
  const decoded = decodeDataUri(text);
  if (!decoded.ok || !FILE_TYPES.includes(decoded.contentType)) {
    throw new Problem("invalid_workflow", "A workflow inside a file must come as data:image/png;base64,…", {
      errors: [{ path: "/workflow", reason: decoded.ok ? `Must be one of ${FILE_TYPES.join(", ")}.` : decoded.reason }],
    });
  }
  const source = await readSource(decoded.bytes);
  if (!source.ok) throw problemOf(source);
  return { text: graphText(source) ?? "", viewComfy: formOf(source) };
}

function givenForm({ view_comfy: form }: JsonObject): JsonObject | undefined {
  return isJsonObject(form) ? form : undefined;
}

/** The classes that a workflow in either format names, those of muted nodes and inside subgraphs, too. */
function namedClasses(text: string): Set<string> {
  const names = new Set<string>();
  const read = (value: Json): void => {
    if (Array.isArray(value)) for (const item of value) read(item);
    else if (isJsonObject(value)) {
      for (const [field, inner] of Object.entries(value)) {
        if (typeof inner !== "string") read(inner);
        else if (field === "type" || field === "class_type") names.add(inner);
      }
    }
  };
  // As the importer, which has read this very text before, begins.
  read(parseExactJson(text.replace(/^\uFEFF/, ""), { pythonNumbers: true }));
  return names;
}

/** The classes the workflow names; a whole /object_info is megabytes. */
function only(objectInfo: ObjectInfo, classes: ReadonlySet<string>): ObjectInfo {
  return Object.fromEntries(
    [...classes].flatMap((name) => {
      const found = Object.hasOwn(objectInfo, name) ? objectInfo[name] : undefined;
      return found === undefined ? [] : [[name, found]];
    }),
  );
}
