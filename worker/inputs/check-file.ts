/** Whether a file is what an input takes, decided from its bytes as they pass by on their way to the store. */
import type { MediaKind } from "#contract/workflow";
import { ByteFeed, type Reading } from "#worker/inputs/byte-feed";
import { type FileFormat, FORMAT_BYTES, foreignPicture, formatOf } from "#worker/inputs/file-format";
import { refuseFile } from "#worker/inputs/picture-size";
import { readBmp } from "#worker/inputs/read-bmp";
import { readGif } from "#worker/inputs/read-gif";
import { readJpeg } from "#worker/inputs/read-jpeg";
import { readMatroska } from "#worker/inputs/read-matroska";
import { readMp4 } from "#worker/inputs/read-mp4";
import { readPng } from "#worker/inputs/read-png";
import { MP3_FRAMES_BYTES, readFlac, readMp3, readOgg, readTagged, readWav } from "#worker/inputs/read-sound";
import { readWebp } from "#worker/inputs/read-webp";

const UNNAMED_TYPE = "application/octet-stream";

/** The content type of a format; where a file says more of itself, this is what it is until it has been read. */
const CONTENT_TYPES: Readonly<Record<FileFormat, string>> = {
  png: "image/png",
  jpeg: "image/jpeg",
  webp: "image/webp",
  gif: "image/gif",
  bmp: "image/bmp",
  wav: "audio/wav",
  flac: "audio/flac",
  ogg: "audio/ogg",
  mp3: "audio/mpeg",
  tagged: "audio/mpeg",
  mp4: "video/mp4",
  matroska: "video/webm",
};

/** Each reads a file of its format, and says what content type it has. */
const READERS: Readonly<Record<FileFormat, (feed: ByteFeed) => Reading<string>>> = {
  png: readPng,
  jpeg: readJpeg,
  webp: readWebp,
  gif: readGif,
  bmp: readBmp,
  wav: readWav,
  flac: readFlac,
  ogg: readOgg,
  mp3: readMp3,
  tagged: readTagged,
  mp4: readMp4,
  matroska: readMatroska,
};

/**
 * Checks a file while it passes by, holding a few kilobytes of it. Pictures are read to their end: their size, whether
 * all of them is there, and that nothing in them unpacks to more than it should. Of sounds and films it is what players
 * need in order to begin. The time it takes is linear in the bytes.
 */
export class FileCheck {
  readonly #feed = new ByteFeed();
  readonly #reading: Reading<string>;
  #contentType: string;
  #isDone = false;

  /**
   * @param claimed what the sender says of it; it decides nothing but whether a file that we do not know is refused
   * @param media what it is for, where that is known: another kind of file is refused as soon as it shows
   */
  constructor(claimed: string, media: MediaKind = "file") {
    this.#contentType = UNNAMED_TYPE;
    this.#reading = this.#fitting(claimed, media);
  }

  /** What the bytes so far say the file is. */
  get contentType(): string {
    return this.#contentType;
  }

  /** Takes the next bytes. @throws Problem invalid_file as soon as they are no good */
  push(chunk: Uint8Array): void {
    if (this.#isDone) return;
    this.#feed.add(chunk);
    this.#step();
  }

  /** No more will come. @throws Problem invalid_file */
  end(): void {
    if (this.#isDone) return;
    this.#feed.end();
    this.#step();
  }

  #step(): void {
    const { done, value } = this.#reading.next();
    if (done !== true) return;
    this.#isDone = true;
    this.#contentType = value;
  }

  *#fitting(claimed: string, media: MediaKind): Reading<string> {
    const contentType = yield* this.#inspect(claimed, media);
    refuseMisfit(contentType, media);
    return contentType;
  }

  *#inspect(claimed: string, media: MediaKind): Reading<string> {
    const head = yield* this.#feed.peek(FORMAT_BYTES);
    if (head.byteLength === 0) refuseFile("The file is empty.");
    // An MP3 without a tag has a mark of 11 bits alone, so that its next frame must be seen too.
    const isMp3Like = head[0] === 0xff && ((head[1] ?? 0) & 0xe0) === 0xe0;
    const format = formatOf(isMp3Like ? yield* this.#feed.peek(MP3_FRAMES_BYTES) : head);
    if (format === undefined) return unknownType(head, claimed);
    this.#contentType = CONTENT_TYPES[format];
    // Only the kinds of sounds and films are told apart further on.
    if (media === "image" || media === "mask") refuseMisfit(this.#contentType, media);
    return yield* READERS[format](this.#feed);
  }
}

/** The type of a file that none of the readers knows: what it is called, but never a picture, a sound or a film. */
function unknownType(head: Uint8Array, claimed: string): string {
  const foreign = foreignPicture(head);
  if (foreign !== undefined) {
    refuseFile(`It is ${foreign}, which not every ComfyUI can open. Convert it to ${PICTURES}.`);
  }
  const claim = claimed.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (!isMediaType(claim)) return UNNAMED_TYPE;
  const [kind] = claim.split("/");
  if (kind === "image") refuseFile(`It is sent as ${claim}, but its bytes are no ${PICTURES}.`);
  if (kind === "audio") refuseFile(`It is sent as ${claim}, but its bytes are no ${SOUNDS}.`);
  if (kind === "video") refuseFile(`It is sent as ${claim}, but its bytes are no ${FILMS}.`);
  return claim;
}

const PICTURES = "PNG, JPEG, WebP, GIF or BMP";
const SOUNDS = "WAV, FLAC, MP3, OGG, M4A or WebM";
const FILMS = "MP4, MOV, WebM or MKV";

/** What each kind of input takes: content types that we give, or how they begin. */
const TAKEN: Readonly<Record<Exclude<MediaKind, "file">, { readonly types: RegExp; readonly words: string }>> = {
  image: { types: /^image\/(png|jpeg|webp|gif|bmp)$/, words: `a picture: ${PICTURES}` },
  mask: { types: /^image\/(png|jpeg|webp|gif|bmp)$/, words: `a picture: ${PICTURES}` },
  video: { types: /^(video\/|image\/gif$)/, words: `a video: ${FILMS}, or a GIF` },
  audio: { types: /^(audio|video)\//, words: `sound, ${SOUNDS}, or a video with sound` },
};

/** What is wrong with a file of that type as a value of an input of that kind, or undefined. */
export function misfit(contentType: string, media: MediaKind): string | undefined {
  if (media === "file" || TAKEN[media].types.test(contentType)) return undefined;
  const found = contentType === UNNAMED_TYPE ? "of a format that is not known" : contentType;
  return `Must be ${TAKEN[media].words}; by its bytes this one is ${found}.`;
}

function refuseMisfit(contentType: string, media: MediaKind): void {
  const wrong = misfit(contentType, media);
  if (wrong !== undefined) refuseFile(wrong);
}

function isMediaType(text: string): boolean {
  return /^[a-z0-9][a-z0-9!#$&^_.+-]{0,63}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}$/.test(text);
}
