import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import type { InputSpec } from "#contract/workflow";
import { importWorkflow } from "#workflow/import-workflow";
import { imported, type Nodes, node, places, textToImage } from "./graphs.ts";

interface Field {
  readonly at: readonly [node: string, field: string];
  readonly [more: string]: unknown;
}

function form(inputs: readonly Field[], advanced: readonly Field[] = []): JsonObject {
  const group = (fields: readonly Field[]) => ({
    title: "Group",
    inputs: fields.map(({ at: [id, field], ...more }) => ({
      workflowPath: [id, "inputs", field],
      key: `${id}-inputs-${field}`,
      helpText: "Helper Text",
      placeholder: "",
      validations: { required: false },
      ...more,
    })),
  });
  const viewComfyJSON = { title: "App", inputs: [group(inputs)], advancedInputs: [group(advanced)] };
  return JSON.parse(
    JSON.stringify({ file_type: "view_comfy", file_version: "1.0.0", appTitle: "App", workflows: [{ viewComfyJSON }] }),
  ) as JsonObject;
}

const inputsOf = async (viewComfy: JsonObject, graph: Nodes = textToImage()): Promise<readonly InputSpec[]> =>
  (await imported(graph, { viewComfy })).inputs;

describe("a ViewComfy form", () => {
  it("names the inputs, in its own order, with titles and help; the rest is hidden", async () => {
    const inputs = await inputsOf(
      form(
        [
          { at: ["sampler", "steps"], title: "Quality", valueType: "slider", slider: { min: 5, max: 40, step: 5 } },
          { at: ["positive", "text"], title: "What to see", valueType: "long-text", helpText: "In your own words." },
        ],
        [{ at: ["sampler", "cfg"], title: "Closeness", valueType: "float" }],
      ),
    );
    expect(places(inputs)).toEqual({
      quality: "sampler.steps",
      what_to_see: "positive.text",
      closeness: "sampler.cfg",
    });
    expect(inputs).toMatchObject([
      { title: "Quality", type: "integer", minimum: 5, maximum: 40, step: 5, default: 20, advanced: false },
      { title: "What to see", type: "string", multiline: true, description: "In your own words.", required: false },
      { title: "Closeness", type: "number", maximum: 100, advanced: true },
    ]);
    expect(inputs[0]).not.toHaveProperty("description");
  });

  it("lets the operator bring out what it leaves out", async () => {
    const viewComfy = form([{ at: ["positive", "text"], title: "Prompt", valueType: "long-text" }]);
    const { inputs } = await imported(textToImage(), {
      viewComfy,
      overrides: { inputs: { seed: { hidden: false } } },
    });
    expect(places(inputs)).toEqual({ prompt: "positive.text", seed: "sampler.seed" });
  });

  it("marks seeds, narrows choices, and takes options as texts or pairs", async () => {
    const inputs = await inputsOf(
      form([
        { at: ["sampler", "seed"], title: "Seed", valueType: "seed" },
        {
          at: ["sampler", "sampler_name"],
          title: "Sampler",
          valueType: "select",
          options: [
            { label: "Fast", value: "euler" },
            { label: "Fine", value: "dpmpp_2m" },
          ],
        },
        {
          at: ["sampler", "scheduler"],
          title: "Scheduler",
          valueType: "select",
          options: ["normal", "karras", "karras"],
        },
        {
          at: ["model", "ckpt_name"],
          title: "Model",
          valueType: "select",
          options: ["model.safetensors", "b.safetensors"],
        },
      ]),
    );
    expect(inputs).toMatchObject([
      { name: "seed", type: "integer", seed: true, maximum: 18446744073709551615n },
      { name: "sampler", type: "choice", choices: ["euler", "dpmpp_2m"], default: "euler" },
      { name: "scheduler", type: "choice", choices: ["normal", "karras"] },
      { name: "model", type: "choice", choices: ["model.safetensors", "b.safetensors"] },
    ]);
  });

  it("asks for files unless it says that they may be left out, and for texts that are empty", async () => {
    const graph = textToImage({
      a: node("LoadImage", { image: "a.png" }),
      b: node("LoadImage", { image: "b.png" }),
      positive: node("CLIPTextEncode", { text: "", clip: ["model", 1] }),
      save_a: node("SaveImage", { images: ["a", 0], filename_prefix: "a" }),
      save_b: node("SaveImage", { images: ["b", 0], filename_prefix: "b" }),
    });
    const viewComfy = form([
      { at: ["a", "image"], title: "First", valueType: "image", validations: { required: true } },
      { at: ["b", "image"], title: "Second", valueType: "image" },
      { at: ["positive", "text"], title: "Prompt", valueType: "long-text", validations: { required: true } },
      { at: ["negative", "text"], title: "Not", valueType: "long-text", validations: { required: true } },
    ]);
    const { inputs, warnings } = await imported(graph, { viewComfy });
    expect(inputs.map(({ name, type, required }) => [name, type, required])).toEqual([
      ["first", "file", true],
      ["second", "file", false],
      ["prompt", "string", true],
      ["not", "string", false],
    ]);
    expect(inputs[2]).not.toHaveProperty("default");
    expect(warnings).toContainEqual(expect.stringContaining('"second" reads b.png'));
  });

  it("follows a field to the primitive that feeds it, and leaves markers their names", async () => {
    const graph = textToImage({
      words: node("PrimitiveString", { value: "a fox" }),
      positive: node("CLIPTextEncode", { text: ["words", 0], clip: ["model", 1] }),
      mark: node("ComfyUIDeployExternalNumberInt", { input_id: "edge", default_value: 512 }),
      latent: node("EmptyLatentImage", { width: ["mark", 0], height: 512, batch_size: 1 }),
    });
    const inputs = await inputsOf(
      form([
        { at: ["positive", "text"], title: "Subject", valueType: "string" },
        { at: ["mark", "default_value"], title: "Other name", valueType: "number" },
      ]),
      graph,
    );
    expect(places(inputs)).toEqual({ subject: "words.value", edge: "mark.default_value" });
  });

  it("says which fields could not be used, and why", async () => {
    const viewComfy = form([
      { at: ["positive", "text"], title: "Prompt", valueType: "long-text" },
      { at: ["99", "text"], title: "Gone", valueType: "string" },
      { at: ["decode", "samples"], title: "Linked", valueType: "string" },
      { at: ["positive", "text"], title: "Twice", valueType: "string" },
      { at: ["", ""], workflowPath: "nowhere", title: "Pathless" },
    ]);
    const { warnings } = await imported(textToImage(), { viewComfy });
    expect(warnings).toEqual([
      'The form\'s "Gone" is left out: the graph has no 99.text.',
      'The form\'s "Linked" is left out: decode.samples is computed by other nodes.',
      'The form\'s "Twice" is left out: positive.text is an input already.',
      'The form\'s "Pathless" is left out: it names no place in a graph.',
    ]);
  });

  it("that holds nothing changes nothing", async () => {
    const without = await imported(textToImage());
    const empty = await imported(textToImage(), { viewComfy: {} });
    expect(empty.inputs).toEqual(without.inputs);
    expect(empty.warnings).toEqual(["The ViewComfy form holds no inputs and was not used."]);
  });

  it("of any shape neither breaks the importer nor makes inputs that are none", async () => {
    const anything = fc
      .anything({ withNullPrototype: false, maxDepth: 2 })
      .map((value) => JSON.stringify(value) ?? "0");
    const field = fc.record(
      {
        workflowPath: fc.oneof(
          fc.tuple(
            fc.constantFrom("sampler", "positive", "model", "constructor", "__proto__"),
            fc.constant("inputs"),
            fc.constantFrom("text", "seed", "cfg", "sampler_name", "ckpt_name", "toString"),
          ),
          anything,
        ),
        valueType: fc.oneof(
          fc.constantFrom("slider", "seed", "select", "image", "float", "long-text", "constructor"),
          anything,
        ),
        title: fc.oneof(fc.string(), anything),
        options: fc.oneof(fc.array(fc.string()), anything),
        slider: fc.oneof(fc.record({ min: fc.double(), max: fc.double(), step: fc.double() }), anything),
        validations: fc.oneof(fc.record({ required: fc.boolean() }), anything),
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(field, { maxLength: 6 }), async (fields) => {
        const shape = { workflows: [{ viewComfyJSON: { inputs: [{ inputs: fields }], advancedInputs: fields } }] };
        const viewComfy = JSON.parse(JSON.stringify(shape)) as JsonObject;
        const result = await importWorkflow({ text: JSON.stringify(textToImage()) }, { viewComfy });
        const names = result.ok ? result.workflow.inputs.map((input) => input.name) : [];
        expect(result.ok).toBe(true);
        expect(new Set(names).size).toBe(names.length);
      }),
      { numRuns: 200 },
    );
  });
});
