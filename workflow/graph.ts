/** The graph of a workflow, as its nodes and the links between them. */
import type { Json, JsonObject } from "#contract/exact-json";

export interface GraphNode {
  readonly id: string;
  readonly classType: string;
  /** The title the author gave the node, or the one the editor wrote for them. */
  readonly title: string | undefined;
  readonly inputs: JsonObject;
}

/** Nodes by id, in the order of the document. */
export type Graph = ReadonlyMap<string, GraphNode>;

/** `["4", 0]`: the first output of node "4". */
export interface Link {
  readonly node: string;
  readonly output: number;
}

/** One place that reads an output of a node. */
export interface Use {
  readonly node: GraphNode;
  readonly field: string;
  readonly output: number;
}

/** A value read as a link; undefined for every other value. ComfyUI takes exactly this shape for one. */
export function linkOf(value: Json | undefined): Link | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [node, output] = value;
  if (typeof node !== "string" || (typeof output !== "number" && typeof output !== "bigint")) return undefined;
  return { node, output: Number(output) };
}

/** Who reads each node, by the id of the node that is read. */
export function usesOf(graph: Graph): ReadonlyMap<string, readonly Use[]> {
  const uses = new Map<string, Use[]>();
  for (const node of graph.values()) {
    for (const [field, value] of Object.entries(node.inputs)) {
      const link = linkOf(value);
      if (link === undefined) continue;
      const list = uses.get(link.node);
      const use = { node, field, output: link.output };
      if (list === undefined) uses.set(link.node, [use]);
      else list.push(use);
    }
  }
  return uses;
}

/** Nodes on loops that are told apart; one would do to refuse the graph. */
const CYCLE_NODES_MAX = 100;

/** What a walk over the graph met: nodes with everything they read before them, and nodes that lie on a loop. */
interface Walk {
  readonly ordered: GraphNode[];
  readonly inCycle: string[];
}

/**
 * The nodes that `roots` need, each after all it reads. Written without recursion: a chain may be 10,000 nodes long.
 * Links to missing nodes and to the node itself are passed over; nodes that read themselves through others are listed
 * in `inCycle`, the first hundred or so of them.
 */
export function walk(graph: Graph, roots: Iterable<GraphNode>): Walk {
  const ordered: GraphNode[] = [];
  const inCycle = new Set<string>();
  const state = new Map<string, "open" | "done">();
  for (const root of roots) {
    const stack: { node: GraphNode; reads: string[] }[] = [];
    const open = (node: GraphNode): void => {
      state.set(node.id, "open");
      const reads = Object.values(node.inputs).flatMap((value) => linkOf(value)?.node ?? []);
      stack.push({ node, reads: reads.reverse() });
    };
    if (!state.has(root.id)) open(root);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.reads.pop();
      if (next === undefined) {
        state.set(top.node.id, "done");
        ordered.push(top.node);
        stack.pop();
        continue;
      }
      const known = state.get(next);
      const node = graph.get(next);
      if (next === top.node.id) continue;
      if (known === "open") {
        // Every open node above this one leads back to it.
        for (let at = stack.length - 1; at >= 0 && inCycle.size < CYCLE_NODES_MAX; at -= 1) {
          const id: string = stack[at]?.node.id ?? next;
          inCycle.add(id);
          if (id === next) break;
        }
      }
      if (known === undefined && node !== undefined) open(node);
    }
  }
  return { ordered, inCycle: [...inCycle] };
}
