/** What a file's first bytes say it is. Names and content types are claims; these bytes are what a decoder will meet. */

export type ImageType = "image/png" | "image/jpeg" | "image/webp" | "image/gif";

export interface ImageHeader {
  readonly contentType: ImageType;
  readonly width: number;
  readonly height: number;
}

/** Pictures we take as inputs. */
export const IMAGE_TYPES: readonly string[] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/** The picture format the bytes start with, or undefined. */
export function imageType(head: Uint8Array): ImageType | undefined {
  if (starts(head, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return "image/png";
  if (starts(head, [0xff, 0xd8, 0xff])) return "image/jpeg";
  if (ascii(head, 0, 4) === "RIFF" && ascii(head, 8, 4) === "WEBP") return "image/webp";
  if (ascii(head, 0, 6) === "GIF87a" || ascii(head, 0, 6) === "GIF89a") return "image/gif";
  return undefined;
}

/**
 * Format and size in pixels; undefined when the bytes are no such picture or end before they say its size.
 * @param head the start of the file: a JPEG may carry hundreds of kilobytes of metadata before its size
 */
export function imageHeader(head: Uint8Array): ImageHeader | undefined {
  const contentType = imageType(head);
  if (contentType === undefined) return undefined;
  const size = SIZE_READERS[contentType](head, new DataView(head.buffer, head.byteOffset, head.byteLength));
  if (size === undefined || size.width < 1 || size.height < 1) return undefined;
  return { contentType, ...size };
}

type SizeReader = (head: Uint8Array, view: DataView) => { width: number; height: number } | undefined;

const SIZE_READERS: Readonly<Record<ImageType, SizeReader>> = {
  "image/png": (head, view) =>
    head.byteLength >= 24 && ascii(head, 12, 4) === "IHDR"
      ? { width: view.getUint32(16), height: view.getUint32(20) }
      : undefined,
  "image/gif": (head, view) =>
    head.byteLength >= 10 ? { width: view.getUint16(6, true), height: view.getUint16(8, true) } : undefined,
  "image/jpeg": jpegSize,
  "image/webp": webpSize,
};

function jpegSize(head: Uint8Array, view: DataView): { width: number; height: number } | undefined {
  let at = 2;
  while (at + 9 <= head.byteLength) {
    if (view.getUint8(at) !== 0xff) return undefined;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1; // Fill bytes may precede a marker.
    } else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2; // These stand alone, without a length.
    } else if (isStartOfFrame(marker)) {
      return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    } else {
      const length = view.getUint16(at + 2);
      if (length < 2) return undefined;
      at += 2 + length;
    }
  }
  return undefined;
}

/** SOF0 to SOF15, without the markers of tables that lie between them (DHT, JPG, DAC). */
function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function webpSize(head: Uint8Array, view: DataView): { width: number; height: number } | undefined {
  if (head.byteLength < 30) return undefined;
  switch (ascii(head, 12, 4)) {
    case "VP8X":
      return { width: 1 + uint24(view, 24), height: 1 + uint24(view, 27) };
    case "VP8L": {
      if (view.getUint8(20) !== 0x2f) return undefined;
      const bits = view.getUint32(21, true);
      return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
    }
    case "VP8 ":
      return view.getUint8(23) === 0x9d && view.getUint8(24) === 0x01 && view.getUint8(25) === 0x2a
        ? { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }
        : undefined;
    default:
      return undefined;
  }
}

function uint24(view: DataView, at: number): number {
  return view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
}

function starts(head: Uint8Array, bytes: readonly number[]): boolean {
  return head.byteLength >= bytes.length && bytes.every((byte, index) => head[index] === byte);
}

function ascii(head: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...head.subarray(at, at + length));
}
