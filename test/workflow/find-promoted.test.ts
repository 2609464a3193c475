import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Json, type JsonObject, stringifyExactJson } from "#contract/exact-json";
import type { ImportedWorkflow } from "#contract/workflow";
import { importWorkflow } from "#workflow/import-workflow";
import { json, node, objectLink } from "./ui/documents.ts";

const SHELL = "0c0ffee0-0000-4000-8000-000000000001";

/** Text to image, its prompts and sampler inside a subgraph; what is given here is brought to its outside. */
function document(promoted: readonly Promoted[], extra: JsonObject = {}, widgets: Json = null): JsonObject {
  const inside = [
    node(1, "CLIPTextEncode", {
      inputs: ["clip:CLIP<1", "text:STRING*"],
      outputs: ["C:CONDITIONING"],
      widgets: ["a cat"],
    }),
    node(2, "CLIPTextEncode", {
      inputs: ["clip:CLIP<2", "text:STRING*"],
      outputs: ["C:CONDITIONING"],
      widgets: ["blur"],
    }),
    node(3, "KSampler", {
      inputs: [
        "model:MODEL<3",
        "positive:CONDITIONING<4",
        "negative:CONDITIONING<5",
        "latent_image:LATENT<6",
        "seed:INT*",
        "steps:INT*",
        "cfg:FLOAT*",
        "sampler_name:COMBO*",
        "scheduler:COMBO*",
        "denoise:FLOAT*",
      ],
      outputs: ["LATENT:LATENT"],
      widgets: [7, "fixed", 20, 8, "euler", "normal", 1],
    }),
    node(4, "CheckpointLoaderSimple", {
      inputs: ["ckpt_name:COMBO*"],
      outputs: ["MODEL:MODEL", "CLIP:CLIP", "VAE:VAE"],
      widgets: ["a.safetensors"],
    }),
    node(5, "EmptyLatentImage", {
      inputs: ["width:INT*", "height:INT*", "batch_size:INT*"],
      outputs: ["LATENT:LATENT"],
      widgets: [512, 768, 1],
    }),
    node(6, "VAEDecode", { inputs: ["samples:LATENT<7", "vae:VAE<8"], outputs: ["IMAGE:IMAGE"] }),
  ].map((inner) => withRim(inner, promoted));
  const links = [
    objectLink(1, 4, 1, 1, 0, "CLIP"),
    objectLink(2, 4, 1, 2, 0, "CLIP"),
    objectLink(3, 4, 0, 3, 0, "MODEL"),
    objectLink(4, 1, 0, 3, 1, "CONDITIONING"),
    objectLink(5, 2, 0, 3, 2, "CONDITIONING"),
    objectLink(6, 5, 0, 3, 3, "LATENT"),
    objectLink(7, 3, 0, 6, 0, "LATENT"),
    objectLink(8, 4, 2, 6, 1, "VAE"),
    objectLink(9, 6, 0, -20, 0, "IMAGE"),
    ...promoted.map((_, slot) => objectLink(100 + slot, -10, slot, 0, 0, "*")),
  ];
  const definition = {
    id: SHELL,
    name: "Text to image",
    inputs: promoted.map(({ name, label }, slot) => ({ name, label, type: "*", linkIds: [100 + slot] })),
    outputs: [{ name: "IMAGE", type: "IMAGE", linkIds: [9] }],
    nodes: inside,
    links,
  };
  return json({
    nodes: [
      node(20, SHELL, { outputs: ["IMAGE:IMAGE"], widgets }),
      node(30, "SaveImage", { inputs: ["images:IMAGE<1"], widgets: ["out"] }),
      node(31, "SaveImage", { inputs: ["images:IMAGE<2"], widgets: ["again"] }),
    ],
    links: [
      [1, 20, 0, 30, 0, "IMAGE"],
      [2, 20, 0, 31, 0, "IMAGE"],
    ],
    definitions: { subgraphs: [definition] },
    extra,
  });
}

interface Promoted {
  readonly name: string;
  readonly label?: string;
  /** The inner widgets it sets. */
  readonly at: readonly (readonly [node: number, field: string])[];
}

/** Links the inputs of a node that promoted widgets set to the rim. */
function withRim(inner: JsonObject, promoted: readonly Promoted[]): JsonObject {
  const inputs = (inner.inputs as JsonObject[]).map((input) => {
    const slot = promoted.findIndex(({ at }) => at.some(([id, field]) => id === inner.id && field === input.name));
    return slot === -1 ? input : { ...input, link: 100 + slot };
  });
  return { ...inner, inputs };
}

async function imported(ui: JsonObject): Promise<ImportedWorkflow> {
  const result = await importWorkflow({ text: stringifyExactJson(ui) });
  if (!result.ok) throw new Error(JSON.stringify(result));
  return result.workflow;
}

/** Names of the inputs, each with its places; advanced ones in brackets. */
async function inputs(ui: JsonObject): Promise<string[]> {
  return (await imported(ui)).inputs.map(({ name, targets, advanced }) => {
    const text = `${name} ${targets.map((target) => `${target.node}.${target.field}`).join(" ")}`;
    return advanced ? `(${text})` : text;
  });
}

const inferred = [
  "prompt 20:1.text",
  "negative_prompt 20:2.text",
  "width 20:5.width",
  "height 20:5.height",
  "num_images 20:5.batch_size",
  "seed 20:3.seed",
  "steps 20:3.steps",
  "guidance_scale 20:3.cfg",
];

describe("the widgets brought to the outside of a subgraph", () => {
  it("are inputs under the names and values they have there", async () => {
    const promoted = [
      { name: "text", label: "Scene", at: [[1, "text"]] },
      { name: "steps", at: [[3, "steps"]] },
    ] as const;
    const ui = document(promoted, {}, ["a dog", 4]);
    const { inputs: specs } = await imported(ui);
    expect(specs.find(({ name }) => name === "scene")).toMatchObject({
      title: "Scene",
      type: "string",
      default: "a dog",
      multiline: true,
      targets: [{ node: "20:1", field: "text" }],
    });
    expect(specs.find(({ name }) => name === "steps")).toMatchObject({ default: 4, minimum: 1 });
    expect(specs.some(({ name }) => name === "negative_prompt")).toBe(true);
  });

  it("keep the names callers know where their author gave none, or the same in other words", async () => {
    const promoted = [
      { name: "text", label: "Positive Prompt", at: [[1, "text"]] },
      { name: "text_1", at: [[2, "text"]] },
      { name: "cfg", at: [[3, "cfg"]] },
    ] as const;
    expect(await inputs(document(promoted))).toEqual(expect.arrayContaining(inferred));
  });

  it("are no details, even where they would be among others", async () => {
    expect(await inputs(document([]))).toEqual(expect.arrayContaining(["(sampler_name 20:3.sampler_name)"]));
    const promoted = [{ name: "sampler_name", at: [[3, "sampler_name"]] }] as const;
    expect(await inputs(document(promoted))).toEqual(expect.arrayContaining(["sampler_name 20:3.sampler_name"]));
  });

  it("leave model files hidden", async () => {
    const promoted = [{ name: "ckpt_name", label: "Model", at: [[4, "ckpt_name"]] }] as const;
    expect((await inputs(document(promoted))).join()).not.toContain("ckpt_name");
  });

  it("set every inner widget they lead to by one input", async () => {
    const promoted = [{ name: "size", label: "Size", at: [[5, "width"]] }] as const;
    const ui = document(promoted, {}, [640]);
    const list = (ui.definitions as JsonObject).subgraphs as JsonObject[];
    // A second link from the same slot, to the height.
    for (const definition of list) {
      (definition.links as Json[]).push(objectLink(200, -10, 0, 5, 1, "INT"));
      for (const inner of definition.nodes as JsonObject[]) {
        for (const input of inner.inputs as JsonObject[]) if (input.name === "height") input.link = 200;
      }
    }
    expect(await inputs(ui)).toEqual(expect.arrayContaining(["size 20:5.width 20:5.height"]));
  });
});

/** A primitive inside that fills the sampler's steps and the size of the batch. */
function withPrimitive(ui: JsonObject, title: string): JsonObject {
  const [definition] = (ui.definitions as JsonObject).subgraphs as JsonObject[];
  if (definition === undefined) throw new Error("the document has a subgraph");
  const nodes = (definition.nodes as JsonObject[]).map((inner): JsonObject => {
    const link = inner.id === 3 ? 300 : inner.id === 5 ? 301 : undefined;
    const field = inner.id === 3 ? "steps" : "batch_size";
    const others = (inner.inputs as JsonObject[]).filter((input) => input.name !== field);
    const filled = { name: field, type: "INT", link: link ?? null, widget: { name: field } };
    return link === undefined ? inner : { ...inner, inputs: [...others, filled] };
  });
  const primitive = { ...node(7, "PrimitiveNode", { outputs: ["INT:INT"], widgets: [3, "fixed"] }), title };
  const links = [
    ...(definition.links as Json[]),
    objectLink(300, 7, 0, 3, 0, "INT"),
    objectLink(301, 7, 0, 5, 0, "INT"),
  ];
  return { ...ui, definitions: { subgraphs: [{ ...definition, nodes: [...nodes, primitive], links }] } };
}

describe("a primitive of the editor", () => {
  it("is one input for all it fills, under its title", async () => {
    const { inputs: specs } = await imported(withPrimitive(document([]), "Effort"));
    expect(specs.filter(({ name }) => ["effort", "steps", "num_images"].includes(name))).toMatchObject([
      {
        name: "effort",
        title: "Effort",
        default: 3,
        targets: [
          { node: "20:3", field: "steps" },
          { node: "20:5", field: "batch_size" },
        ],
      },
    ]);
  });

  it("without a title of its own is one input under the name that the first of them has", async () => {
    const names = await inputs(withPrimitive(document([]), "Primitive"));
    expect(names).toContain("steps 20:3.steps 20:5.batch_size");
    expect(names.filter((name) => name.includes("20:3.steps"))).toHaveLength(1);
  });
});

describe("a promoted primitive", () => {
  const shown = (title: string): JsonObject => {
    const ui = withPrimitive(document([]), title);
    const nodes = (ui.nodes as JsonObject[]).map((each) =>
      each.id === 20 ? { ...each, widgets_values: [12], properties: { proxyWidgets: [["7", "value"]] } } : each,
    );
    return { ...ui, nodes };
  };

  it.each([
    ["Effort", "effort"],
    ["Primitive", "steps"],
  ])("called %s is one input, %s, with the value it has outside", async (title, name) => {
    const { inputs: specs } = await imported(shown(title));
    const all = specs.filter((spec) => spec.targets.some(({ node: id }) => id === "20:3" || id === "20:5"));
    expect(all.filter((spec) => spec.name === name)).toMatchObject([
      {
        default: 12,
        targets: [
          { node: "20:3", field: "steps" },
          { node: "20:5", field: "batch_size" },
        ],
      },
    ]);
    expect(specs.some((spec) => spec.name === "num_images")).toBe(false);
  });
});

describe("App mode", () => {
  const promoted = [{ name: "text", label: "Scene", at: [[1, "text"]] }] as const;
  const app = (list: readonly Json[], outputs: readonly Json[] = []): JsonObject =>
    json({ linearMode: true, linearData: { inputs: list, outputs } });

  it("lists the inputs, in its order, and hides the others", async () => {
    const extra = app([
      ["20:3", "steps"],
      ["20:1", "text", { height: 90 }],
      ["20:3", "denoise"],
    ]);
    expect(await inputs(document([], extra))).toEqual(["steps 20:3.steps", "prompt 20:1.text", "denoise 20:3.denoise"]);
  });

  it("may list a subgraph's widgets, and widgets by their ids", async () => {
    const graph = "1d0ffee0-0000-4000-8000-000000000009";
    const extra = app([
      [20, "text"],
      [`${graph}:20:3:seed`, "seed"],
      [`${graph}:20:2`, "text"],
    ]);
    expect(await inputs(document(promoted, extra))).toEqual([
      "scene 20:1.text",
      "seed 20:3.seed",
      "negative_prompt 20:2.text",
    ]);
  });

  it("shows model files where it lists them", async () => {
    expect(await inputs(document([], app([["20:4", "ckpt_name"]])))).toEqual([
      expect.stringContaining("20:4.ckpt_name"),
    ]);
  });

  it("may list a primitive, which stands for every widget it fills", async () => {
    const ui = document([], app([["20:7", "value"]]));
    expect(await inputs(withPrimitive(ui, "PrimitiveNode"))).toEqual(["steps 20:3.steps 20:5.batch_size"]);
  });

  it("lists the outputs", async () => {
    const { outputs } = await imported(document([], app([], [31])));
    expect(outputs.map((output) => output.node)).toEqual(["31"]);
  });

  it("that lists nothing of the graph changes nothing", async () => {
    const extra = app([["99", "steps"], ["20:3", "model"], ["20:3", 4], "x", null], [99, null]);
    expect(await inputs(document([], extra))).toEqual(await inputs(document([])));
    expect((await imported(document([], extra))).outputs).toHaveLength(2);
    for (const linearData of [null, [], "x", { inputs: {}, outputs: 3 }]) {
      expect(await inputs(document([], json({ linearData })))).toEqual(await inputs(document([])));
    }
  });

  it("of any shape whatever is read or passed over", async () => {
    const id = fc.oneof(fc.constantFrom("20:3", "20", 20, "20:1", "__proto__", "30"), fc.jsonValue({ maxDepth: 1 }));
    const field = fc.oneof(fc.constantFrom("text", "steps", "images", "__proto__", "constructor"), fc.jsonValue());
    const entry = fc.oneof(fc.tuple(id, field), fc.jsonValue({ maxDepth: 2 }));
    const list = fc.oneof(fc.array(entry, { maxLength: 6 }), fc.jsonValue({ maxDepth: 1 }));
    await fc.assert(
      fc.asyncProperty(
        fc.record({ inputs: list, outputs: fc.oneof(fc.array(id), fc.jsonValue()) }),
        async (linearData) => {
          const workflow = await imported(document(promoted, json({ linearData })));
          expect(workflow.inputs.length).toBeGreaterThan(0);
          expect(workflow.outputs.length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 150 },
    );
  });
});
