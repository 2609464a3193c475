/** ComfyUI-Manager's snapshot (JSON or YAML): commits of ComfyUI and of node packs, versions of registered packs, pip's freeze. */
import type { BuildManifest } from "#contract/build";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { COMFY_REPOSITORY, cleanRepository, folderOfRepository } from "./addresses.ts";
import { DocumentFields } from "./document-fields.ts";
import { type BuildFault, type BuildReading, type DraftCustomNode, EMPTY_DRAFT, isRegistryNode } from "./draft.ts";
import { DRAFT_NODES_MAX, DRAFT_PACKAGES_MAX } from "./draft-limits.ts";
import type { ExportedBuild } from "./exported-build.ts";
import { lockedVersion, readRequirements } from "./requirements.ts";

export function isManagerSnapshot(document: Json): document is JsonObject {
  return isJsonObject(document) && ("git_custom_nodes" in document || "cnr_custom_nodes" in document);
}

/** Reads one. Disabled packs are left out: ComfyUI did not load them. */
export function readManagerSnapshot(document: JsonObject): BuildReading | BuildFault {
  const fields = new DocumentFields();
  const warnings: string[] = [];
  const customNodes: DraftCustomNode[] = [];
  for (const [url, entry, at] of fields.entries(document, "", "git_custom_nodes", DRAFT_NODES_MAX)) {
    if (!isJsonObject(entry)) fields.fault(at, "must be an object with hash and disabled");
    else if (entry.disabled !== true) {
      const { address, change } = cleanRepository(url);
      if (change !== null) warnings.push(`${folderOfRepository(address)} ${change}.`);
      const gitRef = fields.text(entry, at, "hash");
      customNodes.push({ name: folderOfRepository(address), repository: address, gitRef });
    }
  }
  const registered = document.cnr_custom_nodes;
  for (const [id] of fields.entries(document, "", "cnr_custom_nodes", DRAFT_NODES_MAX)) {
    const registryVersion = isJsonObject(registered) ? fields.text(registered, "/cnr_custom_nodes", id) : null;
    customNodes.push({ name: id, id, registryVersion });
  }
  for (const [entry, at] of fields.objects(document, "", "file_custom_nodes", DRAFT_NODES_MAX)) {
    const filename = fields.text(entry, at, "filename");
    if (filename !== null && entry.disabled !== true) {
      warnings.push(
        `${filename} is a single file that the snapshot pins to nothing, and is left out: put it into a repository if the workflow needs it.`,
      );
    }
  }
  const requirements = readRequirements(
    fields
      .entries(document, "", "pips", DRAFT_PACKAGES_MAX)
      .map(([name, value]) => pipLine(name, value))
      .join("\n"),
  );
  const comfyCommit = fields.text(document, "", "comfyui");
  const refusal = fields.refusal("The snapshot");
  if (refusal !== undefined) return refusal;
  const lines = requirements.lines.length === 0 ? null : requirements.lines;
  return {
    ok: true,
    draft: {
      ...EMPTY_DRAFT,
      comfyRepository: comfyCommit === null ? null : COMFY_REPOSITORY,
      comfyCommit,
      environment: { ...EMPTY_DRAFT.environment, torch: lines === null ? null : lockedVersion(lines, "torch") },
      pipDependencies: lines,
      pipIndexes: requirements.indexes,
      customNodes,
    },
    warnings: [...warnings, ...requirements.warnings],
  };
}

/** Three generations: `"name==1.0": ""`, `"name": "1.0"` and `"name": "https://…"`. */
function pipLine(name: string, value: Json): string {
  if (typeof value !== "string" || value.trim() === "") return name;
  return /^[A-Za-z0-9.!+_-]+$/.test(value) ? `${name}==${value}` : `${name} @ ${value}`;
}

/** Writes one; what it has no place for is listed. */
export function writeManagerSnapshot(manifest: BuildManifest): ExportedBuild & { readonly document: JsonObject } {
  const lost: string[] = [];
  const git: JsonObject = Object.create(null);
  const registered: JsonObject = Object.create(null);
  for (const node of manifest.customNodes) {
    if (isRegistryNode(node)) {
      if (node.id !== node.name) lost.push(`the folder's name ${node.name} of the pack ${node.id}`);
      if (Object.hasOwn(registered, node.id)) lost.push(`a second copy of ${node.id}`);
      registered[node.id] = node.registryVersion;
    } else {
      if (folderOfRepository(node.repository) !== node.name) {
        lost.push(`the folder's name ${node.name} of ${node.repository}`);
      }
      if (Object.hasOwn(git, node.repository)) lost.push(`a second copy of ${node.repository}`);
      git[node.repository] = { hash: node.gitRef, disabled: false };
    }
  }
  const pips: JsonObject = Object.create(null);
  for (const line of manifest.pipDependencies) {
    const bare = line.replace(/ *;.*$/, "").replace(/ +--hash=.*$/, "");
    if (bare !== line) lost.push(`markers and hashes of the line ${bare}`);
    const address = /^(\S+) *@ *(\S+)$/.exec(bare);
    pips[address?.[1] ?? bare] = address?.[2] ?? "";
  }
  if (manifest.comfyRepository !== COMFY_REPOSITORY) lost.push(`ComfyUI's repository ${manifest.comfyRepository}`);
  lost.push("ComfyUI's version", "the Python version and the system");
  if (manifest.models.length > 0) lost.push("the models");
  if (manifest.pipIndexes.length > 0) lost.push("the package indexes");
  lost.push("the launch flags");
  const document: JsonObject = {
    comfyui: manifest.comfyCommit,
    git_custom_nodes: git,
    cnr_custom_nodes: registered,
    file_custom_nodes: [],
    pips,
  };
  return { document, files: [{ name: "snapshot.json", content: `${JSON.stringify(document, null, 2)}\n` }], lost };
}
