/** Small pictures made of bytes: headers are all the Worker reads. */

/** A PNG header of that size, with a tail that makes each one different. */
export function png(width: number, height: number, tail = 0): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52]);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, width);
  view.setUint32(20, height);
  view.setUint32(40, tail);
  return bytes;
}

/** A JPEG with metadata of `padding` bytes before its size. */
export function jpeg(width: number, height: number, padding = 0): Uint8Array {
  const segments: number[] = [0xff, 0xd8];
  for (let left = padding; left > 0; left -= 65_000) {
    const length = Math.min(left, 65_000) + 2;
    segments.push(0xff, 0xe1, length >> 8, length & 0xff, ...new Array<number>(length - 2).fill(0x20));
  }
  segments.push(
    0xff,
    0xc0,
    0,
    17,
    8,
    height >> 8,
    height & 0xff,
    width >> 8,
    width & 0xff,
    3,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
  );
  return new Uint8Array(segments);
}

export function gif(width: number, height: number): Uint8Array {
  return new Uint8Array([
    ...new TextEncoder().encode("GIF89a"),
    width & 0xff,
    width >> 8,
    height & 0xff,
    height >> 8,
    0,
    0,
    0,
  ]);
}

/** A WebP of the extended form. */
export function webp(width: number, height: number): Uint8Array {
  const bytes = new Uint8Array(40);
  bytes.set(new TextEncoder().encode("RIFF"), 0);
  bytes.set(new TextEncoder().encode("WEBPVP8X"), 8);
  const view = new DataView(bytes.buffer);
  view.setUint16(24, (width - 1) & 0xffff, true);
  view.setUint8(26, (width - 1) >> 16);
  view.setUint16(27, (height - 1) & 0xffff, true);
  view.setUint8(29, (height - 1) >> 16);
  return bytes;
}
