/** Reading BMP without compression, which the picture library does not read: 24 and 32 bits, and palettes of 8. */

export interface BmpImage {
  readonly width: number;
  readonly height: number;
  /** RGB, top row first. */
  readonly rgb: Uint8Array;
}

/** True for what starts as a BMP file. */
export function isBmp(file: Uint8Array): boolean {
  return file[0] === 0x42 && file[1] === 0x4d;
}

/** @throws RangeError for kinds of BMP that are not read, and for damaged files */
export function decodeBmp(bytes: Uint8Array): BmpImage {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pixelsAt = file.readUInt32LE(10);
  const headerLength = file.readUInt32LE(14);
  const width = file.readInt32LE(18);
  const rows = file.readInt32LE(22);
  const bits = file.readUInt16LE(28);
  const compression = file.readUInt32LE(30);
  const isPlain = compression === 0 || (compression === 3 && bits === 32);
  if (!isPlain || ![8, 24, 32].includes(bits) || width <= 0 || rows === 0)
    throw new RangeError("A BMP of a kind that is not read");
  const height = Math.abs(rows);
  const stride = Math.ceil((width * bits) / 32) * 4;
  const palette = file.subarray(14 + headerLength, pixelsAt);
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    const row = pixelsAt + stride * (rows > 0 ? height - 1 - y : y);
    for (let x = 0; x < width; x += 1) {
      const source = bits === 8 ? palette : file;
      const at = bits === 8 ? file.readUInt8(row + x) * 4 : row + (x * bits) / 8;
      const to = (y * width + x) * 3;
      rgb[to] = source.readUInt8(at + 2);
      rgb[to + 1] = source.readUInt8(at + 1);
      rgb[to + 2] = source.readUInt8(at);
    }
  }
  return { width, height, rgb };
}
