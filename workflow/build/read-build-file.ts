/** Any of the files that say what a build is, told by what it holds. */
import { isJsonObject, type Json } from "#contract/exact-json";
import { isComfyPackSnapshot, readComfyPackSnapshot } from "./comfy-pack.ts";
import { isDefinition, readDefinition } from "./definition.ts";
import { type BuildFault, type BuildReading, buildFault, EMPTY_DRAFT } from "./draft.ts";
import { DRAFT_PACKAGES_MAX } from "./draft-limits.ts";
import { isManagerSnapshot, readManagerSnapshot } from "./manager-snapshot.ts";
import { BUILD_DOCUMENT_BYTES_MAX, readBuildDocument } from "./read-document.ts";
import { lockedVersion, readRequirements } from "./requirements.ts";

export interface BuildFile extends BuildReading {
  readonly format: "manifest" | "comfy_build" | "manager_snapshot" | "comfy_pack" | "requirements";
}

/**
 * Reads a manifest or draft of this project, a `comfy-build.yaml`, a snapshot of ComfyUI-Manager or comfy-pack, or a
 * requirements file (by its ending: it has no mark of its own). Never throws for what the text holds.
 */
export function readBuildFile(name: string, text: string): BuildFile | BuildFault {
  if (/\.txt$/i.test(name)) return requirementsFile(text);
  const read = readBuildDocument(text);
  if (!read.ok) return read;
  const { value } = read;
  // The package of a whole release holds its build.
  const document = isJsonObject(value) && isJsonObject(value.build) ? value.build : value;
  if (isDefinition(document)) {
    const { schema } = document;
    const isSpec = typeof schema === "string" && schema.startsWith("comfy-build/");
    return withFormat(isSpec ? "comfy_build" : "manifest", readDefinition(document));
  }
  if (isManagerSnapshot(document)) return withFormat("manager_snapshot", readManagerSnapshot(document));
  if (isComfyPackSnapshot(document)) return withFormat("comfy_pack", readComfyPackSnapshot(document));
  return buildFault(unknownWords(document));
}

function withFormat(format: BuildFile["format"], reading: BuildReading | BuildFault): BuildFile | BuildFault {
  return reading.ok ? { ...reading, format } : reading;
}

function requirementsFile(text: string): BuildFile | BuildFault {
  if (text.length > BUILD_DOCUMENT_BYTES_MAX) {
    return buildFault(`The file has ${text.length} characters; ${BUILD_DOCUMENT_BYTES_MAX} are the most.`);
  }
  const { lines, indexes, warnings } = readRequirements(text.replace(/^\uFEFF/, ""));
  if (lines.length > DRAFT_PACKAGES_MAX) {
    return buildFault(`The file names ${lines.length} packages; ${DRAFT_PACKAGES_MAX} are the most.`);
  }
  return {
    ok: true,
    format: "requirements",
    draft: {
      ...EMPTY_DRAFT,
      environment: { ...EMPTY_DRAFT.environment, torch: lockedVersion(lines, "torch") },
      pipDependencies: lines,
      pipIndexes: indexes,
    },
    warnings,
  };
}

function unknownWords(document: Json): string {
  const takes =
    "It takes a build manifest, a comfy-build.yaml, a snapshot of ComfyUI-Manager or comfy-pack, a requirements.txt, or a workflow as the editor saves it";
  if (!isJsonObject(document)) return `The file holds no build. ${takes}.`;
  const isGraph = Object.values(document).some((node) => isJsonObject(node) && typeof node.class_type === "string");
  return isGraph
    ? `The file is a graph in API format, which says nothing of what it needs beyond its models. ${takes}.`
    : `The file holds no build that is known. ${takes}.`;
}
