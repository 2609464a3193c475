import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readSource } from "#workflow/sources/read-source";
import { textToImage } from "../graphs.ts";
import { png, tEXt, zTXt } from "../png-chunks.ts";

const graph = JSON.stringify(textToImage());
const editor = JSON.stringify({ nodes: [], links: [], extra: { info: { name: " Foxes " } } });
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("a file with a workflow", () => {
  it.each([
    ["JSON", utf8(graph)],
    ["JSON after a byte order mark", utf8(`\uFEFF${graph}`)],
    ["UTF-16, as shells on Windows write", new Uint8Array(Buffer.from(`\uFEFF${graph}`, "utf16le"))],
  ])("may be %s", async (_what, bytes) => {
    expect(await readSource(bytes)).toEqual({ ok: true, container: "json", prompt: graph, files: [] });
  });

  it("may be the editor's, which has a name", async () => {
    expect(await readSource(utf8(editor))).toMatchObject({ container: "json", workflow: editor, name: "Foxes" });
    expect(await readSource(utf8(editor))).not.toHaveProperty("prompt");
  });

  it("may be what the editor posts, with its own document beside the graph", async () => {
    const document = { nodes: [], version: 0.4 };
    const body = JSON.stringify({ prompt: textToImage(), extra_data: { extra_pnginfo: { workflow: document } } });
    expect(await readSource(utf8(body))).toMatchObject({ prompt: body, workflow: JSON.stringify(document) });
  });

  it("may be a PNG, which holds both", async () => {
    const picture = png(tEXt("workflow", editor), tEXt("prompt", graph));
    expect(await readSource(picture)).toMatchObject({ container: "png", prompt: graph, workflow: editor });
  });

  it("may be a ViewComfy form that brings its graph", async () => {
    const form = { appTitle: "Foxes", workflows: [{ viewComfyJSON: { inputs: [] }, workflowApiJSON: textToImage() }] };
    expect(await readSource(utf8(JSON.stringify(form)))).toMatchObject({
      prompt: graph,
      viewComfy: JSON.stringify(form),
      name: "Foxes",
    });
  });
});

describe("a file that is refused", () => {
  const starting = (...start: number[]): Uint8Array => new Uint8Array([...start, ...new Array<number>(64).fill(0)]);
  it.each([
    ["nothing", new Uint8Array(), "empty"],
    ["JSON longer than any request", new Uint8Array(5_000_000).fill(0x20), "are the most"],
    ["broken JSON", utf8("{"), "not JSON"],
    ["bytes that are no text", new Uint8Array([0x20, 0xff, 0xc0]), "neither JSON text"],
    ["a video", starting(0, 0, 0, 24, 0x66, 0x74, 0x79, 0x70), "MP4 or MOV video"],
    ["a WebM", starting(0x1a, 0x45, 0xdf, 0xa3), "Export (API)"],
    ["a JPEG", starting(0xff, 0xd8, 0xff, 0xe0), "Send a PNG"],
    ["a gzip archive", starting(0x1f, 0x8b), "Send a zip"],
    ["a picture without a workflow", png(), "holds no workflow"],
    ["a form without a graph", utf8('{"workflows": [{"viewComfyJSON": {}}]}'), "without its graph"],
  ])("%s, with the way out", async (_what, bytes, sentence) => {
    expect(await readSource(bytes)).toMatchObject({
      ok: false,
      code: "invalid_workflow",
      detail: expect.stringContaining(sentence),
    });
  });
});

describe("any bytes", () => {
  const settled = async (bytes: Uint8Array): Promise<void> => {
    const result = await readSource(bytes);
    if (result.ok) expect(`${result.prompt ?? ""}${result.workflow ?? ""}`.length).toBeGreaterThan(0);
    else expect(result).toMatchObject({ code: "invalid_workflow", detail: expect.stringMatching(/\.$/) });
  };

  it("of a picture, changed here and there, are read or refused", async () => {
    const picture = png(tEXt("workflow", editor), zTXt("prompt", graph));
    const change = fc.record({ at: fc.nat(picture.length - 1), to: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 8 }), fc.nat(picture.length), (changes, length) => {
        const mutated = picture.slice(0, length);
        for (const { at, to } of changes) if (at < length) mutated[at] = to;
        return settled(mutated);
      }),
      { numRuns: 200 },
    );
  });

  it("after the beginning of a known kind are read or refused", async () => {
    const start = fc.constantFrom(
      "\u0089PNG\r\n\u001a\n",
      "RIFF\u0010\0\0\0WEBPEXIF",
      "PK\u0003\u0004",
      "PK\u0005\u0006",
      "{",
      "",
    );
    await fc.assert(
      fc.asyncProperty(start, fc.uint8Array({ maxLength: 200 }), (head, rest) =>
        settled(new Uint8Array([...Buffer.from(head, "latin1"), ...rest])),
      ),
      { numRuns: 300 },
    );
  });
});
