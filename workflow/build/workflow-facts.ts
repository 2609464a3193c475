/** What a workflow itself says of the build it needs: packs its editor noted on nodes, and the models its graph names. */
import type { EditorFacts } from "../editor-facts.ts";
import type { ModelUse } from "../find-models.ts";
import { COMFY_REPOSITORY, sourceOfUrl } from "./addresses.ts";
import { type BuildReading, type DraftCustomNode, type DraftModel, EMPTY_DRAFT } from "./draft.ts";

const CORE_PACKAGE = "comfy-core";
const COMMIT = /^[0-9a-f]{7,40}$/;

/**
 * Fills a draft as far as a workflow goes: it names versions at best, sizes never and hashes seldom.
 * @param facts of the editor's document
 * @param uses places of the graph that name models; empty where only the document is known
 */
export function draftOfWorkflow(facts: EditorFacts, uses: readonly ModelUse[]): BuildReading {
  const warnings: string[] = [];
  const nodes = new Map<string, DraftCustomNode>();
  let core: string | null = null;
  for (const { id, registered, version } of facts.packages.values()) {
    if (id === CORE_PACKAGE) core ??= version;
    else if (!nodes.has(id)) nodes.set(id, nodeOf(id, registered, version));
  }
  const models = new Map<string, DraftModel>();
  for (const { folder, filename, url, hash } of uses) {
    const name = filename.replaceAll("\\", "/");
    const known = models.get(`${folder}/${name}`);
    if (known === undefined) models.set(`${folder}/${name}`, modelOf(folder, name, url, hash, warnings));
  }
  if (uses.length === 0) {
    for (const [name, { folder, url, hash }] of facts.models) {
      models.set(name, modelOf(folder, name.replaceAll("\\", "/"), url, hash, warnings));
    }
  }
  return {
    ok: true,
    draft: {
      ...EMPTY_DRAFT,
      baseComfyVersion: core !== null && !COMMIT.test(core) ? core.replace(/^v/, "") : null,
      comfyRepository: core === null ? null : COMFY_REPOSITORY,
      comfyCommit: core !== null && COMMIT.test(core) ? core : null,
      customNodes: [...nodes.values()],
      models: [...models.values()],
    },
    warnings,
  };
}

/** A registered pack at a commit is a nightly one: which repository it was cut from, the document does not say. */
function nodeOf(id: string, registered: boolean, version: string | null): DraftCustomNode {
  if (!registered) {
    const name = id.slice(id.lastIndexOf("/") + 1);
    return { name, repository: id.includes("/") ? `https://github.com/${id}` : null, gitRef: version };
  }
  if (version !== null && COMMIT.test(version)) return { name: id, repository: null, gitRef: version };
  return { name: id, id, registryVersion: version };
}

function modelOf(
  type: string | null,
  filename: string,
  url: string | null,
  hash: string | null,
  warnings: string[],
): DraftModel {
  const found = url === null ? undefined : sourceOfUrl(url);
  if (url !== null && found === undefined) {
    warnings.push(`${filename} names a source that is no https link, and which is left out.`);
  }
  if (found !== undefined && found.change !== null) warnings.push(`${filename} ${found.change}.`);
  const sha256 = hash?.startsWith("sha256:") === true ? hash.slice("sha256:".length) : null;
  return { type, filename, sha256, sizeBytes: null, sources: found === undefined ? [] : [found.source] };
}
