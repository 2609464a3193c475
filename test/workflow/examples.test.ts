import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { ImportedWorkflow } from "#contract/workflow";
import { importWorkflow } from "#workflow/import-workflow";

const FOLDER = new URL("../../examples/", import.meta.url);

async function example(name: string): Promise<ImportedWorkflow> {
  const result = await importWorkflow({ text: readFileSync(new URL(`${name}.json`, FOLDER), "utf8") });
  if (!result.ok) throw new Error(`${name}: ${result.detail}`);
  return result.workflow;
}

const SAMPLING = ["seed", "steps", "guidance_scale"];
const EXPECTED: Readonly<
  Record<string, { inputs: readonly string[]; advanced: readonly string[]; outputs: readonly string[] }>
> = {
  "text-to-image": {
    inputs: ["prompt", "negative_prompt", "width", "height", "num_images", ...SAMPLING],
    advanced: ["sampler_name", "scheduler", "denoise"],
    outputs: ["image"],
  },
  "image-to-image": {
    inputs: ["prompt", "negative_prompt", "image", ...SAMPLING, "strength"],
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image"],
  },
  "post-process": {
    inputs: [
      "image",
      "upscale_method",
      "width",
      "height",
      "crop",
      "sharpen_radius",
      "sigma",
      "alpha",
      "blur_radius",
      "glow_sigma",
      "blend_factor",
      "blend_mode",
    ],
    advanced: [],
    outputs: ["image"],
  },
  "two-outputs": {
    inputs: ["image", "upscale_method", "megapixels", "expand", "tapered_corners"],
    advanced: [],
    outputs: ["picture", "mask"],
  },
  video: {
    inputs: ["width", "height", "num_frames", "fps", "color", "bright_color", "blend_factor", "blend_mode"],
    advanced: ["lossless", "quality", "method"],
    outputs: ["animation"],
  },
  "model-free": {
    inputs: [
      "width",
      "light_width",
      "height",
      "light_height",
      "num_images",
      "color",
      "light_color",
      "left",
      "top",
      "right",
      "bottom",
      "feathering",
      "blur_radius",
      "sigma",
      "blend_factor",
      "blend_mode",
    ],
    advanced: [],
    outputs: ["image"],
  },
};

describe("the example workflows", () => {
  it("are all covered here", () => {
    const files = readdirSync(FOLDER).filter((file) => file.endsWith(".json"));
    expect(files.map((file) => file.replace(".json", "")).sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  it.each(Object.keys(EXPECTED))("%s offers what its description says", async (name) => {
    const { inputs, outputs, warnings } = await example(name);
    expect(inputs.filter((input) => !input.advanced).map((input) => input.name)).toEqual(EXPECTED[name]?.inputs);
    expect(inputs.filter((input) => input.advanced).map((input) => input.name)).toEqual(EXPECTED[name]?.advanced);
    expect(outputs.map((output) => output.name)).toEqual(EXPECTED[name]?.outputs);
    expect(warnings).toEqual([]);
  });

  it.each(["video", "model-free"])("%s needs no upload", async (name) => {
    const { inputs } = await example(name);
    expect(inputs.filter((input) => input.required)).toEqual([]);
  });

  it.each(["post-process", "two-outputs", "video", "model-free"])("%s needs no model", async (name) => {
    const { classes } = await example(name);
    expect(classes.filter((classType) => /Loader|Sampler|VAE|CLIP/.test(classType))).toEqual([]);
  });
});
