/** comfy-pack's `snapshot.json`, and the `requirements.txt` beside it. */
import type { BuildManifest } from "#contract/build";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { COMFY_REPOSITORY, cleanRepository, folderOfRepository, sourceOfUrl, urlOfSource } from "./addresses.ts";
import { DocumentFields } from "./document-fields.ts";
import {
  type BuildFault,
  type BuildReading,
  type DraftCustomNode,
  type DraftModel,
  EMPTY_DRAFT,
  isRegistryNode,
} from "./draft.ts";
import { DRAFT_MODELS_MAX, DRAFT_NODES_MAX } from "./draft-limits.ts";
import type { ExportedBuild } from "./exported-build.ts";
import { writeRequirements } from "./requirements.ts";

export function isComfyPackSnapshot(document: Json): document is JsonObject {
  if (!isJsonObject(document) || "git_custom_nodes" in document) return false;
  return Array.isArray(document.custom_nodes) || ("comfyui" in document && Array.isArray(document.models));
}

/** Reads a snapshot. Its lock is a file of its own: `readRequirements`. */
export function readComfyPackSnapshot(document: JsonObject): BuildReading | BuildFault {
  const fields = new DocumentFields();
  const warnings: string[] = [];
  const customNodes: DraftCustomNode[] = [];
  for (const [entry, at] of fields.objects(document, "", "custom_nodes", DRAFT_NODES_MAX)) {
    if (entry.disabled === true) continue;
    const url = fields.text(entry, at, "url");
    if (url === null) {
      warnings.push(
        `A custom node (${at}) names no repository and is left out: add it by hand if the workflow needs it.`,
      );
      continue;
    }
    const { address, change } = cleanRepository(url);
    if (change !== null) warnings.push(`${folderOfRepository(address)} ${change}.`);
    const gitRef = fields.text(entry, at, "commit_hash");
    customNodes.push({ name: folderOfRepository(address), repository: address, gitRef });
  }
  const models: DraftModel[] = [];
  for (const [entry, at] of fields.objects(document, "", "models", DRAFT_MODELS_MAX)) {
    if (entry.disabled === true) continue;
    const filename = fields.text(entry, at, "filename");
    if (filename === null) {
      fields.fault(`${at}/filename`, "is missing");
      continue;
    }
    const place = placeOf(filename);
    if (place === undefined) {
      warnings.push(`${filename} lies outside of ComfyUI's models folder and is left out.`);
      continue;
    }
    models.push({
      ...place,
      sha256: fields.text(entry, at, "sha256")?.toLowerCase() ?? null,
      sizeBytes: fields.size(entry, at, "size"),
      sources: sourcesOf(fields, entry, at, place.filename, warnings),
    });
  }
  const comfyCommit = fields.text(document, "", "comfyui");
  const pythonVersion = fields.text(document, "", "python");
  const refusal = fields.refusal("The snapshot");
  if (refusal !== undefined) return refusal;
  return {
    ok: true,
    draft: {
      ...EMPTY_DRAFT,
      comfyRepository: comfyCommit === null ? null : COMFY_REPOSITORY,
      comfyCommit,
      environment: { ...EMPTY_DRAFT.environment, pythonVersion },
      customNodes,
      models,
    },
    warnings,
  };
}

/** `models/loras/sub/x.safetensors` lies in the folder `loras` under the name `sub/x.safetensors`. */
function placeOf(path: string): { type: string; filename: string } | undefined {
  const [top, type, ...rest] = path.replaceAll("\\", "/").split("/");
  if (top !== "models" || type === undefined || rest.length === 0) return undefined;
  return { type, filename: rest.join("/") };
}

function sourcesOf(
  fields: DocumentFields,
  entry: JsonObject,
  at: string,
  name: string,
  warnings: string[],
): readonly string[] {
  const source = fields.object(entry, at, "source");
  if (source === undefined) return [];
  const url = fields.text(source, `${at}/source`, "download_url") ?? fields.text(source, `${at}/source`, "url");
  if (url === null) return [];
  const found = sourceOfUrl(url);
  if (found === undefined) {
    warnings.push(`${name} names a source that is no https link, and which is left out.`);
    return [];
  }
  if (found.change !== null) warnings.push(`${name} ${found.change}.`);
  return [found.source];
}

/** Writes the snapshot and the lock; what they have no place for is listed. */
export function writeComfyPack(manifest: BuildManifest): ExportedBuild {
  const lost: string[] = [];
  const nodes: JsonObject[] = [];
  for (const node of manifest.customNodes) {
    if (isRegistryNode(node)) {
      lost.push(`the pack ${node.id} ${node.registryVersion}, which comes from the Comfy registry and not from git`);
      continue;
    }
    if (folderOfRepository(node.repository) !== node.name) {
      lost.push(`the folder's name ${node.name} of ${node.repository}`);
    }
    nodes.push({ url: node.repository, commit_hash: node.gitRef, disabled: false });
  }
  const models = manifest.models.map(({ type, filename, sha256, sizeBytes, sources }) => {
    const [first, ...others] = sources.flatMap((source) => urlOfSource(source) ?? []);
    if (others.length > 0) lost.push(`further sources of ${type}/${filename}`);
    const source: JsonObject = first === undefined ? {} : { download_url: first };
    return { filename: `models/${type}/${filename}`, size: sizeBytes, sha256, disabled: false, source };
  });
  if (manifest.comfyRepository !== COMFY_REPOSITORY) lost.push(`ComfyUI's repository ${manifest.comfyRepository}`);
  lost.push("ComfyUI's version", "the system", "the launch flags");
  const { comfyCommit: comfyui, environment, pipDependencies, pipIndexes } = manifest;
  const document: JsonObject = { python: environment.pythonVersion, comfyui, models, custom_nodes: nodes };
  return {
    files: [
      { name: "snapshot.json", content: `${JSON.stringify(document, null, 2)}\n` },
      { name: "requirements.txt", content: writeRequirements(pipDependencies, pipIndexes) },
    ],
    lost,
  };
}
