import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "#contract/exact-json";
import { convertUi } from "#workflow/ui/convert-ui";
import { expandUi } from "#workflow/ui/expand-subgraphs";
import { readUi } from "#workflow/ui/read-ui";
import type { ExpandedUi } from "#workflow/ui/ui-graph";
import { json, node, objectLink } from "./documents.ts";
import { lookup } from "./editor-graph.ts";

const UPSCALE = "0c0ffee0-0000-4000-8000-000000000001";
const OUTER = "0c0ffee0-0000-4000-8000-000000000002";

interface Definition {
  readonly inputs?: readonly unknown[];
  readonly outputs?: readonly unknown[];
  readonly nodes: readonly JsonObject[];
  readonly links: readonly JsonObject[];
}

function subgraph(id: string, name: string, { inputs = [], outputs = [], nodes, links }: Definition): JsonObject {
  return json({ id, name, inputNode: { id: -10 }, outputNode: { id: -20 }, inputs, outputs, nodes, links });
}

function document(
  nodes: readonly JsonObject[],
  links: readonly Json[],
  ...subgraphs: readonly JsonObject[]
): JsonObject {
  return json({ nodes, links, definitions: { subgraphs } });
}

function result(ui: JsonObject): ReturnType<typeof expandUi> {
  const read = readUi(ui);
  return read.ok ? expandUi(read.ui) : read;
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

/** Every link, as `from.slot -> to.input`. */
function wires({ graph }: ExpandedUi): string[] {
  return [...graph.nodes.values()].flatMap((to) =>
    to.inputs.flatMap((input, slot) => {
      if (input.link === null) return [];
      const link = graph.links.get(input.link);
      expect(link).toMatchObject({ to: to.id, toSlot: slot });
      return [`${link?.from}.${link?.fromSlot} -> ${to.id}.${input.name}`];
    }),
  );
}

const ids = (ui: ExpandedUi): string[] => [...ui.graph.nodes.keys()];
const overrides = (ui: ExpandedUi, id: string): unknown => ui.graph.nodes.get(id)?.overrides;

/** Scales an image; its factor and method are promoted. */
const upscale = subgraph(UPSCALE, "Upscale", {
  inputs: [
    { name: "image", type: "IMAGE", linkIds: [1] },
    { name: "factor", type: "FLOAT", linkIds: [2], label: "How much" },
    { name: "method", type: "COMBO", linkIds: [3] },
  ],
  outputs: [{ name: "IMAGE", type: "IMAGE", linkIds: [4] }],
  nodes: [
    node(1, "ImageScaleBy", {
      inputs: ["image:IMAGE<1", "upscale_method:COMBO*<3", "scale_by:FLOAT*<2"],
      outputs: ["IMAGE:IMAGE"],
      widgets: ["nearest", 2],
    }),
  ],
  links: [
    objectLink(1, -10, 0, 1, 0, "IMAGE"),
    objectLink(2, -10, 1, 1, 2, "FLOAT"),
    objectLink(3, -10, 2, 1, 1, "COMBO"),
    objectLink(4, 1, 0, -20, 0, "IMAGE"),
  ],
});
const load = node(10, "LoadImage", { outputs: ["IMAGE:IMAGE", "MASK:MASK"], widgets: ["a.png", "image"] });
const save = (link: number): JsonObject =>
  node(30, "SaveImage", { inputs: [`images:IMAGE<${link}`], widgets: ["out"] });

describe("an instance of a subgraph", () => {
  const instance = (parts: Parameters<typeof node>[2]): JsonObject =>
    node(20, UPSCALE, { order: 5, outputs: ["IMAGE:IMAGE"], ...parts });
  const around = (shell: JsonObject): JsonObject =>
    document(
      [load, shell, save(8)],
      [
        [7, 10, 0, 20, 0, "IMAGE"],
        [8, 20, 0, 30, 0, "IMAGE"],
      ],
      upscale,
    );
  const plain = instance({ inputs: ["image:IMAGE<7", "factor:FLOAT*", "method:COMBO*"], widgets: [4, "lanczos"] });

  it("becomes its inner nodes, linked to what is around it", () => {
    const ui = expand(around(plain));
    expect(ids(ui)).toEqual(["10", "30", "20:1"]);
    expect(wires(ui)).toEqual(["20:1.0 -> 30.images", "10.0 -> 20:1.image"]);
    expect(ui.graph.nodes.get("20:1")).toMatchObject({ type: "ImageScaleBy", order: 5, widgets: ["nearest", 2] });
  });

  it("hands what was typed into it to the widgets inside", () => {
    expect(overrides(expand(around(plain)), "20:1")).toEqual({ scale_by: 4, upscale_method: "lanczos" });
  });

  it("lists its promoted widgets in order, with the names they have outside", () => {
    expect(expand(around(plain)).promoted).toEqual([
      { node: "20:1", field: "scale_by", name: "factor", title: "How much" },
      { node: "20:1", field: "upscale_method", name: "method", title: null },
    ]);
  });

  it("may list its inputs in another order than the definition", () => {
    const shell = instance({ inputs: ["method:COMBO*", "factor:FLOAT*", "image:IMAGE<7"], widgets: ["area", 3] });
    const ui = expand(around(shell));
    expect(wires(ui)).toContain("10.0 -> 20:1.image");
    expect(overrides(ui, "20:1")).toEqual({ scale_by: 3, upscale_method: "area" });
    expect(ui.promoted.map(({ name }) => name)).toEqual(["method", "factor"]);
  });

  it("may leave out inputs without links, whose values follow the definition's order", () => {
    const ui = expand(around(instance({ inputs: ["image:IMAGE<7"], widgets: [3, "area"] })));
    expect(overrides(ui, "20:1")).toEqual({ scale_by: 3, upscale_method: "area" });
  });

  it("may have labels of its own, which change no link and no value", () => {
    const shell = json({
      ...plain,
      inputs: [
        { name: "image", type: "IMAGE", link: 7, label: "Picture" },
        { name: "factor", type: "FLOAT", link: null, label: "Zoom", widget: { name: "factor" } },
      ],
    });
    const ui = expand(around(shell));
    expect(wires(ui)).toContain("10.0 -> 20:1.image");
    expect(ui.promoted.map(({ name, title }) => [name, title])).toEqual([
      ["factor", "Zoom"],
      ["method", null],
    ]);
  });

  it("matches a renamed slot by its place when nothing else can be meant", () => {
    const shell = instance({ inputs: ["picture:IMAGE<7", "factor:FLOAT*"] });
    expect(wires(expand(around(shell)))).toContain("10.0 -> 20:1.image");
  });

  it("lets a link to a promoted input stand above the value typed there", () => {
    const float = node(11, "PrimitiveFloat", { outputs: ["FLOAT:FLOAT"], widgets: [9] });
    const shell = instance({ inputs: ["image:IMAGE", "factor:FLOAT*<9", "method:COMBO*"], widgets: [4, "lanczos"] });
    const ui = expand(document([float, shell], [[9, 11, 0, 20, 1, "FLOAT"]], upscale));
    expect(wires(ui)).toEqual(["11.0 -> 20:1.scale_by"]);
    expect(overrides(ui, "20:1")).toEqual({ upscale_method: "lanczos" });
    expect(ui.promoted.map(({ name }) => name)).toEqual(["method"]);
  });

  it("keeps the inner values where it has none", () => {
    expect(overrides(expand(around(instance({ inputs: ["image:IMAGE<7"] }))), "20:1")).toBeNull();
    expect(overrides(expand(around(instance({ widgets: [null, "area"] }))), "20:1")).toEqual({
      upscale_method: "area",
    });
  });

  it("may keep its values by name", () => {
    const shell = json({ ...plain, widgets_values_named: { factor: 8, image: "no widget" } });
    expect(overrides(expand(around(shell)), "20:1")).toEqual({ scale_by: 8, upscale_method: "lanczos" });
  });

  it.each([
    ["muted", 2],
    ["bypassed", 4],
  ])("stays one node when it is %s, with its inputs in the definition's order", (_, mode) => {
    const ui = expand(around(instance({ mode, inputs: ["factor:FLOAT*", "image:IMAGE<7"], widgets: [3] })));
    expect(ids(ui)).toEqual(["10", "20", "30"]);
    expect(ui.graph.nodes.get("20")?.inputs.map(({ name }) => name)).toEqual(["image", "factor", "method"]);
    expect(wires(ui)).toEqual(["10.0 -> 20.image", "20.0 -> 30.images"]);
    expect(ui.promoted).toEqual([]);
  });

  it("twice is two copies with values of their own", () => {
    const shell = (id: number, widgets: Json): JsonObject => node(id, UPSCALE, { inputs: ["image:IMAGE"], widgets });
    const ui = expand(document([shell(1, [2]), shell(2, [3])], [], upscale));
    expect(ids(ui)).toEqual(["1:1", "2:1"]);
    expect([overrides(ui, "1:1"), overrides(ui, "2:1")]).toEqual([{ scale_by: 2 }, { scale_by: 3 }]);
  });
});

describe("the inside of a subgraph", () => {
  const sampler = (id: number, link: number, extra: Parameters<typeof node>[2] = {}): JsonObject =>
    node(id, "KSampler", {
      inputs: [`seed:INT*<${link}`],
      outputs: ["LATENT:LATENT"],
      widgets: [1, "fixed"],
      ...extra,
    });
  const two = (parts: Parameters<typeof node>[2] = {}): JsonObject =>
    subgraph(UPSCALE, "Two samplers", {
      inputs: [
        { name: "seed", type: "INT", linkIds: [2, 1] },
        { name: "mode", type: "COMBO", linkIds: [3] },
      ],
      outputs: [
        { name: "LATENT", type: "LATENT", linkIds: [4] },
        { name: "again", type: "LATENT", linkIds: [5] },
      ],
      nodes: [sampler(1, 1, parts), sampler(2, 2), node(3, "Mode", { inputs: ["mode:COMBO*<3"], widgets: ["a"] })],
      links: [
        objectLink(1, -10, 0, 1, 0, "INT"),
        objectLink(2, -10, 0, 2, 0, "INT"),
        objectLink(3, -10, 1, 3, 0, "COMBO"),
        objectLink(4, 1, 0, -20, 0, "LATENT"),
        objectLink(5, 1, 0, -20, 1, "LATENT"),
      ],
    });
  const shell = (widgets: Json): JsonObject =>
    node(20, UPSCALE, { outputs: ["LATENT:LATENT", "again:LATENT"], widgets });

  it("may use one input several times", () => {
    const ui = expand(document([shell([77, "b"])], [], two()));
    expect(["20:1", "20:2", "20:3"].map((id) => overrides(ui, id))).toEqual([
      { seed: 77 },
      { seed: 77 },
      { mode: "b" },
    ]);
    expect(ui.promoted.map(({ node: inner, name }) => [inner, name])).toEqual([
      ["20:2", "seed"],
      ["20:1", "seed"],
      ["20:3", "mode"],
    ]);
  });

  it("reads the values of files that keep a control value behind each seed", () => {
    const ui = expand(document([shell([77, "randomize", "b"])], [], two()));
    expect(["20:1", "20:3"].map((id) => overrides(ui, id))).toEqual([{ seed: 77 }, { mode: "b" }]);
  });

  it("does not take a choice for a control value where the values count up", () => {
    expect(overrides(expand(document([shell([77, "fixed"])], [], two())), "20:3")).toEqual({ mode: "fixed" });
  });

  it("may give one value to several outputs, and one output may be read several times", () => {
    const readers = [1, 2, 3].map((id) => node(id, "Read", { inputs: [`x:LATENT<${id}`] }));
    const links = [
      [1, 20, 0, 1, 0, "LATENT"],
      [2, 20, 1, 2, 0, "LATENT"],
      [3, 20, 0, 3, 0, "LATENT"],
    ];
    const ui = expand(document([...readers, shell(null)], links, two()));
    expect(wires(ui)).toEqual(["20:1.0 -> 1.x", "20:1.0 -> 2.x", "20:1.0 -> 3.x"]);
  });

  it("keeps the modes of its nodes, and no muted one is promoted", () => {
    const ui = expand(document([shell([5])], [], two({ mode: 2 })));
    expect(ui.graph.nodes.get("20:1")?.mode).toBe(2);
    expect(ui.promoted.map(({ node: inner }) => inner)).toEqual(["20:2", "20:3"]);
  });

  it.each([
    ["the first that its list names", [7, 6], "20:2.0 -> 1.x"],
    ["the first of all where the list is missing", undefined, "20:1.0 -> 1.x"],
    ["the first there is where the list names others", [99, 7], "20:2.0 -> 1.x"],
  ])("gives an output with several links the value of %s", (_, linkIds, wire) => {
    const several = subgraph(UPSCALE, "Several", {
      outputs: [{ name: "out", type: "IMAGE", linkIds }],
      nodes: [1, 2].map((id) => node(id, "Gives", { outputs: ["IMAGE:IMAGE"] })),
      links: [objectLink(6, 1, 0, -20, 0, "IMAGE"), objectLink(7, 2, 0, -20, 0, "IMAGE")],
    });
    const reader = node(1, "Read", { inputs: ["x:IMAGE<1"] });
    const instance = node(20, UPSCALE, { outputs: ["out:IMAGE"] });
    expect(wires(expand(document([reader, instance], [[1, 20, 0, 1, 0, "IMAGE"]], several)))).toEqual([wire]);
  });

  it("may hand an input straight on to an output", () => {
    const through = subgraph(UPSCALE, "Through", {
      inputs: [{ name: "x", type: "IMAGE", linkIds: [1] }],
      outputs: [{ name: "y", type: "IMAGE", linkIds: [1] }],
      nodes: [],
      links: [objectLink(1, -10, 0, -20, 0, "IMAGE")],
    });
    const shells = [1, 2, 3].map((id) => node(id, UPSCALE, { inputs: [`x:IMAGE<${id}`], outputs: ["y:IMAGE"] }));
    const chain = [
      [1, 10, 0, 1, 0, "IMAGE"],
      [2, 1, 0, 2, 0, "IMAGE"],
      [3, 2, 0, 3, 0, "IMAGE"],
      [4, 3, 0, 30, 0, "IMAGE"],
    ];
    expect(wires(expand(document([load, ...shells, save(4)], chain, through)))).toEqual(["10.0 -> 30.images"]);
    const ring = [
      [1, 3, 0, 1, 0, "IMAGE"],
      [2, 1, 0, 2, 0, "IMAGE"],
      [3, 2, 0, 3, 0, "IMAGE"],
      [4, 3, 0, 30, 0, "IMAGE"],
    ];
    expect(wires(expand(document([...shells, save(4)], ring, through)))).toEqual([]);
  });
});

describe("subgraphs in subgraphs", () => {
  const outer = (properties: JsonObject = {}, inner: Parameters<typeof node>[2] = {}): JsonObject =>
    subgraph(OUTER, "Outer", {
      inputs: [
        { name: "picture", type: "IMAGE", linkIds: [1] },
        { name: "zoom", type: "FLOAT", linkIds: [2] },
      ],
      outputs: [{ name: "out", type: "IMAGE", linkIds: [3] }],
      nodes: [
        node(5, UPSCALE, {
          inputs: ["image:IMAGE<1", "factor:FLOAT*<2", "method:COMBO*"],
          outputs: ["IMAGE:IMAGE"],
          widgets: [1, "bilinear"],
          properties,
          ...inner,
        }),
      ],
      links: [
        objectLink(1, -10, 0, 5, 0, "IMAGE"),
        objectLink(2, -10, 1, 5, 1, "FLOAT"),
        objectLink(3, 5, 0, -20, 0, "IMAGE"),
      ],
    });
  const shell = (parts: Parameters<typeof node>[2] = {}): JsonObject =>
    node(20, OUTER, { order: 3, inputs: ["picture:IMAGE<7", "zoom:FLOAT*"], outputs: ["out:IMAGE"], ...parts });
  const links: Json[] = [
    [7, 10, 0, 20, 0, "IMAGE"],
    [8, 20, 0, 30, 0, "IMAGE"],
  ];

  it("have ids of all shells on the way, and links and values through all rims", () => {
    const ui = expand(document([load, shell({ widgets: [6] }), save(8)], links, outer(), upscale));
    expect(ids(ui)).toEqual(["10", "30", "20:5:1"]);
    expect(wires(ui)).toEqual(["20:5:1.0 -> 30.images", "10.0 -> 20:5:1.image"]);
    expect(overrides(ui, "20:5:1")).toEqual({ scale_by: 6, upscale_method: "bilinear" });
    expect(ui.graph.nodes.get("20:5:1")?.order).toBe(3);
    expect(ui.promoted).toEqual([{ node: "20:5:1", field: "scale_by", name: "zoom", title: null }]);
  });

  it("may be bypassed inside", () => {
    const ui = expand(document([load, shell(), save(8)], links, outer({}, { mode: 4 }), upscale));
    expect(wires(ui)).toEqual(["20:5.0 -> 30.images", "10.0 -> 20:5.image"]);
  });

  it("that contain themselves are refused", () => {
    const own = subgraph(OUTER, "Own inside", { nodes: [node(1, OUTER)], links: [] });
    expect(refused(document([node(20, OUTER)], [], own))).toMatch(/nodes\/20:1: "Own inside" contains itself/);
  });

  it("without a definition are refused with a way out", () => {
    expect(refused(document([node(20, UPSCALE)], []))).toMatch(
      /nodes\/20: .*does not hold the subgraph.*save it again/s,
    );
  });

  it("that are switched off need no definition", () => {
    expect(ids(expand(document([node(20, UPSCALE, { mode: 2 }), node(21, UPSCALE, { mode: 4 })], [])))).toEqual([
      "20",
      "21",
    ]);
  });

  it("that multiply beyond all bounds are refused at once", () => {
    const level = (depth: number): string => `0c0ffee0-0000-4000-8000-${String(depth).padStart(12, "0")}`;
    const bomb = Array.from({ length: 20 }, (_, depth) =>
      subgraph(level(depth), "Bomb", {
        nodes: Array.from({ length: 10 }, (_entry, id) => node(id, depth === 19 ? "Note" : level(depth + 1))),
        links: [],
      }),
    );
    expect(refused(document([node(1, level(0))], [], ...bomb))).toMatch(/more than 20000 nodes/);
    const deep = Array.from({ length: 40 }, (_, depth) =>
      subgraph(level(depth), "Deep", { nodes: [node(1, level((depth + 1) % 40))], links: [] }),
    );
    expect(refused(document([node(1, level(0))], [], ...deep))).toMatch(/more than 32 deep/);
  });

  it("with thousands of slots and lists of widgets that are nowhere are expanded all the same", () => {
    const level = (depth: number): string => `0c0ffee0-0000-4000-8000-${String(depth).padStart(12, "0")}`;
    const slots = Array.from({ length: 500 }, (_, slot) => slot);
    const proxyWidgets = slots.map((slot) => ["1", `gone${slot}`]);
    const deep = Array.from({ length: 15 }, (_, depth) =>
      subgraph(level(depth), "Wide", {
        inputs: slots.map((slot) => ({ name: `w${slot}`, type: "INT", linkIds: [slot] })),
        nodes: [
          node(1, depth === 14 ? "Many" : level(depth + 1), {
            inputs: slots.map((slot) => `w${slot}:INT*<${slot}`),
            properties: { proxyWidgets },
          }),
        ],
        links: slots.map((slot) => objectLink(slot, -10, slot, 1, slot, "INT")),
      }),
    );
    const ui = expand(document([node(1, level(0), { widgets: slots })], [], ...deep));
    expect(overrides(ui, Array(16).fill("1").join(":"))).toMatchObject({ w0: 0, w499: 499 });
  });

  it("whose ids meet another node's are refused", () => {
    const other = node("20:1", "Note");
    expect(refused(document([node(20, UPSCALE), other], [], upscale))).toMatch(/nodes\/20:1: .*another/);
  });
});

describe("a promoted widget that nobody touched", () => {
  /** One slot that leads to three widgets: a count that is a connection, then two samplers' steps. */
  const fan = (first: Parameters<typeof node>[2] = {}): JsonObject =>
    subgraph(UPSCALE, "Fan", {
      inputs: [{ name: "steps", type: "INT", linkIds: [1, 2, 3] }],
      nodes: [
        node(1, "Show", { inputs: ["value:INT<1"] }),
        node(2, "KSampler", { inputs: ["steps:INT*<2"], widgets: [1, "fixed", 4, 1, "euler", "normal", 1], ...first }),
        node(3, "KSampler", { inputs: ["steps:INT*<3"], widgets: [2, "fixed", 30, 8, "euler", "normal", 1] }),
      ],
      links: [
        objectLink(1, -10, 0, 1, 0, "INT"),
        objectLink(2, -10, 0, 2, 0, "INT"),
        objectLink(3, -10, 0, 3, 0, "INT"),
      ],
    });
  const stepsOf = (ui: JsonObject): unknown => {
    const converted = convertUi(expand(ui), lookup);
    if (!converted.ok) throw new Error(converted.detail);
    return Object.entries(converted.graph).map(([id, each]) => {
      const { inputs } = each as { inputs: JsonObject };
      return [id, inputs.steps ?? inputs.value];
    });
  };

  it("has the value of the first widget it leads to, and gives it to all", () => {
    expect(stepsOf(document([node(20, UPSCALE, { inputs: ["steps:INT*"] })], [], fan()))).toEqual([
      ["20:1", 4],
      ["20:2", 4],
      ["20:3", 4],
    ]);
  });

  it("has it too where that node is bypassed", () => {
    expect(stepsOf(document([node(20, UPSCALE, { inputs: ["steps:INT*"] })], [], fan({ mode: 4 })))).toEqual([
      ["20:1", 4],
      ["20:3", 4],
    ]);
  });

  it("that was set since gives that to all", () => {
    expect(stepsOf(document([node(20, UPSCALE, { inputs: ["steps:INT*"], widgets: [9] })], [], fan()))).toEqual([
      ["20:1", 9],
      ["20:2", 9],
      ["20:3", 9],
    ]);
  });

  it.each([
    ["what was typed into a shell inside", [7], 7],
    ["what stands in the widget inside that one", [], 4],
  ])("has %s", (_what, widgets, expected) => {
    const outer = subgraph(OUTER, "Outer", {
      inputs: [{ name: "steps", type: "INT", linkIds: [1] }],
      nodes: [node(5, UPSCALE, { inputs: ["steps:INT*<1"], widgets })],
      links: [objectLink(1, -10, 0, 5, 0, "INT")],
    });
    expect(stepsOf(document([node(20, OUTER, { inputs: ["steps:INT*"] })], [], outer, fan()))).toEqual([
      ["20:5:1", expected],
      ["20:5:2", expected],
      ["20:5:3", expected],
    ]);
  });

  it.each([
    ["a bypassed node", node(2, "Count", { mode: 4, inputs: ["count:INT*<1"], outputs: ["INT:INT"], widgets: [6] })],
    ["a reroute", node(2, "Reroute", { inputs: [":*<1"], outputs: ["INT:INT"] })],
  ])("reaches through %s", (_what, between) => {
    const through = subgraph(UPSCALE, "Through", {
      inputs: [{ name: "steps", type: "INT", linkIds: [1] }],
      nodes: [between, node(3, "KSampler", { inputs: ["steps:INT*<2"], widgets: [2, "fixed", 30] })],
      links: [objectLink(1, -10, 0, 2, 0, "INT"), objectLink(2, 2, 0, 3, 0, "INT")],
    });
    const shell = (widgets: Json): JsonObject => node(20, UPSCALE, { inputs: ["steps:INT*"], widgets });
    expect(stepsOf(document([shell([11])], [], through))).toEqual([["20:3", 11]]);
  });
});

describe("the list of proxy widgets", () => {
  const free = subgraph(UPSCALE, "Free widgets", {
    inputs: [{ name: "factor", type: "FLOAT", linkIds: [1] }],
    nodes: [
      node(1, "ImageScaleBy", { inputs: ["scale_by:FLOAT*<1"], widgets: ["nearest", 2] }),
      node(2, "KSampler", { widgets: [1, "fixed", 20] }),
      node(3, "PrimitiveNode", { outputs: ["INT:INT"], widgets: [4, "fixed"] }),
    ],
    links: [objectLink(1, -10, 0, 1, 0, "FLOAT")],
  });
  const shell = (proxyWidgets: Json, widgets: Json): JsonObject =>
    node(20, UPSCALE, { inputs: ["factor:FLOAT*"], widgets, properties: { proxyWidgets } });

  it("sets and shows inner widgets, the instance's own inputs among them", () => {
    const list = [
      ["2", "seed"],
      ["-1", "factor"],
      ["2", "$$canvas-image-preview"],
      ["3", "value"],
      ["9", "gone"],
    ];
    const ui = expand(document([shell(list, [88, 6, null, 12, 1])], [], free));
    expect(["20:1", "20:2", "20:3"].map((id) => overrides(ui, id))).toEqual([
      { scale_by: 6 },
      { seed: 88 },
      { value: 12 },
    ]);
    expect(ui.promoted.map(({ node: inner, field, name }) => [inner, field, name])).toEqual([
      ["20:2", "seed", "seed"],
      ["20:1", "scale_by", "factor"],
      ["20:3", "value", "value"],
    ]);
  });

  it("may be text, lack values, and name a widget that the rim leads to", () => {
    const ui = expand(document([shell('[["1", "scale_by"], ["2", "steps"]]', [7])], [], free));
    expect([overrides(ui, "20:1"), overrides(ui, "20:2")]).toEqual([{ scale_by: 7 }, null]);
    expect(ui.promoted.map(({ name }) => name)).toEqual(["factor", "steps"]);
    expect(expand(document([shell("{not json", [7])], [], free)).promoted).toHaveLength(1);
  });

  it("reaches through inner shells, in both ways of writing the way", () => {
    const outer = subgraph(OUTER, "Outer", {
      nodes: [node(5, UPSCALE, { inputs: ["factor:FLOAT*"], widgets: [2] })],
      links: [],
    });
    const host = (list: Json): JsonObject => node(30, OUTER, { widgets: [9], properties: { proxyWidgets: list } });
    for (const entry of [
      ["5", "factor"],
      ["5", "scale_by"],
      ["5", "1: scale_by"],
      ["5", "scale_by", "1"],
    ]) {
      const ui = expand(document([host([entry])], [], outer, free));
      expect(overrides(ui, "30:5:1")).toEqual({ scale_by: 9 });
      expect(ui.promoted[0]).toMatchObject({ node: "30:5:1", field: "scale_by" });
    }
  });

  it("gives back values that an editor put aside", () => {
    const properties = { proxyWidgetErrorQuarantine: [{ originalEntry: ["-1", "factor"], hostValue: 5 }] };
    const ui = expand(document([node(20, UPSCALE, { widgets: [1], properties: json(properties) })], [], free));
    expect(overrides(ui, "20:1")).toEqual({ scale_by: 5 });
  });
});
