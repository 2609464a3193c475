import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readSource } from "#workflow/sources/read-source";
import { readZipDirectory, ZIP_ENTRIES_MAX } from "#workflow/sources/zip";
import { textToImage } from "../graphs.ts";
import { zip } from "../zip-archives.ts";

const graph = JSON.stringify(textToImage());
const editor = JSON.stringify({ nodes: [], links: [], extra: { info: { name: "Foxes" } } });
const snapshot = JSON.stringify({ python: "3.11", comfyui: "abc", models: [], custom_nodes: [] });
const form = JSON.stringify({ appTitle: "Form", workflows: [{ viewComfyJSON: { inputs: [] } }] });
const pack = zip([
  { name: "workflow.json", content: editor },
  { name: "workflow_api.json", content: graph },
  { name: "snapshot.json", content: snapshot, stored: true },
  { name: "requirements.txt", content: "numpy" },
  { name: "input/", content: "" },
  { name: "input/fox.png", content: new Uint8Array(40) },
  { name: "input/other.json", content: graph },
  { name: "__MACOSX/._workflow.json", content: "x" },
]);

describe("an archive with a workflow", () => {
  it("may be a comfy-pack: graph, editor's document, snapshot, and the files beside them", async () => {
    expect(await readSource(pack)).toEqual({
      ok: true,
      container: "zip",
      prompt: graph,
      workflow: editor,
      snapshot,
      name: "Foxes",
      files: [
        { name: "requirements.txt", bytes: 5 },
        { name: "input/fox.png", bytes: 40 },
        { name: "input/other.json", bytes: graph.length },
      ],
    });
  });

  it.each([
    ["stored", zip([{ name: "any name.JSON", content: graph, stored: true }]), { prompt: graph }],
    ["deflated", zip([{ name: "a/b/c.json", content: graph }]), { prompt: graph }],
    ["with a comment", zip([{ name: "a.json", content: graph }], "made by PK\u0005\u0006 hand"), { prompt: graph }],
    ["the editor's alone", zip([{ name: "a.json", content: editor }]), { workflow: editor }],
    [
      "beside a form",
      zip([
        { name: "g.json", content: `\uFEFF${graph}` },
        { name: "view_comfy.json", content: form },
      ]),
      { prompt: graph, viewComfy: form, name: "Form" },
    ],
    [
      "inside a form",
      zip([{ name: "f.json", content: form.replace("}]", `,"workflowApiJSON":${graph}}]`) }]),
      { prompt: graph, name: "Form" },
    ],
    [
      "beside JSON that is none",
      zip([
        { name: "a.json", content: graph },
        { name: "b.json", content: "[1" },
        { name: "c.json", content: "{}" },
      ]),
      { prompt: graph },
    ],
  ])("may be plain: %s", async (_what, archive, expected) => {
    expect(await readSource(archive)).toMatchObject({ ok: true, container: "zip", ...expected });
  });
});

describe("an archive that is refused", () => {
  const one = zip([{ name: "a.json", content: graph }]);
  /** The archive with two bytes of its end changed, at a place counted from the end record's start. */
  const withEnd = (at: number, value: number, size: 2 | 4 = 2): Uint8Array => {
    const bytes = Buffer.from(one);
    const place = bytes.length - 22 + at;
    if (size === 2) bytes.writeUInt16LE(value, place);
    else bytes.writeUInt32LE(value, place);
    return new Uint8Array(bytes);
  };
  const bomb = zip([{ name: "a.json", content: Buffer.alloc(64 * 1024 * 1024, 0x20) }]);
  it.each([
    ["empty", zip([]), "holds no workflow"],
    ["without a workflow", zip([{ name: "a.json", content: "{}" }]), "holds no workflow"],
    [
      "with two workflows",
      zip([
        { name: "a.json", content: graph },
        { name: "b.json", content: graph },
      ]),
      "several workflows: a.json, b.json",
    ],
    ["encrypted", zip([{ name: "a.json", content: graph, flags: 1 }]), "encrypted"],
    ["packed otherwise", zip([{ name: "a.json", content: graph, method: 12 }]), "other than deflate"],
    ["damaged", zip([{ name: "a.json", content: graph, checksum: 7 }]), "a.json is damaged"],
    ["that says too little of its length", zip([{ name: "a.json", content: graph, claims: 10 }]), "is damaged"],
    ["that says too much of its length", zip([{ name: "a.json", content: graph, claims: 9_999 }]), "is damaged"],
    ["a bomb", bomb, "are the most"],
    ["a bomb that lies", zip([{ name: "a.json", content: Buffer.alloc(64 << 20), claims: 100 }]), "is damaged"],
    ["not text", zip([{ name: "a.json", content: new Uint8Array([0xff, 0xc0, 0xc1]) }]), "is not JSON text"],
    ["cut off", one.slice(0, -1), "cut off"],
    ["zip64", withEnd(10, 0xffff), "zip64"],
    ["zip64 by its size", withEnd(12, 0xffffffff, 4), "zip64"],
    ["one of several disks", withEnd(4, 1), "one part of several"],
    ["with a directory elsewhere", withEnd(16, 3, 4), "directory is broken"],
    ["with a directory beyond its end", withEnd(16, 0xfffffff0, 4), "directory is broken"],
    ["of endless names", zip([{ name: `${"a".repeat(600)}.json`, content: graph }]), "endless name"],
    [
      "of many JSON files",
      zip(Array.from({ length: 51 }, (_, index) => ({ name: `${index}.json`, content: "{}" }))),
      "51 JSON files",
    ],
    [
      "of many large ones",
      zip(Array.from({ length: 5 }, (_, index) => ({ name: `${index}.json`, content: Buffer.alloc(4_000_000, 0x20) }))),
      "together",
    ],
  ])("%s", async (_what, archive, sentence) => {
    expect(await readSource(archive)).toMatchObject({
      ok: false,
      code: "invalid_workflow",
      detail: expect.stringContaining(sentence),
    });
  });

  it("of more files than anybody packs", () => {
    const many = zip(Array.from({ length: ZIP_ENTRIES_MAX + 1 }, () => ({ name: "a", content: "" })));
    expect(readZipDirectory(many)).toMatchObject({ ok: false, fault: expect.stringContaining("files") });
  });
});

it("never breaks the reader, whatever bytes are changed", async () => {
  const change = fc.record({ at: fc.nat(pack.length - 1), to: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 8 }),
      fc.option(fc.nat(pack.length), { freq: 4 }),
      async (changes, cut) => {
        const mutated = pack.slice(0, cut ?? pack.length);
        for (const { at, to } of changes) if (at < mutated.length) mutated[at] = to;
        const result = await readSource(mutated);
        if (result.ok) expect((result.prompt ?? result.workflow ?? "").length).toBeGreaterThan(0);
        else expect(result).toMatchObject({ code: "invalid_workflow", detail: expect.stringMatching(/\.$/) });
      },
    ),
    { numRuns: 300 },
  );
});
