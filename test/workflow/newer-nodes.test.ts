import { describe, expect, it } from "vitest";
import { coreNodes } from "#workflow/core-nodes/all";
import { computingNodes } from "#workflow/core-nodes/computing";
import { filmNodes } from "#workflow/core-nodes/films";
import { newerInputs, newerNodes } from "#workflow/core-nodes/newer";
import { visionNodes } from "#workflow/core-nodes/vision";
import { classLookup } from "#workflow/known-classes";
import { converted, inputsOf, uiGraph, uiNode } from "./ui/editor-graph.ts";
import { nodeClass } from "./ui/object-info.ts";

const tables = [newerNodes, filmNodes, visionNodes, computingNodes];
const names = tables.flatMap((table) => Object.keys(table));

describe("core classes of newer servers", () => {
  it("are in one table only", () => {
    expect(names.filter((name) => Object.hasOwn(coreNodes, name))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(names)("%s is known, and known to be a guess", (name) => {
    expect(classLookup(undefined)(name)).toMatchObject({ certain: false });
  });

  it("are what the server says where the server says it", () => {
    const server = { Flux2Scheduler: nodeClass("Flux2Scheduler", { denoise: ["FLOAT", {}] }) };
    const known = classLookup(server)("Flux2Scheduler");
    expect(known?.certain).toBe(true);
    expect([...(known?.inputs.keys() ?? [])]).toEqual(["denoise"]);
  });

  it.each([
    ["ComfyMathExpression", ["a * 2"], { expression: "a * 2" }],
    ["LTXVEmptyLatentAudio", [97, 25, 1], { frames_number: 97, frame_rate: 25, batch_size: 1 }],
    ["TextGenerate", ["a cat", 256, "off", false, true], { sampling_mode: "off", thinking: false }],
    ["ManualSigmas", ["1, 0.5, 0"], { sigmas: "1, 0.5, 0" }],
    ["ResolutionSelector", ["16:9 (Widescreen)", 1.5, 16], { aspect_ratio: "16:9 (Widescreen)", multiple: 16 }],
  ])("%s is read without object_info: %j", (type, widgets, expected) => {
    expect(inputsOf(converted(uiGraph([uiNode("1", type, { widgets })], [])), "1")).toMatchObject(expected);
  });

  it.each([
    [["scale total pixels", 1, "area"], { "resize_type.megapixels": 1, scale_method: "area" }],
    [["scale dimensions", 512, 64, "center", "lanczos"], { "resize_type.width": 512, "resize_type.crop": "center" }],
    [["match size", "disabled", "bicubic"], { "resize_type.crop": "disabled", scale_method: "bicubic" }],
  ])("let a dynamic choice be read: %j", (widgets, expected) => {
    const result = converted(uiGraph([uiNode("1", "ResizeImageMaskNode", { widgets })], []));
    expect(inputsOf(result, "1")).toMatchObject({ resize_type: widgets[0], ...expected });
  });
});

describe("inputs that core classes have got since", () => {
  it.each([
    [[1, true], { strength: 1, pre_cfg: true }],
    [[1], { strength: 1, pre_cfg: false }],
  ])("are read where a file has them, and have their default where it has none: %j", (widgets, expected) => {
    expect(inputsOf(converted(uiGraph([uiNode("1", "CFGNorm", { widgets })], [])), "1")).toEqual(expected);
  });

  it("are sent where newer servers insist on them", () => {
    const graph = uiGraph([uiNode("1", "ChromaRadianceOptions", { widgets: [true, 1, 0, -1] })], []);
    expect(inputsOf(converted(graph), "1")).toMatchObject({ force_sequential_txt_ids: false });
  });

  it("are not told of a server that describes the class itself", () => {
    const server = { CFGNorm: nodeClass("CFGNorm", { strength: ["FLOAT", {}] }) };
    expect([...(classLookup(server)("CFGNorm")?.inputs.keys() ?? [])]).toEqual(["strength"]);
  });

  it("belong to classes of the other tables", () => {
    expect(Object.keys(newerInputs).filter((name) => !Object.hasOwn(coreNodes, name))).toEqual([]);
  });
});
