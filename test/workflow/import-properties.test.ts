import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { type ImportedWorkflow, InputSpec, OutputSpec } from "#contract/workflow";
import { fileNameFault } from "#workflow/check-text";
import { coreNodes } from "#workflow/core-nodes/all";
import { fillGraph } from "#workflow/fill-graph";
import { importWorkflow } from "#workflow/import-workflow";
import { inputsJsonSchema } from "#workflow/json-schema";
import { declaredInputs } from "#workflow/object-info";
import { validateInputs } from "#workflow/validate-inputs";
import { parsed } from "./graphs.ts";

const keep = (_node: string, prefix: string): string => prefix;

/** A node of a core class, its literals within the declared bounds, its connections to any of the nodes before it. */
function coreNode(classType: string, before: readonly string[]): fc.Arbitrary<Json> {
  const declared = Object.hasOwn(coreNodes, classType) ? coreNodes[classType] : undefined;
  const fields: Record<string, fc.Arbitrary<Json>> = {};
  for (const input of declared === undefined ? [] : declaredInputs(declared)) {
    const { min, max } = input.options;
    if (input.type === "INT") {
      const low = BigInt(typeof min === "number" || typeof min === "bigint" ? min : -5);
      const high = BigInt(typeof max === "number" || typeof max === "bigint" ? max : 5);
      fields[input.name] = fc
        .bigInt(low, high)
        .map((value) =>
          BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)) ? Number(value) : value,
        );
    } else if (input.type === "FLOAT") {
      fields[input.name] = fc.double({
        min: Number(min ?? -5),
        max: Number(max ?? 5),
        noNaN: true,
        noDefaultInfinity: true,
      });
    } else if (input.type === "STRING")
      fields[input.name] = fc
        .string({ maxLength: 30, unit: "binary" })
        .map((text) => text.replace(/[\u0000-\u001f/\\.:~]/g, ""));
    else if (input.type === "BOOLEAN") fields[input.name] = fc.boolean();
    else if (input.choices !== undefined)
      fields[input.name] = fc.constantFrom<Json>(...input.choices, "some.png", "other");
    else if (before.length > 0) fields[input.name] = fc.constantFrom(...before).map((id): Json => [id, 0]);
  }
  return fc.record({ class_type: fc.constant(classType), inputs: fc.record(fields) });
}

const SOURCES = [
  "EmptyImage",
  "LoadImage",
  "CheckpointLoaderSimple",
  "EmptyLatentImage",
  "PrimitiveInt",
  "PrimitiveString",
];
const MIDDLE = [
  "CLIPTextEncode",
  "CLIPTextEncodeFlux",
  "KSampler",
  "KSamplerAdvanced",
  "SamplerCustom",
  "VAEDecode",
  "VAEEncode",
  "ControlNetApplyAdvanced",
  "ImageScale",
  "ImageBlend",
  "ImageBlur",
  "LoraLoader",
  "StringConcatenate",
  "NobodyKnows",
];

/** Graphs that need not make sense but hold together: each node reads only nodes before it. */
const graphs: fc.Arbitrary<JsonObject> = fc
  .tuple(
    fc.array(fc.constantFrom(...SOURCES), { minLength: 1, maxLength: 5 }),
    fc.array(fc.constantFrom(...MIDDLE), { maxLength: 10 }),
  )
  .chain(([sources, middle]) => {
    const classes = [...sources, ...middle, "SaveImage"];
    // Near ones only, so that most nodes are needed by the last.
    const before = (index: number) => [index - 1, index - 2, index - 3].filter((at) => at >= 0).map(String);
    return fc.tuple(...classes.map((classType, index) => coreNode(classType, before(index))));
  })
  .map((nodes) => Object.fromEntries(nodes.map((value, index) => [String(index), value])) as JsonObject);

async function importable(graph: JsonObject): Promise<ImportedWorkflow> {
  const result = await importWorkflow({ text: stringifyExactJson(graph) });
  if (!result.ok) throw new Error(JSON.stringify(result));
  return result.workflow;
}

const defaultsOf = (inputs: readonly InputSpec[]): JsonObject =>
  Object.fromEntries(
    inputs.flatMap((input) =>
      input.type === "file" || input.default === undefined ? [] : [[input.name, input.default]],
    ),
  );

describe("whatever comes in", () => {
  it("any JSON is imported or refused, never thrown on", async () => {
    await fc.assert(
      fc.asyncProperty(fc.json({ maxDepth: 6 }), async (text) => {
        const result = await importWorkflow({ text });
        expect(result.ok || result.detail.length > 0).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("any text is imported or refused", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
        expect((await importWorkflow({ text })).ok).toBe(false);
      }),
    );
  });

  it("any bytes after a PNG's signature are refused or read", async () => {
    const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (rest) => {
        expect((await importWorkflow({ png: new Uint8Array([...signature, ...rest]) })).ok).toBe(false);
      }),
    );
  });

  it("nearly right graphs are imported or refused", async () => {
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
      fc.tuple(fc.constantFrom("1", "2", "3", "x"), fc.integer({ min: -1, max: 3 })).map((link): Json => link),
      fc.constantFrom<Json>(2n ** 64n, "../x", "a.png [output]"),
    );
    const field = fc.constantFrom(
      "seed",
      "text",
      "image",
      "positive",
      "model",
      "filename_prefix",
      "width",
      "value",
      "__proto__",
    );
    const anyNode = fc.record(
      {
        class_type: fc.oneof(fc.constantFrom(...SOURCES, ...MIDDLE, "SaveImage", "PreviewImage"), fc.string()),
        inputs: fc.dictionary(field, value),
        _meta: fc.record({ title: fc.string({ unit: "binary" }) }),
      },
      { requiredKeys: ["class_type", "inputs"] },
    );
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom("1", "2", "3", "4"), anyNode), async (graph) => {
        const result = await importWorkflow({ text: stringifyExactJson(graph) });
        if (!result.ok) return;
        for (const input of result.workflow.inputs) expect(InputSpec.safeParse(input).error).toBeUndefined();
        for (const output of result.workflow.outputs) expect(OutputSpec.safeParse(output).error).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  it("any object_info is believed or ignored, never thrown on", async () => {
    const spec = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.tuple(
        fc.constantFrom("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*", "IMAGE"),
        fc.dictionary(fc.constantFrom("min", "max", "step", "options", "multiline"), fc.jsonValue({ maxDepth: 1 })),
      ),
    );
    const section = fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.dictionary(fc.constantFrom("seed", "text", "x"), spec));
    const anyClass = fc.record({
      input: fc.record({ required: section, optional: section }),
      output: fc.jsonValue({ maxDepth: 1 }),
      output_node: fc.boolean(),
    });
    const graph = {
      a: { class_type: "Thing", inputs: { seed: 1, text: "x", x: 1.5 } },
      s: { class_type: "SaveImage", inputs: { images: ["a", 0], filename_prefix: "x" } },
    };
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyClass, fc.jsonValue()), async (thing) => {
        const objectInfo = parseExactJson(JSON.stringify({ Thing: thing })) as never;
        const result = await importWorkflow({ text: JSON.stringify(graph) }, { objectInfo });
        if (!result.ok) return;
        for (const input of result.workflow.inputs) expect(InputSpec.safeParse(input).error).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});

describe("a graph that holds together", () => {
  it("filled with its own defaults is itself", async () => {
    await fc.assert(
      fc.asyncProperty(graphs, async (graph) => {
        const { graph: text, inputs } = await importable(graph);
        const filled = fillGraph({
          graph: parsed(text),
          inputs,
          values: defaultsOf(inputs),
          files: {},
          filenamePrefix: keep,
        });
        expect(stringifyExactJson(filled)).toBe(text);
      }),
      { numRuns: 200 },
    );
  });

  it("imported again is the same", async () => {
    await fc.assert(
      fc.asyncProperty(graphs, async (graph) => {
        const first = await importable(graph);
        const second = await importWorkflow({ text: first.graph }, { previous: first });
        expect(second).toEqual({ ok: true, workflow: first });
      }),
    );
  });

  it("has defaults its own inputs accept, and no name twice", async () => {
    await fc.assert(
      fc.asyncProperty(graphs, async (graph) => {
        const { inputs } = await importable(graph);
        expect(new Set(inputs.map((input) => input.name)).size).toBe(inputs.length);
        const files = Object.fromEntries(
          inputs.flatMap((input) => (input.type === "file" ? [[input.name, "https://example.com/x"]] : [])),
        );
        const result = validateInputs(inputs, { ...defaultsOf(inputs), ...files }, { randomSeed: () => 1 });
        expect(result.ok ? [] : result.errors).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});

describe("validation and schema", () => {
  const number = fc.oneof(
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(0, 1, 512, 16384, 2 ** 64, 2 ** 63, -1),
  );
  const value: fc.Arbitrary<Json> = fc.oneof(
    number,
    fc.string(),
    fc.boolean(),
    fc.constantFrom("euler", "normal"),
    fc.constant<Json>([]),
  );

  /** Whether the JSON Schema of one property takes a value: the keywords that inputsJsonSchema writes. */
  const takes = (property: JsonObject, given: Json): boolean => {
    if (Array.isArray(property.enum)) return property.enum.includes(given);
    if (property.type === "string")
      return typeof given === "string" && [...given].length <= Number(property.maxLength ?? Number.POSITIVE_INFINITY);
    if (property.type === "boolean") return typeof given === "boolean";
    if (typeof given !== "number" || (property.type === "integer" && !Number.isInteger(given))) return false;
    const bound = (value: Json | undefined, none: number): number | bigint =>
      typeof value === "number" || typeof value === "bigint" ? value : none;
    return given >= bound(property.minimum, -Infinity) && given <= bound(property.maximum, Infinity);
  };

  it("agree on every value of every input but files", async () => {
    await fc.assert(
      fc.asyncProperty(graphs, value, async (graph, given) => {
        const { inputs } = await importable(graph);
        const scalars = inputs.filter((input) => input.type !== "file");
        const { properties } = inputsJsonSchema(scalars);
        for (const input of scalars) {
          const property = isJsonObject(properties) ? properties[input.name] : undefined;
          const result = validateInputs(scalars, { [input.name]: given }, { randomSeed: () => 1 });
          // What leads out of a file's folder no keyword can say.
          if (input.type === "string" && typeof given === "string" && fileNameFault(input, given) !== undefined) {
            expect(result.ok).toBe(false);
            continue;
          }
          expect(result.ok).toBe(isJsonObject(property) && takes(property, given));
        }
      }),
      { numRuns: 100 },
    );
  });
});
