import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject, parseExactJson } from "#contract/exact-json";
import { linkOf } from "#workflow/graph";
import { classLookup } from "#workflow/known-classes";
import { convertUi } from "#workflow/ui/convert-ui";
import { expandUi } from "#workflow/ui/expand-subgraphs";
import { readUi } from "#workflow/ui/read-ui";
import type { ExpandedUi } from "#workflow/ui/ui-graph";
import { nodeClass } from "./object-info.ts";

const FOLDER = new URL("../../../../shared/workflows/", import.meta.url);

/** The classes that neither the core tables nor the files' own names settle. */
const lookup = classLookup({
  DualCFGGuider: nodeClass(
    "DualCFGGuider",
    {
      model: ["MODEL"],
      cond1: ["CONDITIONING"],
      cond2: ["CONDITIONING"],
      negative: ["CONDITIONING"],
      cfg_conds: ["FLOAT", { default: 8 }],
      cfg_cond2_negative: ["FLOAT", { default: 8 }],
    },
    ["GUIDER"],
  ),
  ResizeImageMaskNode: nodeClass(
    "ResizeImageMaskNode",
    {
      input: ["IMAGE,MASK"],
      resize_type: [["scale dimensions", "scale total pixels"]],
      megapixels: ["FLOAT", { default: 1 }],
      scale_method: [["nearest-exact", "bilinear", "area"]],
    },
    ["IMAGE,MASK"],
  ),
});

function load(file: string): JsonObject {
  const value = parseExactJson(readFileSync(new URL(file, FOLDER), "utf8"), { pythonNumbers: true });
  if (!isJsonObject(value)) throw new Error(`${file} holds no object`);
  return value;
}

function expanded(name: string): ExpandedUi {
  const read = readUi(load(`${name}.ui.json`));
  if (!read.ok) throw new Error(read.detail);
  const result = expandUi(read.ui);
  if (!result.ok) throw new Error(result.detail);
  return result.expanded;
}

function api(ui: ExpandedUi): JsonObject {
  const converted = convertUi(ui, lookup);
  if (!converted.ok) throw new Error(JSON.stringify(converted));
  return converted.graph;
}

/** Class and inputs of each node, without what an editor leaks, under ids that `rename` gives. */
function plain(graph: JsonObject, rename: Readonly<Record<string, string>> = {}): Record<string, unknown> {
  const idOf = (id: string): string => rename[id] ?? id;
  const readable = (value: Json): unknown => {
    const link = linkOf(value);
    if (link !== undefined) return `${idOf(link.node)}.${link.output}`;
    return typeof value === "bigint" ? Number(value) : value;
  };
  return Object.fromEntries(
    Object.entries(graph).map(([id, node]) => {
      const { class_type, inputs } = node as { class_type: Json; inputs: JsonObject };
      const kept = Object.entries(inputs).filter(([field]) => field !== "upload");
      return [idOf(id), [class_type, Object.fromEntries(kept.map(([field, value]) => [field, readable(value)]))]];
    }),
  );
}

describe.skipIf(!existsSync(FOLDER))("public workflows with shells", () => {
  it("with a group node become what the editor made of them", () => {
    const ours = api(expanded("sdxl_edit_groupnode"));
    expect(plain(ours)).toEqual(plain(load("sdxl_edit_groupnode.api.json")));
  });

  it("with a group node keep to the ids that editors give today, where an older one used those from before", () => {
    const before = { 60: "68:5", 61: "68:3", 62: "68:0", 64: "68:2", 66: "68:1" };
    const ours = api(expanded("cascade_groupnode_modelfree"));
    expect(plain(ours)).toEqual(plain(load("cascade_groupnode_modelfree.api.json"), before));
  });

  it("name the widgets of a group node that its author renamed", () => {
    expect(expanded("sdxl_edit_groupnode").promoted).toEqual([
      { node: "37:7", field: "cfg_conds", name: "cfg_text", title: null },
      { node: "37:7", field: "cfg_cond2_negative", name: "cfg_image", title: null },
    ]);
  });

  it("with a subgraph have its nodes, its links and the values typed into it", () => {
    const ui = expanded("qwen_edit_subgraph");
    const nodes = plain(api(ui));
    expect(Object.keys(nodes)).toHaveLength(5 + 11);
    expect(nodes["141:137"]).toEqual([
      "KSampler",
      expect.objectContaining({ seed: 392667428726572, steps: 4, model: "141:124.0", positive: "141:132.0" }),
    ]);
    expect(nodes["141:142"]).toEqual([
      "EmptySD3LatentImage",
      expect.objectContaining({ width: "144.0", height: "144.1", batch_size: 1 }),
    ]);
    expect(nodes["141:132"]).toEqual(["TextEncodeQwenImageEditPlus", expect.objectContaining({ image1: "143.0" })]);
    expect(nodes["60"]).toEqual(["SaveImage", expect.objectContaining({ images: "141:138.0" })]);
    expect(ui.promoted.map(({ node, field, name, title }) => [node, field, name, title])).toEqual([
      ["141:132", "prompt", "prompt", "positive_prompt"],
      ["141:128", "prompt", "prompt_1", "negative_prompt"],
      ["141:137", "seed", "seed", null],
      ["141:127", "unet_name", "unet_name", null],
      ["141:140", "lora_name", "lora_name", null],
      ["141:126", "clip_name", "clip_name", null],
      ["141:125", "vae_name", "vae_name", null],
    ]);
  });
});
