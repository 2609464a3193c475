/** Small files for the file inputs of a smoke test: real ones, since nodes decode them. */
import type { InputSpec } from "#contract/workflow";
import { extensionOf } from "../outputs/content-types.ts";
import { encodeFlac } from "../stand-in/nodes/media/flac.ts";
import { encodeH264 } from "../stand-in/nodes/media/h264.ts";
import { encodeMp4 } from "../stand-in/nodes/media/mp4.ts";
import { encodePng } from "../stand-in/pixels/png.ts";

/** Small enough to cost nothing, large enough for a VAE, which takes eight pixels for one. */
const SIDE = 128;
const VIDEO_FRAMES = 9;
const FRAMES_PER_SECOND = 8;
const SAMPLE_RATE = 44_100;
const TONE_HZ = 440;

export interface SampleFile {
  readonly filename: string;
  readonly bytes: Uint8Array;
}

type FileInput = Extract<InputSpec, { type: "file" }>;

/** A file of the kind that an input takes. */
export async function sampleFile(input: FileInput): Promise<SampleFile> {
  switch (input.media) {
    case "image":
      return { filename: "smoke-test.png", bytes: await picture(3) };
    case "mask":
      // Masks are read from the alpha channel, or from the colours: both have a disc.
      return { filename: "smoke-test.png", bytes: await picture(4) };
    case "video":
      return { filename: "smoke-test.mp4", bytes: video() };
    case "audio":
      return { filename: "smoke-test.flac", bytes: tone() };
    case "file":
      return {
        filename: `smoke-test.${extensionOf(input.example ?? "") || "txt"}`,
        bytes: Buffer.from("smoke test\n"),
      };
    default:
      throw new Error(`unhandled: ${String(input.media satisfies never)}`);
  }
}

/** A disc on a slope of colours. @param channels 4: transparent outside of the disc */
function picture(channels: 3 | 4): Promise<Buffer> {
  const pixels = new Uint8Array(SIDE * SIDE * channels);
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) pixels.set(color(x, y, 0).slice(0, channels), (y * SIDE + x) * channels);
  }
  return encodePng(pixels, { width: SIDE, height: SIDE, channels }, {}, 6);
}

/** The disc walks to the right. */
function video(): Buffer {
  const frames = Array.from({ length: VIDEO_FRAMES }, (_, frame) => {
    const pixels = new Uint8Array(SIDE * SIDE * 3);
    for (let y = 0; y < SIDE; y += 1) {
      for (let x = 0; x < SIDE; x += 1) pixels.set(color(x, y, frame * 2).slice(0, 3), (y * SIDE + x) * 3);
    }
    return pixels;
  });
  const size = { width: SIDE, height: SIDE };
  return encodeMp4(encodeH264(frames, SIDE, SIDE), size, FRAMES_PER_SECOND, undefined, {});
}

function tone(): Buffer {
  const samples = Int16Array.from({ length: SAMPLE_RATE }, (_, index) =>
    Math.round(8_000 * Math.sin((2 * Math.PI * TONE_HZ * index) / SAMPLE_RATE)),
  );
  return encodeFlac({ channels: 1, sampleRate: SAMPLE_RATE, samples: [samples] }, {});
}

function color(x: number, y: number, shift: number): number[] {
  const isInside = Math.hypot(x - shift - SIDE / 2, y - SIDE / 2) < SIDE / 4;
  return isInside ? [255, 255, 255, 255] : [x * 2 - 1 < 0 ? 0 : x * 2 - 1, y, 96, 0];
}
