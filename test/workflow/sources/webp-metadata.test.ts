import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { importWorkflow } from "#workflow/import-workflow";
import { readSource } from "#workflow/sources/read-source";
import { graphText } from "#workflow/sources/source-contents";
import { readWebpMetadata } from "#workflow/sources/webp-metadata";
import { textToImage } from "../graphs.ts";
import { exif, webp, webpChunk } from "../webp-chunks.ts";

const graph = JSON.stringify(textToImage());
const editor = JSON.stringify({ nodes: [], links: [] });
const PROMPT = 0x0110;
const MAKE = 0x010f;
const tags = [
  [MAKE, `workflow:${editor}`],
  [PROMPT, `prompt:${graph}`],
] as const;
const saved = webp(webpChunk("EXIF", exif(tags)));

describe("a WebP that ComfyUI saved", () => {
  it.each([
    ["little-endian, as Pillow writes", saved],
    ["big-endian", webp(webpChunk("EXIF", exif(tags, "MM")))],
    ["after JPEG's own head", webp(webpChunk("EXIF", Buffer.concat([Buffer.from("Exif\0\0"), exif(tags)])))],
    ["after chunks of odd length", webp(webpChunk("ANIM", Buffer.alloc(7)), webpChunk("EXIF", exif(tags)))],
    ["beside other tags", webp(webpChunk("EXIF", exif([[0x0131, "a program: any"], [0x0132, "x"], ...tags])))],
    [
      "with capitals, as other nodes write",
      webp(
        webpChunk(
          "EXIF",
          exif([
            [MAKE, `Workflow:${editor}`],
            [PROMPT, `Prompt:${graph}`],
          ]),
        ),
      ),
    ],
  ])("holds graph and editor's document: %s", async (_what, picture) => {
    const source = await readSource(picture);
    expect(source).toEqual({ ok: true, container: "webp", prompt: graph, workflow: editor, files: [] });
  });

  it("imports as its graph does", async () => {
    const source = await readSource(saved);
    const text = source.ok ? graphText(source) : undefined;
    const result = await importWorkflow({ text: text ?? "" });
    expect(result.ok && result.workflow.inputs.map((input) => input.name)).toContain("prompt");
  });

  it("may be a real one, with pixels", async () => {
    const image = sharp({ create: { width: 8, height: 8, channels: 3, background: "#884400" } });
    const picture = await image.withExif({ IFD0: { Make: `workflow:${editor}`, Model: `prompt:${graph}` } }).webp();
    const source = await readSource(new Uint8Array(await picture.toBuffer()));
    expect(source).toMatchObject({ container: "webp", prompt: graph, workflow: editor });
  });
});

describe("a WebP that gives no workflow", () => {
  it.each([
    ["without EXIF", webp(), "holds no workflow"],
    ["with other tags", webp(webpChunk("EXIF", exif([[0x0131, "a program"]]))), "holds no workflow"],
    ["cut off", saved.slice(0, 200), "cut off"],
    ["with EXIF that is none", webp(webpChunk("EXIF", Buffer.alloc(40))), "EXIF cannot be read"],
    ["with EXIF that ends early", webp(webpChunk("EXIF", exif(tags).subarray(0, 30))), "EXIF cannot be read"],
    ["with a text that ends early", webp(webpChunk("EXIF", exif(tags).subarray(0, 80))), "EXIF cannot be read"],
    [
      "with more text than a graph",
      webp(webpChunk("EXIF", exif([[PROMPT, `prompt:${" ".repeat(4_200_000)}`]]))),
      "more",
    ],
  ])("is refused: %s", async (_what, picture, sentence) => {
    expect(await readSource(picture)).toMatchObject({
      ok: false,
      code: "invalid_workflow",
      detail: expect.stringContaining(sentence),
    });
  });

  it("never breaks the reader, whatever bytes are changed", () => {
    const change = fc.record({ at: fc.nat(saved.length - 1), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), fc.nat(saved.length), (changes, length) => {
        const mutated = saved.slice(0, length);
        for (const { at, to } of changes) if (at < length) mutated[at] = to;
        const result = readWebpMetadata(mutated, ["prompt", "workflow"]);
        if (result.ok) for (const value of result.text.values()) expect(value.length).toBeLessThanOrEqual(saved.length);
        else expect(result.fault).toMatch(/^The .*\.$/);
      }),
      { numRuns: 500 },
    );
  });
});
