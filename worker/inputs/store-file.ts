/** Puts an input file into R2 and the catalog: memory bounded, the same bytes stored once. */
import { FileId, makeId, type WorkspaceId } from "#contract/ids";
import { FILE_RETENTION_DAYS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { MediaKind } from "#contract/workflow";
import { hex } from "#worker/auth/digest";
import { type FileRow, findFileByHash, insertFile, removeExpiredFiles, renewFile } from "#worker/catalog/files";
import type { Env } from "#worker/env";
import { randomBytes } from "#worker/http/fresh-id";
import { joined } from "#worker/http/read-body";
import { FileCheck } from "#worker/inputs/check-file";

/** R2 wants parts of at least 5 MiB, all alike but the last; two of these are in memory at a time. */
const PART_BYTES = 5 * 1024 * 1024;
const DAY_MS = 86_400_000;
/** Expired files removed along with one upload: more than one, so that the store shrinks. */
const SWEEP_FILES_MAX = 20;

export interface IncomingFile {
  /** The bytes, already bounded by whoever reads them. */
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly filename: string;
  /** What the sender claims. */
  readonly contentType: string;
  /** What it is for, where that is known. */
  readonly media?: MediaKind | undefined;
  /** What the sender says the bytes hash to, if it says so. */
  readonly sha256?: string | undefined;
}

export interface StoredFile {
  readonly file: FileRow;
  /** False when the workspace already had these bytes. */
  readonly created: boolean;
}

/**
 * Stores a file, unless its bytes are no good: then nothing of it stays.
 * @throws Problem invalid_file (empty, broken, too large, of no known format), checksum_mismatch, and what `chunks` throws
 */
export async function storeFile(env: Env, workspaceId: WorkspaceId, incoming: IncomingFile): Promise<StoredFile> {
  const now = Date.now();
  const id = makeId(FileId, "file", now, randomBytes);
  const key = `in/${workspaceId}/${id}`;
  const written = await writeToStore(env, key, incoming, (sha256) => findFileByHash(env.CATALOG, workspaceId, sha256));
  const expiresAt = now + FILE_RETENTION_DAYS * DAY_MS;
  const { known } = written;
  if (known !== undefined) {
    // A row whose object was lost gets the bytes that have just come.
    const kept = written.stored ? key : known.key;
    const renewed = { ...known, key: kept, contentType: laterType(known.contentType, written.contentType), expiresAt };
    await renewFile(env.CATALOG, renewed);
    return { file: renewed, created: false };
  }
  const row: FileRow = {
    id,
    workspaceId,
    sha256: written.sha256,
    filename: safeFilename(incoming.filename),
    contentType: written.contentType,
    size: written.size,
    key,
    createdAt: now,
    expiresAt,
  };
  const kept = await insertFile(env.CATALOG, row);
  if (kept.id !== row.id) await env.STORE.delete(key);
  return { file: kept, created: kept.id === row.id };
}

/** A file of no known format is what its sender calls it: a wrong word said once must not stay. No word changes nothing. */
function laterType(before: string, now: string): string {
  return now === "application/octet-stream" ? before : now;
}

/** Removes a few files that are over; called beside uploads, so that the store needs no clock of its own. */
export async function sweepFiles(env: Env, workspaceId: WorkspaceId): Promise<void> {
  const keys = await removeExpiredFiles(env.CATALOG, workspaceId, Date.now(), SWEEP_FILES_MAX);
  if (keys.length > 0) await env.STORE.delete(keys);
}

interface Written {
  readonly sha256: string;
  readonly contentType: string;
  readonly size: number;
  /** The file that already has these bytes. */
  readonly known: FileRow | undefined;
  /** Something lies at the new key. */
  readonly stored: boolean;
}

async function writeToStore(
  env: Env,
  key: string,
  incoming: IncomingFile,
  findKnown: (sha256: string) => Promise<FileRow | undefined>,
): Promise<Written> {
  const check = new FileCheck(incoming.contentType, incoming.media);
  const parts = partsOf(checked(incoming.chunks, check));
  const first = await parts.next();
  if (first.done === true) throw new Problem("invalid_file", "The file is empty.");
  const metadata = { httpMetadata: { contentType: check.contentType } };

  if (first.value.last) {
    const { bytes } = first.value;
    await parts.next();
    const sha256 = hex(await crypto.subtle.digest("SHA-256", bytes));
    checkHash(sha256, incoming.sha256);
    const known = await findKnown(sha256);
    const stored = known === undefined || (await env.STORE.head(known.key)) === null;
    if (stored) await env.STORE.put(key, bytes, { ...metadata, sha256 });
    return { sha256, contentType: check.contentType, size: bytes.byteLength, known, stored };
  }

  const upload = await env.STORE.createMultipartUpload(key, metadata);
  try {
    const digest = new crypto.DigestStream("SHA-256");
    const writer = digest.getWriter();
    const uploaded: R2UploadedPart[] = [];
    let size = 0;
    for (let part: IteratorResult<FilePart, unknown> = first; part.done !== true; part = await parts.next()) {
      await writer.write(part.value.bytes);
      uploaded.push(await upload.uploadPart(uploaded.length + 1, part.value.bytes));
      size += part.value.bytes.byteLength;
    }
    await writer.close();
    const sha256 = hex(await digest.digest);
    checkHash(sha256, incoming.sha256);
    const known = await findKnown(sha256);
    const stored = known === undefined || (await env.STORE.head(known.key)) === null;
    await (stored ? upload.complete(uploaded) : upload.abort());
    return { sha256, contentType: check.contentType, size, known, stored };
  } catch (error) {
    // What the upload left is litter; R2 removes it by itself if this fails too.
    await upload.abort().catch(() => undefined);
    throw error;
  }
}

/** The chunks, each looked at before it goes on. What is found wrong at the end also comes before the last part does. */
async function* checked(chunks: AsyncIterable<Uint8Array>, check: FileCheck): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of chunks) {
    check.push(chunk);
    yield chunk;
  }
  check.end();
}

interface FilePart {
  readonly bytes: Uint8Array;
  readonly last: boolean;
}

/** Gathers chunks into parts of PART_BYTES; the last one may be smaller, and there is none for an empty file. */
async function* partsOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<FilePart, void> {
  let held: Uint8Array[] = [];
  let count = 0;
  for await (const chunk of chunks) {
    let rest = chunk;
    while (count + rest.byteLength > PART_BYTES) {
      const cut = PART_BYTES - count;
      held.push(rest.subarray(0, cut));
      rest = rest.subarray(cut);
      yield { bytes: joined(held), last: false };
      held = [];
      count = 0;
    }
    if (rest.byteLength > 0) held.push(rest);
    count += rest.byteLength;
  }
  if (count > 0) yield { bytes: joined(held), last: true };
}

function checkHash(found: string, stated: string | undefined): void {
  if (stated !== undefined && stated !== found) {
    throw new Problem("checksum_mismatch", `The bytes hash to ${found}, not to the stated ${stated}.`);
  }
}

const FILENAME_LENGTH_MAX = 255;

/** A name for people, never a path: R2 keys are ours. */
export function safeFilename(name: string): string {
  const last = name.split(/[\\/]/).at(-1) ?? "";
  const plain = last
    .replaceAll(/[\u0000-\u001f\u007f]/g, "")
    .trim()
    .slice(0, FILENAME_LENGTH_MAX)
    .toWellFormed();
  return plain === "" || plain === "." || plain === ".." ? "file" : plain;
}
