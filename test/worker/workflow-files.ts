/** Files that carry a workflow, as data URIs; made of bytes alone, for tests inside the Worker's runtime. */

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function numbers(littleEndian: boolean, ...fields: readonly (readonly [bytes: 2 | 4, value: number])[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(fields.reduce((length, [bytes]) => length + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(at, value, littleEndian);
    else view.setUint32(at, value, littleEndian);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

export function dataUri(type: string, bytes: Uint8Array): string {
  return `data:${type};base64,${btoa(String.fromCharCode(...bytes))}`;
}

/** A PNG without pixels whose text chunk `keyword` holds `text`. */
export function pngWith(keyword: string, text: string): Uint8Array {
  const data = latin1(`${keyword}\0${text}`);
  const chunk = (type: string, content: Uint8Array): Uint8Array =>
    joined(numbers(false, [4, content.length]), latin1(type), content, numbers(false, [4, 0]));
  const signature = latin1("\u0089PNG\r\n\u001a\n");
  return joined(signature, chunk("IHDR", new Uint8Array(13)), chunk("tEXt", data), chunk("IEND", new Uint8Array()));
}

/** A WebP without pixels whose EXIF holds `text` in one ASCII tag. */
export function webpWith(text: string): Uint8Array {
  const value = latin1(`${text}\0`);
  const entry = numbers(true, [2, 0x0110], [2, 2], [4, value.length], [4, 26]);
  const exif = joined(latin1("II"), numbers(true, [2, 42], [4, 8], [2, 1]), entry, numbers(true, [4, 0]), value);
  const body = joined(latin1("WEBPEXIF"), numbers(true, [4, exif.length]), exif);
  return joined(latin1("RIFF"), numbers(true, [4, body.length]), body);
}

/** A zip of one deflated file. */
export async function zipWith(name: string, text: string): Promise<Uint8Array> {
  const content = latin1(text);
  const stream = new Blob([content]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  const fields = joined(
    numbers(true, [2, 20], [2, 0], [2, 8], [4, 0], [4, crc32(content)], [4, packed.length], [4, content.length]),
    numbers(true, [2, name.length], [2, 0]),
  );
  const entry = joined(latin1("PK\u0003\u0004"), fields, latin1(name), packed);
  const directory = joined(latin1("PK\u0001\u0002\u0014\0"), fields, new Uint8Array(14), latin1(name));
  const end = numbers(true, [4, 0], [2, 1], [2, 1], [4, directory.length], [4, entry.length], [2, 0]);
  return joined(entry, directory, latin1("PK\u0005\u0006"), end);
}

function crc32(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}
