/**
 * Reads multipart/form-data (RFC 7578) with one part called `file`, as it arrives: the file is never whole in memory,
 * which `request.formData()` would need.
 */
import { Problem } from "#contract/problems";
import { joined } from "#worker/http/read-body";

export interface FormFile {
  readonly filename: string;
  readonly contentType: string;
  /** Ends with the part; throws when the form holds anything else or breaks off. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Headers of one part. */
const PART_HEADER_BYTES_MAX = 8_192;
const CRLF2 = new TextEncoder().encode("\r\n\r\n");

/**
 * The `file` part of a form.
 * @throws Problem unsupported_media_type without a boundary; malformed_request; invalid_file for other fields
 */
export async function readFormFile(contentType: string, body: AsyncIterable<Uint8Array>): Promise<FormFile> {
  const boundary = boundaryOf(contentType);
  const input = new ByteReader(body);
  // The first delimiter has no line end in front of it; a preamble is allowed by the RFC and used by nobody.
  const opening = new TextEncoder().encode(`--${boundary}\r\n`);
  if (!(await input.take(opening))) throw broken("does not start with its boundary");
  const head = new TextDecoder().decode(await input.until(CRLF2, PART_HEADER_BYTES_MAX));
  const disposition = headerOf(head, "content-disposition") ?? "";
  const name = parameterOf(disposition, "name");
  if (name !== "file") {
    throw new Problem("invalid_file", `The form must have one part called "file"; this one is called "${name ?? ""}".`);
  }
  return {
    filename: encodedName(disposition) ?? parameterOf(disposition, "filename") ?? "file",
    contentType: headerOf(head, "content-type") ?? "application/octet-stream",
    chunks: partBody(input, new TextEncoder().encode(`\r\n--${boundary}`)),
  };
}

async function* partBody(input: ByteReader, delimiter: Uint8Array): AsyncGenerator<Uint8Array> {
  yield* input.upTo(delimiter);
  const after = new TextDecoder().decode(await input.some(2));
  if (after === "\r\n") throw new Problem("invalid_file", 'The form must have no part but "file".');
  if (after !== "--") throw broken("breaks off");
}

function boundaryOf(contentType: string): string {
  const match = /;\s*boundary\s*=\s*(?:"([^"\r\n]{1,70})"|([^;\s"]{1,70}))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw new Problem("unsupported_media_type", "multipart/form-data needs a boundary.");
  return boundary;
}

function headerOf(head: string, name: string): string | undefined {
  for (const line of head.split("\r\n")) {
    const colon = line.indexOf(":");
    if (line.slice(0, colon).trim().toLowerCase() === name) return line.slice(colon + 1).trim();
  }
  return undefined;
}

/** Browsers write %22 for a quote and raw UTF-8 for the rest; others escape with a backslash. */
function parameterOf(header: string, name: string): string | undefined {
  const match = new RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]+))`, "i").exec(header);
  const value = match?.[1] ?? match?.[2];
  return value
    ?.replaceAll(/\\(["\\])/g, "$1")
    .replaceAll("%22", '"')
    .replaceAll(/%0[DA]/gi, "");
}

/** A name as RFC 8187 writes it, which older Python clients do with every name that is not ASCII. */
function encodedName(disposition: string): string | undefined {
  const encoded = /;\s*filename\*\s*=\s*utf-8'[^';]*'([^;\s]+)/i.exec(disposition)?.[1];
  try {
    return encoded === undefined ? undefined : decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

function broken(how: string): Problem {
  return new Problem("malformed_request", `The form ${how}.`);
}

/** Looks for delimiters in a stream of chunks, holding back only what could be the start of one. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** False at the end of the stream. */
  async #more(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done === true) return false;
    this.#held = joined([this.#held, next.value]);
    return true;
  }

  /** Up to `count` bytes; fewer only at the end. */
  async some(count: number): Promise<Uint8Array> {
    while (this.#held.byteLength < count && (await this.#more()));
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(taken.byteLength);
    return taken;
  }

  /** Takes exactly these bytes, or answers false. */
  async take(expected: Uint8Array): Promise<boolean> {
    const taken = await this.some(expected.byteLength);
    return taken.byteLength === expected.byteLength && expected.every((byte, index) => taken[index] === byte);
  }

  /** The bytes before a delimiter, which is taken as well. */
  async until(delimiter: Uint8Array, bytesMax: number): Promise<Uint8Array> {
    const found: Uint8Array[] = [];
    let count = 0;
    for await (const chunk of this.upTo(delimiter)) {
      count += chunk.byteLength;
      if (count > bytesMax) throw broken("has a part with too many headers");
      found.push(chunk);
    }
    return joined(found);
  }

  /** Streams the bytes before a delimiter, which is taken as well. */
  async *upTo(delimiter: Uint8Array): AsyncGenerator<Uint8Array> {
    for (;;) {
      const at = indexOf(this.#held, delimiter);
      if (at !== -1) {
        if (at > 0) yield this.#held.subarray(0, at);
        this.#held = this.#held.subarray(at + delimiter.byteLength);
        return;
      }
      const safe = this.#held.byteLength - delimiter.byteLength + 1;
      if (safe > 0) {
        yield this.#held.subarray(0, safe);
        this.#held = this.#held.subarray(safe);
      }
      if (!(await this.#more())) throw broken("breaks off");
    }
  }
}

/** Position of `wanted` in `bytes`, or -1. */
function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  const [first] = wanted;
  if (first === undefined) return 0;
  for (let at = bytes.indexOf(first); at !== -1; at = bytes.indexOf(first, at + 1)) {
    if (at + wanted.byteLength > bytes.byteLength) return -1;
    if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}
