/** Damaged copies of real and made documents: imported or refused with a reason, whatever was done to them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Json, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { InputSpec, OutputSpec } from "#contract/workflow";
import { importWorkflow } from "#workflow/import-workflow";
import { inputsJsonSchema } from "#workflow/json-schema";
import { textToImage } from "./graphs.ts";
import { mutated, mutation } from "./mutations.ts";
import { json, node, objectLink } from "./ui/documents.ts";

const FOLDER = new URL("../../../shared/workflows/", import.meta.url);
const REAL = existsSync(FOLDER) ? readdirSync(FOLDER).filter((file) => /\.(?:ui|api)\.json$/.test(file)) : [];

const INNER = "0c0ffee0-0000-4000-8000-00000000000a";
const OUTER = "0c0ffee0-0000-4000-8000-00000000000b";

/** One document with something of everything that the editor has. */
const everything = json({
  version: 0.4,
  nodes: [
    node(1, "CheckpointLoaderSimple", { outputs: ["MODEL:MODEL", "CLIP:CLIP", "VAE:VAE"], widgets: ["m.safetensors"] }),
    node(2, "SetNode", { inputs: ["MODEL:MODEL<1"], outputs: ["*:*"], widgets: ["model"] }),
    node(3, "GetNode", { outputs: ["MODEL:MODEL"], widgets: ["model"] }),
    node(4, "LoraLoader", {
      mode: 4,
      inputs: ["model:MODEL<2", "clip:CLIP<3"],
      outputs: ["MODEL:MODEL", "CLIP:CLIP"],
      widgets: ["l.safetensors", 1, 1],
    }),
    node(5, "PrimitiveNode", { title: "Effort", outputs: ["INT:INT"], widgets: [4, "fixed"] }),
    node(6, OUTER, {
      inputs: ["model:MODEL<4", "clip:CLIP<5", "effort:INT*<6", "text:STRING*", "seed:INT*"],
      outputs: ["LATENT:LATENT"],
      widgets: ["a {red|blue} lamp", 7],
      properties: {
        proxyWidgets: [
          ["-1", "text"],
          ["9", "seed"],
        ],
      },
    }),
    node(7, "VAEDecode", { inputs: ["samples:LATENT<7", "vae:VAE<8"], outputs: ["IMAGE:IMAGE"] }),
    node(8, "Reroute", { inputs: [":*<9"], outputs: [":IMAGE"] }),
    node(9, "SaveImage", { inputs: ["images:IMAGE<10"], widgets: ["%date:yyyy%/%Effort.value%"] }),
    node(10, "workflow>Look", { inputs: ["images:IMAGE<11"], widgets: [3, 0.5] }),
    node(11, "PreviewImage", { mode: 2, inputs: ["images:IMAGE<12"] }),
    node(12, "Anything Everywhere", { inputs: ["anything:*<13"] }),
    node(13, "MarkdownNote", { widgets: ["text"] }),
  ],
  links: [
    [1, 1, 0, 2, 0, "MODEL"],
    [2, 3, 0, 4, 0, "MODEL"],
    [3, 1, 1, 4, 1, "CLIP"],
    [4, 4, 0, 6, 0, "MODEL"],
    [5, 4, 1, 6, 1, "CLIP"],
    [6, 5, 0, 6, 2, "INT"],
    [7, 6, 0, 7, 0, "LATENT"],
    [8, 1, 2, 7, 1, "VAE"],
    [9, 7, 0, 8, 0, "IMAGE"],
    [10, 8, 0, 9, 0, "IMAGE"],
    [11, 8, 0, 10, 0, "IMAGE"],
    [12, 8, 0, 11, 0, "IMAGE"],
    [13, 1, 2, 12, 0, "VAE"],
  ],
  definitions: {
    subgraphs: [
      {
        id: OUTER,
        name: "Paint",
        inputNode: { id: -10 },
        outputNode: { id: -20 },
        inputs: [
          { name: "model", type: "MODEL", linkIds: [1] },
          { name: "clip", type: "CLIP", linkIds: [2] },
          { name: "effort", type: "INT", linkIds: [3] },
          { name: "text", type: "STRING", linkIds: [4, 10], label: "Scene" },
          { name: "seed", type: "INT", linkIds: [5] },
        ],
        outputs: [{ name: "LATENT", type: "LATENT", linkIds: [6] }],
        nodes: [
          node(9, "KSampler", {
            inputs: [
              "model:MODEL<1",
              "positive:CONDITIONING<7",
              "negative:CONDITIONING<8",
              "latent_image:LATENT<9",
              "seed:INT*<5",
              "steps:INT*<3",
            ],
            outputs: ["LATENT:LATENT"],
            widgets: [1, true, 20, 8, "euler", "normal", 1],
          }),
          node(10, INNER, { inputs: ["clip:CLIP<2", "words:STRING*<4"], outputs: ["CONDITIONING:CONDITIONING"] }),
          node(11, INNER, {
            inputs: ["clip:CLIP<2", "words:STRING*<10"],
            outputs: ["CONDITIONING:CONDITIONING"],
            widgets: ["blurry"],
          }),
          node(12, "EmptyLatentImage", { outputs: ["LATENT:LATENT"], widgets: [512, 512, 1] }),
        ],
        links: [
          objectLink(1, -10, 0, 9, 0, "MODEL"),
          objectLink(2, -10, 1, 10, 0, "CLIP"),
          objectLink(3, -10, 2, 9, 5, "INT"),
          objectLink(4, -10, 3, 10, 1, "STRING"),
          objectLink(5, -10, 4, 9, 4, "INT"),
          objectLink(6, 9, 0, -20, 0, "LATENT"),
          objectLink(7, 10, 0, 9, 1, "CONDITIONING"),
          objectLink(8, 11, 0, 9, 2, "CONDITIONING"),
          objectLink(9, 12, 0, 9, 3, "LATENT"),
          objectLink(10, -10, 3, 11, 1, "STRING"),
        ],
      },
      {
        id: INNER,
        name: "Words",
        inputNode: { id: -10 },
        outputNode: { id: -20 },
        inputs: [
          { name: "clip", type: "CLIP", linkIds: [1] },
          { name: "words", type: "STRING", linkIds: [2] },
        ],
        outputs: [{ name: "CONDITIONING", type: "CONDITIONING", linkIds: [3] }],
        nodes: [
          node(1, "CLIPTextEncode", {
            inputs: ["clip:CLIP<1", "text:STRING*<2"],
            outputs: ["CONDITIONING:CONDITIONING"],
            widgets: ["a lamp // bright"],
          }),
        ],
        links: [
          objectLink(1, -10, 0, 1, 0, "CLIP"),
          objectLink(2, -10, 1, 1, 1, "STRING"),
          objectLink(3, 1, 0, -20, 0, "CONDITIONING"),
        ],
      },
    ],
  },
  extra: {
    linearData: {
      inputs: [
        ["5", "value"],
        [6, "text"],
      ],
      outputs: [9],
    },
    ue_links: [{ upstream: 1, upstream_slot: 2, downstream: 7, downstream_slot: 1 }],
    groupNodes: {
      Look: {
        nodes: [
          {
            index: 0,
            type: "ImageBlur",
            inputs: [{ name: "image", type: "IMAGE" }],
            outputs: [{ name: "IMAGE", type: "IMAGE" }],
            widgets_values: [1, 1],
          },
          { index: 1, type: "PreviewImage", inputs: [{ name: "images", type: "IMAGE" }] },
        ],
        links: [[0, 0, 1, 0, 0, "IMAGE"]],
        external: [[0, 0, "IMAGE"]],
        config: { 0: { input: { blur_radius: { name: "Radius" } } } },
      },
    },
  },
});

const DOCUMENTS: readonly (readonly [string, () => Json])[] = [
  ["a document with everything", () => everything],
  ["a graph in API format", () => json(textToImage())],
  ...REAL.map(
    (file) =>
      [file, () => parseExactJson(readFileSync(new URL(file, FOLDER), "utf8"), { pythonNumbers: true })] as const,
  ),
];
/** Damaged copies of each document. */
const RUNS = 60;
/** A release may hold the largest expansion there is, but no document is blown up beyond that. */
const GRAPH_LENGTH_MAX = 16 * 1024 * 1024;

async function importedOrRefused(document: Json): Promise<void> {
  const result = await importWorkflow({ text: stringifyExactJson(document) });
  if (!result.ok) {
    expect(["invalid_workflow", "workflow_format_ui"]).toContain(result.code);
    expect(result.detail).not.toBe("");
    for (const error of result.errors ?? []) {
      expect(error.path).toMatch(/^\/workflow/);
      expect(error.reason).not.toBe("");
    }
    return;
  }
  const { graph, inputs, outputs } = result.workflow;
  expect(graph.length).toBeLessThan(GRAPH_LENGTH_MAX);
  expect(outputs.length).toBeGreaterThan(0);
  for (const input of inputs) expect(InputSpec.safeParse(input).error).toBeUndefined();
  for (const output of outputs) expect(OutputSpec.safeParse(output).error).toBeUndefined();
  expect(Object.keys(inputsJsonSchema(inputs).properties as object)).toHaveLength(inputs.length);
  // What a release keeps is a graph that can be read again, and means the same.
  const again = await importWorkflow({ text: graph });
  expect(again.ok && again.workflow.graph).toBe(graph);
}

describe("the document with everything", () => {
  it("is imported, so that what is done to it shows", async () => {
    const result = await importWorkflow({ text: stringifyExactJson(everything) });
    if (!result.ok) throw new Error(result.detail);
    expect(Object.keys(parseExactJson(result.workflow.graph) as object)).toEqual([
      "1",
      "7",
      "9",
      "6:9",
      "6:12",
      "10:0",
      "10:1",
      "6:10:1",
      "6:11:1",
    ]);
    expect(result.workflow.inputs.map((input) => input.name)).toEqual(["effort", "scene"]);
  });
});

describe("documents with damage", () => {
  it.each(DOCUMENTS)("%s", async (_name, read) => {
    const document = read();
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 12 }), async (mutations) =>
        importedOrRefused(mutated(document, mutations)),
      ),
      // The seed and the path in the message repeat the run; to make it small may take longer than all the others.
      { numRuns: RUNS, endOnFailure: true },
    );
  });
});
