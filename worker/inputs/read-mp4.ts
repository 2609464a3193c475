/** Reads MP4 and QuickTime (ISO/IEC 14496-12) from box to box: the tracks they have, and whether all of the file came. */
import { ascii, type ByteFeed, type Reading, uint32 } from "#worker/inputs/byte-feed";
import { checkPixels, refuseBroken, refuseCut, refuseFile } from "#worker/inputs/picture-size";

/** A fragmented film has two boxes for every second or so. */
const BOXES_MAX = 100_000;
/** Boxes within which those are that describe a track. */
const CONTAINERS: readonly string[] = ["moov", "trak", "mdia", "minf", "stbl"];
const DEPTH_MAX = 8;

interface Tracks {
  boxes: number;
  hasIndex: boolean;
  /** The kind of the track whose boxes are being read. */
  handler: string;
  readonly kinds: Set<string>;
}

/** Reads a film to its end. @throws Problem invalid_file @returns its content type, that of sound when it has no picture */
export function* readMp4(feed: ByteFeed): Reading<string> {
  const head = yield* feed.peek(12);
  const isQuickTime = ascii(head, 4, 4) !== "ftyp" || ascii(head, 8, 4) === "qt  ";
  const tracks: Tracks = { boxes: 0, hasIndex: false, handler: "", kinds: new Set() };
  yield* readBoxes(feed, Number.POSITIVE_INFINITY, 0, tracks);
  if (!tracks.hasIndex) {
    refuseFile("The video has no index (moov): it was cut off or not finished. Send the whole file.");
  }
  if (tracks.kinds.has("vide")) return isQuickTime ? "video/quicktime" : "video/mp4";
  if (tracks.kinds.has("soun")) return "audio/mp4";
  return refuseFile("The file has neither a video nor an audio track.");
}

/** Reads the boxes up to a place in the file; those of the file itself may also go on to its end. */
function* readBoxes(feed: ByteFeed, end: number, depth: number, tracks: Tracks): Reading<void> {
  while (feed.offset + 8 <= end) {
    tracks.boxes += 1;
    if (tracks.boxes > BOXES_MAX) refuseFile(`The video has more than ${BOXES_MAX} boxes.`);
    const start = feed.offset;
    const head = yield* feed.take(8);
    if (head.byteLength === 0 && depth === 0) return;
    if (head.byteLength < 8) refuseCut("video");
    const type = ascii(head, 4, 4);
    let length = uint32(head, 0);
    if (length === 1) {
      const long = yield* feed.take(8);
      if (long.byteLength < 8) refuseCut("video");
      length = uint32(long, 0) * 2 ** 32 + uint32(long, 4);
    }
    if (length === 0 && depth > 0) return void (yield* feed.skip(end - feed.offset));
    const next = length === 0 ? Number.POSITIVE_INFINITY : start + length;
    if (next < feed.offset || (next > end && length !== 0)) refuseBroken("video", "a box is longer than what holds it");
    if (type === "moov") tracks.hasIndex = true;
    if (type === "trak") tracks.handler = "";
    if (CONTAINERS.includes(type) && depth < DEPTH_MAX && length !== 0) yield* readBoxes(feed, next, depth + 1, tracks);
    else if (depth > 0) yield* readTrackBox(feed, type, next - feed.offset, tracks);
    const left = next - feed.offset;
    if ((yield* feed.skip(left)) < left && length !== 0) refuseCut("video");
  }
  if (end !== Number.POSITIVE_INFINITY) yield* feed.skip(end - feed.offset);
}

/** The two boxes of a track that say what it is and how large its pictures are. */
function* readTrackBox(feed: ByteFeed, type: string, length: number, tracks: Tracks): Reading<void> {
  if (type === "hdlr") {
    const handler = ascii(yield* feed.peek(Math.min(length, 12)), 8, 4);
    // QuickTime writes a second handler, for where the data lies, into the same track.
    if (tracks.handler === "" && (handler === "vide" || handler === "soun")) {
      tracks.handler = handler;
      tracks.kinds.add(handler);
    }
  }
  if (type === "stsd" && tracks.handler === "vide") {
    const entry = yield* feed.peek(Math.min(length, 44));
    if (entry.byteLength < 44) return;
    const view = new DataView(entry.buffer, entry.byteOffset, 44);
    checkPixels("video", view.getUint16(40), view.getUint16(42));
  }
}
