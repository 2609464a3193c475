import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject, parseExactJson } from "#contract/exact-json";
import { coreNodes } from "#workflow/core-nodes/all";
import { hookAndMeshNodes } from "#workflow/core-nodes/hooks-and-meshes";
import { declaredInputs } from "#workflow/object-info";

const RECORDING = new URL("../../../shared/comfyui/object_info/comfyui-0.3.64-core-stripped.json", import.meta.url);

/** An input without options is written `["IMAGE"]` by some classes and `["IMAGE", {}]` by others; both mean the same. */
function withOptions(spec: Json): Json {
  if (!Array.isArray(spec)) return spec;
  const [type, options] = spec;
  return [type ?? null, isJsonObject(options) ? options : {}];
}

function comparable(node: JsonObject): Json {
  const { input, description: _described, ...rest } = node;
  const sections = Object.entries(isJsonObject(input) ? input : {}).map(([section, specs]) => {
    const rows = Object.entries(isJsonObject(specs) ? specs : {});
    return [section, Object.fromEntries(rows.map(([name, spec]) => [name, withOptions(spec)]))];
  });
  return JSON.parse(
    JSON.stringify({ input: Object.fromEntries(sections), ...rest }, (_key, value: unknown) =>
      typeof value === "bigint" ? `${value}n` : value,
    ),
  );
}

describe.skipIf(!existsSync(RECORDING))("the tables against a recorded ComfyUI 0.3.64", () => {
  const recorded = existsSync(RECORDING) ? parseExactJson(readFileSync(RECORDING, "utf8")) : {};
  const server = isJsonObject(recorded) ? recorded : {};

  it.each(Object.entries({ ...coreNodes, ...hookAndMeshNodes }))(
    "%s is what the server says",
    (name, ours: unknown) => {
      const theirs = server[name];
      if (!isJsonObject(theirs) || !isJsonObject(ours)) throw new Error(`${name} is not in the recording`);
      expect(comparable(ours)).toEqual(comparable(theirs));
    },
  );
});

describe("the tables", () => {
  it("keep bounds beyond 2^53 exact", () => {
    expect(coreNodes.KSampler?.input.required?.seed).toEqual([
      "INT",
      { default: 0, min: 0, max: 18446744073709551615n, control_after_generate: true },
    ]);
    expect(coreNodes.PrimitiveInt?.input.required?.value).toEqual([
      "INT",
      { min: -9223372036854775807n, max: 9223372036854775807n, control_after_generate: true },
    ]);
  });

  it("hold each class once", () => {
    expect(Object.keys(hookAndMeshNodes).filter((name) => Object.hasOwn(coreNodes, name))).toEqual([]);
  });

  it.each(Object.entries({ ...coreNodes, ...hookAndMeshNodes }))("%s can be read by the importer", (name, node) => {
    expect(node.name).toBe(name);
    const shown = [...Object.keys(node.input.required ?? {}), ...Object.keys(node.input.optional ?? {})];
    expect(declaredInputs(node).map((input) => input.name)).toEqual(shown);
    expect(node.output_name).toHaveLength(node.output.length);
    expect(node.output_is_list).toHaveLength(node.output.length);
  });

  it("write a choice in the notation of the class's generation", () => {
    expect(coreNodes.ImageFlip?.input.required?.flip_method).toEqual([
      ["x-axis: vertically", "y-axis: horizontally"],
      {},
    ]);
    expect(coreNodes.StringTrim?.input.required?.mode).toEqual([
      "COMBO",
      { multiselect: false, options: ["Both", "Left", "Right"] },
    ]);
  });
});
