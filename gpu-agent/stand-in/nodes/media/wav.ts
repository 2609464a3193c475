/** Reading WAV: whole numbers of 8 to 32 bits and floats. */
import type { DecodedSound } from "./flac-decoder.ts";

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

/** True for what starts as a WAV file. */
export function isWav(file: Buffer): boolean {
  return file.toString("latin1", 0, 4) === "RIFF" && file.toString("latin1", 8, 12) === "WAVE";
}

/** @throws RangeError when the file is damaged or holds another coding */
export function decodeWav(file: Buffer): DecodedSound {
  let format: { code: number; channels: number; sampleRate: number; bits: number } | undefined;
  for (let at = 12; at + 8 <= file.length; ) {
    const type = file.toString("latin1", at, at + 4);
    const length = file.readUInt32LE(at + 4);
    const body = file.subarray(at + 8, at + 8 + length);
    if (type === "fmt ") {
      const code = body.readUInt16LE(0);
      format = {
        code: code === EXTENSIBLE ? body.readUInt16LE(24) : code,
        channels: body.readUInt16LE(2),
        sampleRate: body.readUInt32LE(4),
        bits: body.readUInt16LE(14),
      };
    }
    if (type === "data" && format !== undefined)
      return { sampleRate: format.sampleRate, samples: samplesOf(body, format) };
    at += 8 + length + (length % 2);
  }
  throw new RangeError("A WAV file without samples");
}

function samplesOf(body: Buffer, format: { code: number; channels: number; bits: number }): Float32Array[] {
  const read = readerOf(body, format.code, format.bits);
  const width = format.bits / 8;
  const count = Math.floor(body.length / (width * format.channels));
  return Array.from({ length: format.channels }, (_, channel) =>
    Float32Array.from({ length: count }, (_unused, i) => read((i * format.channels + channel) * width)),
  );
}

function readerOf(body: Buffer, code: number, bits: number): (at: number) => number {
  if (code === FLOAT && bits === 32) return (at) => body.readFloatLE(at);
  if (code === FLOAT && bits === 64) return (at) => body.readDoubleLE(at);
  if (code === PCM && bits === 8) return (at) => (body.readUInt8(at) - 128) / 128;
  if (code === PCM && [16, 24, 32].includes(bits)) {
    return (at) => body.readIntLE(at, bits / 8) / 2 ** (bits - 1);
  }
  throw new RangeError(`A WAV file of coding ${code} with ${bits} bits`);
}
