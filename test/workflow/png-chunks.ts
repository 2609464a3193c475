/** PNGs made of chunks, for tests of what is in their texts; they have no pixels. */
import { deflateSync } from "node:zlib";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const bytes = (text: string): Buffer => Buffer.from(text, "utf8");

/** One chunk, its checksum left at zero: the reader does not look at it. */
export function chunk(type: string, data: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return Buffer.concat([length, bytes(type), data, Buffer.alloc(4)]);
}

export function png(...chunks: Buffer[]): Uint8Array {
  const header = chunk("IHDR", Buffer.alloc(13));
  return new Uint8Array(Buffer.concat([Buffer.from(SIGNATURE), header, ...chunks, chunk("IEND", Buffer.alloc(0))]));
}

export const tEXt = (keyword: string, text: string): Buffer => chunk("tEXt", bytes(`${keyword}\0${text}`));

export const zTXt = (keyword: string, text: string): Buffer =>
  chunk("zTXt", Buffer.concat([bytes(`${keyword}\0\0`), deflateSync(bytes(text))]));
