/**
 * Reads the workflow that ComfyUI writes into the WebPs it saves: ASCII tags of the EXIF chunk, `prompt:{…}` in Model
 * (0x0110) and `workflow:{…}` in Make (0x010F) and, for further texts, the tags below it.
 */
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { decodeMetadata } from "../png-metadata.ts";

/** All text taken from one picture. Many tags may point at the same bytes, so that a small file could say much. */
const WEBP_TEXT_BYTES_MAX = WORKFLOW_BODY_BYTES_MAX;
const ASCII = 2;
const TIFF_MAGIC = 42;
/** `workflow` with its colon; a tag is looked at no further than this to see whether it is one of ours. */
const KEYWORD_BYTES_MAX = 40;

/** The texts by keyword, in lower case; `fault` says why a picture cannot be read. */
export type WebpMetadata =
  | { readonly ok: true; readonly text: ReadonlyMap<string, string> }
  | { readonly ok: false; readonly fault: string };

export function isWebp(bytes: Uint8Array): boolean {
  return tag(bytes, 0) === "RIFF" && tag(bytes, 8) === "WEBP";
}

/** Reads the tags that begin with one of `keywords` and a colon; the first of each counts. */
export function readWebpMetadata(webp: Uint8Array, keywords: readonly string[]): WebpMetadata {
  if (!isWebp(webp)) return { ok: false, fault: "The file is not a WebP." };
  const view = new DataView(webp.buffer, webp.byteOffset, webp.byteLength);
  let at = 12;
  while (at + 8 <= webp.length) {
    const length = view.getUint32(at + 4, true);
    const data = webp.subarray(at + 8, at + 8 + length);
    if (data.length < length) return { ok: false, fault: "The WebP is cut off." };
    if (tag(webp, at) === "EXIF") return readExif(data, keywords);
    // Chunks begin at even places.
    at += 8 + length + (length % 2);
  }
  return { ok: true, text: new Map() };
}

/** The first directory of the TIFF structure that EXIF is; some writers put JPEG's `Exif` before it. */
function readExif(exif: Uint8Array, keywords: readonly string[]): WebpMetadata {
  const broken = { ok: false, fault: "The WebP's EXIF cannot be read." } as const;
  const tiff = tag(exif, 0) === "Exif" ? exif.subarray(6) : exif;
  const order = tag(tiff, 0).slice(0, 2);
  if (tiff.length < 8 || (order !== "II" && order !== "MM")) return broken;
  const little = order === "II";
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const directory = view.getUint32(4, little);
  if (view.getUint16(2, little) !== TIFF_MAGIC || directory + 2 > tiff.length) return broken;
  const count = view.getUint16(directory, little);
  const text = new Map<string, string>();
  let left = WEBP_TEXT_BYTES_MAX;
  for (let index = 0; index < count; index += 1) {
    const entry = directory + 2 + index * 12;
    if (entry + 12 > tiff.length) return broken;
    if (view.getUint16(entry + 2, little) !== ASCII) continue;
    const length = view.getUint32(entry + 4, little);
    // Up to four bytes stand in the entry itself; they are too few for a keyword.
    if (length <= 4) continue;
    const start = view.getUint32(entry + 8, little);
    const value = tiff.subarray(start, start + length);
    const keyword = keywordOf(value);
    if (keyword === undefined || !keywords.includes(keyword) || text.has(keyword)) continue;
    if (value.length < length) return broken;
    left -= length;
    if (left < 0) return { ok: false, fault: `The WebP holds more than ${WEBP_TEXT_BYTES_MAX} bytes of text.` };
    const end = value.indexOf(0);
    text.set(keyword, decodeMetadata(value.subarray(keyword.length + 1, end === -1 ? value.length : end)));
  }
  return { ok: true, text };
}

function keywordOf(value: Uint8Array): string | undefined {
  const start = String.fromCharCode(...value.subarray(0, KEYWORD_BYTES_MAX));
  const colon = start.indexOf(":");
  return colon < 1 ? undefined : start.slice(0, colon).toLowerCase();
}

function tag(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}
