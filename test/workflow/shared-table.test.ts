/** Every file of the public collection through the importer, as somebody would send it: alone, without object_info. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { importWorkflow } from "#workflow/import-workflow";

const FOLDER = new URL("../../../shared/workflows/", import.meta.url);
const FILES = existsSync(FOLDER) ? readdirSync(FOLDER).filter((file) => file.endsWith(".json")) : [];

/** The files that are refused: by which code, and what the sentence must name. All others are imported. */
const REFUSED: Readonly<Record<string, readonly [code: string, words: RegExp]>> = {
  "cpack_pixelart.snapshot.json": ["invalid_workflow", /snapshot.*workflow_api\.json/],
  "iclight_reroutes.ui.json": ["workflow_format_ui", /LoadAndApplyICLightUnet.*object_info.*API format/s],
};
/** Names of which every picture, video or sound workflow has at least one that a person would look for. */
const RECOGNISED = ["prompt", "image", "video", "audio"];

describe.skipIf(FILES.length === 0)("every public file", () => {
  const table: string[] = [];
  afterAll(() => {
    console.info(["file                                      result", ...table].join("\n"));
  });

  it.each(FILES)("%s", async (file) => {
    const result = await importWorkflow({ text: readFileSync(new URL(file, FOLDER), "utf8") });
    const expected = REFUSED[file];
    if (!result.ok) {
      table.push(`${file.padEnd(42)}${result.code}: ${result.detail.slice(0, 90)}…`);
      expect([file, result.code]).toEqual([file, expected?.[0] ?? "imported"]);
      expect(result.detail).toMatch(expected?.[1] ?? /./);
      return;
    }
    const { inputs, outputs, warnings } = result.workflow;
    const names = inputs.filter((input) => !input.advanced).map((input) => input.name);
    const shown = `${names.join(" ")} -> ${outputs.map((output) => `${output.name}:${output.kind}`).join(" ")}`;
    table.push(`${file.padEnd(42)}${shown}${warnings.length === 0 ? "" : ` (${warnings.length} warnings)`}`);
    expect(expected).toBeUndefined();
    expect(names.some((name) => RECOGNISED.includes(name))).toBe(true);
    expect(outputs.length).toBeGreaterThan(0);
    // What a picture is asked of has a seed to ask for another.
    if (names.includes("prompt")) expect(names).toContain("seed");
  });
});
