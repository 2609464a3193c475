/** The workflow in an archive: a comfy-pack (`.cpack.zip`), or a plain zip with exactly one workflow. */
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import { decodeText } from "./decode-text.ts";
import { describeJson, type JsonKind, readJsonSource } from "./json-source.ts";
import type { SourceContents, SourceFile } from "./source-contents.ts";
import { readZipDirectory, readZipEntry, type ZipEntry } from "./zip.ts";

/** Everything unpacked from one archive, at most. */
const UNPACKED_BYTES_MAX = 4 * WORKFLOW_BODY_BYTES_MAX;
/** JSON files that are looked into. */
const JSON_FILES_MAX = 50;
const FILES_LISTED_MAX = 500;
const NAMES_QUOTED_MAX = 5;

interface JsonFile {
  readonly entry: ZipEntry;
  readonly kind: JsonKind;
  readonly name: string | undefined;
  readonly text: string;
}

/** Reads an archive's JSON files by what they hold; what else is in it is listed. */
export async function readZipSource(zip: Uint8Array): Promise<SourceContents | Refusal> {
  const directory = readZipDirectory(zip);
  if (!directory.ok) return refusal("invalid_workflow", directory.fault);
  const entries = directory.entries.filter(({ name }) => !isLeftBehind(name));
  const files = await jsonFiles(zip, entries);
  if (!Array.isArray(files)) return files;

  const pack = packOf(files);
  const of = (kind: JsonKind): JsonFile[] => pack.filter((file) => file.kind === kind);
  const [graphs, editors, forms, snapshots] = [of("graph"), of("editor"), of("view_comfy"), of("snapshot")];
  for (const several of [graphs, editors, forms]) if (several.length > 1) return ambiguous(several);
  const [graph, editor, form, snapshot] = [graphs[0], editors[0], forms[0], snapshots[0]];
  const formSource = form === undefined ? undefined : readJsonSource(form.text);
  const formGraph = formSource?.ok === true ? formSource.prompt : undefined;
  const prompt = graph?.text ?? formGraph;
  if (prompt === undefined && editor === undefined) {
    return refusal(
      "invalid_workflow",
      "The zip holds no workflow: put workflow_api.json, or the editor's workflow.json, into it.",
    );
  }
  const name = editor?.name ?? form?.name;
  const read = new Set([graph, editor, form, snapshot].map((file) => file?.entry));
  return {
    ok: true,
    container: "zip",
    ...(prompt === undefined ? {} : { prompt }),
    ...(editor === undefined ? {} : { workflow: editor.text }),
    ...(form === undefined ? {} : { viewComfy: form.text }),
    ...(snapshot === undefined ? {} : { snapshot: snapshot.text }),
    ...(name === undefined ? {} : { name }),
    files: entries
      .filter((entry) => !read.has(entry))
      .slice(0, FILES_LISTED_MAX)
      .map(({ name: file, bytes }): SourceFile => ({ name: file, bytes })),
  };
}

async function jsonFiles(zip: Uint8Array, entries: readonly ZipEntry[]): Promise<JsonFile[] | Refusal> {
  const named = entries.filter(({ name }) => /\.json$/i.test(name));
  if (named.length > JSON_FILES_MAX) {
    return refusal("invalid_workflow", `The zip holds ${named.length} JSON files; ${JSON_FILES_MAX} are the most.`);
  }
  let left = UNPACKED_BYTES_MAX;
  const files: JsonFile[] = [];
  for (const entry of named) {
    left -= Math.min(entry.bytes, WORKFLOW_BODY_BYTES_MAX);
    if (left < 0) {
      return refusal("invalid_workflow", `The zip's JSON files have more than ${UNPACKED_BYTES_MAX} bytes together.`);
    }
    const read = await readZipEntry(zip, entry, WORKFLOW_BODY_BYTES_MAX);
    if (!read.ok) return refusal("invalid_workflow", read.fault);
    const text = decodeText(read.content);
    if (text === undefined) return refusal("invalid_workflow", `In the zip, ${entry.name} is not JSON text.`);
    files.push({ entry, ...describeJson(text), text });
  }
  return files;
}

/** The names comfy-pack gives its files; where they are, other JSON files are inputs and not workflows. */
const PACK_NAMES: Readonly<Record<string, JsonKind>> = {
  "workflow_api.json": "graph",
  "workflow.json": "editor",
  "view_comfy.json": "view_comfy",
  "snapshot.json": "snapshot",
};

function packOf(files: readonly JsonFile[]): readonly JsonFile[] {
  const named = files.filter(({ entry, kind }) => {
    const name = baseName(entry.name).toLowerCase();
    return Object.hasOwn(PACK_NAMES, name) && PACK_NAMES[name] === kind;
  });
  const hasGraph = named.some(({ kind }) => kind === "graph");
  return hasGraph
    ? [...named, ...files.filter(({ kind }) => kind === "view_comfy" && !named.some((one) => one.kind === kind))]
    : files;
}

function ambiguous(files: readonly JsonFile[]): Refusal {
  const names = files.slice(0, NAMES_QUOTED_MAX).map(({ entry }) => entry.name);
  const more = files.length - names.length;
  return refusal(
    "invalid_workflow",
    `The zip holds several workflows: ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}. Send one at a time.`,
  );
}

/** What archivers and file managers leave behind. */
function isLeftBehind(name: string): boolean {
  return /(^|[/\\])__MACOSX[/\\]/.test(name) || baseName(name).startsWith(".");
}

function baseName(name: string): string {
  return name.slice(name.search(/[^/\\]*$/));
}
