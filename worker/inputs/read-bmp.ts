/** Reads a Windows bitmap. */
import type { ByteFeed, Reading } from "#worker/inputs/byte-feed";
import { checkPixels, refuseCut, refuseFile } from "#worker/inputs/picture-size";

/** Headers after the file's own 14 bytes: OS/2's, and the five of Windows. */
export const BMP_HEADERS: readonly number[] = [12, 40, 52, 56, 64, 108, 124];
const PLAIN = 0;
const BIT_FIELDS = 3;

/** Reads a BMP to its end. @throws Problem invalid_file when ComfyUI could not open it */
export function* readBmp(feed: ByteFeed): Reading<string> {
  const bytes = yield* feed.take(54);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 26) refuseCut("BMP");
  const isOldest = view.getUint32(14, true) === 12;
  if (!isOldest && bytes.byteLength < 54) refuseCut("BMP");
  const start = view.getUint32(10, true);
  const width = isOldest ? view.getUint16(18, true) : view.getInt32(18, true);
  // A negative height means that the rows go downwards.
  const height = Math.abs(isOldest ? view.getUint16(20, true) : view.getInt32(22, true));
  const bits = view.getUint16(isOldest ? 24 : 28, true);
  const packing = isOldest ? PLAIN : view.getUint32(30, true);
  checkPixels("BMP", width, height);
  if (![1, 4, 8, 16, 24, 32].includes(bits) || (packing !== PLAIN && packing !== BIT_FIELDS)) {
    refuseFile("The BMP is of a rare kind (packed, or with an odd number of bits). Save it as a PNG.");
  }
  const row = 4 * Math.ceil((width * bits) / 32);
  const missing = start + row * height - feed.offset;
  if (missing > 0 && (yield* feed.skip(missing)) < missing) refuseCut("BMP");
  return "image/bmp";
}
