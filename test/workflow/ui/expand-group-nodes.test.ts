import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "#contract/exact-json";
import { classLookup } from "#workflow/known-classes";
import { EXPANDED_NODES_MAX, expandUi } from "#workflow/ui/expand-subgraphs";
import { readUi } from "#workflow/ui/read-ui";
import type { ExpandedUi } from "#workflow/ui/ui-graph";
import { json, node } from "./documents.ts";

interface Group {
  readonly nodes: readonly JsonObject[];
  readonly links?: readonly Json[];
  readonly external?: readonly Json[];
  readonly config?: JsonObject;
}

function document(
  nodes: readonly JsonObject[],
  links: readonly Json[],
  groups: Readonly<Record<string, Group>>,
): JsonObject {
  return json({ nodes, links, extra: { groupNodes: groups } });
}

function result(ui: JsonObject): ReturnType<typeof expandUi> {
  const read = readUi(ui);
  return read.ok ? expandUi(read.ui, classLookup(undefined)) : read;
}

function expand(ui: JsonObject): ExpandedUi {
  const found = result(ui);
  if (!found.ok) throw new Error(found.detail);
  return found.expanded;
}

function refused(ui: JsonObject): string {
  const found = result(ui);
  if (found.ok) throw new Error("was expanded");
  expect(found.code).toBe("invalid_workflow");
  return found.detail;
}

function wires({ graph }: ExpandedUi): string[] {
  return [...graph.nodes.values()].flatMap((to) =>
    to.inputs.flatMap((input) => {
      const link = input.link === null ? undefined : graph.links.get(input.link);
      return link === undefined ? [] : [`${link.from}.${link.fromSlot} -> ${to.id}.${input.name}`];
    }),
  );
}

/** Encodes a text with a CLIP that comes through a reroute, and samples with it. */
const sampling: Group = {
  nodes: [
    node("x", "Reroute", { inputs: [":ANY"], outputs: [":ANY"] }),
    node("x", "CLIPTextEncode", { inputs: ["clip:CLIP"], outputs: ["CONDITIONING:CONDITIONING"], widgets: ["a cat"] }),
    node("x", "KSampler", {
      inputs: ["model:MODEL", "positive:CONDITIONING", "negative:CONDITIONING", "latent_image:LATENT"],
      outputs: ["LATENT:LATENT"],
      widgets: [1, "fixed", 20, 8, "euler", "normal", 1],
    }),
    node("x", "Note", { widgets: ["a note"] }),
  ],
  links: [
    [0, 0, 1, 0, 3, "CLIP"],
    [1, 0, 2, 1, 4, "CONDITIONING"],
    [null, 0, 2, 0, 5, "MODEL"],
  ],
  external: [[1, 0, "CONDITIONING"]],
  config: json({
    "0": { input: { CLIP: { name: "text encoder" } } },
    "2": { input: { negative: { visible: false } } },
  }),
};

describe("a group node", () => {
  const shell = (type: string, parts: Parameters<typeof node>[2] = {}): JsonObject =>
    node(7, type, {
      inputs: ["text encoder:CLIP<1", "model:MODEL<2", "latent_image:LATENT<3"],
      outputs: ["CONDITIONING:CONDITIONING", "LATENT:LATENT"],
      ...parts,
    });
  const around = (inner: JsonObject, group = sampling): JsonObject =>
    document(
      [
        node(1, "CheckpointLoaderSimple", { outputs: ["MODEL:MODEL", "CLIP:CLIP", "VAE:VAE"] }),
        node(2, "EmptyLatentImage", { outputs: ["LATENT:LATENT"] }),
        inner,
        node(8, "Reads", { inputs: ["a:CONDITIONING<4", "b:LATENT<5"] }),
      ],
      [
        [1, 1, 1, 7, 0, "CLIP"],
        [2, 1, 0, 7, 1, "MODEL"],
        [3, 2, 0, 7, 2, "LATENT"],
        [4, 7, 0, 8, 0, "CONDITIONING"],
        [5, 7, 1, 8, 1, "LATENT"],
      ],
      { Sampling: group },
    );
  const values = ["a dog", 9, "randomize", 30, 7, "dpmpp_2m", "karras", 0.5];

  it.each(["workflow/Sampling", "workflow>Sampling"])("of the type %s becomes its inner nodes", (type) => {
    const ui = expand(around(shell(type, { widgets: values })));
    expect([...ui.graph.nodes.keys()]).toEqual(["1", "2", "8", "7:0", "7:1", "7:2", "7:3"]);
    expect(wires(ui)).toEqual([
      "7:1.0 -> 8.a",
      "7:2.0 -> 8.b",
      "1.1 -> 7:0.",
      "7:0.0 -> 7:1.clip",
      "1.0 -> 7:2.model",
      "7:1.0 -> 7:2.positive",
      "2.0 -> 7:2.latent_image",
    ]);
  });

  it("shares its values out to the inner nodes, notes left out", () => {
    const { nodes } = expand(around(shell("workflow>Sampling", { widgets: values }))).graph;
    expect(nodes.get("7:1")?.widgets).toEqual(["a dog"]);
    expect(nodes.get("7:2")?.widgets).toEqual([9, "randomize", 30, 7, "dpmpp_2m", "karras", 0.5]);
    expect(nodes.get("7:3")?.widgets).toEqual(["a note"]);
  });

  it("without values has those of its definition", () => {
    expect(expand(around(shell("workflow>Sampling"))).graph.nodes.get("7:1")?.widgets).toEqual(["a cat"]);
  });

  it("whose values do not fit its definition is refused with a way out", () => {
    expect(refused(around(shell("workflow>Sampling", { widgets: values.slice(1) })))).toMatch(
      /nodes\/7: The values .* cannot be told apart.*Convert to nodes/s,
    );
  });

  it.each([
    ["in another order, told by their names", ["latent_image:LATENT<3", "model:MODEL<2", "text encoder:CLIP<1"]],
    ["under other names, told by their places", ["clip:CLIP<1", "KSampler model:MODEL<2", "latent_image:LATENT<3"]],
    ["with its widgets between", ["clip:CLIP<1", "text:STRING*", "model:MODEL<2", "seed:INT*", "latent:LATENT<3"]],
    ["with its widgets before", ["text:STRING*", "text encoder:CLIP<1", "model:MODEL<2", "latent_image:LATENT<3"]],
  ])("may list its inputs %s", (_, inputs) => {
    expect(wires(expand(around(shell("workflow>Sampling", { inputs }))))).toEqual(
      expect.arrayContaining(["1.1 -> 7:0.", "1.0 -> 7:2.model", "2.0 -> 7:2.latent_image"]),
    );
  });

  it("shows an output that is linked inside only where its author says so", () => {
    const hidden: Group = { ...sampling, external: [] };
    const ui = expand(around(shell("workflow>Sampling"), hidden));
    // What was the second output is now the first.
    expect(wires(ui).slice(0, 1)).toEqual(["7:2.0 -> 8.a"]);
  });

  it("names the widgets that were given another name as promoted", () => {
    const renamed: Group = {
      ...sampling,
      config: json({ ...sampling.config, "1": { input: { text: { name: "Prompt" }, clip: { name: "Encoder" } } } }),
    };
    expect(expand(around(shell("workflow>Sampling"), renamed)).promoted).toEqual([
      { node: "7:1", field: "text", name: "Prompt", title: null },
    ]);
  });

  it("stays one node when it is bypassed", () => {
    const ui = expand(around(shell("workflow>Sampling", { mode: 4 })));
    expect([...ui.graph.nodes.keys()]).toEqual(["1", "2", "7", "8"]);
  });

  it("without a definition is refused with a way out", () => {
    expect(refused(document([node(7, "workflow/Other")], [], {}))).toMatch(
      /does not hold the group node "Other".*API/s,
    );
  });

  it("may hold another, but not itself", () => {
    const inner: Group = { nodes: [node(0, "SaveImage", { inputs: ["images:IMAGE"], widgets: ["out"] })] };
    const outer: Group = {
      nodes: [
        node(0, "LoadImage", { outputs: ["IMAGE:IMAGE"], widgets: ["a.png", "image"] }),
        node(1, "workflow>Inner", { inputs: ["images:IMAGE"], widgets: ["out"] }),
      ],
      links: [[0, 0, 1, 0, 1, "IMAGE"]],
    };
    const ui = expand(
      document([node(7, "workflow>Outer", { widgets: ["b.png", "image", "mine"] })], [], {
        Inner: inner,
        Outer: outer,
      }),
    );
    expect(wires(ui)).toEqual(["7:0.0 -> 7:1:0.images"]);
    expect(ui.graph.nodes.get("7:1:0")?.widgets).toEqual(["mine"]);
    const own: Group = { nodes: [node(0, "workflow>Own")] };
    expect(refused(document([node(7, "workflow>Own")], [], { Own: own }))).toMatch(/contains itself/);
  });
});

describe("widgets that were made inputs inside a group node", () => {
  const primitive = node(0, "PrimitiveNode", { outputs: ["INT:INT"], widgets: [5, "fixed"] });
  const sampler = node(1, "KSampler", {
    inputs: ["model:MODEL", "seed:INT*"],
    outputs: ["LATENT:LATENT"],
    widgets: [1, "fixed", 20, 8, "euler", "normal", 1],
  });
  const rest = [30, 7, "dpmpp_2m", "karras", 0.5];

  it("have their values after all others", () => {
    const group: Group = { nodes: [sampler] };
    const shell = node(7, "workflow>G", { inputs: ["model:MODEL", "seed:INT*"], widgets: [...rest, 9, "randomize"] });
    expect(expand(document([shell], [], { G: group })).graph.nodes.get("7:0")?.overrides).toEqual({
      steps: 30,
      cfg: 7,
      sampler_name: "dpmpp_2m",
      scheduler: "karras",
      denoise: 0.5,
      seed: 9,
    });
  });

  it("have none where something inside is linked to them", () => {
    const group: Group = { nodes: [primitive, sampler], links: [[0, 0, 1, 1, 2, "INT"]] };
    for (const primitiveValues of [[11, "fixed"], [11]]) {
      const shell = node(7, "workflow>G", { inputs: ["model:MODEL"], widgets: [...primitiveValues, ...rest] });
      const { nodes } = expand(document([shell], [], { G: group })).graph;
      expect(nodes.get("7:0")?.widgets).toEqual(primitiveValues);
      expect(nodes.get("7:1")?.overrides).toMatchObject({ steps: 30, denoise: 0.5 });
      expect(nodes.get("7:1")?.overrides).not.toHaveProperty("seed");
    }
  });

  it("of an unknown class are refused", () => {
    const group: Group = { nodes: [node(0, "Unknown", { inputs: ["a:INT*"], widgets: [1, 2] })] };
    expect(refused(document([node(7, "workflow>G", { widgets: [3, 4] })], [], { G: group }))).toMatch(/told apart/);
  });
});

describe("any document whatever", () => {
  const id = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.constantFrom(-10, -20, "a"));
  const type = fc.constantFrom("KSampler", "Reroute", "PrimitiveNode", "s1", "s2", "workflow>g1", "workflow/g2", "s9");
  const widgets = fc.option(
    fc.array(fc.oneof(fc.integer(), fc.constant("fixed"), fc.constant(null)), { maxLength: 6 }),
  );
  const slot = fc.record({
    name: fc.constantFrom("a", "b", "c", "__proto__"),
    type: fc.constantFrom("INT", "IMAGE", "*"),
    link: fc.option(fc.integer({ min: 0, max: 8 })),
    widget: fc.option(fc.record({ name: fc.constantFrom("a", "b", "__proto__") }), { nil: undefined }),
    linkIds: fc.array(fc.integer({ min: 0, max: 8 }), { maxLength: 3 }),
  });
  const nodes = fc.array(
    fc.record({
      id,
      type,
      mode: fc.constantFrom(0, 0, 0, 2, 4),
      inputs: fc.array(slot, { maxLength: 4 }),
      outputs: fc.array(slot, { maxLength: 3 }),
      widgets_values: widgets,
      properties: fc.record(
        {
          proxyWidgets: fc.array(fc.tuple(fc.oneof(id, fc.constant("-1")), fc.constantFrom("a", "b", "1: a")), {
            maxLength: 3,
          }),
        },
        { requiredKeys: [] },
      ),
    }),
    { maxLength: 5 },
  );
  const links = fc.array(fc.tuple(fc.integer({ min: 0, max: 8 }), id, fc.nat(3), id, fc.nat(3), fc.constant("INT")), {
    maxLength: 9,
  });
  const level = { nodes, links, inputs: fc.array(slot, { maxLength: 4 }), outputs: fc.array(slot, { maxLength: 3 }) };
  const group = fc.record({
    nodes,
    links: fc.array(fc.tuple(fc.option(fc.nat(4)), fc.nat(3), fc.nat(4), fc.nat(3), fc.nat(9), fc.constant("INT"))),
    external: fc.array(fc.tuple(fc.nat(4), fc.nat(3), fc.constant("INT"))),
  });
  const anything = fc.record({
    nodes,
    links,
    definitions: fc.record({
      subgraphs: fc.tuple(
        fc.record({ id: fc.constant("s1"), name: fc.constant("one"), ...level }),
        fc.record({ id: fc.constant("s2"), name: fc.constant("two"), ...level }),
      ),
    }),
    extra: fc.record({ groupNodes: fc.record({ g1: group, g2: group }) }),
  });

  it("is expanded, with links between nodes that are there, or refused", () => {
    let expanded = 0;
    fc.assert(
      fc.property(anything, (ui) => {
        const unique = <T extends { id: unknown }>(list: T[]): T[] => [
          ...new Map(list.map((n) => [String(n.id), n])).values(),
        ];
        const subgraphs = ui.definitions.subgraphs.map((one) => ({ ...one, nodes: unique(one.nodes) }));
        const found = result(json({ ...ui, nodes: unique(ui.nodes), definitions: { subgraphs } }));
        if (!found.ok) {
          expect(found.code).toBe("invalid_workflow");
          return;
        }
        expanded += 1;
        const { graph, promoted } = found.expanded;
        expect(graph.nodes.size).toBeLessThanOrEqual(EXPANDED_NODES_MAX);
        const shells = new Set(["s1", "s2", "workflow>g1", "workflow/g2"]);
        for (const [key, inner] of graph.nodes) {
          expect(key).toBe(inner.id);
          expect(shells.has(inner.type) && inner.mode === 0).toBe(false);
          for (const [place, input] of inner.inputs.entries()) {
            if (input.link === null) continue;
            const link = graph.links.get(input.link);
            expect(link).toMatchObject({ to: inner.id, toSlot: place });
            expect(graph.nodes.has(link?.from ?? "")).toBe(true);
          }
        }
        for (const { node: target } of promoted) expect(graph.nodes.has(target)).toBe(true);
      }),
      { numRuns: 1_500 },
    );
    // Most random documents contain themselves or lack a definition; enough must not.
    expect(expanded).toBeGreaterThan(100);
  });
});

describe("a definition older than a class in it", () => {
  it("has as many values as it has itself, not as many as the class has today", () => {
    const unlinked = ["cfg_conds:FLOAT*", "cfg_cond2_negative:FLOAT*"];
    const shell = node(5, "workflow>guide", { widgets: [5, 2] });
    const guider = node("", "DualCFGGuider", { inputs: unlinked, widgets: [3, 1.5] });
    const { graph } = expand(document([shell], [], { guide: { nodes: [guider] } }));
    expect(graph.nodes.get("5:0")?.overrides).toEqual({ cfg_conds: 5, cfg_cond2_negative: 2 });
  });
});
