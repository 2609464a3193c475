import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import { isJsonObject } from "#contract/exact-json";
import type { Audio } from "#gpu-agent/stand-in/nodes/audio";
import { BitReader, BitWriter } from "#gpu-agent/stand-in/nodes/media/bits";
import { crc8, crc16, encodeFlac } from "#gpu-agent/stand-in/nodes/media/flac";
import { decodeFlac } from "#gpu-agent/stand-in/nodes/media/flac-decoder";
import { encodeH264 } from "#gpu-agent/stand-in/nodes/media/h264";
import { mp4Size } from "#gpu-agent/stand-in/nodes/media/mp4";
import { resampled } from "#gpu-agent/stand-in/nodes/media/resample-sound";
import { nodeImplementations } from "#gpu-agent/stand-in/nodes/registry";
import { contextFor, runPrompt } from "./run-prompt.ts";
import { temporaryFolders } from "./temporary-folders.ts";

const { folders, remove } = temporaryFolders();
afterAll(remove);

describe("FLAC", () => {
  const noise = (seed: number, length: number) =>
    Int16Array.from({ length }, (_, i) => (Math.imul(i + seed, 0x27d4eb2d) >> 16) | 0);
  const wave = (length: number) => Int16Array.from({ length }, (_, i) => Math.round(Math.sin(i / 20) * 12000));

  it.each([
    ["silence", new Int16Array(10_000)],
    ["a wave", wave(9_001)],
    ["noise", noise(3, 5_000)],
    ["one sample", Int16Array.of(-32768)],
    ["nothing", new Int16Array(0)],
  ])("gives %s back sample for sample", (_name, samples) => {
    const file = encodeFlac({ channels: 2, sampleRate: 44100, samples: [samples, samples] }, { prompt: "{}" });
    const decoded = decodeFlac(file);
    expect(decoded.sampleRate).toBe(44100);
    for (const channel of decoded.samples) expect(Int16Array.from(channel, (value) => value * 32768)).toEqual(samples);
  });

  it("gives any sound back", () => {
    const sample = fc.integer({ min: -32768, max: 32767 });
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1, maxLength: 300 }), (values) => {
        const samples = Int16Array.from(values);
        const [channel] = decodeFlac(encodeFlac({ channels: 1, sampleRate: 8000, samples: [samples] }, {})).samples;
        expect(Int16Array.from(channel ?? [], (value) => value * 32768)).toEqual(samples);
      }),
    );
  });

  it("packs a wave and a silence", () => {
    const size = (samples: Int16Array) => encodeFlac({ channels: 1, sampleRate: 44100, samples: [samples] }, {}).length;
    expect(size(new Int16Array(100_000))).toBeLessThan(1_000);
    expect(size(wave(100_000))).toBeLessThan(150_000);
  });

  it("has the checksums of the format", () => {
    // The check values of CRC-8/SMBUS and CRC-16/UMTS.
    expect(crc8(Buffer.from("123456789"))).toBe(0xf4);
    expect(crc16(Buffer.from("123456789"))).toBe(0xfee8);
  });
});

describe("bits", () => {
  it("come back as they were written", () => {
    const field = fc
      .integer({ min: 1, max: 32 })
      .chain((count) => fc.record({ count: fc.constant(count), value: fc.integer({ min: 0, max: 2 ** count - 1 }) }));
    fc.assert(
      fc.property(fc.array(field, { maxLength: 50 }), (fields) => {
        const writer = new BitWriter();
        for (const { value, count } of fields) writer.write(value, count);
        const reader = new BitReader(writer.finish());
        expect(fields.map(({ count }) => reader.read(count))).toEqual(fields.map(({ value }) => value));
      }),
    );
  });
});

/** The network units of an access unit, each without the length before it. */
function units(data: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < data.length; ) {
    const length = data.readUInt32BE(at);
    found.push(data.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

describe("H.264", () => {
  const grey = (value: number) => new Uint8Array(32 * 32 * 3).fill(value);

  it("stores a still picture once and then says that nothing changed", () => {
    const video = encodeH264([grey(90), grey(90), grey(91)], 32, 32);
    expect(video.frames.map(({ isKey }) => isKey)).toEqual([true, false, false]);
    expect(video.frames[0]?.data.length).toBeGreaterThan(4 * 384);
    expect(video.frames[1]?.data.length).toBeLessThan(20);
    expect(video.frames[2]?.data.length).toBeLessThan(20);
  });

  it("stores again what changed", () => {
    const video = encodeH264([grey(90), grey(200)], 32, 32);
    expect(video.frames[1]?.data.length).toBeGreaterThan(4 * 384);
  });

  it("never writes a start mark inside a unit", () => {
    const video = encodeH264([grey(0), grey(255)], 32, 32);
    const all = [video.sequence, video.picture, ...video.frames.flatMap(({ data }) => units(data))];
    for (const unit of all) {
      for (const mark of ["000000", "000001", "000002"])
        expect(unit.toString("hex").search(new RegExp(`^(..)*${mark}`))).toBe(-1);
    }
  });

  it("starts anew often enough to be searched", () => {
    const video = encodeH264(
      Array.from({ length: 60 }, () => grey(7)),
      16,
      16,
    );
    expect(video.frames.filter(({ isKey }) => isKey)).toHaveLength(2);
  });

  it("has no odd sides", () => {
    expect(() => encodeH264([new Uint8Array(27)], 3, 3)).toThrow(RangeError);
  });
});

const pictures = {
  a: { class_type: "EmptyImage", inputs: { width: 34, height: 18, batch_size: 2, color: 0xff0000 } },
  b: { class_type: "EmptyImage", inputs: { width: 34, height: 18, batch_size: 1, color: 0x0000ff } },
  images: { class_type: "ImageBatch", inputs: { image1: ["a", 0], image2: ["b", 0] } },
};

describe("SaveVideo", () => {
  it("writes an MP4 with sound, size and the workflow", async () => {
    const prompt = {
      ...pictures,
      audio: { class_type: "EmptyAudio", inputs: { duration: 5, sample_rate: 48000, channels: 1 } },
      video: { class_type: "CreateVideo", inputs: { images: ["images", 0], fps: 12, audio: ["audio", 0] } },
      save: {
        class_type: "SaveVideo",
        inputs: { video: ["video", 0], filename_prefix: "video/x", format: "auto", codec: "auto" },
      },
    };
    const { runs } = await runPrompt(prompt, folders, { prompt: '{"a": 1}' });
    expect(runs.get("save")?.ui).toEqual({
      images: [{ filename: "x_00001_.mp4", subfolder: "video", type: "output" }],
      animated: [true],
    });
    const file = await readFile(path.join(folders.output, "video/x_00001_.mp4"));
    expect(mp4Size(file)).toEqual({ width: 34, height: 18 });
    const text = file.toString("latin1");
    expect(text.slice(4, 12)).toBe("ftypisom");
    for (const part of ["avc1", "avcC", "fLaC", "dfLa", "mdta", '{"a": 1}']) expect(text).toContain(part);
    // The index points at the first frame: a length, then a key frame's unit.
    const at = file.readUInt32BE(text.indexOf("stco") + 12);
    expect((file[at + 4] ?? 0) & 0x1f).toBe(5);
  });

  it("passes a loaded file on as it is", async () => {
    const bytes = await readFile(path.join(folders.output, "video/x_00001_.mp4"));
    writeFileSync(path.join(folders.input, "in.mp4"), bytes);
    const prompt = {
      video: { class_type: "LoadVideo", inputs: { file: "in.mp4" } },
      save: {
        class_type: "SaveVideo",
        inputs: { video: ["video", 0], filename_prefix: "copy", format: "auto", codec: "auto" },
      },
    };
    await runPrompt(prompt, folders);
    expect((await readFile(path.join(folders.output, "copy_00001_.mp4"))).equals(bytes)).toBe(true);
  });

  it("refuses odd sides in the words of the real encoder", async () => {
    const image = { class_type: "EmptyImage", inputs: { width: 33, height: 18, batch_size: 1, color: 0 } };
    const prompt = {
      image,
      video: { class_type: "CreateVideo", inputs: { images: ["image", 0], fps: 12 } },
      save: {
        class_type: "SaveVideo",
        inputs: { video: ["video", 0], filename_prefix: "odd", format: "auto", codec: "auto" },
      },
    };
    await expect(runPrompt(prompt, folders)).rejects.toMatchObject({ type: "av.error.ExternalError" });
  });
});

/** The contents of Matroska elements, found by the ids on the way to them. */
function elements(bytes: Buffer, ids: readonly number[]): Buffer[] {
  const [wanted, ...inner] = ids;
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const idLength = Math.clz32(bytes[at] ?? 0) - 23;
    const size = Number(bytes.readBigUInt64BE(at + idLength) & 0xff_ffff_ffff_ffffn);
    const from = at + idLength + 8;
    if (bytes.readUIntBE(at, idLength) === wanted) found.push(bytes.subarray(from, from + size));
    at = from + size;
  }
  return inner.length === 0 ? found : found.flatMap((element) => elements(element, inner));
}

describe("SaveWEBM", () => {
  it("writes frames that are VP8 key frames of the right size", async () => {
    const inputs = { images: ["images", 0], filename_prefix: "w", codec: "vp9", fps: 10, crf: 20 };
    await runPrompt({ ...pictures, save: { class_type: "SaveWEBM", inputs } }, folders, { prompt: "{}" });
    const file = await readFile(path.join(folders.output, "w_00001_.webm"));
    expect(file.readUInt32BE(0)).toBe(0x1a45dfa3);
    const frames = elements(file, [0x18538067, 0x1f43b675, 0xa3]).map((block) => block.subarray(4));
    expect(frames).toHaveLength(3);
    for (const frame of frames) {
      const riff = Buffer.alloc(20);
      riff.write("RIFF", 0, "latin1");
      riff.writeUInt32LE(12 + frame.length + (frame.length % 2), 4);
      riff.write("WEBPVP8 ", 8, "latin1");
      riff.writeUInt32LE(frame.length, 16);
      const still = Buffer.concat([riff, frame, Buffer.alloc(frame.length % 2)]);
      const { width, height } = await sharp(still).metadata();
      expect([width, height]).toEqual([34, 18]);
    }
  });
});

async function audioOf(prompt: Readonly<Record<string, unknown>>, node: string, slot = 0): Promise<Audio> {
  return (await runPrompt(prompt, folders)).runs.get(node)?.outputs[slot] as Audio;
}

describe("sound nodes", () => {
  const silence = (duration: number, sample_rate = 8000, channels = 2) => ({
    class_type: "EmptyAudio",
    inputs: { duration, sample_rate, channels },
  });

  it("save FLAC that loads again", async () => {
    const save = { class_type: "SaveAudio", inputs: { audio: ["a", 0], filename_prefix: "audio/s" } };
    const { runs } = await runPrompt({ a: silence(0.5), save }, folders, { workflow: "{}" });
    expect(runs.get("save")?.ui).toEqual({
      audio: [{ filename: "s_00001_.flac", subfolder: "audio", type: "output" }],
    });
    const load = { class_type: "LoadAudio", inputs: { audio: "audio/s_00001_.flac [output]" } };
    const audio = await audioOf({ load }, "load");
    expect([audio.sampleRate, audio.waveform[0]?.length, audio.waveform[0]?.[0]?.length]).toEqual([8000, 2, 4000]);
  });

  it.each([
    [16, (b: Buffer) => b.writeInt16LE(-16384, 44)],
    [8, (b: Buffer) => b.writeUInt8(64, 44)],
    [24, (b: Buffer) => b.writeIntLE(-4194304, 44, 3)],
  ] as const)("load WAV of %i bits", async (bits, write) => {
    const wav = Buffer.alloc(44 + bits / 8);
    wav.write("RIFF\0\0\0\0WAVEfmt \u0010\0\0\0\u0001\0\u0001\0", 0, "latin1");
    wav.writeUInt32LE(22050, 24);
    wav.writeUInt16LE(bits, 34);
    wav.write("data", 36, "latin1");
    wav.writeUInt32LE(bits / 8, 40);
    write(wav);
    writeFileSync(path.join(folders.input, `w${bits}.wav`), wav);
    const audio = await audioOf({ load: { class_type: "LoadAudio", inputs: { audio: `w${bits}.wav` } } }, "load");
    expect([audio.sampleRate, ...(audio.waveform[0]?.[0] ?? [])]).toEqual([22050, -0.5]);
  });

  it("say which formats they cannot write instead of writing another", async () => {
    for (const name of ["SaveAudioMP3", "SaveAudioOpus"]) {
      const refused = async () => nodeImplementations[name]?.run({}, contextFor("1", folders));
      await expect(refused()).rejects.toMatchObject({ type: "av.error.EncoderNotFoundError" });
    }
  });

  it("cut, split and join", async () => {
    const prompt = {
      a: silence(1),
      b: silence(0.5, 8000, 1),
      cut: { class_type: "TrimAudioDuration", inputs: { audio: ["a", 0], start_index: -0.25, duration: 60 } },
      split: { class_type: "SplitAudioChannels", inputs: { audio: ["a", 0] } },
      join: { class_type: "AudioConcat", inputs: { audio1: ["a", 0], audio2: ["b", 0], direction: "after" } },
    };
    const { runs } = await runPrompt(prompt, folders);
    const shape = (audio: unknown) =>
      (audio as Audio).waveform.map((channels) => channels.map((samples) => samples.length));
    expect(shape(runs.get("cut")?.outputs[0])).toEqual([[2000, 2000]]);
    expect(shape(runs.get("split")?.outputs[1])).toEqual([[8000]]);
    expect(shape(runs.get("join")?.outputs[0])).toEqual([[12000, 12000]]);
    const none = { class_type: "TrimAudioDuration", inputs: { audio: ["a", 0], start_index: 0, duration: 0 } };
    await expect(runPrompt({ a: silence(1), none }, folders)).rejects.toMatchObject({
      type: "ValueError",
      message: "AudioTrim: Start time must be less than end time and be within the audio length.",
    });
  });

  it("keep a tone's pitch and loudness when its rate changes", () => {
    const tone = Float32Array.from({ length: 8000 }, (_, i) => Math.sin((2 * Math.PI * 440 * i) / 8000));
    const faster = resampled(tone, 8000, 44100);
    expect(faster).toHaveLength(44100);
    const middle = faster.subarray(2000, 42000);
    const error = middle.reduce(
      (worst, value, i) => Math.max(worst, Math.abs(value - Math.sin((2 * Math.PI * 440 * (i + 2000)) / 44100))),
      0,
    );
    expect(error).toBeLessThan(0.02);
  });
});

describe("text on a node", () => {
  it("tells the size of a picture", async () => {
    const size = { class_type: "GetImageSize", inputs: { image: ["images", 0] } };
    const { runs, reports } = await runPrompt({ ...pictures, size }, folders);
    expect(runs.get("size")?.outputs).toEqual([34, 18, 3]);
    expect(reports.texts).toEqual(["width: 34, height: 18\n batch size: 3"]);
    expect(isJsonObject(runs.get("size")?.ui)).toBe(false);
  });
});
