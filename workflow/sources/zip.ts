/**
 * Reads zip archives, as much as workflows need: entries that are stored or deflated, found by the directory at the
 * archive's end. No name is ever used as a path. What makes archives dangerous is refused: zip64, encryption, parts on
 * several disks, entries that inflate to more than they say.
 */
import { decodeMetadata } from "../png-metadata.ts";
import { inflate } from "./inflate.ts";

export interface ZipEntry {
  /** Text for people and for comparing. */
  readonly name: string;
  /** Length when unpacked, as the directory says. */
  readonly bytes: number;
  readonly packedBytes: number;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  readonly checksum: number;
  /** Where the entry's own head begins. */
  readonly at: number;
}

export type ZipDirectory =
  | { readonly ok: true; readonly entries: readonly ZipEntry[] }
  | { readonly ok: false; readonly fault: string };

export type ZipContent =
  | { readonly ok: true; readonly content: Uint8Array }
  | { readonly ok: false; readonly fault: string };

/** Entries of one archive; a comfy-pack has a handful. */
export const ZIP_ENTRIES_MAX = 5_000;
const NAME_LENGTH_MAX = 500;

const END_SIGNATURE = 0x06054b50;
const DIRECTORY_SIGNATURE = 0x02014b50;
const ENTRY_SIGNATURE = 0x04034b50;
const ZIP64_LOCATOR_SIGNATURE = 0x07064b50;
const END_BYTES = 22;
const COMMENT_BYTES_MAX = 0xffff;
const DIRECTORY_BYTES = 46;
const ENTRY_BYTES = 30;
const ENCRYPTED = 0x0001 | 0x0040 | 0x2000;

export function isZip(bytes: Uint8Array): boolean {
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  return start === "PK\u0003\u0004" || start === "PK\u0005\u0006";
}

/** The archive's directory; folders are left out. */
export function readZipDirectory(zip: Uint8Array): ZipDirectory {
  const fault = (text: string) => ({ ok: false, fault: text }) as const;
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  const end = endOf(view);
  if (end === undefined) return fault("The zip is cut off: it has no directory at its end.");
  const isZip64 = end >= 20 && view.getUint32(end - 20, true) === ZIP64_LOCATOR_SIGNATURE;
  const count = view.getUint16(end + 10, true);
  const size = view.getUint32(end + 12, true);
  const start = view.getUint32(end + 16, true);
  if (isZip64 || count === 0xffff || size === 0xffffffff || start === 0xffffffff) {
    return fault("The zip is in the zip64 format, which is for archives far larger than a workflow.");
  }
  if (view.getUint16(end + 4, true) !== 0 || view.getUint16(end + 8, true) !== count) {
    return fault("The zip is one part of several; send it as one file.");
  }
  if (count > ZIP_ENTRIES_MAX) return fault(`The zip holds ${count} files; ${ZIP_ENTRIES_MAX} are the most.`);
  const broken = fault("The zip's directory is broken.");
  const entries: ZipEntry[] = [];
  let at = start;
  for (let index = 0; index < count; index += 1) {
    if (at + DIRECTORY_BYTES > end || view.getUint32(at, true) !== DIRECTORY_SIGNATURE) return broken;
    const nameLength = view.getUint16(at + 28, true);
    const next = at + DIRECTORY_BYTES + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    if (next > end) return broken;
    const name = decodeMetadata(zip.subarray(at + DIRECTORY_BYTES, at + DIRECTORY_BYTES + nameLength));
    if (nameLength > NAME_LENGTH_MAX) return fault("The zip holds a file with an endless name.");
    if ((view.getUint16(at + 8, true) & ENCRYPTED) !== 0) {
      return fault("The zip is encrypted; send it without a password.");
    }
    const entry = {
      name,
      bytes: view.getUint32(at + 24, true),
      packedBytes: view.getUint32(at + 20, true),
      method: view.getUint16(at + 10, true),
      checksum: view.getUint32(at + 16, true),
      at: view.getUint32(at + 42, true),
    };
    if (entry.bytes === 0xffffffff || entry.packedBytes === 0xffffffff || entry.at === 0xffffffff) {
      return fault("The zip is in the zip64 format, which is for archives far larger than a workflow.");
    }
    if (!/[/\\]$/.test(name)) entries.push(entry);
    at = next;
  }
  return { ok: true, entries };
}

/**
 * Unpacks one entry.
 * @param most bytes it may have; one more is a fault
 */
export async function readZipEntry(zip: Uint8Array, entry: ZipEntry, most: number): Promise<ZipContent> {
  const fault = (what: string) => ({ ok: false, fault: `In the zip, ${entry.name} ${what}.` }) as const;
  if (entry.bytes > most) return fault(`has ${entry.bytes} bytes; ${most} are the most`);
  if (entry.method !== 0 && entry.method !== 8) {
    return fault("is packed by a method other than deflate; pack it again as a plain zip");
  }
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  if (entry.at + ENTRY_BYTES > zip.length || view.getUint32(entry.at, true) !== ENTRY_SIGNATURE) {
    return fault("is not where the directory says");
  }
  // The head's own lengths of name and extra field may differ from the directory's.
  const start = entry.at + ENTRY_BYTES + view.getUint16(entry.at + 26, true) + view.getUint16(entry.at + 28, true);
  const packed = zip.subarray(start, start + entry.packedBytes);
  if (packed.length < entry.packedBytes) return fault("is cut off");
  const content = entry.method === 0 ? packed : await inflate(packed, "deflate-raw", entry.bytes);
  if (content === undefined || content.length !== entry.bytes || crc32(content) !== entry.checksum) {
    return fault("is damaged");
  }
  return { ok: true, content };
}

/** The end of the directory lies before a comment of unknown length: searched for from behind. */
function endOf(view: DataView): number | undefined {
  const last = view.byteLength - END_BYTES;
  for (let at = last; at >= 0 && at >= last - COMMENT_BYTES_MAX; at -= 1) {
    if (view.getUint32(at, true) !== END_SIGNATURE) continue;
    if (at + END_BYTES + view.getUint16(at + 20, true) === view.byteLength) return at;
  }
  return undefined;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = (CRC_TABLE[(sum ^ byte) & 0xff] ?? 0) ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}
