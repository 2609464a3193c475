import { describe, expect, it } from "vitest";
import type { Json } from "#contract/exact-json";
import { imported, input, node, refused } from "./graphs.ts";
import { nodeClass } from "./ui/object-info.ts";

function dynamic(options: Readonly<Record<string, Readonly<Record<string, Json>>>>): Json {
  const entries = Object.entries(options).map(([key, required]) => ({ key, inputs: { required } }));
  return ["COMFY_DYNAMICCOMBO_V3", { options: entries }];
}

const side: Json = ["INT", { default: 512, min: 16, max: 1024 }];
const crop: Json = ["COMBO", { options: ["center", "disabled"] }];
const objectInfo = {
  Fit: nodeClass(
    "Fit",
    {
      image: ["IMAGE", {}],
      how: dynamic({
        whole: {},
        sides: { width: side, height: side, crop },
        width: { width: side },
        larger: { width: ["INT", { min: 16, max: 4096 }] },
        factor: { multiplier: ["FLOAT", { min: 0.5, max: 2 }] },
        nested: { width: side, again: dynamic({ plain: {}, sharp: { amount: ["FLOAT", { min: 0, max: 1 }] } }) },
      }),
    },
    ["IMAGE"],
  ),
};
const graphOf = (inputs: Record<string, Json>) => ({
  a: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }),
  b: node("Fit", { image: ["a", 0], ...inputs }),
  c: node("SaveImage", { images: ["b", 0], filename_prefix: "p" }),
});
const sides = { how: "sides", "how.width": 512, "how.height": 256, "how.crop": "center" };

describe("inputs that an option brings", () => {
  it("have its bounds and choices", async () => {
    const workflow = await imported(graphOf(sides), { objectInfo });
    expect(workflow.inputs.map(({ targets }) => targets[0]?.field)).toContain("how.width");
    expect(input(workflow, "how_width")).toMatchObject({ type: "integer", minimum: 16, maximum: 1024, default: 512 });
    expect(input(workflow, "how_crop")).toMatchObject({ type: "choice", choices: ["center", "disabled"] });
  });

  it("have them inside of another option too", async () => {
    const inputs = { how: "nested", "how.width": 512, "how.again": "sharp", "how.again.amount": 0.5 };
    const workflow = await imported(graphOf(inputs), { objectInfo });
    expect(input(workflow, "how_again_amount")).toMatchObject({ type: "number", minimum: 0, maximum: 1 });
    expect(input(workflow, "how_again")).toMatchObject({ type: "choice", choices: ["plain", "sharp"] });
  });

  it("are checked in the graph itself", async () => {
    const wrong = await refused(graphOf({ ...sides, "how.width": 2048 }), { objectInfo });
    expect(wrong).toMatchObject({ errors: [{ path: "/workflow/b/inputs/how.width", allowed: { maximum: 1024 } }] });
  });
});

describe("texts", () => {
  const LINES: Json = ["STRING", { multiline: true }];
  const classes = {
    Film: nodeClass("Film", { model: dynamic({ fast: { prompt: LINES, style: LINES } }) }, ["IMAGE"]),
    Speak: nodeClass("Speak", { model: [["v1", "v2"], {}], text: LINES, note: ["STRING", {}] }, ["IMAGE"]),
  };
  const saved = (inputs: Record<string, Json>, type: string) => ({
    a: node(type, inputs),
    b: node("SaveImage", { images: ["a", 0], filename_prefix: "p" }),
  });

  it("are prompts also where an option brings them", async () => {
    const graph = saved({ model: "fast", "model.prompt": "a lamp", "model.style": "oil" }, "Film");
    const { inputs } = await imported(graph, { objectInfo: classes });
    expect(inputs[0]).toMatchObject({ name: "prompt", targets: [{ node: "a", field: "model.prompt" }] });
  });

  it("are inputs where they are all that a workflow is told", async () => {
    const graph = saved({ model: "v1", text: "Good morning", note: "n" }, "Speak");
    const { inputs } = await imported(graph, { objectInfo: classes });
    expect(inputs[0]).toMatchObject({ name: "text", multiline: true, default: "Good morning" });
  });
});

describe("the option itself", () => {
  it("may be each that needs nothing else than the graph has, with the same bounds", async () => {
    const workflow = await imported(graphOf(sides), { objectInfo });
    expect(input(workflow, "how")).toMatchObject({ type: "choice", choices: ["whole", "sides", "width"] });
  });

  it("needs what it brings also where nobody must choose it", async () => {
    const optional = {
      Fit: nodeClass("Fit", { image: ["IMAGE", {}] }, ["IMAGE"], { how: objectInfo.Fit.input.required?.how ?? null }),
    };
    const workflow = await imported(graphOf({ how: "whole" }), { objectInfo: optional });
    expect(input(workflow, "how")).toMatchObject({ type: "choice", choices: ["whole"] });
  });
});

describe("bounds of more than 53 bits", () => {
  it("are the nearest numbers within them", async () => {
    const bound = 2n ** 63n - 1n;
    const wide = { Wide: nodeClass("Wide", { amount: ["FLOAT", { min: -bound, max: bound }] }, ["IMAGE"]) };
    const graph = { a: node("Wide", { amount: 1 }), b: node("SaveImage", { images: ["a", 0], filename_prefix: "p" }) };
    const workflow = await imported(graph, { objectInfo: wide });
    expect(input(workflow, "amount")).toMatchObject({ minimum: -(2 ** 63 - 1024), maximum: 2 ** 63 - 1024 });
  });
});
