/**
 * comfy-cli's `comfy-build.yaml`, the `distribution-definition/0` inside it, and this project's own manifests and drafts,
 * which have the same field names and more of them. JSON or YAML.
 */
import { Document, Scalar } from "yaml";
import type { BuildManifest } from "#contract/build";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import {
  COMFY_REPOSITORY,
  cleanRepository,
  folderOfRepository,
  sourceOfUrl,
  urlOfSource,
  withoutPassword,
} from "./addresses.ts";
import { DocumentFields } from "./document-fields.ts";
import {
  type BuildDraft,
  type BuildFault,
  type BuildReading,
  buildFault,
  type DraftCustomNode,
  type DraftModel,
} from "./draft.ts";
import { DRAFT_MODELS_MAX, DRAFT_NODES_MAX, DRAFT_PACKAGES_MAX, DRAFT_SOURCES_MAX } from "./draft-limits.ts";
import type { ExportedBuild } from "./exported-build.ts";
import { lockedVersion, readRequirements, writeRequirements } from "./requirements.ts";

const DEFINITION = "distribution-definition/0";
const SPEC = "comfy-build/1";
const FLAGS_MAX = 50;

export function isDefinition(document: Json): document is JsonObject {
  if (!isJsonObject(document)) return false;
  const { schema } = document;
  if (typeof schema === "string" && /^(distribution-definition|comfy-build)\//.test(schema)) return true;
  return "baseComfyVersion" in document || "customNodes" in document;
}

/** Reads one. Policies, ids and revisions of comfy-cli's own service are no part of a build and are passed over. */
export function readDefinition(document: JsonObject): BuildReading | BuildFault {
  const spec = document.schema;
  if (typeof spec === "string" && spec.startsWith("comfy-build/")) {
    if (spec !== SPEC) return buildFault(`The schema ${spec.slice(0, 40)} is not known; ${SPEC} is.`);
    if (!isJsonObject(document.definition)) return buildFault("The comfy-build document has no definition.");
    return readInner(document.definition, "/definition");
  }
  return readInner(document, "");
}

function readInner(document: JsonObject, at: string): BuildReading | BuildFault {
  const { schema } = document;
  if (schema !== undefined && schema !== DEFINITION) {
    const named = typeof schema === "string" ? schema.slice(0, 40) : "of this document";
    return buildFault(`The schema ${named} is not known; ${DEFINITION} is.`);
  }
  const fields = new DocumentFields();
  const warnings: string[] = [];
  const comfy = comfyOf(fields, document, at, warnings);
  const lock = lockOf(fields, document, at, warnings);
  const environment = fields.object(document, at, "environment") ?? {};
  const under = `${at}/environment`;
  const nodes = fields.objects(document, at, "customNodes", DRAFT_NODES_MAX);
  const models = fields.objects(document, at, "models", DRAFT_MODELS_MAX);
  if (fields.text(document, at, "baseImage") !== null) {
    warnings.push("baseImage is left out: machines bring their own driver, and torch is in the lock.");
  }
  const draft: BuildDraft = {
    ...comfy,
    environment: {
      os: systemName(fields.text(environment, under, "os")),
      arch: processorName(fields.text(environment, under, "arch")),
      pythonVersion: fields.text(environment, under, "pythonVersion"),
      torch: fields.text(environment, under, "torch") ?? lockedVersion(lock.lines ?? [], "torch"),
    },
    pipDependencies: lock.lines,
    pipIndexes: [...new Set([...lock.indexes, ...fields.texts(document, at, "pipIndexes", DRAFT_SOURCES_MAX)])].map(
      withoutPassword,
    ),
    customNodes: nodes.map(([entry, place]) => nodeOf(fields, entry, place, warnings)),
    models: models.flatMap(([entry, place]) => modelOf(fields, entry, place, warnings)),
    launch: launchOf(fields, document, at),
  };
  return fields.refusal("The definition") ?? { ok: true, draft, warnings };
}

function comfyOf(fields: DocumentFields, document: JsonObject, at: string, warnings: string[]) {
  const base = fields.text(document, at, "baseComfyVersion");
  const repository = fields.text(document, at, "comfyRepository");
  const commit = fields.text(document, at, "comfyCommit");
  const isVersion = base !== null && /^v?[0-9]+(\.[0-9]+)+/.test(base);
  const cleaned = repository === null ? null : cleanRepository(repository);
  if (cleaned !== null && cleaned.change !== null) warnings.push(`ComfyUI's repository ${cleaned.change}.`);
  return {
    baseComfyVersion: isVersion ? base.replace(/^v/, "") : null,
    comfyRepository: cleaned?.address ?? (base === null ? null : COMFY_REPOSITORY),
    // A branch stands here as it is, so that what is asked for can name it.
    comfyCommit: commit ?? (isVersion ? null : base),
  };
}

/** comfy-cli keeps the lock as the text of a requirements file, we as a list of its lines. */
function lockOf(fields: DocumentFields, document: JsonObject, at: string, warnings: string[]) {
  const given = document.pipDependencies;
  if (given === undefined || given === null) return { lines: null, indexes: [] };
  const listed = fields.texts.bind(fields, document, at, "pipDependencies", DRAFT_PACKAGES_MAX);
  const text = typeof given === "string" ? given : listed().join("\n");
  const { lines, indexes, warnings: more } = readRequirements(text);
  if (lines.length > DRAFT_PACKAGES_MAX) {
    fields.fault(`${at}/pipDependencies`, `has ${lines.length} packages; ${DRAFT_PACKAGES_MAX} are the most`);
  }
  warnings.push(...more);
  return { lines, indexes };
}

function nodeOf(fields: DocumentFields, entry: JsonObject, at: string, warnings: string[]): DraftCustomNode {
  const id = fields.text(entry, at, "id");
  const repository = fields.text(entry, at, "repository");
  const given = fields.text(entry, at, "name");
  if (id !== null && repository === null) {
    return { name: given ?? id, id, registryVersion: fields.text(entry, at, "registryVersion") };
  }
  const cleaned = repository === null ? null : cleanRepository(repository);
  const name = given ?? (cleaned === null ? "" : folderOfRepository(cleaned.address));
  if (name === "") fields.fault(`${at}/name`, "is missing: name the folder below custom_nodes");
  if (cleaned !== null && cleaned.change !== null) warnings.push(`${name} ${cleaned.change}.`);
  if (cleaned === null && fields.text(entry, at, "blobId") !== null) {
    warnings.push(`${name} was uploaded to a service that is not read here.`);
  }
  const gitRef = fields.text(entry, at, "commit") ?? fields.text(entry, at, "gitRef");
  return { name, repository: cleaned?.address ?? null, gitRef };
}

/** comfy-cli's `type` may be a path, whose first part is our type, and its filename is one name. */
function modelOf(fields: DocumentFields, entry: JsonObject, at: string, warnings: string[]): DraftModel[] {
  const sourceUri = fields.text(entry, at, "sourceUri");
  const listed = fields.texts(entry, at, "sources", DRAFT_SOURCES_MAX);
  const given = fields.text(entry, at, "filename") ?? fileOfUrl(sourceUri);
  if (given === null) {
    fields.fault(`${at}/filename`, "is missing: name the file");
    return [];
  }
  const [type = null, ...folders] = fields.text(entry, at, "type")?.split("/") ?? [];
  const filename = [...folders, given].join("/");
  if (sourceUri === null && fields.text(entry, at, "blobId") !== null) {
    warnings.push(`${filename} was uploaded to a service that is not read here: name another source.`);
  }
  const sources: string[] = [];
  const found = sourceUri === null ? undefined : sourceOfUrl(sourceUri);
  if (found !== undefined) sources.push(found.source);
  if (found !== undefined && found.change !== null) warnings.push(`${filename} ${found.change}.`);
  if (sourceUri !== null && found === undefined) {
    warnings.push(`${filename} names a source that is no https link, and which is left out.`);
  }
  // Our own words stay as they are.
  for (const source of listed) if (!sources.includes(source)) sources.push(source);
  return [
    {
      type,
      filename,
      sha256: fields.text(entry, at, "sha256")?.toLowerCase() ?? null,
      sizeBytes: fields.size(entry, at, "sizeBytes"),
      sources,
    },
  ];
}

function fileOfUrl(url: string | null): string | null {
  const path = url === null ? undefined : URL.parse(url)?.pathname;
  const name = path?.slice(path.lastIndexOf("/") + 1) ?? "";
  try {
    return name === "" ? null : decodeURIComponent(name);
  } catch {
    return null;
  }
}

const CACHES: readonly BuildManifest["launch"]["cache"][] = ["default", "classic", "lru", "none", "ram"];

function launchOf(fields: DocumentFields, document: JsonObject, at: string): BuildDraft["launch"] {
  const launch = fields.object(document, at, "launch");
  if (launch === undefined) return null;
  const flags = fields.texts(launch, `${at}/launch`, "flags", FLAGS_MAX);
  const named = fields.text(launch, `${at}/launch`, "cache") ?? "default";
  const cache = CACHES.find((each) => each === named);
  if (cache === undefined) fields.fault(`${at}/launch/cache`, `is one of ${CACHES.join(", ")}`);
  return { flags, cache: cache ?? "default" };
}

/** Python's names of systems and processors, as Node has them. */
const SYSTEMS = new Map([["windows", "win32"]]);
const PROCESSORS = new Map([
  ["x86_64", "x64"],
  ["amd64", "x64"],
  ["aarch64", "arm64"],
]);

/** `Linux`, `Darwin` and `Windows` as Node calls them; other names in lower case. */
export function systemName(name: string | null): string | null {
  return name === null ? null : (SYSTEMS.get(name.toLowerCase()) ?? name.toLowerCase());
}

/** `x86_64`, `AMD64` and `aarch64` as Node calls them; other names in lower case. */
export function processorName(name: string | null): string | null {
  return name === null ? null : (PROCESSORS.get(name.toLowerCase()) ?? name.toLowerCase());
}

/** Writes a `comfy-build.yaml`; what it has no place for is listed. */
export function writeComfyBuild(manifest: BuildManifest, name: string): ExportedBuild {
  const lost: string[] = ["ComfyUI's version (its commit stands in its place)", "the launch flags"];
  if (manifest.comfyRepository !== COMFY_REPOSITORY) lost.push(`ComfyUI's repository ${manifest.comfyRepository}`);
  const models = manifest.models.map(({ type, filename, sha256, sizeBytes, sources }) => {
    const parts = filename.split("/");
    const [first, ...others] = sources.flatMap((source) => urlOfSource(source) ?? []);
    if (others.length > 0) lost.push(`further sources of ${type}/${filename}`);
    if (first === undefined) lost.push(`a source of ${type}/${filename}: it has none that is an https link`);
    return {
      type: [type, ...parts.slice(0, -1)].join("/"),
      filename: parts.at(-1) ?? "",
      sha256,
      sizeBytes,
      ...(first === undefined ? {} : { sourceUri: first }),
    };
  });
  const lock = new Scalar(writeRequirements(manifest.pipDependencies, manifest.pipIndexes));
  lock.type = "BLOCK_LITERAL";
  const { os, arch, pythonVersion, torch } = manifest.environment;
  const document = new Document({
    schema: SPEC,
    id: null,
    name,
    description: "",
    syncedRevision: null,
    definition: {
      schema: DEFINITION,
      baseComfyVersion: manifest.comfyCommit,
      pipDependencies: lock,
      environment: { os, arch, pythonVersion, ...(torch === null ? {} : { torch }) },
      models,
      customNodes: manifest.customNodes,
    },
  });
  // Every text in quotes: a reader of YAML 1.1 takes 3.10, on and 12:30 for something else without them.
  const content = document.toString({ lineWidth: 0, defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" });
  return { files: [{ name: "comfy-build.yaml", content }], lost };
}
