import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { importWorkflow } from "#workflow/import-workflow";
import { PNG_TEXT_BYTES_MAX, readPngMetadata } from "#workflow/png-metadata";
import { textToImage } from "./graphs.ts";
import { chunk, png, tEXt, zTXt } from "./png-chunks.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const bytes = (text: string): Buffer => Buffer.from(text, "utf8");

const iTXt = (keyword: string, text: string, deflated: boolean) =>
  chunk(
    "iTXt",
    Buffer.concat([
      bytes(`${keyword}\0`),
      Buffer.from([deflated ? 1 : 0, 0]),
      bytes("en\0Prompt\0"),
      deflated ? deflateSync(bytes(text)) : bytes(text),
    ]),
  );

const graph = JSON.stringify(textToImage());
const editor = JSON.stringify({ nodes: [], links: [] });

describe("a picture that ComfyUI saved", () => {
  it.each([
    ["tEXt", png(tEXt("prompt", graph))],
    ["zTXt", png(zTXt("prompt", graph))],
    ["iTXt", png(iTXt("prompt", graph, false))],
    ["iTXt, deflated", png(iTXt("prompt", graph, true))],
    ["both formats", png(tEXt("workflow", editor), tEXt("prompt", graph))],
    ["other texts", png(tEXt("Software", "x"), tEXt("prompt", graph), tEXt("prompt", "{}"))],
  ])("gives its workflow: %s", async (_what, picture) => {
    const result = await importWorkflow({ png: picture });
    expect(result.ok && result.workflow.inputs.map((input) => input.name)).toContain("prompt");
  });

  it("may hold NaN, as Python writes it", async () => {
    const leaked = graph.replace('"class_type":"SaveImage"', '"is_changed":[NaN],"class_type":"SaveImage"');
    const result = await importWorkflow({ png: png(tEXt("prompt", leaked)) });
    expect(result.ok && result.workflow.graph).not.toContain("NaN");
    expect(result.ok).toBe(true);
  });

  it("gives the editor's document when it holds nothing else", async () => {
    const saved = JSON.stringify({
      nodes: [
        { id: 1, type: "EmptyImage", widgets_values: [64, 64, 1, 0], outputs: [{ name: "IMAGE", type: "IMAGE" }] },
        { id: 2, type: "SaveImage", widgets_values: ["x"], inputs: [{ name: "images", type: "IMAGE", link: 3 }] },
      ],
      links: [[3, 1, 0, 2, 0, "IMAGE"]],
    });
    const result = await importWorkflow({ png: png(tEXt("workflow", saved)) });
    expect(result.ok && result.workflow.classes).toEqual(["EmptyImage", "SaveImage"]);
  });
});

describe("a file that gives no workflow", () => {
  const whole = png(tEXt("prompt", graph));
  it.each([
    ["nothing", new Uint8Array()],
    ["a JPEG", new Uint8Array([0xff, 0xd8, 0xff, 0xe0])],
    ["a signature alone", new Uint8Array(SIGNATURE)],
    ["a picture without texts", png()],
    ["a picture that is cut off", whole.slice(0, 200)],
    ["a chunk longer than the file", png(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x74, 0x45, 0x58, 0x74, 0, 0, 0, 0, 0]))],
    ["broken deflated text", png(chunk("zTXt", bytes("prompt\0\0not deflated")))],
    ["a text without a keyword", png(chunk("tEXt", bytes("no null byte")))],
    ["an iTXt that ends early", png(chunk("iTXt", bytes("prompt\0\0\0en")))],
  ])("is refused: %s", async (_what, picture) => {
    expect(await importWorkflow({ png: picture })).toMatchObject({ ok: false, code: "invalid_workflow" });
  });

  it("is refused when its text inflates beyond all measure", async () => {
    const bomb = png(zTXt("prompt", " ".repeat(64 * 1024 * 1024)));
    expect(bomb.length).toBeLessThan(100_000);
    const result = await readPngMetadata(bomb, ["prompt"]);
    expect(result).toEqual({ ok: false, fault: expect.stringContaining("inflated") });
  });

  it("is refused when many texts together are too long", async () => {
    const half = " ".repeat(PNG_TEXT_BYTES_MAX / 2 + 1);
    const result = await readPngMetadata(png(tEXt("prompt", half), tEXt("workflow", half)), ["prompt", "workflow"]);
    expect(result).toMatchObject({ ok: false });
  });
});

it("texts in Latin-1 and in UTF-8 are read alike", async () => {
  const latin1 = png(chunk("tEXt", Buffer.concat([bytes("prompt\0"), Buffer.from([0xe9])])));
  const utf8 = png(tEXt("prompt", "é"));
  for (const picture of [latin1, utf8]) {
    const result = await readPngMetadata(picture, ["prompt"]);
    expect(result.ok && result.text.get("prompt")).toBe("é");
  }
});
