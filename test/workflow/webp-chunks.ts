/** WebPs made of chunks, for tests of what is in their EXIF; they have no pixels. */

const text = (value: string): Buffer => Buffer.from(value, "latin1");

export function webpChunk(type: string, data: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.write(type, "latin1");
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}

export function webp(...chunks: Buffer[]): Uint8Array {
  const body = Buffer.concat([text("WEBP"), webpChunk("VP8X", Buffer.alloc(10)), ...chunks]);
  const head = Buffer.alloc(8);
  head.write("RIFF", "latin1");
  head.writeUInt32LE(body.length, 4);
  return new Uint8Array(Buffer.concat([head, body]));
}

/** An EXIF chunk's data as Pillow writes it: one directory of ASCII tags, each value after it. */
export function exif(tags: readonly (readonly [tag: number, value: string])[], order: "II" | "MM" = "II"): Buffer {
  const little = order === "II";
  const u16 = (value: number): Buffer => {
    const bytes = Buffer.alloc(2);
    if (little) bytes.writeUInt16LE(value);
    else bytes.writeUInt16BE(value);
    return bytes;
  };
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    if (little) bytes.writeUInt32LE(value);
    else bytes.writeUInt32BE(value);
    return bytes;
  };
  const values = tags.map(([, value]) => Buffer.concat([Buffer.from(value, "utf8"), Buffer.alloc(1)]));
  let at = 8 + 2 + tags.length * 12 + 4;
  const entries = tags.map(([tag], index) => {
    const length = values[index]?.length ?? 0;
    const entry = Buffer.concat([u16(tag), u16(2), u32(length), u32(at)]);
    at += length;
    return entry;
  });
  return Buffer.concat([text(order), u16(42), u32(8), u16(tags.length), ...entries, u32(0), ...values]);
}
