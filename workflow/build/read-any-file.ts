/** The bytes of any file that says something of a build: build documents, locks, and workflows in all their containers. */
import { isJsonObject, type Json, type JsonObject, JsonSyntaxError, parseExactJson } from "#contract/exact-json";
import { type EditorFacts, editorFacts, NO_FACTS } from "../editor-facts.ts";
import { isPng } from "../png-metadata.ts";
import { decodeText } from "../sources/decode-text.ts";
import { type DryRun, dryRun } from "../sources/dry-run.ts";
import { readSource } from "../sources/read-source.ts";
import { isWebp } from "../sources/webp-metadata.ts";
import { isZip, readZipDirectory, readZipEntry } from "../sources/zip.ts";
import { type BuildFault, type BuildReading, buildFault } from "./draft.ts";
import { mergeDrafts, type NamedReading } from "./merge-drafts.ts";
import { readBuildFile } from "./read-build-file.ts";
import { BUILD_DOCUMENT_BYTES_MAX } from "./read-document.ts";
import { draftOfWorkflow } from "./workflow-facts.ts";

export interface AnyFileOptions {
  /** GET /object_info as JSON, which tells more model folders. */
  readonly objectInfo?: JsonObject;
  /** The packs are read from an installation: nothing is said of those that the workflow does not name. */
  readonly packsAreKnown?: boolean;
}

/** A UTF-16 text of that many characters has up to three bytes for each as UTF-8. */
const TEXT_BYTES_MAX = 3 * BUILD_DOCUMENT_BYTES_MAX;

/**
 * Reads one. A workflow gives what its editor noted and its graph names; a comfy-pack archive its snapshot and lock too.
 * @param name of the file, for its ending and for sentences
 */
export async function readAnyBuildFile(
  name: string,
  bytes: Uint8Array,
  options: AnyFileOptions = {},
): Promise<BuildReading | BuildFault> {
  if (isZip(bytes) || isPng(bytes) || isWebp(bytes)) return readWorkflow(bytes, options);
  if (bytes.length > TEXT_BYTES_MAX)
    return buildFault(`The file has ${bytes.length} bytes; ${TEXT_BYTES_MAX} are the most.`);
  const text = decodeText(bytes);
  if (text === undefined) return buildFault("The file is neither text nor a picture or archive with a workflow.");
  return isWorkflow(text) ? readWorkflow(bytes, options) : readBuildFile(name, text);
}

function isWorkflow(text: string): boolean {
  const document = parsed(text);
  if (!isJsonObject(document)) return false;
  if (Array.isArray(document.nodes) || isJsonObject(document.prompt)) return true;
  return Object.values(document).some((node) => isJsonObject(node) && typeof node.class_type === "string");
}

function parsed(text: string): Json | undefined {
  try {
    return parseExactJson(text, { pythonNumbers: true });
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return undefined;
  }
}

async function readWorkflow(
  bytes: Uint8Array,
  { objectInfo, packsAreKnown = false }: AnyFileOptions,
): Promise<BuildReading | BuildFault> {
  const source = await readSource(bytes);
  if (!source.ok) return buildFault(source.detail);
  const readings: NamedReading[] = [];
  const add = (name: string, reading: BuildReading | BuildFault): BuildFault | undefined => {
    if (!reading.ok) return buildFault(`${name}: ${reading.detail}`, reading.errors);
    readings.push({ ...reading, name });
    return undefined;
  };
  if (source.snapshot !== undefined) {
    const fault = add("snapshot.json", readBuildFile("snapshot.json", source.snapshot));
    if (fault !== undefined) return fault;
    const lock = await lockIn(bytes);
    const lockFault = lock === undefined ? undefined : add("requirements.txt", readBuildFile("requirements.txt", lock));
    if (lockFault !== undefined) return lockFault;
  }
  const facts = factsOf(source.workflow);
  const understood = await dryRun(source, objectInfo === undefined ? {} : { objectInfo });
  const reading = draftOfWorkflow(facts, understood.ok ? understood.models : []);
  const doubt = understood.ok
    ? []
    : [`its graph cannot be read (${understood.detail}), so that its models are those of the editor's notes alone.`];
  const homeless = understood.ok && !packsAreKnown && source.snapshot === undefined ? unknownPacks(understood) : [];
  add("workflow", { ...reading, warnings: [...doubt, ...homeless, ...reading.warnings] });
  return mergeDrafts(readings);
}

const CLASSES_NAMED_MAX = 10;

/** A graph alone names classes; which pack brings them, it does not say. */
function unknownPacks({ classes }: DryRun): string[] {
  const unknown = classes.filter(({ origin }) => origin === "unknown").map((each) => each.class);
  if (unknown.length === 0) return [];
  const more = unknown.length - CLASSES_NAMED_MAX;
  const names = `${unknown.slice(0, CLASSES_NAMED_MAX).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  return [
    `which custom nodes bring ${names} is not said: the workflow as the editor saves it often says so; a snapshot, or \`build scan\` where it runs, has them all.`,
  ];
}

function factsOf(workflow: string | undefined): EditorFacts {
  const document = workflow === undefined ? undefined : parsed(workflow);
  return document === undefined ? NO_FACTS : editorFacts(document);
}

/** comfy-pack lays the lock beside its snapshot. */
async function lockIn(zip: Uint8Array): Promise<string | undefined> {
  const directory = readZipDirectory(zip);
  const entry = directory.ok ? directory.entries.find(({ name }) => /(^|\/)requirements\.txt$/i.test(name)) : undefined;
  if (entry === undefined) return undefined;
  const read = await readZipEntry(zip, entry, BUILD_DOCUMENT_BYTES_MAX);
  return read.ok ? decodeText(read.content) : undefined;
}
