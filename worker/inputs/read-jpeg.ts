/** Reads a JPEG (ITU-T T.81) from marker to marker, to its end. */
import { ascii, type ByteFeed, type Reading } from "#worker/inputs/byte-feed";
import { checkFrames, checkPixels, refuseBroken, refuseCut, refuseFile } from "#worker/inputs/picture-size";

/** Cameras write a few dozen; 100 MiB of metadata would be 1,600 segments of 64 KiB. */
const SEGMENTS_MAX = 10_000;
/** A progressive picture has about ten scans. Each may be a few bytes and costs a walk over all its pixels. */
const SCANS_MAX = 64;
/** The index of a file of several pictures (CIPA DC-007) says among its first entries how many they are. */
const INDEX_BYTES = 512;
const NUMBER_OF_PICTURES = 0xb001;
const READ_BYTES = 65_536;

const END_OF_IMAGE = 0xd9;
const START_OF_SCAN = 0xda;
const APP2 = 0xe2;
/** Baseline, extended and progressive, and the latter two with arithmetic coding: what libjpeg-turbo decodes. */
const FRAMES_DECODED: readonly number[] = [0xc0, 0xc1, 0xc2, 0xc9, 0xca];

/** Reads a JPEG to its end. @throws Problem invalid_file when ComfyUI could not open it, or only at a price */
export function* readJpeg(feed: ByteFeed): Reading<string> {
  yield* feed.skip(2);
  let size: { width: number; height: number } | undefined;
  let pictures = 1;
  let scans = 0;
  for (let segments = 0; segments < SEGMENTS_MAX; segments += 1) {
    const marker = yield* nextMarker(feed, scans > 0);
    if (marker === END_OF_IMAGE) {
      return scans === 0 ? refuseBroken("JPEG", "it has no pixels") : "image/jpeg";
    }
    // TEM and a second start stand alone, without a length.
    if (marker === 0x01 || marker === 0xd8) continue;
    let left = yield* segmentLength(feed);
    if (isStartOfFrame(marker)) {
      if (size !== undefined) refuseBroken("JPEG", "it starts twice");
      const frame = yield* feed.take(Math.min(left, 6));
      if (frame.byteLength < 6) refuseCut("JPEG");
      size = frameSize(marker, frame);
      left -= 6;
    } else if (marker === START_OF_SCAN) {
      if (size === undefined) refuseBroken("JPEG", "its pixels come before its size");
      scans += 1;
      if (scans > SCANS_MAX) {
        refuseFile(
          `The JPEG has more than ${SCANS_MAX} scans, which takes long to decode. Save it as a baseline JPEG.`,
        );
      }
    } else if (marker === APP2) {
      pictures = Math.max(pictures, picturesOf(yield* feed.peek(Math.min(left, INDEX_BYTES))));
    }
    if (size !== undefined) checkFrames(size.width, size.height, pictures);
    if ((yield* feed.skip(left)) < left) refuseCut("JPEG");
  }
  return refuseFile(`The JPEG has more than ${SEGMENTS_MAX} segments.`);
}

/** Bytes of a segment behind its length. */
function* segmentLength(feed: ByteFeed): Reading<number> {
  const head = yield* feed.take(2);
  if (head.byteLength < 2) refuseCut("JPEG");
  const length = (((head[0] ?? 0) << 8) | (head[1] ?? 0)) - 2;
  return length < 0 ? refuseBroken("JPEG", "a segment has no length") : length;
}

/**
 * The second byte of the next marker. In a scan, 0xFF stands before a 0 where it is data, and before restarts that
 * belong to it; fill bytes may come before any marker.
 */
function* nextMarker(feed: ByteFeed, isScan: boolean): Reading<number> {
  let isAfterFf = false;
  for (;;) {
    const some = yield* feed.peekSome(READ_BYTES);
    if (some.byteLength === 0) refuseCut("JPEG");
    let at = 0;
    while (at < some.byteLength) {
      if (!isAfterFf) {
        const found = some.indexOf(0xff, at);
        if (!isScan && found !== at) refuseBroken("JPEG", "what should be a marker is none");
        if (found === -1) break;
        isAfterFf = true;
        at = found + 1;
        continue;
      }
      const byte = some[at] ?? 0;
      at += 1;
      if (byte === 0xff) continue;
      isAfterFf = false;
      if (isScan && (byte === 0 || (byte >= 0xd0 && byte <= 0xd7))) continue;
      yield* feed.skip(at);
      return byte;
    }
    yield* feed.skip(some.byteLength);
  }
}

/** SOF0 to SOF15, without the markers of tables that lie between them (DHT, JPG, DAC). */
function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function frameSize(marker: number, frame: Uint8Array): { width: number; height: number } {
  const [precision = 0, high = 0, low = 0, wide = 0, narrow = 0, components = 0] = frame;
  const size = { width: (wide << 8) | narrow, height: (high << 8) | low };
  checkPixels("JPEG", size.width, size.height);
  if (!FRAMES_DECODED.includes(marker) || precision !== 8 || ![1, 3, 4].includes(components)) {
    refuseFile(
      "The JPEG is of a rare kind (lossless, hierarchical or of 12 bits). Save it as a baseline JPEG or a PNG.",
    );
  }
  return size;
}

/** How many pictures the file says it holds; a panorama's or a stereo camera's has more than one. */
function picturesOf(segment: Uint8Array): number {
  if (ascii(segment, 0, 4) !== "MPF\0") return 1;
  const index = segment.subarray(4);
  const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
  const little = ascii(index, 0, 2) === "II";
  if (index.byteLength < 8) return 1;
  const start = view.getUint32(4, little);
  if (start + 2 > index.byteLength) return 1;
  const entries = view.getUint16(start, little);
  for (let entry = 0; entry < entries; entry += 1) {
    const at = start + 2 + entry * 12;
    if (at + 12 > index.byteLength) return 1;
    if (view.getUint16(at, little) === NUMBER_OF_PICTURES) return view.getUint32(at + 8, little);
  }
  return 1;
}
