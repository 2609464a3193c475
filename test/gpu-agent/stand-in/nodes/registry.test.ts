import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { isJsonObject } from "#contract/exact-json";
import { nodeImplementations } from "#gpu-agent/stand-in/nodes/registry";
import { simulatedModels } from "#gpu-agent/stand-in/nodes/simulated-models";
import { coreNodes } from "#workflow/core-nodes/all";

const MODEL_FREE =
  "EmptyImage LoadImage LoadImageMask LoadImageOutput ImageScale ImageScaleBy ImageScaleToTotalPixels " +
  "ImageScaleToMaxDimension ImageInvert ImageBatch ImageBlend ImageBlur ImageSharpen ImageQuantize ImageCrop ImageFlip " +
  "ImageRotate ImageStitch ResizeAndPadImage ImageAddNoise RepeatImageBatch ImageFromBatch GetImageSize " +
  "ImagePadForOutpaint SolidMask InvertMask CropMask MaskComposite FeatherMask GrowMask ThresholdMask MaskToImage " +
  "ImageToMask ImageColorToMask ImageCompositeMasked Canny Morphology SaveImage PreviewImage MaskPreview PreviewAny " +
  "SaveAnimatedWEBP SaveAnimatedPNG CreateVideo SaveVideo SaveWEBM EmptyAudio SaveAudio SaveAudioMP3 SaveAudioOpus " +
  "PrimitiveInt PrimitiveFloat PrimitiveString PrimitiveStringMultiline PrimitiveBoolean StringConcatenate " +
  "StringSubstring StringLength CaseConverter StringTrim StringReplace StringContains StringCompare RegexMatch " +
  "RegexExtract RegexReplace";

const WORKFLOWS = fileURLToPath(new URL("../../../../../shared/workflows", import.meta.url));

describe("the classes of the stand-in", () => {
  it.each(MODEL_FREE.split(" "))("%s runs without a model", (name) => {
    expect(nodeImplementations[name]).toBeDefined();
  });

  it("are all described", () => {
    expect(Object.keys(nodeImplementations).filter((name) => !Object.hasOwn(coreNodes, name))).toEqual([]);
  });

  it.each(Object.keys(nodeImplementations))("%s saves or shows something exactly when it is an output node", (name) => {
    const outputs = coreNodes[name]?.output.length ?? 0;
    expect(coreNodes[name]?.output_node).toBe(outputs === 0);
  });

  it("have model names in the order a server lists them", () => {
    for (const [folder, names] of Object.entries(simulatedModels)) {
      expect([folder, [...new Set(names)]]).toEqual([folder, [...names].sort((a, b) => (a < b ? -1 : 1))]);
    }
  });
});

describe.skipIf(!existsSync(WORKFLOWS))("published workflows", () => {
  const files = existsSync(WORKFLOWS) ? readdirSync(WORKFLOWS).filter((name) => name.endsWith(".api.json")) : [];

  it.each(files)("%s needs no core class that is missing", (file) => {
    const prompt: unknown = JSON.parse(readFileSync(path.join(WORKFLOWS, file), "utf8"));
    const classes = Object.values(isJsonObject(prompt) ? prompt : {}).flatMap((node) =>
      isJsonObject(node) && typeof node.class_type === "string" ? [node.class_type] : [],
    );
    const missing = classes.filter(
      (name) => Object.hasOwn(coreNodes, name) && !Object.hasOwn(nodeImplementations, name),
    );
    expect(missing).toEqual([]);
  });
});
