/** What a file's first bytes say it is. Names and content types are claims; these bytes are what a decoder will meet. */
import { ascii } from "#worker/inputs/byte-feed";
import { BMP_HEADERS } from "#worker/inputs/read-bmp";
import { startsMp3 } from "#worker/inputs/read-sound";

/** Formats that we read before ComfyUI does. `tagged` is sound behind an ID3 tag, mostly MP3. */
export type FileFormat =
  | "png"
  | "jpeg"
  | "webp"
  | "gif"
  | "bmp"
  | "wav"
  | "flac"
  | "ogg"
  | "mp3"
  | "tagged"
  | "mp4"
  | "matroska";

/** Bytes from which all but MP3 can be told. */
export const FORMAT_BYTES = 64;

/** The format the bytes start with; undefined when it is none of those. @param head as many bytes as are there */
export function formatOf(head: Uint8Array): FileFormat | undefined {
  if (ascii(head, 0, 8) === "\u0089PNG\r\n\u001a\n") return "png";
  if (ascii(head, 0, 3) === "\u00ff\u00d8\u00ff") return "jpeg";
  if (/^GIF8[79]a/.test(ascii(head, 0, 6))) return "gif";
  if (ascii(head, 0, 4) === "RIFF") return riffFormat(ascii(head, 8, 4));
  if (ascii(head, 0, 2) === "BM" && BMP_HEADERS.includes(head[14] ?? 0) && ascii(head, 15, 3) === "\0\0\0")
    return "bmp";
  if (ascii(head, 0, 4) === "fLaC") return "flac";
  if (ascii(head, 0, 4) === "OggS") return "ogg";
  if (ascii(head, 0, 3) === "ID3") return "tagged";
  if (ascii(head, 0, 4) === "\u001aE\u00df\u00a3") return "matroska";
  if (isMp4(head)) return "mp4";
  return startsMp3(head) ? "mp3" : undefined;
}

function riffFormat(type: string): FileFormat | undefined {
  if (type === "WEBP") return "webp";
  return type === "WAVE" ? "wav" : undefined;
}

/** The oldest QuickTime films begin without saying what they are. */
function isMp4(head: Uint8Array): boolean {
  const type = ascii(head, 4, 4);
  return (
    (type === "ftyp" && foreignPicture(head) === undefined) || type === "moov" || type === "mdat" || type === "wide"
  );
}

/** Pictures that some programs open but not every ComfyUI. */
const FOREIGN_STARTS: readonly (readonly [at: number, start: string, name: string])[] = [
  [0, "II*\0", "a TIFF"],
  [0, "MM\0*", "a TIFF"],
  [0, "\u00ff\u000a", "a JPEG XL"],
  [4, "JXL ", "a JPEG XL"],
  [4, "jP  ", "a JPEG 2000"],
  [0, "8BPS", "a Photoshop file"],
  [0, "v/1\u0001", "an OpenEXR"],
];
const HEIF_BRANDS = /^(mif1|msf1|hei[cxms]|hev[cxms])$/;

/** What picture the bytes are that is not taken, with its article; undefined when they are none of those. */
export function foreignPicture(head: Uint8Array): string | undefined {
  const found = FOREIGN_STARTS.find(([at, start]) => ascii(head, at, start.length) === start);
  if (found !== undefined) return found[2];
  if (ascii(head, 4, 4) === "ftyp") {
    // The brand may be a general one; the ones it goes with say which pictures are inside.
    const brands = [8, 16, 20, 24, 28, 32, 36].map((at) => ascii(head, at, 4));
    if (brands[0] === "avif" || brands[0] === "avis") return "an AVIF";
    if (HEIF_BRANDS.test(brands[0] ?? "")) return brands.includes("avif") ? "an AVIF" : "a HEIC";
  }
  return /^\s*(<\?xml[^>]*>\s*)?(<!--.{0,20})?<svg/i.test(ascii(head, 0, FORMAT_BYTES)) ? "an SVG" : undefined;
}
