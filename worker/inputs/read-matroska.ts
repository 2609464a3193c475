/** Reads Matroska and WebM (RFC 9559) up to their list of tracks. */
import { ascii, type ByteFeed, type Reading } from "#worker/inputs/byte-feed";
import { checkPixels, refuseBroken, refuseCut, refuseFile } from "#worker/inputs/picture-size";

const HEADER = 0x1a45dfa3;
const DOCUMENT_TYPE = 0x4282;
const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
const TRACKS = 0x1654ae6b;
const TRACK_ENTRY = 0xae;
const TRACK_TYPE = 0x83;
const VIDEO = 0xe0;
const PIXEL_WIDTH = 0xb0;
const PIXEL_HEIGHT = 0xba;
/** Elements before the list of tracks, and in it. */
const ELEMENTS_MAX = 10_000;
const CONTAINERS: readonly number[] = [HEADER, SEGMENT, TRACKS, TRACK_ENTRY, VIDEO];

/** Reads a film up to its tracks. @throws Problem invalid_file @returns its content type, that of sound when it has no picture */
export function* readMatroska(feed: ByteFeed): Reading<string> {
  let documentType = "";
  let tracksEnd = Number.POSITIVE_INFINITY;
  let width = 1;
  let height = 1;
  const types = new Set<number>();
  for (let elements = 0; feed.offset < tracksEnd; elements += 1) {
    if (elements === ELEMENTS_MAX) refuseFile(`The video has more than ${ELEMENTS_MAX} elements before its pictures.`);
    const id = yield* variableNumber(feed, false);
    const length = yield* variableNumber(feed, true);
    if (id === CLUSTER) break;
    if (id === TRACKS) tracksEnd = length === undefined ? tracksEnd : feed.offset + length;
    if (CONTAINERS.includes(id ?? 0)) continue;
    if (length === undefined) refuseBroken("video", "an element has no end");
    const value = yield* feed.peek(Math.min(length, 16));
    if (id === DOCUMENT_TYPE) documentType = ascii(value, 0, 16);
    if (id === TRACK_TYPE) types.add(value[value.byteLength - 1] ?? 0);
    if (id === PIXEL_WIDTH) width = wholeNumber(value);
    if (id === PIXEL_HEIGHT) height = wholeNumber(value);
    if (width > 1 && height > 1) checkPixels("video", width, height);
    if ((yield* feed.skip(length)) < length) refuseCut("video");
  }
  const isWebm = documentType.startsWith("webm");
  if (types.has(1)) return isWebm ? "video/webm" : "video/x-matroska";
  if (types.has(2)) return isWebm ? "audio/webm" : "audio/x-matroska";
  return refuseFile("The file has neither a video nor an audio track.");
}

/**
 * A number whose first byte says by its leading zeros how long it is. An id keeps that mark; a length of ones alone is
 * unknown, undefined here.
 */
function* variableNumber(feed: ByteFeed, isLength: boolean): Reading<number | undefined> {
  const [first] = yield* feed.peek(1);
  if (first === undefined) refuseCut("video");
  const count = Math.clz32(first) - 23;
  if (count > (isLength ? 8 : 4)) refuseBroken("video", "what should be an element is none");
  const bytes = yield* feed.take(count);
  if (bytes.byteLength < count) refuseCut("video");
  if (!isLength) return wholeNumber(bytes);
  // Without the mark, before it makes a number of eight bytes too large to be exact.
  const value = bytes.map((byte, index) => (index === 0 ? byte & (0xff >> count) : byte));
  const isUnknown = value.every((byte, index) => byte === (index === 0 ? 0xff >> count : 0xff));
  return isUnknown ? undefined : wholeNumber(value);
}

function wholeNumber(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}
