/**
 * Which node runs next. ComfyUI prefers a ready output node, then a node that feeds one, then a node two steps away,
 * then whichever became ready first; inputs marked lazy are left out until the node asks for them.
 */
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { isLink } from "./links.ts";
import type { NodeCatalog } from "./node-catalog.ts";

export class ExecutionOrder {
  readonly #nodes: JsonObject;
  readonly #catalog: NodeCatalog;
  readonly #isCached: (nodeId: string) => boolean;
  /** Nodes still to run, in the order they were found. */
  readonly #pending = new Set<string>();
  /** How many pending nodes each node waits for. */
  readonly #waitsFor = new Map<string, number>();
  /** Which nodes wait for each node. */
  readonly #blocks = new Map<string, Set<string>>();

  constructor(nodes: JsonObject, catalog: NodeCatalog, isCached: (nodeId: string) => boolean) {
    this.#nodes = nodes;
    this.#catalog = catalog;
    this.#isCached = isCached;
  }

  /** Adds a node and everything it needs that is not cached. */
  add(nodeId: string): void {
    const found = [nodeId];
    const links: (readonly [from: string, to: string])[] = [];
    for (let id = found.pop(); id !== undefined; id = found.pop()) {
      if (this.#pending.has(id)) continue;
      this.#pending.add(id);
      this.#waitsFor.set(id, 0);
      this.#blocks.set(id, new Set());
      const node = this.#nodes[id];
      if (!isJsonObject(node) || !isJsonObject(node.inputs)) continue;
      for (const [name, value] of Object.entries(node.inputs)) {
        if (!isLink(value) || this.#catalog.isLazy(String(node.class_type), name) || this.#isCached(value[0])) continue;
        found.push(value[0]);
        links.push([value[0], id]);
      }
    }
    for (const [from, to] of links) this.#require(from, to);
  }

  /** Makes a pending node wait for the source of one of its lazy inputs. False when the input has no link. */
  requireInput(nodeId: string, input: string): boolean {
    const node = this.#nodes[nodeId];
    const value = isJsonObject(node) && isJsonObject(node.inputs) ? node.inputs[input] : undefined;
    if (!isLink(value)) return false;
    this.#require(value[0], nodeId);
    return true;
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  /** The node to run now; undefined when every pending node waits for another, which is a cycle. */
  next(): string | undefined {
    const ready = [...this.#pending].filter((id) => this.#waitsFor.get(id) === 0);
    const blocked = (id: string): string[] => [...(this.#blocks.get(id) ?? [])];
    const isOutput = (id: string): boolean => this.#catalog.isOutputNode(this.#className(id));
    return (
      ready.find(isOutput) ??
      ready.find((id) => blocked(id).some(isOutput)) ??
      ready.find((id) => blocked(id).some((next) => blocked(next).some(isOutput))) ??
      ready[0]
    );
  }

  /** Takes a finished node out, so that what waited for it may run. */
  finish(nodeId: string): void {
    this.#pending.delete(nodeId);
    for (const waiting of this.#blocks.get(nodeId) ?? []) {
      this.#waitsFor.set(waiting, (this.#waitsFor.get(waiting) ?? 1) - 1);
    }
    this.#blocks.delete(nodeId);
  }

  #require(from: string, to: string): void {
    if (this.#isCached(from)) return;
    this.add(from);
    const waiting = this.#blocks.get(from);
    if (waiting === undefined || waiting.has(to)) return;
    waiting.add(to);
    this.#waitsFor.set(to, (this.#waitsFor.get(to) ?? 0) + 1);
  }

  #className(id: string): string {
    const node = this.#nodes[id];
    return isJsonObject(node) ? String(node.class_type) : "";
  }
}
