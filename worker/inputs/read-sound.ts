/** Reads the start of sound files, as far as a decoder needs it to begin. What is cut off later still plays until there. */
import { ascii, type ByteFeed, type Reading, uint32 } from "#worker/inputs/byte-feed";
import { refuseBroken, refuseCut, refuseFile } from "#worker/inputs/picture-size";

/** Samples of all channels: ComfyUI keeps them at once, as 4 bytes each, and silence packs a thousand times smaller. */
const AUDIO_SAMPLES_MAX = 512 * 1024 * 1024;
/** Blocks of metadata before the sound. */
const BLOCKS_MAX = 10_000;
/** Bytes between an ID3 tag and the first frame that players search through. */
const MP3_GAP_BYTES_MAX = 65_536;
/** Two frames of MP3 and the start of a third: the largest has 1,441 bytes. */
export const MP3_FRAMES_BYTES = 4_096;
/** From here on, a length is what programs write that do not know it yet. */
const UNKNOWN_LENGTH = 0x7fff_f000;

/** Reads a WAV up to its sound. @throws Problem invalid_file */
export function* readWav(feed: ByteFeed): Reading<string> {
  yield* feed.skip(12);
  let isDescribed = false;
  for (let blocks = 0; blocks < BLOCKS_MAX; blocks += 1) {
    const head = yield* feed.take(8);
    if (head.byteLength < 8) refuseCut("WAV");
    const length = new DataView(head.buffer, head.byteOffset, 8).getUint32(4, true);
    const type = ascii(head, 0, 4);
    if (type === "fmt ") {
      const format = yield* feed.peek(Math.min(length, 16));
      if (format.byteLength < 16) refuseBroken("WAV", "it does not say how its sound is written");
      const view = new DataView(format.buffer, format.byteOffset, 16);
      if (view.getUint16(2, true) === 0 || view.getUint32(4, true) === 0) {
        refuseBroken("WAV", "it says that it has no channels or no samples a second");
      }
      isDescribed = true;
    } else if (type === "data") {
      if (!isDescribed) refuseBroken("WAV", "it does not say how its sound is written");
      const isKnown = length > 0 && length < UNKNOWN_LENGTH;
      if ((yield* feed.skip(isKnown ? length : 1)) < (isKnown ? length : 1)) refuseCut("WAV");
      return "audio/wav";
    }
    if ((yield* feed.skip(length + (length & 1))) < length) refuseCut("WAV");
  }
  return refuseFile(`The WAV has more than ${BLOCKS_MAX} blocks before its sound.`);
}

/** Reads a FLAC (RFC 9639) up to its first frame. @throws Problem invalid_file */
export function* readFlac(feed: ByteFeed): Reading<string> {
  yield* feed.skip(4);
  for (let blocks = 0; blocks < BLOCKS_MAX; blocks += 1) {
    const head = yield* feed.take(4);
    if (head.byteLength < 4) refuseCut("FLAC");
    const length = uint32(head, 0) & 0xff_ffff;
    if (blocks === 0) {
      if (((head[0] ?? 0) & 0x7f) !== 0 || length !== 34) refuseBroken("FLAC", "it does not start with its header");
      checkStreamInfo(yield* feed.peek(34));
    }
    if ((yield* feed.skip(length)) < length) refuseCut("FLAC");
    if (((head[0] ?? 0) & 0x80) === 0) continue;
    const frame = yield* feed.peek(2);
    if (frame.byteLength < 2) refuseCut("FLAC");
    if (frame[0] !== 0xff || ((frame[1] ?? 0) & 0xfe) !== 0xf8) refuseBroken("FLAC", "its first frame is none");
    return "audio/flac";
  }
  return refuseFile(`The FLAC has more than ${BLOCKS_MAX} blocks before its sound.`);
}

/** 20 bits of samples a second, 3 of channels less one, 5 of the sample's bits, 36 of samples in all. */
function checkStreamInfo(info: Uint8Array): void {
  if (info.byteLength < 34) refuseCut("FLAC");
  const rate = uint32(info, 10) >>> 12;
  const channels = (((info[12] ?? 0) >> 1) & 7) + 1;
  const samples = ((info[13] ?? 0) & 15) * 2 ** 32 + uint32(info, 14);
  if (rate === 0) refuseBroken("FLAC", "it says that it has no samples a second");
  if (samples * channels > AUDIO_SAMPLES_MAX) {
    refuseFile(`It has ${samples * channels} samples; at most ${AUDIO_SAMPLES_MAX} are taken. Send a shorter piece.`);
  }
}

/** Reads an Ogg (RFC 3533) as far as it says what it holds. @throws Problem invalid_file @returns its content type */
export function* readOgg(feed: ByteFeed): Reading<string> {
  const page = yield* feed.take(27);
  const segments = page[26] ?? 0;
  if (page.byteLength < 27) refuseCut("Ogg");
  if (page[4] !== 0 || ((page[5] ?? 0) & 2) === 0 || segments === 0) refuseBroken("Ogg", "its first page is none");
  yield* feed.skip(segments);
  const packet = yield* feed.take(8);
  if (packet.byteLength < 8) refuseCut("Ogg");
  const start = ascii(packet, 0, 8);
  if (/^(\u0001vorbis|OpusHead|\u007fFLAC|Speex {3})/.test(start)) return "audio/ogg";
  if (start.startsWith("\u0080theora")) return "video/ogg";
  return refuseFile("The Ogg holds no Vorbis, Opus, FLAC, Speex or Theora. Send its sound as WAV, FLAC or MP3.");
}

/** Reads what follows an ID3 tag, which may be other sound than MP3. @throws Problem invalid_file @returns its content type */
export function* readTagged(feed: ByteFeed): Reading<string> {
  const head = yield* feed.take(10);
  if (head.byteLength < 10) refuseCut("MP3");
  const [a = 0, b = 0, c = 0, d = 0] = head.subarray(6);
  if ((a | b | c | d) > 0x7f) refuseBroken("MP3", "its ID3 tag has no length");
  const footer = ((head[5] ?? 0) & 0x10) === 0 ? 0 : 10;
  const length = ((a << 21) | (b << 14) | (c << 7) | d) + footer;
  if ((yield* feed.skip(length)) < length) refuseCut("MP3");
  if (ascii(yield* feed.peek(4), 0, 4) === "fLaC") {
    return yield* readFlac(feed);
  }
  return yield* readMp3(feed);
}

/** Finds the first frames of an MP3. @throws Problem invalid_file */
export function* readMp3(feed: ByteFeed): Reading<string> {
  for (let searched = 0; searched < MP3_GAP_BYTES_MAX; ) {
    const bytes = yield* feed.peek(MP3_FRAMES_BYTES);
    for (let at = 0; at < bytes.byteLength && (bytes.byteLength < MP3_FRAMES_BYTES || at < 1_024); at += 1) {
      if (startsMp3(bytes.subarray(at))) return "audio/mpeg";
    }
    if (bytes.byteLength < MP3_FRAMES_BYTES) break;
    searched += yield* feed.skip(1_024);
  }
  return refuseBroken("MP3", "no frames of sound were found in it");
}

/** Kilobits a second of layer III, in MPEG 1 and in MPEG 2 and 2.5. */
const MP3_RATES = [
  [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
] as const;
const MP3_SAMPLES = [44_100, 48_000, 32_000] as const;

/** True for two MP3 frames in a row, or for one that ends where the bytes do: 11 bits alone come up by chance. */
export function startsMp3(bytes: Uint8Array): boolean {
  const first = mp3FrameBytes(bytes, 0);
  if (first === undefined || first > bytes.byteLength) return false;
  return first === bytes.byteLength || mp3FrameBytes(bytes, first) !== undefined;
}

/** The length of the MP3 frame at a place; undefined when there is none. */
function mp3FrameBytes(bytes: Uint8Array, at: number): number | undefined {
  const [sync = 0, kind = 0, rates = 0] = bytes.subarray(at, at + 4);
  if (bytes.byteLength < at + 4 || sync !== 0xff || (kind & 0xe0) !== 0xe0) return undefined;
  const version = (kind >> 3) & 3; // 3 is MPEG 1, 2 MPEG 2, 0 MPEG 2.5.
  const isLayer3 = ((kind >> 1) & 3) === 1;
  const kilobits = MP3_RATES[version === 3 ? 0 : 1][rates >> 4];
  const fastest = MP3_SAMPLES[(rates >> 2) & 3];
  if (version === 1 || !isLayer3 || kilobits === undefined || kilobits === 0 || fastest === undefined) return undefined;
  const samples = version === 3 ? fastest : version === 2 ? fastest / 2 : fastest / 4;
  return Math.floor(((version === 3 ? 144_000 : 72_000) * kilobits) / samples) + ((rates >> 1) & 1);
}
