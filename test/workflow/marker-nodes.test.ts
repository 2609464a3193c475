import { describe, expect, it } from "vitest";
import { stringifyExactJson } from "#contract/exact-json";
import type { ImportedWorkflow } from "#contract/workflow";
import { coreNodes } from "#workflow/core-nodes/all";
import { markerNodes } from "#workflow/core-nodes/markers";
import { newerNodes } from "#workflow/core-nodes/newer";
import { findClasses } from "#workflow/find-classes";
import { importWorkflow } from "#workflow/import-workflow";
import { json, node } from "./ui/documents.ts";

async function imported(document: unknown): Promise<ImportedWorkflow> {
  const result = await importWorkflow({ text: stringifyExactJson(document) });
  if (!result.ok) throw new Error(result.detail);
  return result.workflow;
}

describe("marker nodes of other deployers", () => {
  it("are in no other table, and are no core nodes", () => {
    expect(Object.keys(markerNodes).filter((name) => Object.hasOwn({ ...coreNodes, ...newerNodes }, name))).toEqual([]);
    const graph = new Map(
      ["CPackInputInt", "ComfyUIDeployExternalText"].map((classType, index) => [
        String(index),
        { id: String(index), classType, inputs: {}, title: undefined },
      ]),
    );
    expect(findClasses(graph, undefined)).toMatchObject([
      { origin: "custom", package: { id: "comfy-pack", registered: false }, describedBy: "core_tables" },
      { origin: "custom", package: { id: "comfyui-deploy", registered: false }, describedBy: "core_tables" },
    ]);
  });

  it("say their inputs in the editor's own file, without object_info", async () => {
    const { inputs, outputs } = await imported(
      json({
        nodes: [
          node(1, "ComfyUIDeployExternalText", {
            outputs: ["text:STRING"],
            widgets: ["caption", "a lamp", "Caption", "What to write."],
          }),
          node(2, "ComfyUIDeployExternalNumberSliderInt", {
            outputs: ["value:INT"],
            widgets: ["amount", 3, 1, 9, "", ""],
          }),
          node(3, "ComfyUIDeployExternalImage", { outputs: ["image:IMAGE"], widgets: ["photo", "", ""] }),
          node(4, "CPackInputInt", { title: "width", outputs: ["value:INT"], widgets: [512, 24, 2048] }),
          node(5, "ImageScale", {
            inputs: ["image:IMAGE<3", "width:INT*<4", "height:INT*<2"],
            outputs: ["IMAGE:IMAGE"],
            widgets: ["area", 1, 1, "disabled"],
          }),
          node(6, "SaveImage", { inputs: ["images:IMAGE<5", "filename_prefix:STRING*"], widgets: ["x"] }),
          node(7, "PreviewAny", { inputs: ["source:*<1"] }),
        ],
        links: [
          [1, 1, 0, 7, 0, "*"],
          [2, 2, 0, 5, 2, "INT"],
          [3, 3, 0, 5, 0, "IMAGE"],
          [4, 4, 0, 5, 1, "INT"],
          [5, 5, 0, 6, 0, "IMAGE"],
        ],
      }),
    );
    const byName = Object.fromEntries(inputs.map((input) => [input.name, input]));
    expect(byName.caption).toMatchObject({ title: "Caption", description: "What to write.", default: "a lamp" });
    expect(byName.amount).toMatchObject({ type: "integer", default: 3, minimum: 1, maximum: 9 });
    expect(byName.photo).toMatchObject({ type: "file", media: "image", targets: [{ node: "3", field: "input_id" }] });
    expect(byName.width).toMatchObject({ default: 512, minimum: 24, maximum: 2048 });
    expect(outputs.map((output) => output.node)).toContain("6");
  });
});
