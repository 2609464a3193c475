import { describe, expect, it } from "vitest";
import { imported, input, type Nodes, node, places, sampler, textToImage } from "./graphs.ts";

const encode = (text: unknown) => node("CLIPTextEncode", { text, clip: ["model", 1] });

describe("prompts", () => {
  it("are told apart by the sampler's links", async () => {
    const { inputs } = await imported(textToImage());
    expect(places(inputs)).toMatchObject({ prompt: "positive.text", negative_prompt: "negative.text" });
  });

  it("are found behind nodes that pass conditioning on", async () => {
    const { inputs } = await imported(
      textToImage({
        apply: node("ControlNetApplyAdvanced", {
          positive: ["positive", 0],
          negative: ["negative", 0],
          control_net: ["net", 0],
          image: ["photo", 0],
          strength: 0.8,
          start_percent: 0,
          end_percent: 1,
        }),
        net: node("ControlNetLoader", { control_net_name: "canny.safetensors" }),
        photo: node("LoadImage", { image: "photo.png" }),
        sampler: sampler({ positive: ["apply", 0], negative: ["apply", 1] }),
      }),
    );
    expect(places(inputs)).toMatchObject({
      prompt: "positive.text",
      negative_prompt: "negative.text",
      controlnet_scale: "apply.strength",
    });
  });

  it("are not negative behind a node that zeroes them", async () => {
    const { inputs } = await imported(
      textToImage({
        negative: node("ConditioningZeroOut", { conditioning: ["positive", 0] }),
      }),
    );
    expect(places(inputs).prompt).toBe("positive.text");
    expect(inputs.map((spec) => spec.name)).not.toContain("negative_prompt");
  });

  it("share one input when SDXL's two encoders say the same", async () => {
    const sdxl = { width: 1024, height: 1024, crop_w: 0, crop_h: 0, target_width: 1024, target_height: 1024 };
    const { inputs } = await imported(
      textToImage({
        positive: node("CLIPTextEncodeSDXL", { ...sdxl, text_g: "a lamp", text_l: "a lamp", clip: ["model", 1] }),
      }),
    );
    expect(places(inputs).prompt).toBe("positive.text_g positive.text_l");
    expect(places(inputs).width).toBe("latent.width");
  });

  it("are two inputs when Flux's encoders say different things", async () => {
    const { inputs } = await imported(
      textToImage({
        positive: node("CLIPTextEncodeFlux", {
          clip_l: "lamp",
          t5xxl: "a long lamp",
          guidance: 3.5,
          clip: ["model", 1],
        }),
      }),
    );
    expect(places(inputs)).toMatchObject({
      prompt: "positive.t5xxl",
      prompt_clip_l: "positive.clip_l",
      guidance_scale: "positive.guidance",
      cfg: "sampler.cfg",
    });
  });

  it("are written to the primitive that feeds the encoder", async () => {
    const workflow = await imported(
      textToImage({ positive: encode(["words", 0]), words: node("PrimitiveStringMultiline", { value: "a lamp" }) }),
    );
    expect(places(workflow.inputs).prompt).toBe("words.value");
    expect(input(workflow, "prompt")).toMatchObject({ type: "string", multiline: true, default: "a lamp" });
  });

  it("are found behind a guider", async () => {
    const { inputs } = await imported(
      textToImage({
        guider: node("CFGGuider", {
          model: ["model", 0],
          positive: ["positive", 0],
          negative: ["negative", 0],
          cfg: 4,
        }),
        noise: node("RandomNoise", { noise_seed: 9 }),
        select: node("KSamplerSelect", { sampler_name: "euler" }),
        sigmas: node("BasicScheduler", { scheduler: "simple", steps: 8, denoise: 1, model: ["model", 0] }),
        sampler: node("SamplerCustomAdvanced", {
          noise: ["noise", 0],
          guider: ["guider", 0],
          sampler: ["select", 0],
          sigmas: ["sigmas", 0],
          latent_image: ["latent", 0],
        }),
      }),
    );
    expect(places(inputs)).toMatchObject({
      prompt: "positive.text",
      negative_prompt: "negative.text",
      seed: "noise.noise_seed",
      steps: "sigmas.steps",
      guidance_scale: "guider.cfg",
    });
  });

  it("are found through samplers and encoders nobody has described", async () => {
    const { inputs } = await imported({
      enc: node("FancyEncode", { text: "a lamp", clip: ["m", 0] }),
      neg: node("FancyEncode", { text: "blurry", clip: ["m", 0] }),
      m: node("FancyLoader", { model_name: "m.safetensors" }),
      s: node("FancySampler", { positive: ["enc", 0], negative: ["neg", 0], seed: 3, steps: 4 }),
      save: node("SaveImage", { filename_prefix: "x", images: ["s", 0] }),
    });
    expect(places(inputs)).toEqual({
      prompt: "enc.text",
      negative_prompt: "neg.text",
      seed: "s.seed",
      steps: "s.steps",
    });
  });

  it("keep their sense through a strange node that passes them on among other things", async () => {
    const { inputs } = await imported(
      textToImage({
        strange: node("PaintMore", { model: ["model", 0], positive: ["positive", 0], negative: ["negative", 0] }),
        sampler: sampler({ model: ["strange", 0], positive: ["strange", 1], negative: ["strange", 2] }),
      }),
    );
    expect(places(inputs)).toMatchObject({ prompt: "positive.text", negative_prompt: "negative.text" });
  });

  it("are counted when their nodes have no titles of their own", async () => {
    const { inputs } = await imported(
      textToImage({
        positive: node("ConditioningCombine", { conditioning_1: ["one", 0], conditioning_2: ["two", 0] }),
        one: node("CLIPTextEncode", { text: "a lamp", clip: ["model", 1] }, "CLIP Text Encode (Prompt)"),
        two: node("CLIPTextEncode", { text: "a table", clip: ["model", 1] }, "CLIP Text Encode (Prompt)"),
      }),
    );
    expect(places(inputs)).toMatchObject({ prompt: "one.text", prompt_2: "two.text" });
  });

  it("put together of parts are as many inputs", async () => {
    const { inputs } = await imported(
      textToImage({
        positive: encode(["join", 0]),
        join: node("StringConcatenate", { string_a: ["subject", 0], string_b: "oil on canvas", delimiter: ", " }),
        subject: node("PrimitiveString", { value: "a lamp" }),
      }),
    );
    expect(places(inputs)).toMatchObject({ prompt: "subject.value", prompt_string_b: "join.string_b" });
    expect(inputs.flatMap((spec) => spec.targets.map((target) => target.field))).not.toContain("delimiter");
  });

  it("are found in nodes that take them as plain text", async () => {
    const { inputs } = await imported({
      t: node("VideoTextEncode", {
        positive_prompt: "a lamp",
        negative_prompt: "blurry",
        model_name: "t5.safetensors",
      }),
      save: node("SaveImage", { filename_prefix: "x", images: ["t", 0] }),
    });
    expect(places(inputs)).toEqual({ prompt: "t.positive_prompt", negative_prompt: "t.negative_prompt" });
  });
});

describe("files", () => {
  const save = (from: string): Nodes => ({ save: node("SaveImage", { filename_prefix: "x", images: [from, 0] }) });

  it("are required, and the author's file is no default", async () => {
    const { inputs } = await imported({ a: node("LoadImage", { image: "photo.png" }), ...save("a") });
    expect(inputs).toEqual([
      {
        name: "image",
        title: "Image",
        type: "file",
        media: "image",
        example: "photo.png",
        required: true,
        advanced: false,
        targets: [{ node: "a", field: "image" }],
      },
    ]);
  });

  it("are masks when only the mask is read", async () => {
    const { inputs } = await imported({
      a: node("LoadImage", { image: "photo.png" }),
      b: node("LoadImage", { image: "mask.png" }),
      c: node("ImageCompositeMasked", {
        destination: ["a", 0],
        source: ["a", 0],
        mask: ["b", 1],
        x: 0,
        y: 0,
        resize_source: false,
      }),
      ...save("c"),
    });
    expect(places(inputs)).toMatchObject({ image: "a.image", mask: "b.image" });
  });

  it("of LoadImageMask are masks; its channel is a choice", async () => {
    const workflow = await imported({
      a: node("LoadImageMask", { image: "mask.png", channel: "red" }),
      b: node("MaskToImage", { mask: ["a", 0] }),
      ...save("b"),
    });
    expect(input(workflow, "mask")).toMatchObject({ media: "mask" });
    expect(input(workflow, "channel")).toMatchObject({ choices: ["alpha", "red", "green", "blue"], default: "red" });
  });

  it("of one kind are told apart by the titles they were given", async () => {
    const graph = (first?: string, second?: string): Nodes => ({
      a: node("LoadImage", { image: "a.png" }, first),
      b: node("LoadImage", { image: "b.png" }, second),
      c: node("ImageBatch", { image1: ["a", 0], image2: ["b", 0] }),
      ...save("c"),
    });
    const names = async (nodes: Nodes) => (await imported(nodes)).inputs.map((spec) => spec.name);
    expect(await names(graph())).toEqual(["image", "image_2"]);
    expect(await names(graph("Load Image", "Load Image"))).toEqual(["image", "image_2"]);
    expect(await names(graph("Load Image", "Style"))).toEqual(["image", "style"]);
    expect(await names(graph("Subject", "Style"))).toEqual(["subject", "style"]);
    expect(await names(graph("图片", "图片"))).toEqual(["image", "image_2"]);
  });

  it("are no pictures written out in base64, which may start with a slash", async () => {
    const { inputs } = await imported({
      a: node("ETN_LoadImageBase64", { image: "/9j/4AAQ" }),
      save: node("SaveImage", { filename_prefix: "x", images: ["a", 0] }),
    });
    expect(inputs).toEqual([]);
  });

  it("may be sound and video", async () => {
    const { inputs } = await imported({
      a: node("LoadAudio", { audio: "a.mp3" }),
      b: node("LoadVideo", { file: "b.mp4" }),
      c: node("SaveAudio", { audio: ["a", 0], filename_prefix: "x" }),
      d: node("SaveVideo", { video: ["b", 0], filename_prefix: "x", format: "auto", codec: "auto" }),
    });
    expect(inputs.map((spec) => [spec.name, spec.type === "file" && spec.media])).toEqual(
      expect.arrayContaining([
        ["video", "video"],
        ["audio", "audio"],
      ]),
    );
  });
});

describe("settings", () => {
  it("have the types and bounds that the core's classes declare", async () => {
    const workflow = await imported(textToImage());
    expect(input(workflow, "width")).toMatchObject({
      type: "integer",
      minimum: 16,
      maximum: 16384,
      step: 8,
      default: 512,
    });
    expect(input(workflow, "num_images")).toMatchObject({ type: "integer", minimum: 1, maximum: 4096, default: 1 });
    expect(input(workflow, "guidance_scale")).toMatchObject({ type: "number", minimum: 0, maximum: 100, default: 7 });
    expect(input(workflow, "sampler_name")).toMatchObject({ type: "choice", advanced: true, default: "euler" });
    expect(input(workflow, "seed")).toMatchObject({ type: "integer", seed: true, maximum: 2n ** 64n - 1n, default: 5 });
  });

  it("take the server's description before the core's", async () => {
    const objectInfo = {
      EmptyLatentImage: {
        input: { required: { width: ["INT", { default: 64, min: 64, max: 2048, step: 64, tooltip: "How wide." }] } },
        output: ["LATENT"],
        output_node: false,
      },
    } as never;
    const workflow = await imported(textToImage(), { objectInfo });
    expect(input(workflow, "width")).toMatchObject({ minimum: 64, maximum: 2048, step: 64 });
  });

  it("keep seeds beyond 2^53 exactly", async () => {
    const workflow = await imported(textToImage({ sampler: sampler({ seed: 2n ** 64n - 1n }) }));
    expect(input(workflow, "seed")).toMatchObject({ default: 18446744073709551615n });
    expect(workflow.graph).toContain('"seed":18446744073709551615');
  });

  it("that are equal on several samplers are one; others are named after their node", async () => {
    const second = sampler({ seed: 6, steps: 20, denoise: 0.5, latent_image: ["sampler", 0] }, "Refiner");
    const workflow = await imported(
      textToImage({ again: second, decode: node("VAEDecode", { samples: ["again", 0], vae: ["model", 2] }) }),
    );
    expect(places(workflow.inputs)).toMatchObject({
      seed: "sampler.seed",
      refiner_seed: "again.seed",
      steps: "sampler.steps again.steps",
      strength: "again.denoise",
      denoise: "sampler.denoise",
    });
    expect(input(workflow, "refiner_seed").title).toBe("Seed (Refiner)");
    expect(input(workflow, "denoise").advanced).toBe(true);
  });

  it("leave out the seed of a sampler that adds no noise", async () => {
    const advanced = {
      ...sampler().inputs,
      noise_seed: 7,
      add_noise: "disable",
      start_at_step: 0,
      end_at_step: 10,
      return_with_leftover_noise: "disable",
    };
    const { inputs } = await imported(textToImage({ sampler: node("KSamplerAdvanced", advanced) }));
    expect(inputs.map((spec) => spec.name)).not.toContain("noise_seed");
    expect(places(inputs).seed).toBeUndefined();
  });

  it("call denoise strength when sampling starts from a picture", async () => {
    const { inputs } = await imported(
      textToImage({
        photo: node("LoadImage", { image: "photo.png" }),
        latent: node("VAEEncode", { pixels: ["photo", 0], vae: ["model", 2] }),
      }),
    );
    expect(places(inputs).strength).toBe("sampler.denoise");
  });

  it("ignore nodes that no output needs", async () => {
    const { inputs } = await imported(
      textToImage({ stray: node("EmptyLatentImage", { width: 64, height: 64, batch_size: 2 }) }),
    );
    expect(places(inputs).width).toBe("latent.width");
    expect(inputs.flatMap((spec) => spec.targets).map((target) => target.node)).not.toContain("stray");
  });

  it("scale a LoRA with one number while both strengths are equal", async () => {
    const lora = (clip: number) =>
      textToImage({
        lora: node("LoraLoader", {
          lora_name: "l.safetensors",
          strength_model: 0.8,
          strength_clip: clip,
          model: ["model", 0],
          clip: ["model", 1],
        }),
        sampler: sampler({ model: ["lora", 0] }),
      });
    expect(places((await imported(lora(0.8))).inputs)).toMatchObject({
      lora_scale: "lora.strength_model lora.strength_clip",
    });
    expect(places((await imported(lora(0.5))).inputs)).toMatchObject({
      lora_scale: "lora.strength_model",
      lora_clip_scale: "lora.strength_clip",
    });
  });

  it("of a film are frames and frames per second", async () => {
    const { inputs } = await imported(
      textToImage({
        latent: node("EmptyHunyuanLatentVideo", { width: 848, height: 480, length: 25, batch_size: 1 }),
        video: node("CreateVideo", { images: ["decode", 0], fps: 24 }),
        save: node("SaveVideo", { video: ["video", 0], filename_prefix: "x", format: "auto", codec: "auto" }),
      }),
    );
    expect(places(inputs)).toMatchObject({ num_frames: "latent.length", fps: "video.fps", width: "latent.width" });
  });

  it("of a batch are images, or frames where a film is made of them", async () => {
    const batch = (save: Nodes): Nodes => ({
      a: node("EmptyImage", { width: 64, height: 64, batch_size: 4, color: 0 }),
      ...save,
    });
    const film = node("SaveAnimatedPNG", { images: ["a", 0], filename_prefix: "x", fps: 6, compress_level: 4 });
    const stills = node("SaveImage", { images: ["a", 0], filename_prefix: "x" });
    expect(places((await imported(batch({ film }))).inputs)).toMatchObject({
      num_frames: "a.batch_size",
      fps: "film.fps",
    });
    expect(places((await imported(batch({ stills }))).inputs)).toMatchObject({ num_images: "a.batch_size" });
  });

  it("never hold the prefix of files, nor models until they are asked for", async () => {
    const { inputs } = await imported(textToImage());
    const fields = inputs.flatMap((spec) => spec.targets.map((target) => target.field));
    expect(fields).not.toContain("filename_prefix");
    expect(fields).not.toContain("ckpt_name");
    const shown = await imported(textToImage(), { overrides: { inputs: { ckpt_name: { hidden: false } } } });
    expect(input(shown, "ckpt_name")).toMatchObject({ type: "choice", choices: ["model.safetensors"] });
  });
});

describe("marked inputs", () => {
  it("of comfy-pack are named by their title, or by the field they feed", async () => {
    const workflow = await imported(
      textToImage({
        positive: encode(["text", 0]),
        text: node("CPackInputString", { value: "a lamp" }, "subject"),
        side: node("CPackInputInt", { value: 512, min: 64, max: 1024 }, "Pick an integer!"),
        latent: node("EmptyLatentImage", { width: ["side", 0], height: ["side", 0], batch_size: 1 }),
        seed: node("CPackInputInt", { value: 4, min: -(2n ** 63n), max: 2n ** 63n }),
        sampler: sampler({ seed: ["seed", 0] }),
      }),
    );
    expect(places(workflow.inputs)).toMatchObject({ subject: "text.value", width: "side.value", seed: "seed.value" });
    expect(input(workflow, "width")).toMatchObject({ minimum: 64, maximum: 1024 });
    expect(input(workflow, "seed")).toMatchObject({ seed: true, minimum: 0, maximum: 2n ** 63n });
  });

  it("of ComfyDeploy carry their own names and bounds", async () => {
    const workflow = await imported(
      textToImage({
        positive: encode(["text", 0]),
        text: node("ComfyUIDeployExternalText", {
          input_id: "positive_text",
          default_value: "a lamp",
          display_name: "What to draw",
          description: "In English.",
        }),
        steps: node("ComfyUIDeployExternalNumberInt", {
          input_id: "quality",
          default_value: 20,
          min_value: 5,
          max_value: 50,
        }),
        style: node("ComfyUIDeployExternalEnum", { input_id: "style", default_value: "oil", options: '["oil","ink"]' }),
        photo: node("ComfyUIDeployExternalImage", { input_id: "photo" }),
        negative: encode(["style", 0]),
        latent: node("VAEEncode", { pixels: ["photo", 0], vae: ["model", 2] }),
        sampler: sampler({ steps: ["steps", 0] }),
      }),
    );
    expect(input(workflow, "positive_text")).toMatchObject({
      title: "What to draw",
      description: "In English.",
      targets: [{ node: "text", field: "default_value" }],
    });
    expect(input(workflow, "quality")).toMatchObject({ type: "integer", minimum: 5, maximum: 50, default: 20 });
    expect(input(workflow, "style")).toMatchObject({ type: "choice", choices: ["oil", "ink"], default: "oil" });
    expect(input(workflow, "photo")).toMatchObject({ type: "file", media: "image", required: true });
  });

  it("are primitives with a title; without one they take the name of what they feed", async () => {
    const workflow = await imported(
      textToImage({
        count: node("PrimitiveInt", { value: 12 }, "Quality"),
        side: node("PrimitiveInt", { value: 640 }, "Int"),
        sampler: sampler({ steps: ["count", 0] }),
        latent: node("EmptyLatentImage", { width: ["side", 0], height: ["side", 0], batch_size: 1 }),
      }),
    );
    expect(input(workflow, "quality")).toMatchObject({ minimum: 1, maximum: 10000, default: 12, seed: false });
    expect(places(workflow.inputs)).toMatchObject({ quality: "count.value", width: "side.value" });
    expect(places(workflow.inputs).height).toBeUndefined();
  });

  it("are no primitives that only say where to save", async () => {
    const { inputs } = await imported({
      a: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }),
      p: node("PrimitiveString", { value: "there" }, "Folder"),
      save: node("SaveImage", { images: ["a", 0], filename_prefix: ["p", 0] }),
    });
    expect(inputs.map((spec) => spec.name)).not.toContain("folder");
    expect(inputs.flatMap((spec) => spec.targets).map((target) => target.node)).not.toContain("p");
  });
});

describe("graphs without models", () => {
  it("offer the parameters of every node", async () => {
    const { inputs } = await imported({
      a: node("LoadImage", { image: "photo.png" }),
      b: node("ImageScale", { image: ["a", 0], upscale_method: "area", width: 64, height: 64, crop: "center" }),
      c: node("ImageBlur", { image: ["b", 0], blur_radius: 3, sigma: 1 }),
      d: node("ImageSharpen", { image: ["c", 0], sharpen_radius: 2, sigma: 1, alpha: 1 }),
      save: node("SaveImage", { filename_prefix: "x", images: ["d", 0] }),
    });
    expect(places(inputs)).toEqual({
      image: "a.image",
      upscale_method: "b.upscale_method",
      width: "b.width",
      height: "b.height",
      crop: "b.crop",
      blur_radius: "c.blur_radius",
      sigma: "c.sigma",
      sharpen_radius: "d.sharpen_radius",
      image_sharpen_sigma: "d.sigma",
      alpha: "d.alpha",
    });
  });

  it("name a primitive after the field it feeds", async () => {
    const { inputs } = await imported({
      a: node("LoadImage", { image: "photo.png" }),
      p: node("PrimitiveInt", { value: 5 }),
      c: node("ImageBlur", { image: ["a", 0], blur_radius: ["p", 0], sigma: 1 }),
      save: node("SaveImage", { filename_prefix: "x", images: ["c", 0] }),
    });
    expect(places(inputs)).toEqual({ image: "a.image", blur_radius: "p.value", sigma: "c.sigma" });
  });

  it("name a bare value together with its node", async () => {
    const { inputs } = await imported({
      a: node("LoadImage", { image: "photo.png" }),
      b: node("ThresholdMask", { mask: ["a", 1], value: 0.5 }),
      c: node("MaskToImage", { mask: ["b", 0] }),
      save: node("SaveImage", { filename_prefix: "x", images: ["c", 0] }),
    });
    expect(places(inputs)).toEqual({ mask: "a.image", threshold_mask_value: "b.value" });
  });

  it("hide texts that choose files, addresses or code", async () => {
    const { inputs } = await imported({
      a: node("ReadFromFolder", { folder: "pictures", pattern: "x" }),
      b: node("FetchImage", { address: "somewhere" }),
      c: node("EvalPython", { code: "1+1", amount: 2 }),
      save: node("SaveImage", { filename_prefix: "x", images: ["a", 0] }),
      p: node("PreviewAny", { source: ["b", 0] }),
      q: node("PreviewAny", { source: ["c", 0] }),
    });
    expect(inputs.map((spec) => spec.name)).toEqual(["pattern", "amount"]);
  });

  it("have at most 200 inputs, and say so", async () => {
    const nodes: Nodes = { n0: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }) };
    for (let index = 1; index < 200; index += 1) {
      nodes[`n${index}`] = node("ImageBlur", { image: [`n${index - 1}`, 0], blur_radius: 1 + (index % 30), sigma: 1 });
    }
    const { inputs, warnings } = await imported({
      ...nodes,
      save: node("SaveImage", { filename_prefix: "x", images: ["n199", 0] }),
    });
    expect(inputs).toHaveLength(200);
    expect(warnings.join(" ")).toContain("200 of them");
    expect(new Set(inputs.map((spec) => spec.name)).size).toBe(200);
  });
});

describe("types of fields", () => {
  const withSpec = async (spec: unknown, value: unknown) => {
    const objectInfo = {
      Thing: { input: { required: { field: spec } }, output: ["IMAGE"], output_node: false },
    } as never;
    const nodes = {
      a: node("Thing", { field: value }),
      save: node("SaveImage", { filename_prefix: "x", images: ["a", 0] }),
    };
    return (await imported(nodes, { objectInfo })).inputs[0];
  };
  const many = Array.from({ length: 21 }, (_, index) => `choice ${index}`);
  const endless = Array.from({ length: 2_001 }, (_, index) => `choice ${index}`);

  it.each([
    ["short choices, first generation", [["a", "b"], {}], "a", { type: "choice", choices: ["a", "b"], default: "a" }],
    ["short choices, second generation", ["COMBO", { options: ["a", "b"] }], "b", { type: "choice", default: "b" }],
    ["a choice the list lacks", [["a", "b"], {}], "c", { type: "choice", choices: ["a", "b", "c"], default: "c" }],
    ["numbers as choices", [[1, 2], {}], 2, { type: "choice", choices: [1, 2], default: 2 }],
    ["booleans as choices", [[true, false], {}], true, { type: "boolean", default: true }],
    ["long choices", [many, {}], "choice 3", { type: "choice", choices: many, default: "choice 3" }],
    ["endless choices", [endless, {}], "choice 3", { type: "choice", choices: ["choice 3"], default: "choice 3" }],
    ["a list of files", [["a.png", "b.png"], {}], "a.png", { type: "choice", choices: ["a.png"], default: "a.png" }],
    ["a list from elsewhere", ["COMBO", { remote: { route: "/x" } }], "a", { type: "string", default: "a" }],
    ["a text box", ["STRING", { multiline: true }], "x", { type: "string", multiline: true }],
    ["a line of text", ["STRING", {}], "x", { type: "string", multiline: false }],
    ["a switch", ["BOOLEAN", {}], false, { type: "boolean", default: false }],
    [
      "a whole number as real",
      ["FLOAT", { min: 0, max: 2, step: 0.5 }],
      1,
      { type: "number", minimum: 0, maximum: 2, step: 0.5 },
    ],
    ["a union", ["INT,FLOAT", { min: 0 }], 1, { type: "number", minimum: 0 }],
    ["anything", ["*", {}], 1.5, { type: "number", default: 1.5 }],
    ["a drawn number", ["INT", { control_after_generate: true }], 3, { type: "integer", seed: true }],
    ["advanced", ["INT", { advanced: true }], 3, { type: "integer", advanced: true }],
    [
      "an endless number",
      ["INT", { min: -(2n ** 63n), max: 2n ** 63n }],
      3,
      { minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER },
    ],
    ["a tooltip", ["INT", { tooltip: "How much." }], 3, { description: "How much." }],
    ["a small number as text", ["FLOAT", { min: 0 }], "1e-05", { type: "number", default: 0.00001 }],
    ["a fraction as text", ["FLOAT", {}], " .5 ", { type: "number", default: 0.5 }],
  ])("%s", async (_what, spec, value, expected) => {
    expect(await withSpec(spec, value)).toMatchObject(expected);
  });

  it.each([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN])("%s is no choice", async (value) => {
    expect(await withSpec([["a", "b"], {}], value)).toBeUndefined();
  });
});

describe("importing again", () => {
  const previous = async (graph: Nodes) => {
    const { inputs, outputs } = await imported(graph);
    return { inputs, outputs };
  };

  it("keeps the name of a place, though another now comes first", async () => {
    const before = textToImage();
    const again = sampler({ seed: 6, denoise: 0.5, latent_image: ["first", 0] });
    const after = textToImage({
      first: sampler({ seed: 1 }),
      sampler: again,
    });
    const { inputs } = await imported(after, { previous: await previous(before) });
    expect(places(inputs)).toMatchObject({ seed: "sampler.seed", seed_2: "first.seed" });
  });

  it("gives the name of an input that falls apart to the part with its first place", async () => {
    const graph = (seed: number) =>
      textToImage({
        first: sampler({ seed }),
        sampler: sampler({ seed: 5, denoise: 0.5, latent_image: ["first", 0] }),
      });
    const { inputs, outputs } = await previous(graph(5));
    const reversed = inputs.map((spec) => ({ ...spec, targets: spec.targets.toReversed() }));
    for (const [before, expected] of [
      [inputs, { seed: "first.seed", seed_2: "sampler.seed" }],
      [reversed, { seed: "sampler.seed", seed_2: "first.seed" }],
    ] as const) {
      const again = await imported(graph(6), { previous: { inputs: before, outputs } });
      expect(places(again.inputs)).toMatchObject(expected);
    }
  });

  it("keeps a name the operator gave, and still knows the inferred one", async () => {
    const overrides = { inputs: { prompt: { name: "scene" } }, outputs: { image: { name: "result" } } };
    const first = await imported(textToImage(), { overrides });
    const kept = await imported(textToImage(), { previous: first });
    expect(places(kept.inputs).scene).toBe("positive.text");
    expect(kept.outputs).toMatchObject([{ name: "result" }]);
    const again = await imported(textToImage(), { previous: first, overrides });
    expect(again.inputs).toEqual(first.inputs);
    expect(again.outputs).toEqual(first.outputs);
  });

  it("changes nothing when nothing changed", async () => {
    const first = await imported(textToImage());
    expect(await imported(textToImage(), { previous: first })).toEqual(first);
  });
});
