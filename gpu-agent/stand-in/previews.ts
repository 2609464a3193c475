/** Preview pictures: the JPEG bytes ComfyUI sends while a sampler works. */
import type { ImageBatch } from "./node.ts";

const PREVIEW_QUALITY = 95;

/** The first image of a batch as JPEG, scaled up or down until its longer side has `sizeMax` pixels. */
export async function previewJpeg(image: ImageBatch, sizeMax: number): Promise<Buffer> {
  const { default: sharp } = await import("sharp");
  const { width, height, channels } = image;
  const bytes = Buffer.alloc(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const value = image.data[pixel * channels + channel] ?? 0;
      bytes[pixel * 3 + channel] = Math.max(0, Math.min(255, Math.trunc(value * 255)));
    }
  }
  return await sharp(bytes, { raw: { width, height, channels: 3 } })
    .resize(sizeMax, sizeMax, { fit: "inside", kernel: "linear" })
    .jpeg({ quality: PREVIEW_QUALITY })
    .toBuffer();
}

/** The payload of binary event 1: the format (1 is JPEG), then the picture. */
export function previewPayload(jpeg: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0, 0, 0, 1]), jpeg]);
}

/** The payload of binary event 4: a length, a JSON text of that many bytes, then the picture. */
export function previewWithMetadataPayload(jpeg: Buffer, metadata: object): Buffer {
  const text = Buffer.from(JSON.stringify({ ...metadata, image_type: "image/jpeg" }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([length, text, jpeg]);
}
