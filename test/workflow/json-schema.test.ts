import { describe, expect, it } from "vitest";
import { stringifyExactJson } from "#contract/exact-json";
import { inputsJsonSchema, outputsJsonSchema } from "#workflow/json-schema";
import { imported, node, textToImage } from "./graphs.ts";
import { nodeClass } from "./ui/object-info.ts";

const property = (schema: Record<string, unknown>, name: string) =>
  (schema.properties as Record<string, unknown>)[name];

describe("the schema of inputs", () => {
  it("says type, bounds, default and how a form shows each", async () => {
    const schema = inputsJsonSchema((await imported(textToImage())).inputs);
    expect(schema).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      additionalProperties: false,
      required: [],
    });
    expect(property(schema, "prompt")).toEqual({
      title: "Prompt",
      description: "What the result should show.",
      type: "string",
      maxLength: 100_000,
      default: "a lamp",
      "x-ui": { order: 0, advanced: false, multiline: true },
    });
    expect(property(schema, "width")).toMatchObject({
      type: "integer",
      minimum: 16,
      maximum: 16384,
      "x-step": 8,
      default: 512,
    });
    expect(property(schema, "guidance_scale")).toMatchObject({ type: "number", "x-step": 0.1 });
    expect(property(schema, "sampler_name")).toMatchObject({
      enum: expect.arrayContaining(["euler"]),
      default: "euler",
    });
  });

  it("gives a seed an example and no default, its bound exactly", async () => {
    const schema = inputsJsonSchema((await imported(textToImage())).inputs);
    const seed = property(schema, "seed") as Record<string, unknown>;
    expect(seed).toMatchObject({ examples: [5], "x-ui": { seed: true } });
    expect("default" in seed).toBe(false);
    expect(stringifyExactJson(seed)).toContain('"maximum":18446744073709551615');
  });

  it("says what a class says: its help, and how an editor shows a number", async () => {
    const Meter = nodeClass(
      "Meter",
      {
        level: ["INT", { default: 1, min: 0, max: 9, display: "slider", tooltip: "  How loud it is. " }],
        tint: ["INT", { default: 0, min: 0, max: 255, display: "color" }],
        weight: ["FLOAT", { default: 1, min: 0, max: 2, display: "slider" }],
        plain: ["INT", { default: 1, display: "number", tooltip: "" }],
      },
      ["IMAGE"],
    );
    const graph = {
      m: node("Meter", { level: 2, tint: 3, weight: 1, plain: 4 }),
      s: node("SaveImage", { images: ["m", 0], filename_prefix: "x" }),
    };
    const overrides = {
      inputs: Object.fromEntries(["level", "tint", "weight", "plain"].map((name) => [name, { hidden: false }])),
    };
    const schema = inputsJsonSchema((await imported(graph, { objectInfo: { Meter }, overrides })).inputs);
    expect(property(schema, "level")).toMatchObject({ description: "How loud it is.", "x-ui": { display: "slider" } });
    expect(property(schema, "tint")).toMatchObject({ "x-ui": { display: "color" } });
    expect(property(schema, "weight")).toMatchObject({ type: "number", "x-ui": { display: "slider" } });
    expect(property(schema, "plain")).not.toMatchObject({ description: expect.anything() });
    expect(property(schema, "plain")).not.toMatchObject({ "x-ui": { display: expect.anything() } });
  });

  it("requires files and says what kind", async () => {
    const { inputs } = await imported({
      a: node("LoadImage", { image: "x.png" }),
      s: node("SaveImage", { images: ["a", 0], filename_prefix: "x" }),
    });
    const schema = inputsJsonSchema(inputs);
    expect(schema.required).toEqual(["image"]);
    expect(property(schema, "image")).toMatchObject({
      type: "string",
      contentMediaType: "image/*",
      "x-ui": { media: "image" },
    });
  });
});

it("the schema of outputs has a form for each of them", async () => {
  const schema = outputsJsonSchema((await imported(textToImage())).outputs);
  expect(schema).toMatchObject({
    type: "array",
    items: { oneOf: [{ title: "Image", properties: { output: { const: "image" }, kind: { examples: ["image"] } } }] },
  });
});
