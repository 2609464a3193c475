import { describe, expect, it } from "vitest";
import type { InputOverride, Overrides } from "#contract/workflow";
import { inputsJsonSchema } from "#workflow/json-schema";
import { imported, input, node, places, refused, sampler, textToImage } from "./graphs.ts";

const change = async (name: string, override: InputOverride) =>
  imported(textToImage(), { overrides: { inputs: { [name]: override } } });
const wrong = async (overrides: Overrides) => {
  const refusal = await refused(textToImage(), { overrides });
  expect(refusal.code).toBe("invalid_body");
  return refusal.errors ?? [];
};

describe("an operator", () => {
  it("renames, describes and folds away an input", async () => {
    const workflow = await change("prompt", {
      name: "scene",
      title: "Scene",
      description: "What to draw.",
      advanced: true,
    });
    expect(input(workflow, "scene")).toMatchObject({
      title: "Scene",
      description: "What to draw.",
      advanced: true,
      targets: [{ node: "positive", field: "text" }],
    });
    expect(workflow.inputs.map((spec) => spec.name)).not.toContain("prompt");
  });

  it("hides an input, whose value in the graph then stays", async () => {
    const workflow = await change("steps", { hidden: true });
    expect(workflow.inputs.map((spec) => spec.name)).not.toContain("steps");
    expect(workflow.graph).toContain('"steps":20');
  });

  it("narrows bounds and moves the default with them", async () => {
    const workflow = await change("width", { minimum: 256, maximum: 1024, step: 64, default: 768 });
    expect(input(workflow, "width")).toMatchObject({ minimum: 256, maximum: 1024, step: 64, default: 768 });
  });

  it("makes a choice of a number or a text", async () => {
    const sizes = await change("width", { choices: [512, 768, 1024] });
    expect(input(sizes, "width")).toMatchObject({ type: "choice", choices: [512, 768, 1024], default: 512 });
    const models = await change("ckpt_name", { hidden: false, choices: ["model.safetensors", "other.safetensors"] });
    expect(input(models, "ckpt_name")).toMatchObject({ type: "choice", default: "model.safetensors" });
  });

  it("requires an input, which then has no default", async () => {
    const spec = input(await change("prompt", { required: true }), "prompt");
    expect(spec.required).toBe(true);
    expect("default" in spec).toBe(false);
  });

  it("makes a file optional, and is told what is read then", async () => {
    const graph = textToImage({
      photo: node("LoadImage", { image: "photo.png" }),
      latent: node("VAEEncode", { pixels: ["photo", 0], vae: ["model", 2] }),
    });
    const workflow = await imported(graph, { overrides: { inputs: { image: { required: false } } } });
    expect(input(workflow, "image").required).toBe(false);
    expect(workflow.warnings.join(" ")).toContain("photo.png");
  });

  it("renames and hides outputs, and brings out a preview", async () => {
    const graph = textToImage({
      second: node("SaveImage", { filename_prefix: "y", images: ["decode", 0] }),
      look: node("PreviewImage", { images: ["decode", 0] }),
    });
    const plain = await imported(graph);
    expect(plain.outputs.map((output) => [output.name, output.node])).toEqual([
      ["image", "save"],
      ["image_2", "second"],
    ]);
    const { outputs } = await imported(graph, {
      overrides: {
        outputs: {
          image: { name: "result", title: "The result" },
          image_2: { hidden: true },
          image_3: { hidden: false },
        },
      },
    });
    expect(outputs).toEqual([
      { name: "result", title: "The result", node: "save", kind: "image", temporary: false },
      { name: "image_3", title: "Image", node: "look", kind: "image", temporary: true },
    ]);
  });
});

describe("an input's group", () => {
  it("is its heading in a form, whatever else is changed", async () => {
    const workflow = await imported(textToImage(), {
      overrides: { inputs: { width: { group: "Size" }, height: { group: "Size", choices: [512, 768] } } },
    });
    expect(input(workflow, "width").group).toBe("Size");
    expect(input(workflow, "height")).toMatchObject({ type: "choice", group: "Size" });
    expect("group" in input(workflow, "steps")).toBe(false);
    expect(inputsJsonSchema(workflow.inputs)).toMatchObject({
      properties: { width: { "x-ui": { group: "Size" } }, height: { "x-ui": { group: "Size" } } },
    });
  });

  it("is none when it is empty", async () => {
    expect("group" in input(await change("width", { group: "" }), "width")).toBe(false);
  });
});

describe("an output chosen by its node", () => {
  const graph = textToImage({
    look: node("PreviewImage", { images: ["decode", 0] }),
    strange: node("Uploader", { images: ["decode", 0] }),
  });
  const outputs = async (overrides: Overrides["outputs"]) =>
    (await imported(graph, { overrides: { outputs: overrides } })).outputs.map((output) => [
      output.name,
      output.node,
      output.temporary,
    ]);

  it("is brought out under the key's name: a preview, or a node of which nobody knew that it gives something", async () => {
    expect(await outputs(undefined)).toEqual([["image", "save", false]]);
    expect(await outputs({ glance: { node: "look" }, upload: { node: "strange", temporary: true } })).toEqual([
      ["image", "save", false],
      ["glance", "look", true],
      ["upload", "strange", true],
    ]);
  });

  it("may get another name, be hidden, and swap names with another", async () => {
    expect(await outputs({ a: { node: "save", name: "result" } })).toEqual([["result", "save", false]]);
    expect(await outputs({ image: { node: "look" }, saved: { node: "save" } })).toEqual([
      ["saved", "save", false],
      ["image", "look", true],
    ]);
    expect(await outputs({ image: { node: "look" }, saved: { node: "save", hidden: true } })).toEqual([
      ["image", "look", true],
    ]);
  });

  it("that gives none is refused with those that do, and what to add", async () => {
    const refusal = await refused(graph, { overrides: { outputs: { x: { node: "decode" } } } });
    expect(refusal.errors).toMatchObject([
      {
        path: "/overrides/outputs/x/node",
        reason: expect.stringMatching(/"decode".*save.*PreviewImage/),
        allowed: { choices: ["save", "look", "strange"] },
      },
    ]);
  });

  it("cannot be changed twice", async () => {
    const refusal = await refused(graph, { overrides: { outputs: { image: { title: "A" }, b: { node: "save" } } } });
    expect(refusal.errors).toMatchObject([{ path: "/overrides/outputs/b" }]);
  });
});

describe("an override that cannot be meant", () => {
  it("names an unknown input: the answer lists the known ones", async () => {
    const [error] = await wrong({ inputs: { promt: { hidden: true } } });
    expect(error?.path).toBe("/overrides/inputs/promt");
    expect(error?.reason).toContain('Did you mean "prompt"?');
    expect(error?.allowed?.choices).toEqual(expect.arrayContaining(["prompt", "seed", "ckpt_name"]));
  });

  it("names an unknown output", async () => {
    const [error] = await wrong({ outputs: { video: { hidden: true } } });
    expect(error).toMatchObject({ path: "/overrides/outputs/video", allowed: { choices: ["image"] } });
  });

  it.each([
    ["a default outside the bounds", "width", { default: 8 }, "default"],
    ["a default outside the new bounds", "width", { maximum: 1024, default: 2048 }, "default"],
    ["new bounds that leave the graph's value outside", "width", { maximum: 256 }, "default"],
    ["a default of another type", "width", { default: "512" }, "default"],
    ["a default that is a list", "width", { default: [512] }, "default"],
    ["a default that is none of the choices", "sampler_name", { default: "magic" }, "default"],
    ["wider bounds than the node's", "width", { maximum: 100_000 }, "maximum"],
    ["bounds upside down", "width", { minimum: 1024, maximum: 600, default: 800 }, "minimum"],
    ["a broken bound of a whole number", "width", { minimum: 100.5 }, "minimum"],
    ["no step", "width", { step: 0 }, "step"],
    ["bounds of a text", "prompt", { minimum: 1 }, "minimum"],
    ["choices of the wrong type", "width", { choices: [512, "big"] }, "choices/1"],
    ["a longer text than any", "prompt", { maxLength: 10_000_000 }, "maxLength"],
    ["a default for a required input", "prompt", { required: true, default: "x" }, "default"],
  ] satisfies [string, string, InputOverride, string][])("%s", async (_what, name, override, field) => {
    const errors = await wrong({ inputs: { [name]: override } });
    expect(errors.map((error) => error.path)).toContain(`/overrides/inputs/${name}/${field}`);
  });

  it("gives a file a default", async () => {
    const graph = {
      a: node("LoadImage", { image: "x.png" }),
      s: node("SaveImage", { images: ["a", 0], filename_prefix: "x" }),
    };
    const refusal = await refused(graph, { overrides: { inputs: { image: { default: "y.png" } } } });
    expect(refusal.errors).toMatchObject([{ path: "/overrides/inputs/image/default" }]);
  });

  it("gives two inputs one name", async () => {
    const errors = await wrong({ inputs: { prompt: { name: "seed" } } });
    expect(errors).toMatchObject([{ reason: expect.stringContaining('"seed"') }]);
  });

  it("hides every output", async () => {
    expect(await wrong({ outputs: { image: { hidden: true } } })).toMatchObject([{ path: "/overrides/outputs" }]);
  });
});

describe("names and overrides together", () => {
  it("may swap two names", async () => {
    const { inputs } = await imported(textToImage({ sampler: sampler() }), {
      overrides: { inputs: { width: { name: "height" }, height: { name: "width" } } },
    });
    expect(places(inputs)).toMatchObject({ height: "latent.width", width: "latent.height" });
  });
});
