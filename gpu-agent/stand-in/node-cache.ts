/**
 * What nodes computed before, found by what they were asked rather than by their ids: a node's key is its class, its
 * literal inputs, its fingerprint, and the same of everything it depends on.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { inputsOf, isLink } from "./links.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import { pythonJson } from "./python-json.ts";
import { PythonError } from "./python-values.ts";

export type CachePolicy =
  /** Keeps what the latest prompt's nodes use. */
  | { readonly kind: "classic" }
  /** Keeps this many results, whichever prompt they came from, the latest prompt's in any case. */
  | { readonly kind: "lru"; readonly entriesMax: number }
  /** Keeps a result only until everything that needs it has run. */
  | { readonly kind: "none" };

export interface CachedUi {
  readonly meta: JsonObject;
  readonly output: JsonObject;
}

export interface CachedNode {
  /** Per output slot, the values of each call of the node. */
  readonly outputs: readonly (readonly unknown[])[];
  readonly ui?: CachedUi;
}

export class NodeCache {
  readonly #policy: CachePolicy;
  readonly #entries = new Map<string, { readonly node: CachedNode; generation: number }>();
  #generation = 0;
  #oldestKept = 0;
  #keys: ReadonlyMap<string, string> = new Map();
  /** For the policy "none": who still needs a node's result. */
  #dependants = new Map<string, Set<string>>();

  constructor(policy: CachePolicy) {
    this.#policy = policy;
  }

  /** Turns to a new prompt and drops what the policy says. */
  begin(nodes: JsonObject, keys: ReadonlyMap<string, string>): void {
    this.#keys = keys;
    this.#generation += 1;
    if (this.#policy.kind === "none") {
      this.#entries.clear();
      this.#dependants = dependantsOf(nodes);
      return;
    }
    for (const key of keys.values()) this.#touch(key);
    if (this.#policy.kind === "classic") {
      const used = new Set(keys.values());
      for (const key of this.#entries.keys()) if (!used.has(key)) this.#entries.delete(key);
      return;
    }
    while (this.#entries.size > this.#policy.entriesMax && this.#oldestKept < this.#generation) {
      this.#oldestKept += 1;
      for (const [key, entry] of this.#entries) if (entry.generation < this.#oldestKept) this.#entries.delete(key);
    }
  }

  get(nodeId: string): CachedNode | undefined {
    const key = this.#keys.get(nodeId);
    if (key === undefined) return undefined;
    this.#touch(key);
    return this.#entries.get(key)?.node;
  }

  set(nodeId: string, node: CachedNode): void {
    const key = this.#keys.get(nodeId);
    if (key === undefined) return;
    this.#entries.set(key, { node, generation: this.#generation });
    if (this.#policy.kind === "none") this.#release(nodeId);
  }

  clear(): void {
    this.#entries.clear();
    this.#keys = new Map();
  }

  #touch(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.generation = this.#generation;
  }

  #release(finished: string): void {
    for (const [ancestor, waiting] of this.#dependants) {
      if (!waiting.delete(finished) || waiting.size > 0) continue;
      const key = this.#keys.get(ancestor);
      // What a node showed stays for the history; only its values are let go.
      const entry = key === undefined ? undefined : this.#entries.get(key);
      if (key !== undefined && entry !== undefined && entry.node.ui === undefined) this.#entries.delete(key);
    }
  }
}

function dependantsOf(nodes: JsonObject): Map<string, Set<string>> {
  const dependants = new Map<string, Set<string>>();
  for (const [id, node] of Object.entries(nodes)) {
    for (const value of Object.values(inputsOf(node))) {
      if (!isLink(value)) continue;
      const waiting = dependants.get(value[0]) ?? new Set();
      waiting.add(id);
      dependants.set(value[0], waiting);
    }
  }
  return dependants;
}

/**
 * The cache key of every node of a prompt. Fingerprints are written into the nodes as `is_changed`, where later runs
 * find them again: saved files carry the prompt with them, and a resubmitted one pins the old fingerprint.
 * @throws PythonError for a node without inputs; in ComfyUI that ends the worker thread
 */
export async function cacheKeys(nodes: JsonObject, catalog: NodeCatalog): Promise<Map<string, string>> {
  const own = new Map<string, Json>();
  for (const [id, node] of Object.entries(nodes)) {
    if (!isJsonObject(node) || !isJsonObject(node.inputs)) throw new PythonError("KeyError", "'inputs'");
    own.set(id, await fingerprintOf(node, String(node.class_type), catalog));
  }
  const keys = new Map<string, string>();
  for (const id of Object.keys(nodes)) keys.set(id, keyOf(id, nodes, own, catalog));
  return keys;
}

async function fingerprintOf(node: JsonObject, className: string, catalog: NodeCatalog): Promise<Json> {
  const fingerprint = catalog.implementation(className)?.fingerprint;
  if (fingerprint === undefined) return false;
  if (node.is_changed !== undefined) return node.is_changed;
  const inputs = inputsOf(node);
  const literals = Object.fromEntries(
    Object.entries(inputs).map(([name, value]) => [name, isLink(value) ? null : value]),
  );
  try {
    node.is_changed = [await fingerprint(literals, catalog.folders)];
  } catch {
    node.is_changed = Number.NaN; // A fingerprint that cannot be taken means: never cached.
  }
  return node.is_changed;
}

let neverEqual = 0;

function keyOf(id: string, nodes: JsonObject, fingerprints: ReadonlyMap<string, Json>, catalog: NodeCatalog): string {
  const ancestors = orderedAncestors(id, nodes);
  const place = new Map(ancestors.map((ancestor, index) => [ancestor, index]));
  const parts = [id, ...ancestors].map((member): Json => {
    const node = nodes[member];
    if (!isJsonObject(node)) return [Number.NaN]; // A node that is not there cannot be cached.
    const className = String(node.class_type);
    const signature: Json[] = [className, fingerprints.get(member) ?? false];
    if (catalog.knowsItsId(className)) signature.push(member);
    const inputs = inputsOf(node);
    for (const name of Object.keys(inputs).sort()) {
      const value = inputs[name] ?? null;
      signature.push(isLink(value) ? [name, ["ANCESTOR", place.get(value[0]) ?? -1, value[1]]] : [name, sorted(value)]);
    }
    return signature;
  });
  const key = pythonJson(parts);
  if (!holdsNaN(parts)) return key;
  neverEqual += 1;
  return `${key} #${neverEqual}`;
}

/** In the order the inputs' names give, which does not depend on node ids. */
function orderedAncestors(id: string, nodes: JsonObject): string[] {
  const found = new Set<string>();
  const visit = (member: string): void => {
    const inputs = inputsOf(nodes[member]);
    for (const name of Object.keys(inputs).sort()) {
      const value = inputs[name];
      if (!isLink(value) || found.has(value[0])) continue;
      found.add(value[0]);
      visit(value[0]);
    }
  };
  visit(id);
  return [...found];
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isJsonObject(value)) return value;
  const keys = Object.keys(value).sort();
  return keys.map((key) => [key, sorted(value[key] ?? null)]);
}

function holdsNaN(value: Json): boolean {
  if (Array.isArray(value)) return value.some(holdsNaN);
  return typeof value === "number" && Number.isNaN(value);
}
