/**
 * Whole documents of the editor, each about a few of its rules at once. What is expected was worked out by hand from
 * the rules, in the words at each; none of it was recorded from this program.
 */
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { type EditorGraph, editorGraph } from "#workflow/ui/editor-graph";
import { json, node, objectLink } from "./documents.ts";
import { lookup } from "./editor-graph.ts";

const A = "0c0ffee0-0000-4000-8000-00000000000a";
const B = "0c0ffee0-0000-4000-8000-00000000000b";

interface Definition {
  /** `"name:TYPE"` with the links that start there: `"name:TYPE>1,2"`. */
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  readonly nodes: readonly JsonObject[];
  /** `[id, from, fromSlot, to, toSlot, type]`; -10 and -20 are the rims. */
  readonly links: readonly (readonly [number, number, number, number, number, string])[];
}

function subgraph(id: string, { inputs = [], outputs = [], nodes, links }: Definition): JsonObject {
  const slot = (text: string): unknown => {
    const [name = "", rest = ""] = text.split(":");
    const [type, ids = ""] = rest.split(">");
    return { name, type, linkIds: ids === "" ? [] : ids.split(",").map(Number) };
  };
  return json({
    id,
    name: id,
    inputNode: { id: -10 },
    outputNode: { id: -20 },
    inputs: inputs.map(slot),
    outputs: outputs.map(slot),
    nodes,
    links: links.map((link) => objectLink(...link)),
  });
}

function document(
  nodes: readonly JsonObject[],
  links: readonly Json[],
  more: Record<string, unknown> = {},
): JsonObject {
  const { subgraphs, ...rest } = more;
  return json({ version: 0.4, nodes, links, definitions: { subgraphs: subgraphs ?? [] }, ...rest });
}

function convert(ui: JsonObject): EditorGraph {
  const found = editorGraph(ui, lookup);
  if (!found.ok) throw new Error(found.detail);
  return found;
}

/** The result as `{id: [class, inputs]}`. */
function api(ui: JsonObject): Record<string, [Json | undefined, Json | undefined]> {
  return Object.fromEntries(
    Object.entries(convert(ui).graph).map(([id, each]) => {
      if (!isJsonObject(each)) throw new Error(`${id} is no node`);
      return [id, [each.class_type, isJsonObject(each.inputs) ? { ...each.inputs } : undefined]];
    }),
  );
}

function refusal(ui: JsonObject): { code: string; path: string | undefined; reason: string } {
  const found = editorGraph(ui, lookup);
  if (found.ok) throw new Error("was converted");
  return { code: found.code, path: found.errors?.[0]?.path, reason: found.detail };
}

const give = node(1, "Give", { outputs: ["IMAGE:IMAGE", "MASK:MASK"] });
const save = (id: number, link: number): JsonObject =>
  node(id, "SaveImage", { inputs: [`images:IMAGE<${link}`], widgets: ["x"] });
const saved = (from: string, slot = 0): [string, Json] => ["SaveImage", { images: [from, slot], filename_prefix: "x" }];

describe("subgraphs", () => {
  /** Blurs; its two widgets are called otherwise outside. */
  const blur = subgraph(A, {
    inputs: ["picture:IMAGE>1", "size:INT>2", "softness:FLOAT>3"],
    outputs: ["soft:IMAGE>4"],
    nodes: [
      node(7, "ImageBlur", {
        inputs: ["image:IMAGE<1", "blur_radius:INT*<2", "sigma:FLOAT*<3"],
        outputs: ["IMAGE:IMAGE"],
        widgets: [1, 1],
      }),
    ],
    links: [
      [1, -10, 0, 7, 0, "IMAGE"],
      [2, -10, 1, 7, 1, "INT"],
      [3, -10, 2, 7, 2, "FLOAT"],
      [4, 7, 0, -20, 0, "IMAGE"],
    ],
  });

  it("nested, with other names at each rim and slots in another order", () => {
    // The outer one calls the radius "far" and lists its slots in another order than its definition does.
    const outer = subgraph(B, {
      inputs: ["in:IMAGE>1", "far:INT>2"],
      outputs: ["out:IMAGE>3"],
      nodes: [
        node(2, A, {
          inputs: ["softness:FLOAT*", "size:INT*<2", "picture:IMAGE<1"],
          outputs: ["soft:IMAGE"],
          // In the order of the instance's own list: softness, size.
          widgets: [0.5, 3],
        }),
      ],
      links: [
        [1, -10, 0, 2, 2, "IMAGE"],
        [2, -10, 1, 2, 1, "INT"],
        [3, 2, 0, -20, 0, "IMAGE"],
      ],
    });
    const shell = node(3, B, { inputs: ["far:INT*", "in:IMAGE<1"], outputs: ["out:IMAGE"], widgets: [9] });
    const links: Json[] = [
      [1, 1, 0, 3, 1, "IMAGE"],
      [2, 3, 0, 4, 0, "IMAGE"],
    ];
    expect(api(document([give, shell, save(4, 2)], links, { subgraphs: [outer, blur] }))).toEqual({
      1: ["Give", {}],
      "3:2:7": ["ImageBlur", { image: ["1", 0], blur_radius: 9, sigma: 0.5 }],
      4: saved("3:2:7"),
    });
  });

  it("of one definition twice, each with its own values and sources", () => {
    const shell = (id: number, link: number, widgets: Json): JsonObject =>
      node(id, A, {
        inputs: [`picture:IMAGE<${link}`, "size:INT*", "softness:FLOAT*"],
        outputs: ["soft:IMAGE"],
        widgets,
      });
    const links: Json[] = [
      [1, 1, 0, 3, 0, "IMAGE"],
      [2, 3, 0, 4, 0, "IMAGE"],
      [3, 4, 0, 5, 0, "IMAGE"],
    ];
    const ui = document([give, shell(3, 1, [2, 0.1]), shell(4, 2, [4, 0.2]), save(5, 3)], links, { subgraphs: [blur] });
    expect(api(ui)).toEqual({
      1: ["Give", {}],
      "3:7": ["ImageBlur", { image: ["1", 0], blur_radius: 2, sigma: 0.1 }],
      "4:7": ["ImageBlur", { image: ["3:7", 0], blur_radius: 4, sigma: 0.2 }],
      5: saved("4:7"),
    });
  });

  it("that are muted go with all inside, and take the input that read them", () => {
    const shell = node(3, A, { mode: 2, inputs: ["picture:IMAGE<1"], outputs: ["soft:IMAGE"] });
    const take = node(4, "Take", { inputs: ["image:IMAGE<3", "mask:MASK<2"], outputs: ["IMAGE:IMAGE"] });
    const links: Json[] = [
      [1, 1, 0, 3, 0, "IMAGE"],
      [2, 1, 1, 4, 1, "MASK"],
      [3, 3, 0, 4, 0, "IMAGE"],
    ];
    expect(api(document([give, shell, take], links, { subgraphs: [blur] }))).toEqual({
      1: ["Give", {}],
      4: ["Take", { mask: ["1", 1] }],
    });
  });

  it("that are bypassed hand on the input at the output's place in the definition", () => {
    const shell = node(3, A, { mode: 4, inputs: ["softness:FLOAT*", "picture:IMAGE<1"], outputs: ["soft:IMAGE"] });
    const links: Json[] = [
      [1, 1, 0, 3, 1, "IMAGE"],
      [2, 3, 0, 4, 0, "IMAGE"],
    ];
    expect(api(document([give, shell, save(4, 2)], links, { subgraphs: [blur] }))).toEqual({
      1: ["Give", {}],
      4: saved("1"),
    });
  });

  it("whose inner node is muted give nothing, and whose rim is linked through give what they get", () => {
    const through = subgraph(B, {
      inputs: ["a:IMAGE>1,2"],
      outputs: ["plain:IMAGE>2", "gone:IMAGE>3"],
      nodes: [node(7, "Take", { mode: 2, inputs: ["image:IMAGE<1"], outputs: ["IMAGE:IMAGE"] })],
      links: [
        [1, -10, 0, 7, 0, "IMAGE"],
        [2, -10, 0, -20, 0, "IMAGE"],
        [3, 7, 0, -20, 1, "IMAGE"],
      ],
    });
    const shell = node(3, B, { inputs: ["a:IMAGE<1"], outputs: ["plain:IMAGE", "gone:IMAGE"] });
    const links: Json[] = [
      [1, 1, 0, 3, 0, "IMAGE"],
      [2, 3, 0, 4, 0, "IMAGE"],
      [3, 3, 1, 5, 0, "IMAGE"],
    ];
    expect(api(document([give, shell, save(4, 2), save(5, 3)], links, { subgraphs: [through] }))).toEqual({
      1: ["Give", {}],
      4: saved("1"),
      5: ["SaveImage", { filename_prefix: "x" }],
    });
  });

  it("with inputs that grow inside keep the dotted names", () => {
    const grow = subgraph(B, {
      inputs: ["first:IMAGE>1", "second:IMAGE>2"],
      outputs: ["all:IMAGE>3"],
      nodes: [
        node(7, "BatchImagesNode", {
          inputs: ["images.image0:IMAGE<1", "images.image1:IMAGE<2", "images.image2:IMAGE"],
          outputs: ["IMAGE:IMAGE"],
        }),
      ],
      links: [
        [1, -10, 0, 7, 0, "IMAGE"],
        [2, -10, 1, 7, 1, "IMAGE"],
        [3, 7, 0, -20, 0, "IMAGE"],
      ],
    });
    const shell = node(3, B, { inputs: ["first:IMAGE<1", "second:IMAGE<2"], outputs: ["all:IMAGE"] });
    const other = node(2, "Give", { outputs: ["IMAGE:IMAGE"] });
    const links: Json[] = [
      [1, 1, 0, 3, 0, "IMAGE"],
      [2, 2, 0, 3, 1, "IMAGE"],
      [3, 3, 0, 4, 0, "IMAGE"],
    ];
    expect(api(document([give, other, shell, save(4, 3)], links, { subgraphs: [grow] }))).toEqual({
      1: ["Give", {}],
      2: ["Give", {}],
      "3:7": ["BatchImagesNode", { "images.image0": ["1", 0], "images.image1": ["2", 0] }],
      4: saved("3:7"),
    });
  });

  it("may hold group nodes, whose nodes are numbered inside them", () => {
    const groupNodes = {
      Pair: {
        nodes: [
          {
            index: 0,
            type: "Take",
            mode: 0,
            inputs: [{ name: "image", type: "IMAGE" }],
            outputs: [{ name: "IMAGE", type: "IMAGE" }],
          },
          {
            index: 1,
            type: "ImageBlur",
            mode: 0,
            inputs: [{ name: "image", type: "IMAGE" }],
            outputs: [{ name: "IMAGE", type: "IMAGE" }],
            widgets_values: [1, 1],
          },
        ],
        links: [[0, 0, 1, 0, 1, "IMAGE"]],
        external: [],
      },
    };
    const holder = subgraph(B, {
      inputs: ["a:IMAGE>1"],
      outputs: ["b:IMAGE>2"],
      nodes: [node(7, "workflow>Pair", { inputs: ["image:IMAGE<1"], outputs: ["IMAGE:IMAGE"], widgets: [5, 0.7] })],
      links: [
        [1, -10, 0, 7, 0, "IMAGE"],
        [2, 7, 0, -20, 0, "IMAGE"],
      ],
    });
    const shell = node(3, B, { inputs: ["a:IMAGE<1"], outputs: ["b:IMAGE"] });
    const links: Json[] = [
      [1, 1, 0, 3, 0, "IMAGE"],
      [2, 3, 0, 4, 0, "IMAGE"],
    ];
    const ui = document([give, shell, save(4, 2)], links, { subgraphs: [holder], extra: { groupNodes } });
    expect(api(ui)).toEqual({
      1: ["Give", {}],
      "3:7:0": ["Take", { image: ["1", 0] }],
      "3:7:1": ["ImageBlur", { image: ["3:7:0", 0], blur_radius: 5, sigma: 0.7 }],
      4: saved("3:7:1"),
    });
  });

  it("may reach out by a get node to a set node outside", () => {
    const reader = subgraph(B, {
      outputs: ["b:IMAGE>1"],
      nodes: [node(7, "GetNode", { outputs: ["IMAGE:IMAGE"], widgets: ["pic"] })],
      links: [[1, 7, 0, -20, 0, "IMAGE"]],
    });
    const set = node(2, "SetNode", { inputs: ["IMAGE:IMAGE<1"], outputs: ["*:*"], widgets: ["pic"] });
    const links: Json[] = [
      [1, 1, 0, 2, 0, "IMAGE"],
      [2, 3, 0, 4, 0, "IMAGE"],
    ];
    const ui = document([give, set, node(3, B, { outputs: ["b:IMAGE"] }), save(4, 2)], links, { subgraphs: [reader] });
    expect(api(ui)).toEqual({ 1: ["Give", {}], 4: saved("1") });
  });

  it("that hold each other are refused at the shell where the circle closes", () => {
    const holds = (own: string, other: string): JsonObject => subgraph(own, { nodes: [node(1, other)], links: [] });
    const ui = document([node(5, A)], [], { subgraphs: [holds(A, B), holds(B, A)] });
    expect(refusal(ui)).toEqual({
      code: "invalid_workflow",
      path: "/workflow/nodes/5:1:1",
      reason: expect.stringContaining("contains itself"),
    });
  });

  it("without a definition are refused by their node, one inside another too", () => {
    const holder = subgraph(B, { nodes: [node(9, A)], links: [] });
    expect(refusal(document([node(5, B)], [], { subgraphs: [holder] }))).toMatchObject({
      code: "invalid_workflow",
      path: "/workflow/nodes/5:9",
    });
  });
});

describe("links", () => {
  it("go from a primitive through two reroutes into two widgets, a whole number and a real one", () => {
    const nodes = [
      node(1, "PrimitiveNode", { outputs: ["INT:INT"], widgets: [7, "fixed"] }),
      node(2, "Reroute", { inputs: [":*<1"], outputs: [":INT"] }),
      node(3, "Reroute", { inputs: [":*<2"], outputs: [":INT"] }),
      node(4, "KSampler", {
        inputs: ["model:MODEL", "steps:INT*<3", "cfg:FLOAT*<4"],
        widgets: [1, "randomize", 20, 8, "euler", "normal", 1],
      }),
    ];
    const links: Json[] = [
      [1, 1, 0, 2, 0, "INT"],
      [2, 2, 0, 3, 0, "INT"],
      [3, 3, 0, 4, 1, "INT"],
      [4, 2, 0, 4, 2, "INT"],
    ];
    expect(api(document(nodes, links))).toEqual({
      4: ["KSampler", { seed: 1, steps: 7, cfg: 7, sampler_name: "euler", scheduler: "normal", denoise: 1 }],
    });
  });

  it("into a bypassed node that has nothing of the type leave the reader without that input", () => {
    const nodes = [
      node(1, "Give", { outputs: ["IMAGE:IMAGE", "MASK:MASK"] }),
      // Two masks in, one image out: nothing can stand for the image.
      node(2, "Take", { mode: 4, inputs: ["a:MASK<1", "b:MASK<2"], outputs: ["IMAGE:IMAGE"] }),
      node(3, "SaveImage", { inputs: ["images:IMAGE<3"], widgets: ["x"] }),
    ];
    const links: Json[] = [
      [1, 1, 1, 2, 0, "MASK"],
      [2, 1, 1, 2, 1, "MASK"],
      [3, 2, 0, 3, 0, "IMAGE"],
    ];
    expect(api(document(nodes, links))).toEqual({ 1: ["Give", {}], 3: ["SaveImage", { filename_prefix: "x" }] });
  });

  it("go past two bypassed LoRAs in a row, each output by its own place", () => {
    const lora = (id: number, model: number, clip: number): JsonObject =>
      node(id, "LoraLoader", {
        mode: 4,
        inputs: [`model:MODEL<${model}`, `clip:CLIP<${clip}`],
        outputs: ["MODEL:MODEL", "CLIP:CLIP"],
        widgets: ["l.safetensors", 1, 1],
      });
    const nodes = [
      node(1, "CheckpointLoaderSimple", { outputs: ["MODEL:MODEL", "CLIP:CLIP", "VAE:VAE"], widgets: ["c.ckpt"] }),
      lora(2, 1, 2),
      lora(3, 3, 4),
      node(4, "CLIPTextEncode", { inputs: ["clip:CLIP<5"], widgets: ["a lamp"] }),
    ];
    const links: Json[] = [
      [1, 1, 0, 2, 0, "MODEL"],
      [2, 1, 1, 2, 1, "CLIP"],
      [3, 2, 0, 3, 0, "MODEL"],
      [4, 2, 1, 3, 1, "CLIP"],
      [5, 3, 1, 4, 0, "CLIP"],
    ];
    expect(api(document(nodes, links))).toEqual({
      1: ["CheckpointLoaderSimple", { ckpt_name: "c.ckpt" }],
      4: ["CLIPTextEncode", { clip: ["1", 1], text: "a lamp" }],
    });
  });

  it("may be objects, as in schema 1.0, with ids that are texts", () => {
    const ui = json({
      version: 1,
      state: {},
      nodes: [
        { ...node("one", "Give", { outputs: ["IMAGE:IMAGE"] }) },
        {
          ...node("two", "SaveImage", { widgets: ["x"] }),
          inputs: [{ name: "images", type: "IMAGE", link: "l" }],
        },
      ],
      links: [{ id: "l", origin_id: "one", origin_slot: 0, target_id: "two", target_slot: 0, type: "IMAGE" }],
    });
    expect(api(ui)).toEqual({ one: ["Give", {}], two: saved("one") });
  });

  it("that only a node's slot names are none", () => {
    expect(api(document([save(1, 77)], []))).toEqual({ 1: ["SaveImage", { filename_prefix: "x" }] });
  });
});

describe("widgets", () => {
  it("that were made inputs still have their place among the values, and lose to the link", () => {
    // A file of 2023: only what was converted is among the inputs, the control of the seed is a boolean.
    const nodes = [
      node(1, "Count", { outputs: ["INT:INT"], widgets: [4] }),
      node(2, "KSampler", {
        inputs: ["model:MODEL", "positive:CONDITIONING", "steps:INT*<1"],
        widgets: [123, true, 20, 7.5, "dpmpp_2m", "karras", 0.6],
      }),
    ];
    expect(api(document(nodes, [[1, 1, 0, 2, 2, "INT"]]))).toEqual({
      1: ["Count", { count: 4 }],
      2: [
        "KSampler",
        { seed: 123, steps: ["1", 0], cfg: 7.5, sampler_name: "dpmpp_2m", scheduler: "karras", denoise: 0.6 },
      ],
    });
  });

  it("of a dynamic choice inside another take the values of what was chosen", () => {
    const widgets = ["x", "avif", "10-bit YUV420", "HDR", 30, "animated", 12, 3];
    const ui = document(
      [give, { ...save(2, 1), type: "SaveImageAdvanced", widgets_values: widgets }],
      [[1, 1, 0, 2, 0, "IMAGE"]],
    );
    expect(api(ui)[2]).toEqual([
      "SaveImageAdvanced",
      {
        images: ["1", 0],
        filename_prefix: "x",
        format: "avif",
        "format.bit_depth": "10-bit YUV420",
        "format.input_color_space": "HDR",
        "format.crf": 30,
        "format.save_mode": "animated",
        "format.save_mode.fps": 12,
        "format.save_mode.loop_count": 3,
      },
    ]);
  });

  it("keep whole numbers that no double holds", () => {
    const widgets = [18446744073709551615n, "fixed", 20, 8, "euler", "normal", 1];
    expect(api(document([node(9007199254740991, "KSampler", { widgets })], []))).toMatchObject({
      "9007199254740991": ["KSampler", { seed: 18446744073709551615n }],
    });
  });

  it("that are lists are told apart from links", () => {
    expect(api(document([node(1, "Many", { widgets: [["a", "c"]] })], []))).toEqual({
      1: ["Many", { models: { __value__: ["a", "c"] } }],
    });
  });

  it("that are named count by name, and a place that says otherwise is a warning", () => {
    const sampler = node(1, "KSampler", { widgets: [1, "fixed", 20, 8, "euler", "normal", 1] });
    const named = { seed: 1, control_after_generate: "fixed", steps: 25, cfg: 8, sampler_name: "euler" };
    const ui = document([json({ ...sampler, widgets_values_named: named })], []);
    expect(api(ui)[1]?.[1]).toMatchObject({ seed: 1, steps: 25, scheduler: "normal" });
    expect(convert(ui).notes).toEqual([expect.stringMatching(/"steps" is 25 by name and 20 by position/)]);
  });

  it("that the browser draws at each run are refused, with what to do", () => {
    const load = node(1, "Load3D", { outputs: ["image:IMAGE"], widgets: ["3d/cube.glb", "", 512, 512] });
    const ui = document([load, save(2, 1)], [[1, 1, 0, 2, 0, "IMAGE"]]);
    expect(refusal(ui)).toEqual({
      code: "invalid_workflow",
      path: "/workflow/nodes/1",
      reason: expect.stringMatching(/"image".*LoadImage/),
    });
    expect(
      Object.keys(api(document([give, { ...load, id: 3, mode: 2 }, save(2, 1)], [[1, 1, 0, 2, 0, "IMAGE"]]))),
    ).toEqual(["1", "2"]);
  });

  it("of a form that only an extension has are kept under their names, without the preview", () => {
    const widgets = { frame_rate: 8, format: "video/h264-mp4", videopreview: { hidden: false } };
    expect(
      api(
        document(
          [give, node(2, "VHS_VideoCombine", { inputs: ["images:IMAGE<1"], widgets })],
          [[1, 1, 0, 2, 0, "IMAGE"]],
        ),
      )[2],
    ).toEqual(["VHS_VideoCombine", { images: ["1", 0], frame_rate: 8, format: "video/h264-mp4" }]);
  });
});
