/** Between RGB and luma with two colour differences, as the kornia library that ComfyUI uses computes them. */
import type { ImageBatch } from "../node.ts";
import { clampUnit, repeatToBatch } from "./float-images.ts";

const f = Math.fround;
const HALF = 0.5;

/** Y, U and V, each as a grey picture with the channels of the original. */
export function rgbToYuv(image: ImageBatch): readonly [ImageBatch, ImageBatch, ImageBatch] {
  const planes = [0, 1, 2].map(() => new Float32Array(image.data.length));
  const [y = new Float32Array(0), u = new Float32Array(0), v = new Float32Array(0)] = planes;
  const { channels, data } = image;
  for (let at = 0; at < data.length; at += channels) {
    const red = data[at] ?? 0;
    const green = data[at + 1] ?? 0;
    const blue = data[at + 2] ?? 0;
    const luma = f(f(f(f(0.299) * red) + f(f(0.587) * green)) + f(f(0.114) * blue));
    y.fill(luma, at, at + channels);
    u.fill(f(f(f(blue - luma) * f(0.564)) + HALF), at, at + channels);
    v.fill(f(f(f(red - luma) * f(0.713)) + HALF), at, at + channels);
  }
  return [
    { ...image, data: y },
    { ...image, data: u },
    { ...image, data: v },
  ];
}

/** The way back; each input counts with the mean of its channels. */
export function yuvToRgb(y: ImageBatch, u: ImageBatch, v: ImageBatch): ImageBatch {
  const batch = Math.max(y.batch, u.batch, v.batch);
  const [luma, blueness, redness] = [y, u, v].map((plane) => means(repeatToBatch(plane, batch)));
  const data = new Float32Array(batch * y.height * y.width * 3);
  for (let i = 0; i < data.length / 3; i += 1) {
    const light = luma?.[i] ?? 0;
    const cb = f((blueness?.[i] ?? 0) - HALF);
    const cr = f((redness?.[i] ?? 0) - HALF);
    data[i * 3] = clampUnit(f(light + f(f(1.4025245442) * cr)));
    data[i * 3 + 1] = clampUnit(f(f(light - f(f(0.7144034731) * cr)) - f(f(0.3443401356) * cb)));
    data[i * 3 + 2] = clampUnit(f(light + f(f(1.7730496454) * cb)));
  }
  return { batch, height: y.height, width: y.width, channels: 3, data };
}

function means({ data, channels }: ImageBatch): Float32Array {
  const out = new Float32Array(data.length / channels);
  for (let i = 0; i < out.length; i += 1) {
    let sum = 0;
    for (let c = 0; c < channels; c += 1) sum = f(sum + (data[i * channels + c] ?? 0));
    out[i] = sum / channels;
  }
  return out;
}
