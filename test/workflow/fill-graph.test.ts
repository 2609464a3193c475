import { describe, expect, it } from "vitest";
import { type JsonObject, stringifyExactJson } from "#contract/exact-json";
import { fillGraph } from "#workflow/fill-graph";
import { imported, node, parsed, sampler, textToImage } from "./graphs.ts";

const keep = (_node: string, prefix: string): string => prefix;

describe("a filled graph", () => {
  it("holds the caller's values in every target", async () => {
    const lora = node("LoraLoader", {
      lora_name: "l.safetensors",
      strength_model: 1,
      strength_clip: 1,
      model: ["model", 0],
      clip: ["model", 1],
    });
    const { graph, inputs } = await imported(textToImage({ lora, sampler: sampler({ model: ["lora", 0] }) }));
    const values = { prompt: "a boat", seed: 2n ** 64n - 1n, lora_scale: 0.25 };
    const filled = fillGraph({ graph: parsed(graph), inputs, values, files: {}, filenamePrefix: keep });
    expect(filled).toMatchObject({
      positive: { inputs: { text: "a boat", clip: ["model", 1] } },
      sampler: { inputs: { seed: 18446744073709551615n } },
      lora: { inputs: { strength_model: 0.25, strength_clip: 0.25 } },
    });
  });

  it("is refused for values that this release has no input for, as a job that runs again may bring them", async () => {
    const { graph, inputs } = await imported(textToImage());
    const request = { graph: parsed(graph), inputs, files: {}, filenamePrefix: keep };
    expect(() => fillGraph({ ...request, values: { prompt: "a boat", caption: "a fox" } })).toThrow(
      "this release has no input caption",
    );
  });

  it("holds the names files have on the server, not what the caller sent", async () => {
    const nodes = {
      a: node("LoadImage", { image: "x.png" }),
      s: node("SaveImage", { images: ["a", 0], filename_prefix: "p" }),
    };
    const { graph, inputs } = await imported(nodes);
    const request = {
      graph: parsed(graph),
      inputs,
      values: { image: "https://example.com/x.png" },
      filenamePrefix: keep,
    };
    expect(fillGraph({ ...request, files: { image: "job/abc.png" } })).toMatchObject({
      a: { inputs: { image: "job/abc.png" } },
    });
    expect(fillGraph({ ...request, files: {} })).toMatchObject({ a: { inputs: { image: "x.png" } } });
  });

  it("saves under the job's prefix, also where the prefix came through a link", async () => {
    const { graph, inputs } = await imported({
      a: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }),
      p: node("PrimitiveString", { value: "../../escape" }, "Where"),
      b: node("SaveImage", { images: ["a", 0], filename_prefix: "mine" }),
      c: node("SaveImage", { images: ["a", 0], filename_prefix: ["p", 0] }),
    });
    const filled = fillGraph({
      graph: parsed(graph),
      inputs,
      values: {},
      files: {},
      filenamePrefix: (id, prefix) => `jobs/7/${id}/${prefix}`,
    });
    expect(filled).toMatchObject({
      b: { inputs: { filename_prefix: "jobs/7/b/mine" } },
      c: { inputs: { filename_prefix: "jobs/7/c/ComfyUI" } },
    });
  });

  it("gets a prefix where the class declares one that the graph leaves out", () => {
    const graph = parsed('{"s":{"class_type":"Saver","inputs":{}},"t":{"class_type":"Other","inputs":{}}}');
    const saver = { input: { optional: { filename_prefix: ["STRING", {}] } }, output: [] };
    const declared = { Saver: saver, Other: { input: {}, output: [] } } as never;
    const filled = fillGraph({
      graph,
      inputs: [],
      values: {},
      files: {},
      filenamePrefix: (id) => `jobs/${id}`,
      declared,
    });
    expect(filled).toMatchObject({ s: { inputs: { filename_prefix: "jobs/s" } }, t: { inputs: {} } });
    expect(Object.keys((filled.t as JsonObject).inputs as JsonObject)).toEqual([]);
  });

  it("is a new one: the release's graph stays as it is", async () => {
    const { graph, inputs } = await imported(textToImage());
    const original = parsed(graph);
    fillGraph({
      graph: original,
      inputs,
      values: { prompt: "other", steps: 3 },
      files: {},
      filenamePrefix: () => "changed",
    });
    expect(stringifyExactJson(original)).toBe(graph);
  });

  it("is not made from a graph of another release", async () => {
    const { inputs } = await imported(textToImage());
    const request = { graph: parsed("{}"), inputs, values: { prompt: "x" }, files: {}, filenamePrefix: keep };
    expect(() => fillGraph(request)).toThrow("input prompt is bound to node positive");
  });

  it("keeps a field called __proto__ a field", () => {
    const graph = parsed('{"a":{"class_type":"A","inputs":{"x":{"__proto__":{"polluted":1}}}}}');
    const filled = fillGraph({ graph, inputs: [], values: {}, files: {}, filenamePrefix: keep });
    expect(stringifyExactJson(filled)).toBe(stringifyExactJson(graph));
    expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
  });
});
