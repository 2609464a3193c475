/** Reads a GIF (87a, 89a) from block to block. */
import type { ByteFeed, Reading } from "#worker/inputs/byte-feed";
import { checkFrames, checkPixels, refuseBroken, refuseCut } from "#worker/inputs/picture-size";

const READ_BYTES = 65_536;
/** A code of the packing has 12 bits at most, and what is packed starts one below. */
const CODE_BITS_MAX = 11;

/** Reads a GIF to its end. @throws Problem invalid_file when ComfyUI could not open it, or only at a price */
export function* readGif(feed: ByteFeed): Reading<string> {
  const head = yield* feed.take(13);
  if (head.byteLength < 13) refuseCut("GIF");
  let [width, height] = [uint16(head, 6), uint16(head, 8)];
  checkPixels("GIF", Math.max(1, width), Math.max(1, height));
  yield* skipColours(feed, head[10] ?? 0);
  for (let frames = 0; ; ) {
    const [kind] = yield* feed.take(1);
    // Many writers leave out the trailer, and decoders do not miss it.
    if (kind === undefined || kind === 0x3b) {
      return frames === 0 ? refuseCut("GIF") : "image/gif";
    }
    if (kind === 0) continue; // Some writers put a stray end of data between blocks.
    if (kind === 0x21) {
      yield* feed.skip(1);
    } else if (kind === 0x2c) {
      const frame = yield* feed.take(9);
      if (frame.byteLength < 9) refuseCut("GIF");
      // A frame that reaches out makes the canvas larger.
      width = Math.max(width, uint16(frame, 0) + uint16(frame, 4));
      height = Math.max(height, uint16(frame, 2) + uint16(frame, 6));
      frames += 1;
      checkPixels("GIF", width, height);
      checkFrames(width, height, frames);
      yield* skipColours(feed, frame[8] ?? 0);
      const [bits] = yield* feed.take(1);
      if (bits === undefined) refuseCut("GIF");
      if (bits < 1 || bits > CODE_BITS_MAX) refuseBroken("GIF", "a frame cannot be unpacked");
    } else refuseBroken("GIF", "what should be a block is none");
    yield* skipSubBlocks(feed);
  }
}

/** A table of colours, if the flags say that one follows. */
function* skipColours(feed: ByteFeed, flags: number): Reading<void> {
  if ((flags & 0x80) === 0) return;
  const bytes = 3 * 2 ** ((flags & 7) + 1);
  if ((yield* feed.skip(bytes)) < bytes) refuseCut("GIF");
}

/** Pieces of up to 255 bytes, each behind its length, until one of none. */
function* skipSubBlocks(feed: ByteFeed): Reading<void> {
  let left = 0;
  for (;;) {
    const some = yield* feed.peekSome(READ_BYTES);
    if (some.byteLength === 0) refuseCut("GIF");
    let at = Math.min(left, some.byteLength);
    left -= at;
    while (at < some.byteLength) {
      const length = some[at] ?? 0;
      at += 1;
      if (length === 0) {
        yield* feed.skip(at);
        return;
      }
      left = Math.max(0, at + length - some.byteLength);
      at = Math.min(at + length, some.byteLength);
    }
    yield* feed.skip(some.byteLength);
  }
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}
