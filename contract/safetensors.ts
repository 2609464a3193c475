/**
 * The head of a safetensors file: eight bytes with the length of a JSON text, that text, then the tensors' bytes. The
 * check reads the head alone, so it costs the same for every size of model. Nothing in such a file is run when it is
 * loaded, which is why it is the one format that is taken without being asked for.
 */

/** The length field in front of the header: a little-endian number of 64 bits. */
export const SAFETENSORS_PREFIX_BYTES = 8;
/**
 * The format allows 100 MB; a model with ten thousand tensors has about one. The text is parsed in one turn of the
 * event loop, so the bound is what that may cost.
 */
export const SAFETENSORS_HEADER_BYTES_MAX = 16 * 1024 * 1024;

/** Bits of one element. Types that are newer than this table are taken as they are. */
const ELEMENT_BITS: ReadonlyMap<string, number> = new Map([
  ["BOOL", 8],
  ["U8", 8],
  ["I8", 8],
  ["F8_E4M3", 8],
  ["F8_E5M2", 8],
  ["F8_E8M0", 8],
  ["F4", 4],
  ["F6_E2M3", 6],
  ["F6_E3M2", 6],
  ["U16", 16],
  ["I16", 16],
  ["F16", 16],
  ["BF16", 16],
  ["U32", 32],
  ["I32", 32],
  ["F32", 32],
  ["U64", 64],
  ["I64", 64],
  ["F64", 64],
  ["C64", 64],
]);

export type SafetensorsLength =
  | { readonly ok: true; readonly headerBytes: number }
  /** `reason` is a whole sentence. */
  | { readonly ok: false; readonly reason: string };
export type SafetensorsVerdict =
  | { readonly ok: true; readonly tensors: number }
  | { readonly ok: false; readonly reason: string };

/**
 * How long the header is.
 * @param prefix the file's first eight bytes, or fewer when it has no more
 * @param fileBytes the whole file's size
 */
export function safetensorsHeaderLength(prefix: Uint8Array, fileBytes: number): SafetensorsLength {
  if (prefix.byteLength < SAFETENSORS_PREFIX_BYTES || fileBytes < SAFETENSORS_PREFIX_BYTES + 2) {
    return no(`The file has ${fileBytes} bytes, too few for a safetensors header.`);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(fileBytes - SAFETENSORS_PREFIX_BYTES)) {
    return no(
      `The header claims ${length} bytes, but the file has ${fileBytes}: it is cut off or no safetensors file.`,
    );
  }
  if (length < 2n) return no("The header is empty.");
  if (length > BigInt(SAFETENSORS_HEADER_BYTES_MAX)) {
    return no(`The header has ${length} bytes; at most ${SAFETENSORS_HEADER_BYTES_MAX} are taken.`);
  }
  return { ok: true, headerBytes: Number(length) };
}

/**
 * Whether the header describes the bytes that follow it: every tensor inside the file, none over another, none missing.
 * @param header the JSON text's bytes, without the length in front of them
 * @param fileBytes the whole file's size
 */
export function checkSafetensorsHeader(header: Uint8Array, fileBytes: number): SafetensorsVerdict {
  let parsed: unknown;
  try {
    // Loaders differ in what they make of a byte-order mark and of broken UTF-8; neither is taken.
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header));
  } catch {
    return no("The header is not JSON.");
  }
  if (!isRecord(parsed)) return no("The header is not a JSON object.");
  const dataBytes = fileBytes - SAFETENSORS_PREFIX_BYTES - header.byteLength;
  const spans: (readonly [start: number, end: number, name: string])[] = [];
  for (const [name, entry] of Object.entries(parsed)) {
    if (name === "__metadata__") {
      if (isRecord(entry) && Object.values(entry).every((value) => typeof value === "string")) continue;
      return no("The header's __metadata__ is not a map of texts.");
    }
    const span = spanOf(entry, dataBytes);
    if (typeof span === "string") return no(`The tensor ${shown(name)} ${span}.`);
    spans.push([...span, name]);
  }
  spans.sort(([one, oneEnd], [other, otherEnd]) => one - other || oneEnd - otherEnd);
  let at = 0;
  for (const [start, end, name] of spans) {
    if (start < at) return no(`The tensor ${shown(name)} lies over another.`);
    if (start > at) return no(`${start - at} bytes before the tensor ${shown(name)} belong to none.`);
    at = end;
  }
  if (at !== dataBytes) return no(`The tensors end at ${at} of ${dataBytes} bytes.`);
  return { ok: true, tensors: spans.length };
}

/** Where a tensor's bytes lie after the header, or what is wrong with it. */
function spanOf(entry: unknown, dataBytes: number): readonly [start: number, end: number] | string {
  if (!isRecord(entry)) return "is not an object";
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string") return "has no dtype";
  if (!Array.isArray(shape) || !shape.every(isSize)) return "has no shape of whole numbers";
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return "has no data_offsets of two whole numbers";
  }
  const [start, end] = offsets as [number, number];
  if (start > end || end > dataBytes) return `lies at ${start} to ${end}, outside the file's ${dataBytes} bytes`;
  const bits = ELEMENT_BITS.get(dtype);
  if (bits !== undefined) {
    const elements = (shape as number[]).reduce((product, size) => product * size, 1);
    if (elements * bits !== (end - start) * 8) return `needs ${(elements * bits) / 8} bytes, but has ${end - start}`;
  }
  return [start, end];
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A name from a foreign file, fit for a message. */
function shown(name: string): string {
  return JSON.stringify(name.slice(0, 100));
}

function no(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}
