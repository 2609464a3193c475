/** Small editor graphs for the tests that convert them. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { classLookup } from "#workflow/known-classes";
import { type ConvertedUi, convertUi } from "#workflow/ui/convert-ui";
import type { ExpandedUi, UiGraph, UiInput, UiLink, UiNode } from "#workflow/ui/ui-graph";
import { nodeClass } from "./object-info.ts";

type Slot = string | Partial<UiInput>;
export interface NodeSketch extends Omit<Partial<UiNode>, "inputs" | "outputs"> {
  readonly inputs?: readonly Slot[];
  readonly outputs?: readonly string[];
}

/** A node; an input is its type, or parts of a slot. Inputs are called `in0`, `in1` … unless named. */
export function uiNode(id: string, type: string, sketch: NodeSketch = {}): UiNode {
  const { inputs = [], outputs = [], ...rest } = sketch;
  return {
    id,
    type,
    mode: 0,
    order: 0,
    title: null,
    widgets: null,
    namedWidgets: null,
    overrides: null,
    properties: {},
    ...rest,
    inputs: inputs.map((slot, index) => ({
      name: `in${index}`,
      type: "*",
      link: null,
      widget: null,
      label: null,
      ...(typeof slot === "string" ? { type: slot } : slot),
    })),
    outputs: outputs.map((name) => ({ name, type: name })),
  };
}

/** `["a", 0, "b", 1]`: from the first output of `a` to the second input of `b`; slots get their link. */
export function uiGraph(
  nodes: readonly UiNode[],
  ends: readonly (readonly [string, number, string, number])[],
): UiGraph {
  const links = new Map<string, UiLink>();
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const [index, [from, fromSlot, to, toSlot]] of ends.entries()) {
    const id = String(index + 1);
    const target = byId.get(to);
    links.set(id, { id, from, fromSlot, to, toSlot, type: target?.inputs[toSlot]?.type ?? "*" });
    if (target === undefined) continue;
    const inputs = target.inputs.map((slot, at) => (at === toSlot ? { ...slot, link: id } : slot));
    byId.set(to, { ...target, inputs });
  }
  return { nodes: byId, links };
}

export function expanded(graph: UiGraph): ExpandedUi {
  return { graph, promoted: [], extra: {} };
}

/** A choice that brings inputs of its own. */
function dynamic(options: Readonly<Record<string, Readonly<Record<string, Json>>>>): Json {
  const entries = Object.entries(options).map(([key, required]) => ({ key, inputs: { required } }));
  return ["COMFY_DYNAMICCOMBO_V3", { options: entries }];
}

const INT: Json = ["INT", { default: 20, min: 0, max: 100 }];

/** The core tables and the classes that the tests make up. */
export const lookup = classLookup(
  Object.fromEntries(
    [
      nodeClass("Give", {}, ["IMAGE", "MASK"]),
      nodeClass("Take", { image: ["IMAGE"] }, ["IMAGE"], { mask: ["MASK"] }),
      nodeClass("Count", { count: INT }, ["INT"]),
      nodeClass(
        "Flagged",
        {
          seed: ["INT", { default: 0, min: 0, max: 0xffff_ffff, control_after_generate: true }],
          flag: ["BOOLEAN", {}],
        },
        ["INT"],
      ),
      nodeClass("Sized", { method: [["area", "lanczos"]], width: INT, text: ["STRING", { dynamicPrompts: true }] }),
      nodeClass("Forced", { text: ["STRING", { forceInput: true }], size: INT, list: ["LIST", {}] }),
      nodeClass("Picked", { name: [["a", "b"], { control_after_generate: true }], size: INT }),
      nodeClass("Loaded", { image: [[], { image_upload: true }], width: INT }),
      nodeClass("Restyled", { style: [["new", "old"], {}], text: ["STRING", { forceInput: true }] }),
      nodeClass("Fetched", {
        image: ["COMBO", { image_upload: true, remote: { route: "/internal/files/output", refresh_button: true } }],
      }),
      nodeClass("Nested", {
        kind: dynamic({
          mp4: { codec: dynamic({ auto: {}, h264: { speed: ["COMBO", { options: ["slow", "fast"] }] } }) },
        }),
      }),
      nodeClass("Drawn", { image: ["IMAGE"], curve: ["SPLINE", {}], size: INT }, ["MASK"]),
      nodeClass("Many", { models: ["COMBO", { options: ["a", "b", "c"], multiselect: true }] }),
      nodeClass("Grown", {
        images: ["COMFY_AUTOGROW_V3", { template: { input: { required: { image: ["IMAGE", {}] } } } }],
      }),
      nodeClass("Dynamic", {
        prompt: ["STRING", {}],
        model: [
          "COMFY_DYNAMICCOMBO_V3",
          {
            options: [
              { key: "small", inputs: { required: { width: ["INT", { default: 1, min: 1, max: 64 }] } } },
              {
                key: "large",
                inputs: { required: { side: ["COMBO", { options: ["1K", "2K"] }], keep: ["BOOLEAN", {}] } },
              },
            ],
          },
        ],
        seed: ["INT", { default: 0, min: 0, max: 100_000 }],
      }),
    ].map((entry) => [entry.name, entry]),
  ),
);

/** Converts a graph that must convert. */
export function converted(graph: UiGraph): ConvertedUi {
  const result = convertUi(expanded(graph), lookup);
  if (!result.ok) throw new Error(JSON.stringify(result));
  return result;
}

/** The inputs of one node of the result, as a plain object; undefined for a node that is not in it. */
export function inputsOf(result: Pick<ConvertedUi, "graph">, id: string): JsonObject | undefined {
  const node = result.graph[id];
  return isJsonObject(node) && isJsonObject(node.inputs) ? { ...node.inputs } : undefined;
}
