import { describe, expect, it } from "vitest";
import { type Json, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { editorFacts } from "#workflow/editor-facts";
import { findClasses } from "#workflow/find-classes";
import { findModels, type ModelUse } from "#workflow/find-models";
import type { Graph } from "#workflow/graph";
import { classLookup } from "#workflow/known-classes";
import type { ObjectInfo } from "#workflow/object-info";
import { type Nodes, node, textToImage } from "./graphs.ts";

const graphOf = (nodes: Nodes): Graph =>
  new Map(
    Object.entries(nodes).map(([id, { class_type, inputs }]) => [
      id,
      { id, classType: class_type, title: undefined, inputs: inputs as Record<string, Json> },
    ]),
  );
const lookup = classLookup(undefined);
const place = ({ folder, filename, node: id, field }: ModelUse): string => `${folder}/${filename} ${id}.${field}`;
const modelsOf = (nodes: Nodes): string[] => findModels(graphOf(nodes), lookup).map(place);

describe("the model files of a graph", () => {
  it("are what loaders name, in the folders ComfyUI looks in", () => {
    const loaders = {
      a: node("UNETLoader", { unet_name: "flux.safetensors", weight_dtype: "default" }),
      b: node("DualCLIPLoader", { clip_name1: "t5.safetensors", clip_name2: "l.safetensors", type: "flux" }),
      c: node("CLIPVisionLoader", { clip_name: "vision.safetensors" }),
      d: node("UpscaleModelLoader", { model_name: "4x.pth" }),
      e: node("LoraLoader", { lora_name: "sub\\style.safetensors", strength_model: 1 }),
      f: node("ControlNetLoader", { control_net_name: "canny.safetensors" }),
      g: node("CheckpointLoader", { config_name: "v1.yaml", ckpt_name: "a.ckpt" }),
      h: node("SomeLoader", { some_field: "thing.gguf" }),
    };
    expect(modelsOf(loaders)).toEqual([
      "diffusion_models/flux.safetensors a.unet_name",
      "text_encoders/t5.safetensors b.clip_name1",
      "text_encoders/l.safetensors b.clip_name2",
      "clip_vision/vision.safetensors c.clip_name",
      "upscale_models/4x.pth d.model_name",
      "loras/sub\\style.safetensors e.lora_name",
      "controlnet/canny.safetensors f.control_net_name",
      "configs/v1.yaml g.config_name",
      "checkpoints/a.ckpt g.ckpt_name",
      "null/thing.gguf h.some_field",
    ]);
  });

  it("are not the models that links carry, nor words that are no files", () => {
    expect(modelsOf(textToImage())).toEqual(["checkpoints/model.safetensors model.ckpt_name"]);
    const words = {
      vae: node("VAELoader", { vae_name: "taesd" }),
      lora: node("Stack", { lora_name: "None", vae_name: "Baked VAE" }),
      decode: node("VAEDecode", { vae: ["other", 0] }),
      other: node("VAELoader", { vae_name: "one.safetensors" }),
    };
    expect(modelsOf(words)).toEqual(["vae/one.safetensors other.vae_name"]);
  });

  it("may come from a value node, and are then the loader's alone", () => {
    const linked = {
      name: node("PrimitiveString", { value: "x.safetensors" }),
      load: node("CheckpointLoaderSimple", { ckpt_name: ["name", 0] }),
    };
    expect(modelsOf(linked)).toEqual(["checkpoints/x.safetensors load.ckpt_name"]);
  });

  it("may stand inside an object, unless it is turned off", () => {
    const power = node("Power Lora Loader (rgthree)", {
      lora_1: { on: true, lora: "one.safetensors", strength: 1 },
      lora_2: { on: false, lora: "two.safetensors", strength: 1 },
    });
    expect(modelsOf({ power })).toEqual(["loras/one.safetensors power.lora_1"]);
  });
});

const editor = parseExactJson(
  stringifyExactJson({
    nodes: [
      {
        type: "UNETLoader",
        properties: {
          cnr_id: "comfy-core",
          ver: "0.3.40",
          models: [
            {
              name: "flux.safetensors",
              url: "https://example.com/f",
              directory: "unet",
              hash: "AB12",
              hash_type: "SHA256",
            },
          ],
        },
      },
      { type: "Sharpen", properties: { aux_id: "someone/pack", ver: "abc123" } },
      { type: 7, properties: [] },
    ],
    definitions: { subgraphs: [{ nodes: [{ type: "Inner", properties: { cnr_id: "deep-pack" } }] }, null] },
    extra: { node_versions: { "deep-pack": "1.2.3" }, groupNodes: { g: { nodes: [{ type: "Old" }] } } },
  }),
);

describe("what the editor's document says beside the graph", () => {
  const facts = editorFacts(editor);

  it("is where models come from", () => {
    const nodes = { a: node("UNETLoader", { unet_name: "flux.safetensors" }) };
    expect(findModels(graphOf(nodes), lookup, facts)).toMatchObject([
      { folder: "unet", url: "https://example.com/f", hash: "sha256:ab12" },
    ]);
  });

  it("is which packages bring the classes", () => {
    const nodes = {
      a: node("UNETLoader", {}),
      b: node("Sharpen", {}),
      c: node("Inner", {}),
      d: node("Old", {}),
      e: node("Sharpen", {}),
    };
    const objectInfo = { Old: { python_module: "custom_nodes.old-pack", input: {} } } as unknown as ObjectInfo;
    expect(findClasses(graphOf(nodes), objectInfo, facts)).toEqual([
      {
        class: "Inner",
        nodes: ["c"],
        origin: "custom",
        package: { id: "deep-pack", registered: true, version: "1.2.3" },
        describedBy: null,
      },
      {
        class: "Old",
        nodes: ["d"],
        origin: "custom",
        package: { id: "old-pack", registered: false, version: null },
        describedBy: "object_info",
      },
      {
        class: "Sharpen",
        nodes: ["b", "e"],
        origin: "custom",
        package: { id: "someone/pack", registered: false, version: "abc123" },
        describedBy: null,
      },
      { class: "UNETLoader", nodes: ["a"], origin: "core", package: null, describedBy: "core_tables" },
    ]);
    expect(findClasses(graphOf({ x: node("Nobodys", {}) }), undefined)).toMatchObject([
      { origin: "unknown", package: null, describedBy: null },
    ]);
  });

  it.each<Json>([null, 7, [], {}, { nodes: {} }, { nodes: [null, 7], definitions: [], extra: null }])(
    "is nothing in %j",
    (document) => {
      const nothing = editorFacts(document);
      expect([nothing.packages.size, nothing.models.size]).toEqual([0, 0]);
    },
  );
});
