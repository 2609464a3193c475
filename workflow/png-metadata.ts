/** Reads the workflow that ComfyUI writes into the pictures it saves: PNG text chunks called `prompt` and `workflow`. */
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { inflate } from "./sources/inflate.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** All text taken from one picture, after inflating: a few hundred bytes of zTXt can hold gigabytes. */
export const PNG_TEXT_BYTES_MAX = WORKFLOW_BODY_BYTES_MAX;

/** The text chunks, by keyword; `fault` says why a picture cannot be read. */
export type PngMetadata =
  | { readonly ok: true; readonly text: ReadonlyMap<string, string> }
  | { readonly ok: false; readonly fault: string };

export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, index) => bytes[index] === byte);
}

/**
 * Reads tEXt, zTXt and iTXt chunks whose keyword is one of `keywords`; the first of each counts. Chunk checksums are
 * not looked at: a flipped bit shows when the text is parsed.
 */
export async function readPngMetadata(png: Uint8Array, keywords: readonly string[]): Promise<PngMetadata> {
  if (!isPng(png)) return { ok: false, fault: "The file is not a PNG." };
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const text = new Map<string, string>();
  let left = PNG_TEXT_BYTES_MAX;
  let at = SIGNATURE.length;
  while (at + 12 <= png.length) {
    const length = view.getUint32(at);
    const type = latin1(png.subarray(at + 4, at + 8));
    const data = png.subarray(at + 8, at + 8 + length);
    if (data.length < length) return { ok: false, fault: "The PNG is cut off." };
    at += 12 + length;
    if (type === "IEND") break;
    if (type !== "tEXt" && type !== "zTXt" && type !== "iTXt") continue;
    const chunk = readTextChunk(type, data);
    if (chunk === undefined || !keywords.includes(chunk.keyword) || text.has(chunk.keyword)) continue;
    const bytes = chunk.deflated ? await inflate(chunk.bytes, "deflate", left) : chunk.bytes;
    if (bytes === undefined) return { ok: false, fault: `The PNG's text chunk "${chunk.keyword}" cannot be inflated.` };
    left -= bytes.length;
    if (left < 0) return { ok: false, fault: `The PNG holds more than ${PNG_TEXT_BYTES_MAX} bytes of text.` };
    text.set(chunk.keyword, decodeMetadata(bytes));
  }
  return { ok: true, text };
}

interface TextChunk {
  readonly keyword: string;
  readonly deflated: boolean;
  readonly bytes: Uint8Array;
}

/**
 * Layouts, with 0 for a null byte:
 *   tEXt  keyword 0 text
 *   zTXt  keyword 0 method deflated
 *   iTXt  keyword 0 flag method language 0 translated keyword 0 text or deflated
 */
function readTextChunk(type: "tEXt" | "zTXt" | "iTXt", data: Uint8Array): TextChunk | undefined {
  const end = data.indexOf(0);
  if (end < 1 || end > 79) return undefined;
  const keyword = latin1(data.subarray(0, end));
  if (type === "tEXt") return { keyword, deflated: false, bytes: data.subarray(end + 1) };
  if (type === "zTXt") return { keyword, deflated: true, bytes: data.subarray(end + 2) };
  const language = data.indexOf(0, end + 3);
  const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
  if (translated < 0) return undefined;
  return { keyword, deflated: data[end + 1] === 1, bytes: data.subarray(translated + 1) };
}

/** The standard says Latin-1; many writers put UTF-8 there. Python's escaped JSON is plain ASCII and reads as either. */
export function decodeMetadata(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    return latin1(bytes);
  }
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  // In pieces: a call takes a limited number of arguments.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}
