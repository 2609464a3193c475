import { expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import type { ComfyHttp } from "#gpu-agent/comfy/comfy-http";
import { NodeClasses, stateDefaultPrefixes } from "#gpu-agent/comfy/node-classes";

const { signal } = new AbortController();
const info: Record<string, JsonObject> = {
  SaveImage: { input: { required: { images: ["IMAGE"], filename_prefix: ["STRING", { default: "ComfyUI" }] } } },
  SaveOther: { input: { required: {}, optional: { filename_prefix: ["STRING", {}] } } },
  PreviewImage: { input: { required: { images: ["IMAGE"] } } },
};

function classes() {
  const asked: string[] = [];
  const classInfo = (name: string) => {
    asked.push(name);
    return Promise.resolve(info[name] ?? null);
  };
  return { asked, classes: new NodeClasses({ classInfo } as Partial<ComfyHttp> as ComfyHttp) };
}

it("knows which classes are missing, and asks for each once", async () => {
  const { asked, classes: known } = classes();
  expect(await known.missing(["SaveImage", "Nope"], signal)).toEqual(["Nope"]);
  expect(await known.missing(["SaveImage", "Nope", "PreviewImage"], signal)).toEqual(["Nope"]);
  expect(asked).toEqual(["SaveImage", "Nope", "PreviewImage"]);
});

it("states the prefix that output nodes would save under, and no other's", async () => {
  const node = (class_type: string, inputs: JsonObject = {}) => ({ class_type, inputs });
  const graph: JsonObject = {
    "1": node("SaveImage", { filename_prefix: "mine" }),
    "2": node("SaveImage"),
    "3": node("SaveOther"),
    "4": node("PreviewImage"),
    "5": node("SaveImage"),
    "6": node("Nope"),
  };
  await stateDefaultPrefixes(graph, ["1", "2", "3", "4", "6", "77"], classes().classes, signal);
  const prefixes = Object.values(graph).map((each) => (each as { inputs: JsonObject }).inputs.filename_prefix);
  expect(prefixes).toEqual(["mine", "ComfyUI", "ComfyUI", undefined, undefined, undefined]);
});
