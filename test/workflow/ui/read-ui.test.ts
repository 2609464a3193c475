import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { readUi, type UiDocument } from "#workflow/ui/read-ui";
import { json, node, objectLink } from "./documents.ts";

function read(document: JsonObject): UiDocument {
  const result = readUi(document);
  if (!result.ok) throw new Error(result.detail);
  return result.ui;
}

function refused(document: JsonObject): string {
  const result = readUi(document);
  if (result.ok) throw new Error("was read");
  expect(result.code).toBe("invalid_workflow");
  expect(result.errors?.every((error) => error.path.startsWith("/workflow"))).not.toBe(false);
  return result.detail;
}

describe("a document of the editor", () => {
  const nodes = [
    node(4, "CheckpointLoaderSimple", { outputs: ["MODEL:MODEL", "CLIP:CLIP"], widgets: ["a.safetensors"] }),
    node(6, "CLIPTextEncode", {
      inputs: ["clip:CLIP<3", "text:STRING*"],
      widgets: ["a cat"],
      title: "Positive",
      order: 2,
    }),
  ];

  it("is read in schema 0.4, whose links are arrays", () => {
    const { graph } = read(json({ version: 0.4, nodes, links: [[3, 4, 1, 6, 0, "CLIP"]] }));
    expect(graph.nodes.get("6")).toEqual({
      id: "6",
      type: "CLIPTextEncode",
      mode: 0,
      order: 2,
      title: "Positive",
      inputs: [
        { name: "clip", type: "CLIP", link: "3", widget: null, label: null },
        { name: "text", type: "STRING", link: null, widget: "text", label: null },
      ],
      outputs: [],
      widgets: ["a cat"],
      namedWidgets: null,
      overrides: null,
      properties: {},
    });
    expect(graph.links.get("3")).toEqual({ id: "3", from: "4", fromSlot: 1, to: "6", toSlot: 0, type: "CLIP" });
  });

  it("is read in schema 1.0, whose links are objects, and is the same", () => {
    const modern = read(
      json({
        version: 1,
        nodes,
        links: [objectLink(3, 4, 1, 6, 0, "CLIP")],
        floatingLinks: [objectLink(9, 4, 0, -1, -1, "MODEL")],
        reroutes: [{ id: 1, pos: [0, 0], linkIds: [3] }],
      }),
    );
    expect(modern.graph).toEqual(read(json({ version: 0.4, nodes, links: [[3, 4, 1, 6, 0, "CLIP"]] })).graph);
  });

  it("may name nodes and links by strings", () => {
    const { graph } = read(
      json({
        nodes: [{ id: "b", type: "SaveImage", inputs: [{ name: "images", type: "IMAGE", link: "l" }] }],
        links: [["l", "a", "0", "b", 0, "IMAGE"]],
      }),
    );
    expect(graph.nodes.get("b")?.inputs[0]?.link).toBe("l");
    expect(graph.links.get("l")).toMatchObject({ from: "a", fromSlot: 0, to: "b" });
  });

  it("may lack every field but the nodes' ids and types", () => {
    const { graph, subgraphs, extra } = read(
      json({ nodes: [{ id: 1, type: "Note" }, null, 3, { id: 2 }, { type: "x" }] }),
    );
    expect([...graph.nodes.keys()]).toEqual(["1"]);
    expect(graph.nodes.get("1")).toMatchObject({ mode: 0, order: 0, title: null, widgets: null, properties: {} });
    expect(graph.links.size + subgraphs.size).toBe(0);
    expect(extra).toEqual({});
  });

  it("keeps widgets by position, by name, and both", () => {
    const { graph } = read(
      json({
        nodes: [
          { id: 1, type: "VHS_VideoCombine", widgets_values: { frame_rate: 8 } },
          { id: 2, type: "KSampler", widgets_values: [1, "fixed"], widgets_values_named: { seed: 1 } },
        ],
      }),
    );
    expect(graph.nodes.get("1")?.widgets).toEqual({ frame_rate: 8 });
    expect(graph.nodes.get("2")).toMatchObject({ widgets: [1, "fixed"], namedWidgets: { seed: 1 } });
  });

  it("is refused when two nodes have one id", () => {
    expect(refused(json({ nodes: [node(7, "A"), node("7", "B"), node(8, "C")] }))).toMatch(
      /same id \(7\).*save it again/,
    );
  });

  it("is refused when it holds more nodes or links than any workflow", () => {
    const many = Array.from({ length: 20_001 }, (_, id) => ({ id, type: "Note" }));
    expect(refused({ nodes: many })).toMatch(/more than 20000 nodes/);
    const links = Array.from({ length: 200_001 }, (_, id) => [id, 1, 0, 2, 0, "X"]);
    expect(refused({ nodes: [], links })).toMatch(/more than 200000 links/);
  });

  it("is refused without a list of nodes", () => {
    expect(refused(json({ links: [] }))).toMatch(/no list of nodes/);
  });
});

describe("the definitions of subgraphs", () => {
  const definition = {
    id: "5e1f",
    name: "Upscale",
    inputNode: { id: -10 },
    outputNode: { id: -20 },
    inputs: [{ name: "image", type: "IMAGE", linkIds: [1, 2], label: "Picture" }],
    outputs: [{ name: "IMAGE", type: "IMAGE", linkIds: [3] }],
    nodes: [node(1, "ImageScale")],
    links: [objectLink(1, -10, 0, 1, 0, "IMAGE")],
  };

  it("are read with their rims", () => {
    const { subgraphs } = read(json({ nodes: [], definitions: { subgraphs: [definition] } }));
    expect(subgraphs.get("5e1f")).toMatchObject({
      name: "Upscale",
      inputNode: "-10",
      outputNode: "-20",
      inputs: [{ name: "image", type: "IMAGE", label: "Picture", links: ["1", "2"] }],
      outputs: [{ name: "IMAGE", label: null, links: ["3"] }],
    });
    expect(subgraphs.get("5e1f")?.graph.links.get("1")).toMatchObject({ from: "-10", to: "1" });
  });

  it("are found where they are nested in one another", () => {
    const outer = { ...definition, id: "outer", definitions: { subgraphs: [definition] } };
    const { subgraphs } = read(json({ nodes: [], definitions: { subgraphs: [outer] } }));
    expect([...subgraphs.keys()]).toEqual(["outer", "5e1f"]);
  });

  it("are refused when two have one id", () => {
    expect(refused(json({ nodes: [], definitions: { subgraphs: [definition, definition] } }))).toMatch(/Two subgraphs/);
  });
});

it("reads or refuses any document whatever", () => {
  const value = fc.jsonValue({ maxDepth: 4 });
  const anything = fc.oneof(value, fc.record({ id: value, type: fc.string(), inputs: value, outputs: value }));
  fc.assert(
    fc.property(
      fc.record({
        nodes: fc.array(anything),
        links: value,
        definitions: fc.record({ subgraphs: value }),
        extra: value,
      }),
      (document) => {
        const result = readUi(json(document));
        expect(result.ok || result.code === "invalid_workflow").toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});
