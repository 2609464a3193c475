/** Reads a WebP (RFC 9649) from chunk to chunk. */
import { ascii, type ByteFeed, type Reading } from "#worker/inputs/byte-feed";
import { checkFrames, checkPixels, refuseBroken, refuseCut, refuseFile } from "#worker/inputs/picture-size";

/** A frame is three chunks at most; more frames than this are refused by their pixels anyway. */
const CHUNKS_MAX = 100_000;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Reads a WebP to its end. @throws Problem invalid_file when ComfyUI could not open it, or only at a price */
export function* readWebp(feed: ByteFeed): Reading<string> {
  const riff = yield* feed.take(12);
  const end = 8 + little(riff, 4, 4);
  let canvas: Size | undefined;
  let isAnimated = false;
  let frames = 0;
  for (let chunks = 0; feed.offset < end; chunks += 1) {
    if (chunks === CHUNKS_MAX) refuseFile(`The WebP has more than ${CHUNKS_MAX} chunks.`);
    const head = yield* feed.take(8);
    if (head.byteLength < 8) refuseCut("WebP");
    const length = little(head, 4, 4);
    const next = feed.offset + length + (length & 1);
    const bytes = yield* feed.peek(Math.min(length, 40));
    switch (ascii(head, 0, 4)) {
      case "VP8X":
        if (chunks > 0 || bytes.byteLength < 10) refuseBroken("WebP", "its header is not where it must be");
        canvas = { width: 1 + little(bytes, 4, 3), height: 1 + little(bytes, 7, 3) };
        checkPixels("WebP", canvas.width, canvas.height);
        isAnimated = ((bytes[0] ?? 0) & 2) !== 0;
        break;
      case "VP8 ":
      case "VP8L": {
        const size = pictureSize(ascii(head, 0, 4), bytes, length);
        if (isAnimated) break;
        canvas ??= size;
        checkPixels("WebP", size.width, size.height);
        if (size.width !== canvas.width || size.height !== canvas.height) {
          refuseBroken("WebP", "its picture is not of the size that its header says");
        }
        frames += 1;
        break;
      }
      case "ANMF":
        if (canvas === undefined || !isAnimated) refuseBroken("WebP", "it has frames but no animation");
        frames += 1;
        checkFrame(canvas, bytes);
        checkFrames(canvas.width, canvas.height, frames);
        break;
    }
    // Some writers leave out the last byte of padding.
    if ((yield* feed.skip(next - feed.offset)) < length) refuseCut("WebP");
  }
  if (frames === 0) refuseBroken("WebP", "it has no picture");
  return "image/webp";
}

/** A frame's place, and the picture in it. */
function checkFrame(canvas: Size, bytes: Uint8Array): void {
  const [left, top] = [2 * little(bytes, 0, 3), 2 * little(bytes, 3, 3)];
  const [width, height] = [1 + little(bytes, 6, 3), 1 + little(bytes, 9, 3)];
  if (bytes.byteLength < 24 || left + width > canvas.width || top + height > canvas.height) {
    refuseBroken("WebP", "a frame lies outside the picture");
  }
}

/** The size that the picture's own first bytes say, which are of the one version there is, and of a whole picture. */
function pictureSize(type: string, bytes: Uint8Array, length: number): Size {
  if (type === "VP8L" && bytes.byteLength >= 5 && bytes[0] === 0x2f) {
    const bits = little(bytes, 1, 4);
    if (bits >>> 29 !== 0) refuseBroken("WebP", "its picture is of an unknown version");
    return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
  }
  if (type === "VP8 " && bytes.byteLength >= 10 && bytes[3] === 0x9d && bytes[4] === 0x01 && bytes[5] === 0x2a) {
    const tag = little(bytes, 0, 3);
    const isWhole = (tag & 1) === 0 && ((tag >> 1) & 7) <= 3 && tag >>> 5 <= length - 10;
    if (!isWhole) refuseBroken("WebP", "its picture does not begin with a whole one");
    return { width: little(bytes, 6, 2) & 0x3fff, height: little(bytes, 8, 2) & 0x3fff };
  }
  return refuseBroken("WebP", "its picture has no header");
}

/** A whole number of up to four bytes, the first one the lowest; bytes that are not there count as 0. */
function little(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let index = length - 1; index >= 0; index -= 1) value = value * 256 + (bytes[at + index] ?? 0);
  return value;
}
