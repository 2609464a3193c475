/** Which node classes a graph uses, who describes each of them, and which package brings it. */
import { type EditorFacts, NO_FACTS, type NodePackage } from "./editor-facts.ts";
import type { Graph } from "./graph.ts";
import { bundledClass } from "./known-classes.ts";
import type { ObjectInfo } from "./object-info.ts";

/** A class of a graph. */
export interface ClassUse {
  readonly class: string;
  /** Ids of its nodes, in the graph's order. */
  readonly nodes: readonly string[];
  /** `unknown`: not a class of the bundled tables, and nobody said where it comes from. */
  readonly origin: "core" | "custom" | "unknown";
  /** What to install; null for core classes and where nobody says. */
  readonly package: NodePackage | null;
  /** Where its inputs' types and bounds come from; null: they were guessed. */
  readonly describedBy: "object_info" | "core_tables" | null;
}

const CORE_PACKAGE = "comfy-core";

/** The classes of a graph, by name. */
export function findClasses(
  graph: Graph,
  objectInfo: ObjectInfo | undefined,
  facts: EditorFacts = NO_FACTS,
): ClassUse[] {
  const nodes = new Map<string, string[]>();
  for (const { id, classType } of graph.values()) {
    const ids = nodes.get(classType);
    if (ids === undefined) nodes.set(classType, [id]);
    else ids.push(id);
  }
  return [...nodes]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, ids]) => {
      const described = objectInfo !== undefined && Object.hasOwn(objectInfo, name) ? objectInfo[name] : undefined;
      const bundled = bundledClass(name);
      return {
        class: name,
        nodes: ids,
        ...whence(described?.python_module ?? bundled?.python_module, facts.packages.get(name)),
        describedBy: described !== undefined ? "object_info" : bundled === undefined ? null : "core_tables",
      };
    });
}

/** The editor's note is the most exact; then the folder a running ComfyUI loads the class from, which our tables know too. */
function whence(module: unknown, noted: NodePackage | undefined): Pick<ClassUse, "origin" | "package"> {
  if (noted !== undefined && noted.id !== CORE_PACKAGE) return { origin: "custom", package: noted };
  const folder = typeof module === "string" ? /^custom_nodes\.(.+)$/.exec(module)?.[1] : undefined;
  if (folder !== undefined) return { origin: "custom", package: { id: folder, registered: false, version: null } };
  const isCore = noted !== undefined || (typeof module === "string" && module !== "");
  return { origin: isCore ? "core" : "unknown", package: null };
}
