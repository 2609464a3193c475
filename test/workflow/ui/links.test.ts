import { describe, expect, it } from "vitest";
import { convertUi } from "#workflow/ui/convert-ui";
import { bypassSlot, fitsType } from "#workflow/ui/links";
import { MODE } from "#workflow/ui/ui-graph";
import { converted, inputsOf, lookup, type NodeSketch, uiGraph, uiNode } from "./editor-graph.ts";

const give = (more: NodeSketch = {}) => uiNode("give", "Give", { outputs: ["IMAGE", "MASK"], ...more });
const take = (id = "take") =>
  uiNode(id, "Take", {
    inputs: [
      { name: "image", type: "IMAGE" },
      { name: "mask", type: "MASK" },
    ],
    outputs: ["IMAGE"],
  });
const count = (id = "count") =>
  uiNode(id, "Count", { inputs: [{ name: "count", type: "INT", widget: "count" }], widgets: [9] });
const reroute = (id: string) => uiNode(id, "Reroute", { inputs: ["*"], outputs: ["*"] });

describe("a link", () => {
  it("goes through reroutes to the node that gives", () => {
    const graph = uiGraph(
      [give(), reroute("r1"), reroute("r2"), take()],
      [
        ["give", 1, "r1", 0],
        ["r1", 0, "r2", 0],
        ["r2", 0, "take", 1],
      ],
    );
    const result = converted(graph);
    expect(inputsOf(result, "take")).toEqual({ mask: ["give", 1] });
    expect(Object.keys(result.graph)).toEqual(["give", "take"]);
  });

  it("goes from a get node to its set node's source", () => {
    const graph = uiGraph(
      [
        give(),
        uiNode("set", "SetNode", { inputs: ["*"], outputs: ["*"], widgets: ["picture"] }),
        uiNode("get", "GetNode", { outputs: ["*"], widgets: ["picture"] }),
        take(),
      ],
      [
        ["give", 0, "set", 0],
        ["get", 0, "take", 0],
      ],
    );
    expect(inputsOf(converted(graph), "take")).toEqual({ image: ["give", 0] });
  });

  it.each([
    [
      "a circle of reroutes",
      [reroute("r1"), reroute("r2")],
      [
        ["r1", 0, "r2", 0],
        ["r2", 0, "r1", 0],
        ["r2", 0, "count", 0],
      ],
    ],
    ["a reroute without a source", [reroute("r1")], [["r1", 0, "count", 0]]],
    ["a node that is not there", [], [["gone", 0, "count", 0]]],
  ] as const)("that leads to %s leaves the widget alone", (_what, nodes, ends) => {
    expect(inputsOf(converted(uiGraph([...nodes, count()], ends)), "count")).toEqual({ count: 9 });
  });

  it("from a muted node takes the input away, its widget too", () => {
    const muted = uiNode("n", "Count", { mode: MODE.muted, outputs: ["INT"], widgets: [3] });
    const result = converted(
      uiGraph(
        [muted, reroute("r"), count()],
        [
          ["n", 0, "r", 0],
          ["r", 0, "count", 0],
        ],
      ),
    );
    expect(inputsOf(result, "count")).toEqual({});
    expect(result.graph.n).toBeUndefined();
  });

  it("has above the widget of its name", () => {
    const source = uiNode("n", "Count", { outputs: ["INT"], widgets: [3] });
    expect(inputsOf(converted(uiGraph([source, count()], [["n", 0, "count", 0]])), "count")).toEqual({
      count: ["n", 0],
    });
  });
});

describe("a primitive", () => {
  const primitive = (value: string | number) =>
    uiNode("p", "PrimitiveNode", { outputs: ["INT"], widgets: [value, "randomize"] });

  it("writes its value into the widget", () => {
    expect(inputsOf(converted(uiGraph([primitive(3), count()], [["p", 0, "count", 0]])), "count")).toEqual({
      count: 3,
    });
  });

  it("reaches through reroutes", () => {
    const graph = uiGraph(
      [primitive(3), reroute("r"), count()],
      [
        ["p", 0, "r", 0],
        ["r", 0, "count", 0],
      ],
    );
    expect(inputsOf(converted(graph), "count")).toEqual({ count: 3 });
  });

  it("leaves a widget alone that its value does not fit, and says so", () => {
    const result = converted(uiGraph([primitive("many"), count()], [["p", 0, "count", 0]]));
    expect(inputsOf(result, "count")).toEqual({ count: 9 });
    expect(result.notes).toEqual([expect.stringContaining("does not fit")]);
  });
});

describe("a bypassed node", () => {
  const bypassed = (inputs: string[], outputs: string[]) =>
    uiNode("b", "Take", { mode: MODE.bypassed, inputs, outputs });

  it.each([
    ["the same place when it fits", ["IMAGE", "IMAGE"], ["MASK", "IMAGE"], 1, "IMAGE", 1],
    ["the first of exactly the type", ["MASK", "IMAGE", "IMAGE"], ["IMAGE"], 0, "IMAGE", 1],
    ["the first that fits", ["MASK", "image,latent"], ["IMAGE"], 0, "IMAGE", 1],
    ["nothing when nothing fits", ["MASK"], ["IMAGE"], 0, "IMAGE", -1],
    ["nothing at the same place that fits its output but not the target", ["IMAGE,MASK"], ["IMAGE,MASK"], 0, "INT", -1],
    ["another than the same place when that one fits not the target", ["A", "A,B"], ["A,B"], 0, "B", 1],
    ["the same place for a target that takes anything", ["MASK", "IMAGE"], ["MASK", "MASK"], 1, "*", 1],
    ["the first place when it has no such place", ["MASK"], ["MASK", "IMAGE"], 1, "*", 0],
  ])("hands on %s", (_what, inputs, outputs, slot, wanted, expected) => {
    expect(bypassSlot(bypassed(inputs, outputs), slot, wanted)).toBe(expected);
  });

  it("is passed over, with all that it would have done", () => {
    const graph = uiGraph(
      [give(), bypassed(["IMAGE", "MASK"], ["IMAGE"]), take()],
      [
        ["give", 0, "b", 0],
        ["b", 0, "take", 0],
      ],
    );
    const result = converted(graph);
    expect(inputsOf(result, "take")).toEqual({ image: ["give", 0] });
    expect(result.graph.b).toBeUndefined();
  });
});

describe("types", () => {
  it.each([
    ["IMAGE", "image", true],
    ["IMAGE,MASK", "mask", true],
    ["*", "LATENT", true],
    ["IMAGE", "MASK", false],
    ["IMAGES", "IMAGE", false],
  ])("%s and %s fit: %s", (one, other, expected) => {
    expect(fitsType(one, other)).toBe(expected);
    expect(fitsType(other, one)).toBe(expected);
  });
});

describe("a node that hands its input to every free one", () => {
  const nodes = [
    give(),
    uiNode("everywhere", "Anything Everywhere", { inputs: [{ name: "anything", type: "*" }] }),
    take(),
    take("other"),
  ];
  const graph = uiGraph(nodes, [
    ["give", 0, "everywhere", 0],
    ["give", 1, "other", 1],
  ]);
  const note = (downstream: string, slot: number) => ({
    upstream: "give",
    upstream_slot: 0,
    downstream,
    downstream_slot: slot,
  });

  it("is followed where the file says what it reached, and gives way to links that were drawn", () => {
    const ue_links = [note("take", 0), note("other", 0), note("other", 1), note("gone", 0), note("take", 9), {}];
    const result = convertUi({ graph, promoted: [], extra: { ue_links } }, lookup);
    if (!result.ok) throw new Error(result.detail);
    expect(inputsOf(result, "take")).toEqual({ image: ["give", 0] });
    expect(inputsOf(result, "other")).toEqual({ image: ["give", 0], mask: ["give", 1] });
    expect(result.graph.everywhere).toBeUndefined();
  });

  it("counts while it is there and runs, where the notes name it", () => {
    const by = (controller: string) => ({ ue_links: [{ ...note("take", 0), controller }] });
    const linked = (nodesNow: typeof nodes, controller: string) => {
      const now = uiGraph(nodesNow, [["give", 0, "everywhere", 0]]);
      const result = convertUi({ graph: now, promoted: [], extra: by(controller) }, lookup);
      if (!result.ok) throw new Error(result.detail);
      return inputsOf(result, "take");
    };
    expect(linked(nodes, "everywhere")).toEqual({ image: ["give", 0] });
    expect(linked(nodes, "gone")).toEqual({});
    const off = nodes.map((each) => (each.id === "everywhere" ? { ...each, mode: MODE.muted } : each));
    expect(linked(off, "everywhere")).toEqual({});
  });

  it("may be a real one that gives a seed, and is refused where nobody knows to whom", () => {
    const seed = uiNode("seed", "Seed Everywhere", {
      outputs: ["INT"],
      widgets: [7, "fixed"],
      namedWidgets: { seed: 7 },
    });
    const ue_links = [
      { upstream: "seed", upstream_slot: 0, downstream: "count", downstream_slot: 0, controller: "seed" },
    ];
    const now = uiGraph([seed, count()], []);
    const result = convertUi({ graph: now, promoted: [], extra: { ue_links } }, lookup);
    if (!result.ok) throw new Error(result.detail);
    expect(inputsOf(result, "count")).toEqual({ count: ["seed", 0] });
    expect(inputsOf(result, "seed")).toEqual({ seed: 7 });
    expect(convertUi({ graph: now, promoted: [], extra: {} }, lookup)).toMatchObject({
      ok: false,
      errors: [{ path: "/workflow/nodes/seed" }],
    });
  });

  it("is refused where the file does not say it", () => {
    expect(convertUi({ graph, promoted: [], extra: {} }, lookup)).toMatchObject({
      ok: false,
      code: "invalid_workflow",
      errors: [{ path: "/workflow/nodes/everywhere", reason: expect.stringContaining("export") }],
    });
  });
});

describe("a get node", () => {
  const set = (id: string, more: NodeSketch = {}) =>
    uiNode(id, "SetNode", { inputs: ["*"], outputs: ["*"], widgets: ["picture"], ...more });
  const get = (id: string, name = "picture") => uiNode(id, "GetNode", { outputs: ["*"], widgets: [name] });

  it("without a set node is refused, since the editor does not run it either", () => {
    const graph = uiGraph([give(), set("set"), get("get", "other"), take()], [["get", 0, "take", 0]]);
    expect(convertUi({ graph, promoted: [], extra: {} }, lookup)).toMatchObject({
      ok: false,
      code: "invalid_workflow",
      errors: [{ path: "/workflow/nodes/get", reason: expect.stringMatching(/"other".*link the two nodes/) }],
    });
  });

  it("without a set node is nothing while nobody reads it", () => {
    expect(Object.keys(converted(uiGraph([give(), get("get", "other")], [])).graph)).toEqual(["give"]);
  });

  it("takes the set node of its own subgraph before one outside, and one outside before none", () => {
    const graph = uiGraph(
      [
        give({ outputs: ["IMAGE"] }),
        uiNode("5:give", "Give"),
        set("set"),
        set("5:set"),
        get("5:get"),
        get("6:7:get"),
        take(),
        take("other"),
      ],
      [
        ["give", 0, "set", 0],
        ["5:give", 0, "5:set", 0],
        ["5:get", 0, "take", 0],
        ["6:7:get", 0, "other", 0],
      ],
    );
    const result = converted(graph);
    expect(inputsOf(result, "take")).toEqual({ image: ["5:give", 0] });
    expect(inputsOf(result, "other")).toEqual({ image: ["give", 0] });
  });

  it("finds its set node where the files store names of widgets", () => {
    const graph = uiGraph(
      [
        give(),
        set("set", { widgets: { Constant: "picture" } }),
        uiNode("get", "GetNode", { outputs: ["*"], namedWidgets: { Constant: "picture" } }),
        take(),
      ],
      [
        ["give", 0, "set", 0],
        ["get", 0, "take", 0],
      ],
    );
    expect(inputsOf(converted(graph), "take")).toEqual({ image: ["give", 0] });
  });

  it("hands on as reroutes and primitives do while they are muted: only what would run can be off", () => {
    const off = { mode: MODE.muted };
    const graph = uiGraph(
      [
        give(),
        set("set", off),
        { ...get("get"), ...off },
        { ...reroute("r"), ...off },
        take(),
        uiNode("p", "PrimitiveNode", { outputs: ["INT"], widgets: [3, "fixed"], ...off }),
        count(),
      ],
      [
        ["give", 0, "set", 0],
        ["get", 0, "r", 0],
        ["r", 0, "take", 0],
        ["p", 0, "count", 0],
      ],
    );
    const result = converted(graph);
    expect(inputsOf(result, "take")).toEqual({ image: ["give", 0] });
    expect(inputsOf(result, "count")).toEqual({ count: 3 });
  });
});
