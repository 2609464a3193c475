import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json } from "#contract/exact-json";
import { linkOf } from "#workflow/graph";
import { importWorkflow } from "#workflow/import-workflow";
import { convertUi } from "#workflow/ui/convert-ui";
import { MODE, type UiNode } from "#workflow/ui/ui-graph";
import { converted, expanded, inputsOf, lookup, uiGraph, uiNode } from "./editor-graph.ts";

describe("the result", () => {
  it("has the nodes in the order of execution, under their ids and titles", () => {
    const nodes = [
      uiNode("20", "SaveImage", { order: 2, widgets: ["x"] }),
      uiNode("b", "Give", { order: 1, title: "The lamp" }),
      uiNode("c", "KSampler", { order: 0, widgets: [1, "fixed", 20, 8, "euler", "normal", 1] }),
    ];
    const { graph } = converted(uiGraph(nodes, []));
    expect(Object.values(graph).map((node) => isJsonObject(node) && node.class_type)).toEqual([
      "SaveImage",
      "KSampler",
      "Give",
    ]);
    expect(graph.b).toEqual({ inputs: expect.anything(), class_type: "Give", _meta: { title: "The lamp" } });
    expect(graph["20"]).toMatchObject({ _meta: { title: "Save Image" } });
  });

  it("leaves out what is muted, bypassed or for the eye alone", () => {
    const nodes = [
      uiNode("1", "Give"),
      uiNode("2", "Give", { mode: MODE.muted }),
      uiNode("3", "Give", { mode: MODE.bypassed }),
      ...["Note", "MarkdownNote", "PrimitiveNode", "Reroute", "SetNode", "GetNode", "Label (rgthree)"].map((type) =>
        uiNode(type, type, { widgets: ["text"] }),
      ),
      uiNode("4", "SomebodysNote", { widgets: ["text"] }),
    ];
    expect(Object.keys(converted(uiGraph(nodes, [])).graph)).toEqual(["1"]);
  });

  it("keeps a node that nothing reads", () => {
    expect(Object.keys(converted(uiGraph([uiNode("1", "Give"), uiNode("2", "Count")], [])).graph)).toEqual(["1", "2"]);
  });

  it("keeps a node of an unknown class that reads something", () => {
    const nodes = [uiNode("1", "Give", { outputs: ["IMAGE"] }), uiNode("2", "Show", { inputs: ["IMAGE"] })];
    expect(inputsOf(converted(uiGraph(nodes, [["1", 0, "2", 0]])), "2")).toEqual({ in0: ["1", 0] });
  });

  it("of notes alone is a refusal", () => {
    expect(convertUi(expanded(uiGraph([uiNode("1", "Note")], [])), lookup)).toMatchObject({
      ok: false,
      code: "invalid_workflow",
    });
  });

  it("may have nodes and inputs called like parts of JavaScript's objects", () => {
    const nodes = [
      uiNode("__proto__", "Give", { outputs: ["IMAGE"] }),
      uiNode("2", "Show", { inputs: [{ name: "__proto__", type: "IMAGE" }] }),
    ];
    const { graph } = converted(uiGraph(nodes, [["__proto__", 0, "2", 0]]));
    expect(Object.keys(graph)).toEqual(["2", "__proto__"]);
    expect(Object.entries(inputsOf({ graph }, "2") ?? {})).toEqual([["__proto__", ["__proto__", 0]]]);
  });
});

const CLASSES = [
  ...["Reroute", "PrimitiveNode", "SetNode", "GetNode", "Note", "KSampler", "LoadImage", "SaveImage", "Dynamic"],
  ...["Take", "Give", "Count", "Grown", "Many", "Stranger"],
];
const TYPES = ["IMAGE", "MASK", "INT", "*", "", "IMAGE,MASK", "COMBO"];
const id = fc.integer({ min: 0, max: 12 }).map(String);
const json: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(null, true, false, "", "fixed", "large", "area", "image", 2n ** 63n, Number.NaN),
  fc.integer(),
  fc.double(),
  fc.string(),
  fc.constant<Json>([1, [2]]),
  fc.constant<Json>({ a: 1 }),
);
const fields = fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("seed", "model", "value", "__proto__")), json);
const nodeOf = (key: string): fc.Arbitrary<UiNode> =>
  fc.record({
    id: fc.constant(key),
    type: fc.constantFrom(...CLASSES),
    mode: fc.constantFrom(0, 0, 0, 2, 4, 7),
    order: fc.integer(),
    title: fc.option(fc.string()),
    inputs: fc.array(
      fc.record({
        name: fc.oneof(fc.string(), fc.constantFrom("image", "seed", "images.image0", "__proto__")),
        type: fc.constantFrom(...TYPES),
        link: fc.option(fc.integer({ min: 0, max: 40 }).map(String)),
        widget: fc.option(fc.constantFrom("seed", "image", "model.width", "x", "__proto__")),
        label: fc.constant(null),
      }),
      { maxLength: 5 },
    ),
    outputs: fc.array(
      fc.constantFrom(...TYPES).map((type) => ({ name: type, type })),
      { maxLength: 3 },
    ),
    widgets: fc.oneof(fc.constant(null), fc.array(json, { maxLength: 12 }), fields),
    namedWidgets: fc.option(fields),
    overrides: fc.option(fields),
    properties: fc.constant({}),
  });
const graphs = fc.record({
  nodes: fc.uniqueArray(id, { maxLength: 12 }).chain((ids) => fc.tuple(...ids.map(nodeOf))),
  links: fc.array(fc.record({ from: id, fromSlot: fc.integer({ min: -1, max: 4 }), to: id, toSlot: fc.nat(4) }), {
    maxLength: 40,
  }),
});

describe("any graph at all", () => {
  it("converts or is refused, and never names a node that is not there by a way through the editor's own nodes", () => {
    fc.assert(
      fc.property(graphs, ({ nodes, links }) => {
        const graph = {
          nodes: new Map(nodes.map((node) => [node.id, node])),
          links: new Map(links.map((link, index) => [String(index), { id: String(index), type: "*", ...link }])),
        };
        const result = convertUi(expanded(graph), lookup);
        if (!result.ok) {
          expect(["invalid_workflow", "workflow_format_ui"]).toContain(result.code);
          for (const error of result.errors ?? []) expect(error.path).toMatch(/^\/workflow\/nodes\/\d+$/);
          return;
        }
        for (const node of Object.values(result.graph)) {
          expect(Object.keys(node ?? {}).sort()).toEqual(["_meta", "class_type", "inputs"]);
          const inputs = isJsonObject(node) && isJsonObject(node.inputs) ? Object.values(node.inputs) : [];
          for (const link of inputs.flatMap((value) => linkOf(value) ?? [])) {
            expect(Object.hasOwn(result.graph, link.node)).toBe(true);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** A document as a file would hold it, with parts that no editor writes. */
const documents = fc.record({
  nodes: fc.array(
    fc.record(
      {
        id: fc.oneof(fc.nat(9), fc.string({ maxLength: 3 })),
        type: fc.oneof(fc.constantFrom(...CLASSES, "workflow>g", "CLIPTextEncode"), fc.jsonValue()),
        mode: fc.oneof(fc.constantFrom(0, 2, 4), fc.jsonValue()),
        order: fc.integer(),
        inputs: fc.oneof(
          fc.array(fc.record({ name: fc.string(), type: fc.constantFrom(...TYPES), link: fc.nat(9) }), {
            maxLength: 4,
          }),
          fc.jsonValue(),
        ),
        widgets_values: fc.jsonValue(),
        widgets_values_named: fc.jsonValue(),
      },
      { requiredKeys: ["id", "type"] },
    ),
    { maxLength: 8 },
  ),
  links: fc.oneof(
    fc.array(fc.tuple(fc.nat(9), fc.nat(9), fc.nat(3), fc.nat(9), fc.nat(3), fc.constantFrom(...TYPES))),
    fc.jsonValue(),
  ),
  extra: fc.oneof(fc.record({ ue_links: fc.jsonValue(), groupNodes: fc.jsonValue() }), fc.jsonValue()),
});

describe("any document at all", () => {
  it("is imported or refused by one of the importer's codes", async () => {
    await fc.assert(
      fc.asyncProperty(documents, async (document) => {
        const result = await importWorkflow({ text: JSON.stringify(document) });
        if (!result.ok) expect(["invalid_workflow", "workflow_format_ui"]).toContain(result.code);
        else expect(result.workflow.outputs.length).toBeGreaterThan(0);
      }),
      { numRuns: 500 },
    );
  });
});

describe("a graph of ten thousand nodes", () => {
  const COUNT = 10_000;

  it("that is one chain of reroutes, each read by a node, costs its size", () => {
    const chain = Array.from({ length: COUNT / 2 }, (_, index) =>
      uiNode(`r${index}`, "Reroute", { inputs: ["*"], outputs: ["*"] }),
    );
    const readers = chain.map((_, index) =>
      uiNode(`t${index}`, "Take", { inputs: [{ name: "image", type: "IMAGE" }] }),
    );
    const ends = chain.flatMap((_, index): [string, number, string, number][] => [
      [index === 0 ? "give" : `r${index - 1}`, 0, `r${index}`, 0],
      [`r${index}`, 0, `t${index}`, 0],
    ]);
    const graph = uiGraph([uiNode("give", "Give", { outputs: ["IMAGE"] }), ...chain, ...readers], ends);
    let looks = 0;
    const get = graph.links.get.bind(graph.links);
    const counted = Object.assign(new Map(graph.links), {
      get: (key: string) => {
        looks += 1;
        return get(key);
      },
    });
    const result = convertUi(expanded({ ...graph, links: counted }), lookup);
    expect(result.ok && inputsOf(result, `t${COUNT / 2 - 1}`)).toEqual({ image: ["give", 0] });
    expect(looks).toBeLessThan(4 * COUNT);
  });

  it("that all are samplers converts each", () => {
    const nodes = Array.from({ length: COUNT }, (_, index) =>
      uiNode(String(index), "KSampler", { widgets: [index, true, 20, 8, "euler", "normal", 1] }),
    );
    expect(inputsOf(converted(uiGraph(nodes, [])), String(COUNT - 1))).toMatchObject({ seed: COUNT - 1, denoise: 1 });
  });

  it("with one node of a hundred thousand values is refused or cut, not laid out", () => {
    const widgets = Array.from({ length: 100_000 }, (_, index) => index);
    expect(convertUi(expanded(uiGraph([uiNode("1", "KSampler", { widgets })], [])), lookup).ok).toBe(false);
  });
});
