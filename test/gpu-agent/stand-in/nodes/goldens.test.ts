import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { runPrompt } from "./run-prompt.ts";
import { temporaryFolders } from "./temporary-folders.ts";

const GOLDEN = fileURLToPath(new URL("../../../../../shared/comfyui/golden", import.meta.url));
const MANIFEST = path.join(GOLDEN, "manifest.json");

function goldenCases(): JsonObject[] {
  if (!existsSync(MANIFEST)) return [];
  const manifest = parseExactJson(readFileSync(MANIFEST, "utf8"));
  return isJsonObject(manifest) && Array.isArray(manifest.cases) ? manifest.cases.filter(isJsonObject) : [];
}

describe.skipIf(!existsSync(MANIFEST))("the golden pictures of ComfyUI 0.3.64", () => {
  const { folders, remove } = temporaryFolders();
  if (existsSync(MANIFEST)) cpSync(path.join(GOLDEN, "in"), folders.input, { recursive: true });
  afterAll(remove);

  it.each(goldenCases().map((golden) => [String(golden.name), golden] as const))(
    "%s, byte for byte",
    async (_name, golden) => {
      const { runs } = await runPrompt(golden.prompt, folders);
      const saved = [...runs.values()].flatMap((run) => (Array.isArray(run.ui?.images) ? run.ui.images : []));
      const expected = Array.isArray(golden.outputs) ? golden.outputs.filter(isJsonObject) : [];
      expect(saved).toHaveLength(expected.length);
      for (const [index, output] of expected.entries()) {
        const image = saved[index];
        const file = isJsonObject(image)
          ? path.join(folders.output, String(image.subfolder), String(image.filename))
          : "";
        const { data, info } = await sharp(file).removeAlpha().raw().toBuffer({ resolveWithObject: true });
        expect([info.width, info.height]).toEqual([output.w, output.h]);
        expect(createHash("sha256").update(data).digest("hex")).toBe(output.rgb_sha256);
      }
    },
  );
});
