import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import type { ImageBatch, MaskBatch } from "#gpu-agent/stand-in/node";
import { nodeImplementations } from "#gpu-agent/stand-in/nodes/registry";
import { pngChunks } from "#gpu-agent/stand-in/pixels/png";
import { contextFor, runPrompt } from "./run-prompt.ts";
import { temporaryFolders } from "./temporary-folders.ts";

const { folders, remove } = temporaryFolders();
afterAll(remove);

async function load(name: string): Promise<{ image: ImageBatch; mask: MaskBatch }> {
  const run = await nodeImplementations.LoadImage?.run({ image: name }, contextFor("1", folders));
  const [image, mask] = run?.outputs ?? [];
  return { image: image as ImageBatch, mask: mask as MaskBatch };
}

const raw = (width: number, height: number, channels: 3 | 4, ...values: number[]) =>
  sharp(
    Uint8Array.from({ length: width * height * channels }, (_, i) => values[i % values.length] ?? 0),
    {
      raw: { width, height, channels },
    },
  );

describe("LoadImage", () => {
  it("gives a black mask of 64 by 64 for a picture without alpha", async () => {
    writeFileSync(path.join(folders.input, "rgb.png"), await raw(3, 2, 3, 10, 20, 30).png().toBuffer());
    const { image, mask } = await load("rgb.png");
    expect([image.width, image.height, image.channels]).toEqual([3, 2, 3]);
    expect([...image.data.subarray(0, 3)]).toEqual([10, 20, 30].map((byte) => Math.fround(byte / 255)));
    expect([mask.width, mask.height, Math.max(...mask.data)]).toEqual([64, 64, 0]);
  });

  it("gives what alpha leaves out as the mask, and colours untouched by it", async () => {
    writeFileSync(path.join(folders.input, "rgba.png"), await raw(2, 2, 4, 200, 100, 50, 0).png().toBuffer());
    const { image, mask } = await load("rgba.png");
    expect([...image.data.subarray(0, 3)]).toEqual([200, 100, 50].map((byte) => Math.fround(byte / 255)));
    expect([...mask.data]).toEqual([1, 1, 1, 1]);
  });

  it("turns a photograph upright", async () => {
    const sideways = await raw(4, 2, 3, 9).jpeg().withMetadata({ orientation: 6 }).toBuffer();
    writeFileSync(path.join(folders.input, "photo.jpg"), sideways);
    const { image } = await load("photo.jpg");
    expect([image.width, image.height]).toEqual([2, 4]);
  });

  it.each(["gif", "webp"] as const)("gives every frame of an animated %s", async (format) => {
    const frames = Buffer.concat([Buffer.alloc(4 * 4 * 3, 255), Buffer.alloc(4 * 4 * 3, 0)]);
    const source = sharp(frames, { raw: { width: 4, height: 8, channels: 3, pageHeight: 4 } });
    const file = format === "gif" ? source.gif() : source.webp({ lossless: true });
    writeFileSync(path.join(folders.input, `two.${format}`), await file.toBuffer());
    const { image } = await load(`two.${format}`);
    expect([image.batch, image.height, image.data[0], image.data.at(-1)]).toEqual([2, 4, 1, 0]);
  });

  it("reads BMP, whose rows stand from bottom to top", async () => {
    const file = Buffer.alloc(54 + 16);
    file.write("BM", 0, "latin1");
    file.writeUInt32LE(54, 10);
    file.writeUInt32LE(40, 14);
    file.writeInt32LE(2, 18);
    file.writeInt32LE(2, 22);
    file.writeUInt16LE(24, 28);
    file.set([3, 2, 1], 54 + 8);
    writeFileSync(path.join(folders.input, "old.bmp"), file);
    const { image } = await load("old.bmp");
    expect([...image.data.subarray(0, 3)]).toEqual([1, 2, 3].map((byte) => Math.fround(byte / 255)));
  });

  it("tells a damaged picture from a file that is none", async () => {
    const whole = await raw(64, 64, 3, 1, 200, 90, 7).jpeg().toBuffer();
    writeFileSync(path.join(folders.input, "half.jpg"), whole.subarray(0, 100));
    await expect(load("half.jpg")).rejects.toMatchObject({ type: "OSError", message: "Truncated File Read" });
  });

  it("names the file that is no picture", async () => {
    writeFileSync(path.join(folders.input, "words.png"), "no picture");
    await expect(load("words.png")).rejects.toMatchObject({
      type: "PIL.UnidentifiedImageError",
      message: `cannot identify image file '${path.join(folders.input, "words.png")}'`,
    });
  });

  it("reads from the output folder where the name says so", async () => {
    writeFileSync(path.join(folders.output, "made.png"), await raw(5, 1, 3, 0).png().toBuffer());
    expect((await load("made.png [output]")).image.width).toBe(5);
  });

  it.each(["../output/made.png", "/etc/hostname", "missing.png"])("refuses %s before it runs", async (image) => {
    const { validate } = nodeImplementations.LoadImage ?? {};
    expect(validate?.names).toEqual(["image"]);
    expect(await validate?.check({ image }, folders)).toBe(`Invalid image file: ${image}`);
  });

  it("has another fingerprint when the file has other bytes", async () => {
    const file = path.join(folders.input, "changing.png");
    const print = async () => nodeImplementations.LoadImage?.fingerprint?.({ image: "changing.png" }, folders);
    writeFileSync(file, "a");
    const before = await print();
    expect(await print()).toBe(before);
    writeFileSync(file, "b");
    expect(await print()).not.toBe(before);
  });
});

const solid = (batch: number) => ({
  "1": { class_type: "EmptyImage", inputs: { width: 6, height: 4, batch_size: batch, color: 0x336699 } },
});

describe("saving nodes", () => {
  it("SaveImage writes prompt and workflow into every picture of a batch", async () => {
    const prompt = {
      ...solid(2),
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "s/a" } },
    };
    const { runs } = await runPrompt(prompt, folders, { prompt: '{"1": {}}', workflow: '{"nodes": []}' });
    expect(runs.get("2")?.ui).toEqual({
      images: [
        { filename: "a_00001_.png", subfolder: "s", type: "output" },
        { filename: "a_00002_.png", subfolder: "s", type: "output" },
      ],
    });
    const chunks = pngChunks(await readFile(path.join(folders.output, "s/a_00002_.png")));
    const texts = chunks.filter(({ type }) => type === "tEXt").map(({ data }) => data.toString("latin1"));
    expect(texts).toEqual(['prompt\0{"1": {}}', 'workflow\0{"nodes": []}']);
    expect(chunks.findIndex(({ type }) => type === "tEXt")).toBeLessThan(
      chunks.findIndex(({ type }) => type === "IDAT"),
    );
  });

  it("PreviewImage and MaskPreview write temporary files", async () => {
    const prompt = {
      ...solid(1),
      "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      "3": { class_type: "SolidMask", inputs: { value: 0.5, width: 3, height: 3 } },
      "4": { class_type: "MaskPreview", inputs: { mask: ["3", 0] } },
    };
    const { runs } = await runPrompt(prompt, folders);
    for (const id of ["2", "4"]) {
      expect(runs.get(id)?.ui).toEqual({
        images: [
          { filename: expect.stringMatching(/^ComfyUI_temp_[a-z]{5}_00001_\.png$/), subfolder: "", type: "temp" },
        ],
      });
    }
  });

  it("an animated PNG comes back frame by frame", async () => {
    const prompt = {
      ...solid(3),
      "2": {
        class_type: "SaveAnimatedPNG",
        inputs: { images: ["1", 0], filename_prefix: "anim", fps: 8, compress_level: 4 },
      },
    };
    const { runs } = await runPrompt(prompt, folders, { prompt: "{}" });
    expect(runs.get("2")?.ui).toMatchObject({ animated: [true] });
    const { image } = await load("anim_00001_.png [output]");
    expect([image.batch, image.width, image.height]).toEqual([3, 6, 4]);
    expect([...image.data.subarray(0, 3)]).toEqual([0x33, 0x66, 0x99].map((byte) => Math.fround(byte / 255)));
    const types = pngChunks(await readFile(path.join(folders.output, "anim_00001_.png"))).map(({ type }) => type);
    expect(types).toEqual(["IHDR", "acTL", "fcTL", "IDAT", "comf", "fcTL", "fdAT", "fcTL", "fdAT", "IEND"]);
  });

  it("an animated WebP comes back frame by frame and holds the prompt", async () => {
    const inputs = {
      images: ["both", 0],
      filename_prefix: "anim",
      fps: 8,
      lossless: true,
      quality: 80,
      method: "fastest",
    };
    const white = { class_type: "EmptyImage", inputs: { width: 6, height: 4, batch_size: 1, color: 0xffffff } };
    const both = { class_type: "ImageBatch", inputs: { image1: ["1", 0], image2: ["white", 0] } };
    const prompt = { ...solid(1), white, both, "2": { class_type: "SaveAnimatedWEBP", inputs } };
    const { runs } = await runPrompt(prompt, folders, { prompt: '{"a": 1}', workflow: "{}" });
    const [saved] = (runs.get("2")?.ui?.images ?? []) as { filename: string }[];
    const file = await readFile(path.join(folders.output, saved?.filename ?? ""));
    const { pages, delay, exif } = await sharp(file).metadata();
    expect([pages, delay]).toEqual([2, [125, 125]]);
    expect(exif?.toString("latin1")).toContain('prompt:{"a": 1}\0');
    expect(exif?.toString("latin1")).toContain("workflow:{}\0");
  });
});
