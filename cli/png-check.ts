import { crc32, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** More than any picture here unpacks to; stops a small file that unpacks to gigabytes. */
const PIXEL_BYTES_MAX = 1024 ** 3;

/**
 * Reads a PNG through: every chunk's checksum, and pixels that unpack to the size its header promises.
 * @returns its size in pixels
 * @throws Error that says what is wrong with it
 */
export function checkPng(file: Buffer): { width: number; height: number } {
  if (!file.subarray(0, 8).equals(SIGNATURE)) throw new Error("The file is not a PNG");
  const pixels: Buffer[] = [];
  let header: Buffer | undefined;
  let ended = false;
  for (let at = 8; at < file.length; ) {
    if (ended) throw new Error("The PNG goes on after its end");
    const length = at + 8 <= file.length ? file.readUInt32BE(at) : Number.POSITIVE_INFINITY;
    if (at + 12 + length > file.length) throw new Error("The PNG is cut off");
    const typed = file.subarray(at + 4, at + 8 + length);
    if (crc32(typed) !== file.readUInt32BE(at + 8 + length)) throw new Error("A chunk of the PNG has a wrong checksum");
    const type = typed.toString("latin1", 0, 4);
    if (type === "IHDR") header = typed.subarray(4);
    if (type === "IDAT") pixels.push(typed.subarray(4));
    ended = type === "IEND";
    at += 12 + length;
  }
  if (!ended || header === undefined || header.length !== 13) throw new Error("The PNG has no header or no end");
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const bits = header.readUInt8(8) * (CHANNELS[header.readUInt8(9)] ?? 0);
  const isInterlaced = header.readUInt8(12) !== 0;
  const unpacked = inflateSync(Buffer.concat(pixels), { maxOutputLength: PIXEL_BYTES_MAX }).length;
  // Each row of pixels has one byte in front that names its filter; interlaced pictures are split differently.
  const expected = height * (1 + Math.ceil((width * bits) / 8));
  if (!isInterlaced && unpacked !== expected)
    throw new Error(`The PNG's pixels are ${unpacked} bytes, not ${expected}`);
  return { width, height };
}
