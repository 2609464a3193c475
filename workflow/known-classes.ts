/** What is known of a node class: from the operator's own server if it was given, else from the core tables. */
import { isJsonObject, type Json } from "#contract/exact-json";
import { coreNodes } from "./core-nodes/all.ts";
import { computingNodes } from "./core-nodes/computing.ts";
import { filmNodes } from "./core-nodes/films.ts";
import { hookAndMeshNodes } from "./core-nodes/hooks-and-meshes.ts";
import { markerNodes } from "./core-nodes/markers.ts";
import { newerInputs, newerNodes } from "./core-nodes/newer.ts";
import { visionNodes } from "./core-nodes/vision.ts";
import { type DeclaredInput, declaredInput, type NodeClass, type ObjectInfo } from "./object-info.ts";

export interface KnownClass {
  readonly inputs: ReadonlyMap<string, DeclaredInput>;
  /** Type of each output; `"*"` fits everything. */
  readonly outputs: readonly string[];
  readonly isOutput: boolean;
  readonly displayName: string | undefined;
  /** The operator's server said so; a core table may be older or newer than the server that will run the graph. */
  readonly certain: boolean;
}

/** Looks a class up; undefined for one that nobody described. */
export type ClassLookup = (classType: string) => KnownClass | undefined;

/**
 * A lookup over a server's object_info and the core tables. The first comes from a caller's request and may hold
 * anything: an entry that is not shaped like a class counts as unknown.
 */
export function classLookup(objectInfo: ObjectInfo | undefined): ClassLookup {
  const seen = new Map<string, KnownClass | undefined>();
  return (classType) => {
    if (!seen.has(classType)) {
      const given =
        objectInfo !== undefined && Object.hasOwn(objectInfo, classType) ? objectInfo[classType] : undefined;
      seen.set(classType, readClass(given, true) ?? readClass(bundledClass(classType), false));
    }
    return seen.get(classType);
  };
}

/** What the tables of this program say of a class, as a server would; undefined when it is in none. */
export function bundledClass(classType: string): NodeClass | undefined {
  const core = Object.hasOwn(coreNodes, classType) ? coreNodes[classType] : undefined;
  if (core === undefined) {
    return [hookAndMeshNodes, newerNodes, filmNodes, visionNodes, computingNodes, markerNodes].find((table) =>
      Object.hasOwn(table, classType),
    )?.[classType];
  }
  const more = Object.hasOwn(newerInputs, classType) ? newerInputs[classType] : undefined;
  if (more === undefined) return core;
  const { input_order: _order, ...rest } = core;
  return { ...rest, input: { ...core.input, optional: { ...core.input.optional, ...more } } };
}

function readClass(description: unknown, certain: boolean): KnownClass | undefined {
  if (!isJsonObject(description) || !isJsonObject(description.input)) return undefined;
  const inputs = new Map<string, DeclaredInput>();
  for (const section of ["required", "optional"] as const) {
    const specs = description.input[section];
    if (!isJsonObject(specs)) continue;
    const order = isJsonObject(description.input_order) ? description.input_order[section] : undefined;
    const names = Array.isArray(order) ? order.filter((name) => typeof name === "string") : Object.keys(specs);
    for (const name of names) {
      const declared = Object.hasOwn(specs, name)
        ? declaredInput(name, specs[name], section === "required")
        : undefined;
      if (declared !== undefined) inputs.set(name, declared);
    }
  }
  const { output, output_node: isOutput, display_name: displayName } = description;
  return {
    inputs,
    outputs: Array.isArray(output) ? output.map(typeName) : [],
    isOutput: isOutput === true,
    displayName: typeof displayName === "string" && displayName !== "" ? displayName.slice(0, 200) : undefined,
    certain,
  };
}

/** An output's type; a list of choices, which the first generation writes there too, is a COMBO. */
function typeName(type: Json): string {
  return typeof type === "string" ? type : "COMBO";
}
