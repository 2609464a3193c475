import { describe, expect, it } from "vitest";
import { readSource } from "#workflow/sources/read-source";
import { textToImage } from "../graphs.ts";
import { png, tEXt } from "../png-chunks.ts";

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
