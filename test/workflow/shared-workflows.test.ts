import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isJsonObject, parseExactJson } from "#contract/exact-json";
import { type ImportedWorkflow, InputSpec, OutputSpec } from "#contract/workflow";
import { importWorkflow } from "#workflow/import-workflow";
import { inputsJsonSchema } from "#workflow/json-schema";

const FOLDER = new URL("../../../shared/workflows/", import.meta.url);

/** What each real workflow must offer: the place every input is bound to, `advanced` ones in the second list. */
interface Expected {
  readonly inputs: Readonly<Record<string, string>>;
  readonly advanced: readonly string[];
  readonly outputs: readonly string[];
}

const EXPECTED: Readonly<Record<string, Expected>> = {
  animatediff_vhs: {
    inputs: {
      prompt: "3.text",
      negative_prompt: "6.text",
      image: "36.image",
      width: "9.width",
      height: "9.height",
      num_frames: "9.batch_size",
      fps: "44.frame_rate 45.frame_rate",
      seed: "7.seed 41.seed",
      steps: "7.steps 41.steps",
      guidance_scale: "7.cfg 41.cfg",
      strength: "41.denoise",
    },
    advanced: ["sampler_name", "scheduler", "denoise", "ip_adapter_scale"],
    outputs: ["image 44", "image_2 45"],
  },
  birefnet_rembg: { inputs: { image: "1.image" }, advanced: [], outputs: ["image 4 temporary"] },
  cascade_groupnode_modelfree: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      image: "50.image",
      width: "34.width",
      height: "34.height",
      num_images: "34.batch_size",
      seed: "3.seed",
      seed_2: "33.seed",
      steps: "3.steps",
      steps_2: "33.steps",
      guidance_scale: "3.cfg",
      guidance_scale_2: "33.cfg",
    },
    advanced: ["sampler_name", "scheduler", "denoise", "controlnet_scale"],
    outputs: ["image 9"],
  },
  cpack_pixelart: {
    inputs: {
      prompt: "11.value",
      negative_prompt: "7.text",
      width: "14.value",
      height: "13.value",
      num_images: "5.batch_size",
      seed: "27.value",
      steps: "3.steps",
      guidance_scale: "3.cfg",
    },
    advanced: ["sampler_name", "scheduler", "denoise"],
    outputs: ["image 30"],
  },
  flux_dev_primitives: {
    inputs: {
      prompt: "6.text",
      width: "27.width 30.width",
      height: "27.height 30.height",
      num_images: "27.batch_size",
      seed: "25.noise_seed",
      steps: "17.steps",
      guidance_scale: "26.guidance",
    },
    advanced: ["sampler_name", "scheduler", "denoise"],
    outputs: ["image 9"],
  },
  flux_img2img: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "33.text",
      image: "37.image",
      width: "40.width",
      height: "40.height",
      seed: "31.seed",
      steps: "31.steps",
      guidance_scale: "31.cfg",
      strength: "31.denoise",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 9"],
  },
  iclight_reroutes: {
    inputs: {
      prompt: "4.text",
      negative_prompt: "5.text",
      image: "9.image",
      width: "39.width",
      height: "39.height",
      seed: "19.seed",
      steps: "19.steps",
      guidance_scale: "19.cfg",
      strength: "19.denoise",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 36 temporary", "image_2 41 temporary"],
  },
  merge_muted: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      image: "19.image",
      num_images: "21.amount",
      seed: "3.seed",
      steps: "3.steps",
      guidance_scale: "3.cfg",
      strength: "3.denoise",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 9"],
  },
  qwen_edit_subgraph: {
    inputs: {
      prompt: "141:132.prompt",
      negative_prompt: "141:128.prompt",
      image: "78.image",
      num_images: "141:142.batch_size",
      seed: "141:137.seed",
      steps: "141:137.steps",
      guidance_scale: "141:137.cfg",
    },
    advanced: ["sampler_name", "scheduler", "denoise", "lora_scale"],
    outputs: ["image 60"],
  },
  svd_txt2img2video: {
    inputs: {
      prompt: "18.text",
      negative_prompt: "19.text",
      width: "22.width 12.width",
      height: "22.height 12.height",
      num_images: "22.batch_size",
      num_frames: "12.video_frames",
      fps: "12.fps",
      save_animated_webp_fps: "10.fps",
      seed: "17.seed",
      seed_2: "3.seed",
      steps: "17.steps",
      steps_2: "3.steps",
      guidance_scale: "17.cfg",
      guidance_scale_2: "3.cfg",
      strength: "3.denoise",
    },
    advanced: ["sampler_name", "sampler_name_2", "scheduler", "scheduler_2", "denoise"],
    outputs: ["animation 10"],
  },
  wan22_t2v_video: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      width: "61.width",
      height: "61.height",
      num_images: "61.batch_size",
      num_frames: "61.length",
      fps: "28.fps",
      save_webm_fps: "47.fps",
      seed: "57.noise_seed",
      steps: "57.steps 58.steps",
      guidance_scale: "57.cfg 58.cfg",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["animation 28", "video 47"],
  },
  qwen_edit_2509: {
    inputs: {
      prompt: "68.prompt",
      negative_prompt: "69.prompt",
      image: "41.image",
      width: "66.width",
      height: "66.height",
      num_images: "66.batch_size",
      seed: "65.seed",
      steps: "65.steps",
      guidance_scale: "65.cfg",
    },
    advanced: ["sampler_name", "scheduler", "denoise"],
    outputs: ["image 9"],
  },
  sd15_default_template: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      width: "5.width",
      height: "5.height",
      num_images: "5.batch_size",
      seed: "3.seed",
      steps: "3.steps",
      guidance_scale: "3.cfg",
    },
    advanced: ["sampler_name", "scheduler", "denoise"],
    outputs: ["image 9"],
  },
  sd15_hires_esrgan: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      width: "5.width",
      height: "5.height",
      num_images: "5.batch_size",
      seed: "3.seed",
      seed_2: "11.seed",
      steps: "3.steps",
      steps_2: "11.steps",
      guidance_scale: "3.cfg 11.cfg",
      strength: "11.denoise",
    },
    advanced: ["sampler_name", "sampler_name_2", "scheduler", "denoise"],
    outputs: ["image 9", "image_2 12"],
  },
  sd15_img2img: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      image: "10.image",
      seed: "3.seed",
      steps: "3.steps",
      guidance_scale: "3.cfg",
      strength: "3.denoise",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 9"],
  },
  sd15_inpaint: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      image: "20.image",
      seed: "3.seed",
      steps: "3.steps",
      guidance_scale: "3.cfg",
      strength: "3.denoise",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 9"],
  },
  sd15_lora_2023: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      width: "5.width",
      height: "5.height",
      num_images: "5.batch_size",
      seed: "3.seed",
      steps: "3.steps",
      guidance_scale: "3.cfg",
    },
    advanced: ["sampler_name", "scheduler", "denoise", "lora_scale"],
    outputs: ["image 9"],
  },
  sdxl_edit_groupnode: {
    inputs: {
      prompt: "6.text",
      negative_prompt: "7.text",
      image: "13.image",
      seed: "37:1.noise_seed",
      steps: "37:3.steps",
      guidance_scale: "37:7.cfg_conds",
      strength: "37:3.denoise",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 9"],
  },
  sdxl_refiner: {
    inputs: {
      prompt: "6.text 15.text",
      negative_prompt: "7.text 16.text",
      width: "5.width",
      height: "5.height",
      num_images: "5.batch_size",
      seed: "10.noise_seed",
      steps: "10.steps 11.steps",
      guidance_scale: "10.cfg 11.cfg",
    },
    advanced: ["sampler_name", "scheduler"],
    outputs: ["image 19"],
  },
};

async function imported(name: string): Promise<ImportedWorkflow> {
  // A few are there in the editor's format alone.
  const api = new URL(`${name}.api.json`, FOLDER);
  const file = existsSync(api) ? api : new URL(`${name}.ui.json`, FOLDER);
  const result = await importWorkflow({ text: readFileSync(file, "utf8") });
  if (!result.ok) throw new Error(`${name}: ${result.detail}`);
  return result.workflow;
}

const places = (input: InputSpec): string => input.targets.map(({ node, field }) => `${node}.${field}`).join(" ");

describe.skipIf(!existsSync(FOLDER))("real public workflows", () => {
  it("are all covered here", () => {
    const names = readdirSync(FOLDER).flatMap((file) => /^(.+)\.(?:api|ui)\.json$/.exec(file)?.[1] ?? []);
    expect([...new Set(names)].sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  it.each(Object.keys(EXPECTED))("%s has the inputs and outputs its author would name", async (name) => {
    const { inputs, outputs } = await imported(name);
    const plain = inputs.filter((input) => !input.advanced);
    expect(Object.fromEntries(plain.map((input) => [input.name, places(input)]))).toEqual(EXPECTED[name]?.inputs);
    expect(inputs.filter((input) => input.advanced).map((input) => input.name)).toEqual(EXPECTED[name]?.advanced);
    const found = outputs.map((output) => `${output.name} ${output.node}${output.temporary ? " temporary" : ""}`);
    expect(found).toEqual(EXPECTED[name]?.outputs);
  });

  it.each(Object.keys(EXPECTED))("%s binds every input to a field that holds its default", async (name) => {
    const { inputs, graph } = await imported(name);
    const nodes = parseExactJson(graph);
    for (const input of inputs) {
      expect(InputSpec.safeParse(input).success).toBe(true);
      for (const { node, field } of input.targets) {
        const found = isJsonObject(nodes) ? nodes[node] : undefined;
        const fields = isJsonObject(found) && isJsonObject(found.inputs) ? found.inputs : {};
        expect(fields[field]).toBe(input.type === "file" ? input.example : input.default);
      }
    }
  });

  it.each(Object.keys(EXPECTED))("%s keeps nothing but inputs, class_type and _meta", async (name) => {
    const { graph, outputs } = await imported(name);
    const nodes = parseExactJson(graph);
    const keys = new Set(Object.values(isJsonObject(nodes) ? nodes : {}).flatMap((node) => Object.keys(node ?? {})));
    keys.delete("_meta");
    expect([...keys].sort()).toEqual(["class_type", "inputs"]);
    for (const output of outputs) expect(OutputSpec.safeParse(output).success).toBe(true);
  });

  it.each(Object.keys(EXPECTED))("%s has a schema with every input", async (name) => {
    const { inputs } = await imported(name);
    const schema = inputsJsonSchema(inputs);
    expect(Object.keys(schema.properties as object)).toEqual(inputs.map((input) => input.name));
    expect(schema.required).toEqual(inputs.filter((input) => input.type === "file").map((input) => input.name));
  });

  it("keeps the bounds of a marker and of the nodes behind it", async () => {
    const { inputs } = await imported("cpack_pixelart");
    expect(inputs.find((input) => input.name === "width")).toMatchObject({ minimum: 24, maximum: 2048, default: 512 });
  });
});
