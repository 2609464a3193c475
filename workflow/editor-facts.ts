/** What the editor's document says that a graph in API format does not: packages of nodes, and where models come from. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

/** A package of custom nodes, as the editor noted it on a node. */
export interface NodePackage {
  /** An id of the Comfy registry (`comfy-core` for ComfyUI itself), or `owner/repository` where it is not registered. */
  readonly id: string;
  readonly registered: boolean;
  /** A version, or the commit of a repository. */
  readonly version: string | null;
}

/** A model file as a template's author described it. */
export interface ModelNote {
  readonly url: string | null;
  readonly folder: string | null;
  /** `sha256:…`, in lower case. */
  readonly hash: string | null;
}

export interface EditorFacts {
  /** Package by node class. */
  readonly packages: ReadonlyMap<string, NodePackage>;
  /** Notes by file name. */
  readonly models: ReadonlyMap<string, ModelNote>;
}

/** Nodes looked at, over all levels; a document of 4 MiB cannot hold more that say anything. */
const NODES_MAX = 50_000;
const TEXT_LENGTH_MAX = 500;

export const NO_FACTS: EditorFacts = { packages: new Map(), models: new Map() };

/** Reads every node of a document, those inside subgraphs and group nodes too. The first to speak of a thing counts. */
export function editorFacts(document: Json): EditorFacts {
  const packages = new Map<string, NodePackage>();
  const models = new Map<string, ModelNote>();
  const versions = nodeVersions(document);
  for (const node of nodesOf(document)) {
    const properties = isJsonObject(node.properties) ? node.properties : {};
    const type = typeof node.type === "string" ? node.type : "";
    const found = packageOf(properties, versions);
    if (type !== "" && found !== undefined && !packages.has(type)) packages.set(type, found);
    for (const note of Array.isArray(properties.models) ? properties.models : []) {
      if (!isJsonObject(note)) continue;
      const name = short(note.name);
      if (name === null || models.has(name)) continue;
      const [hash, hashType] = [short(note.hash), short(note.hash_type)];
      models.set(name, {
        url: short(note.url),
        folder: short(note.directory),
        hash: hash === null ? null : `${(hashType ?? "sha256").toLowerCase()}:${hash.toLowerCase()}`,
      });
    }
  }
  return { packages, models };
}

function packageOf(properties: JsonObject, versions: ReadonlyMap<string, string>): NodePackage | undefined {
  const registered = short(properties.cnr_id);
  const id = registered ?? short(properties.aux_id);
  if (id === null) return undefined;
  return { id, registered: registered !== null, version: short(properties.ver) ?? versions.get(id) ?? null };
}

/** `extra.node_versions` of older editors: package id to version. */
function nodeVersions(document: Json): ReadonlyMap<string, string> {
  const extra = isJsonObject(document) ? document.extra : undefined;
  const listed = isJsonObject(extra) ? extra.node_versions : undefined;
  return new Map(
    Object.entries(isJsonObject(listed) ? listed : {}).flatMap(([id, version]) =>
      typeof version === "string" ? [[id, version] as const] : [],
    ),
  );
}

function nodesOf(document: Json): JsonObject[] {
  if (!isJsonObject(document)) return [];
  const definitions = isJsonObject(document.definitions) ? document.definitions.subgraphs : undefined;
  const groups = isJsonObject(document.extra) ? document.extra.groupNodes : undefined;
  const levels = [
    document,
    ...(Array.isArray(definitions) ? definitions : []),
    ...(isJsonObject(groups) ? Object.values(groups) : []),
  ];
  return levels
    .flatMap((level) => (isJsonObject(level) && Array.isArray(level.nodes) ? level.nodes : []))
    .slice(0, NODES_MAX)
    .filter(isJsonObject);
}

function short(value: Json | undefined): string | null {
  return typeof value === "string" && value.trim() !== "" ? value.trim().slice(0, TEXT_LENGTH_MAX) : null;
}
