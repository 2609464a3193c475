/**
 * A model on its way to the machine: its bytes, and beside them a journal of what has safely arrived, so that a process
 * that is killed costs what was on the wire and nothing more. One process at a time writes it, under the model's lock.
 *
 *   partial/<sha256>/bytes     the file, with holes
 *   partial/<sha256>/journal   a line of JSON for each thing that happened; a last line that is cut off counts for nothing
 */
import { type FileHandle, mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { isCode } from "../state-directory.ts";
import { type ByteSpan, coveredBytes, prefixBytes, withSpan } from "./byte-ranges.ts";
import { PrefixHash } from "./prefix-hash.ts";

const size = z.int().nonnegative();
const Line = z.union([
  z.strictObject({ version: z.literal(1), sizeBytes: size }),
  /** From here on bytes come from this source, whose file is named by the validator, if it is. */
  z.strictObject({ source: z.string(), host: z.string(), servedBy: z.string(), validator: z.string().nullable() }),
  z.strictObject({ done: z.tuple([size, size]) }),
]);

/** What a source's file was called when bytes of it were taken. */
export interface Origin {
  /** A hash of the source's notation, which may hold a secret. */
  readonly source: string;
  /** What people are told. */
  readonly host: string;
  /** Where redirects ended. */
  readonly servedBy: string;
  /** An ETag or a date, for If-Range; null when the source gives none. */
  readonly validator: string | null;
}

export interface JournalState {
  readonly sizeBytes: number;
  readonly spans: readonly ByteSpan[];
  /** All that gave bytes, the latest last. */
  readonly origins: readonly Origin[];
}

export class PartialFile {
  readonly folder: string;
  readonly sizeBytes: number;
  readonly #bytes: FileHandle;
  #journal: FileHandle;
  #spans: readonly ByteSpan[];
  #origins: readonly Origin[];
  #hash: PrefixHash;
  /** Lines are written one after the other: two at once could mix. */
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, bytes: FileHandle, journal: FileHandle, state: JournalState) {
    this.folder = folder;
    this.sizeBytes = state.sizeBytes;
    this.#bytes = bytes;
    this.#journal = journal;
    this.#spans = state.spans;
    this.#origins = state.origins;
    this.#hash = new PrefixHash(bytes);
    this.#hash.advance(prefixBytes(this.#spans));
  }

  /** Goes on where the last one ended; a journal of another size, or without all of its bytes, is begun anew. */
  static async open(folder: string, sizeBytes: number): Promise<PartialFile> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const known = await readJournal(folder);
    const bytes = await open(join(folder, "bytes"), "r+").catch((error: unknown) => {
      if (isCode(error, "ENOENT")) return null;
      throw error;
    });
    const hasAll = bytes !== null && (await bytes.stat()).size >= (known?.spans.at(-1)?.[1] ?? 0);
    if (known !== null && known.sizeBytes === sizeBytes && bytes !== null && hasAll) {
      const journal = await open(join(folder, "journal"), "a", 0o600);
      // Ends a line that was cut off, so that the next one is whole.
      await journal.appendFile("\n");
      return new PartialFile(folder, bytes, journal, known);
    }
    await bytes?.close();
    const state: JournalState = { sizeBytes, spans: [], origins: [] };
    // The journal first: bytes without a journal are begun anew, a journal of other bytes would be believed.
    const journal = await newJournal(folder, sizeBytes);
    return new PartialFile(folder, await open(join(folder, "bytes"), "w+", 0o600), journal, state);
  }

  get spans(): readonly ByteSpan[] {
    return this.#spans;
  }

  get origins(): readonly Origin[] {
    return this.#origins;
  }

  get isWhole(): boolean {
    return coveredBytes(this.#spans) === this.sizeBytes;
  }

  /** Writes buffers one after the other; nothing counts until `finish`. @throws Error with the system's code */
  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    let at = position;
    let rest = buffers.filter((buffer) => buffer.byteLength > 0);
    while (rest.length > 0) {
      const { bytesWritten } = await this.#bytes.writev(rest, at);
      at += bytesWritten;
      rest = dropped(rest, bytesWritten);
    }
  }

  /** Says that a span has arrived; it is on the disk before the journal says so. */
  async finish(span: ByteSpan): Promise<void> {
    if (span[1] <= span[0]) return;
    await this.#bytes.datasync();
    await this.#append({ done: [span[0], span[1]] });
    this.#spans = withSpan(this.#spans, span);
    this.#hash.advance(prefixBytes(this.#spans));
  }

  /** Says where the bytes that follow come from. */
  async begin(origin: Origin): Promise<void> {
    const { source, host, servedBy, validator } = origin;
    const isSame = (each: Origin) =>
      each.source === source && each.servedBy === servedBy && each.validator === validator;
    if (this.#origins.some(isSame)) return;
    // Known before the line is written: eight connections begin at a time.
    this.#origins = [...this.#origins, origin];
    await this.#append({ source, host, servedBy, validator });
  }

  /** Forgets everything that has arrived. */
  async startOver(): Promise<void> {
    await this.#writing;
    await this.#hash.stop();
    await this.#journal.close();
    this.#journal = await newJournal(this.folder, this.sizeBytes);
    await this.#bytes.truncate(0);
    this.#spans = [];
    this.#origins = [];
    this.#hash = new PrefixHash(this.#bytes);
  }

  /** The whole file's sha256, hexadecimal; most of it was computed while the rest arrived. */
  async sha256(): Promise<string> {
    return await this.#hash.digest(this.sizeBytes);
  }

  /** Reads bytes back. @returns fewer than asked for at the file's end */
  async read(position: number, length: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#bytes.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  /** Makes the bytes durable and as long as they must be. */
  async sync(): Promise<void> {
    await this.#bytes.truncate(this.sizeBytes);
    await this.#bytes.sync();
  }

  get bytesPath(): string {
    return join(this.folder, "bytes");
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#hash.stop();
    await this.#journal.close();
    await this.#bytes.close();
  }

  /** Deletes it. Close it first. */
  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  #append(line: z.infer<typeof Line>): Promise<void> {
    const appended = this.#writing.then(() => this.#journal.appendFile(`${JSON.stringify(line)}\n`));
    this.#writing = appended.catch(() => undefined);
    return appended;
  }
}

/** What a journal says, or null when there is none that can be used. */
export async function readJournal(folder: string): Promise<JournalState | null> {
  let text: string;
  try {
    text = await readFile(join(folder, "journal"), "utf8");
  } catch (error) {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  }
  let sizeBytes: number | null = null;
  let spans: readonly ByteSpan[] = [];
  const origins: Origin[] = [];
  for (const each of text.split("\n")) {
    const line = Line.safeParse(asJson(each));
    if (!line.success) continue;
    if ("version" in line.data) sizeBytes = line.data.sizeBytes;
    else if ("done" in line.data) spans = withSpan(spans, line.data.done);
    else origins.push(line.data);
  }
  if (sizeBytes === null || (spans.at(-1)?.[1] ?? 0) > sizeBytes) return null;
  return { sizeBytes, spans, origins };
}

async function newJournal(folder: string, sizeBytes: number): Promise<FileHandle> {
  const journal = await open(join(folder, "journal"), "w", 0o600);
  await journal.appendFile(`${JSON.stringify({ version: 1, sizeBytes })}\n`);
  await journal.sync();
  return journal;
}

function dropped(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  const rest: Uint8Array[] = [];
  for (const buffer of buffers) {
    if (left >= buffer.byteLength) left -= buffer.byteLength;
    else {
      rest.push(left === 0 ? buffer : buffer.subarray(left));
      left = 0;
    }
  }
  return rest;
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
