/** Where the body of an HTTP/1.1 answer ends: by its length, by its last chunk, or with the connection. Pure. */

/** A chunk's size with its extensions, and each line after the last chunk. */
const LINE_BYTES_MAX = 4_096;
/** A chunk of more is no answer to anything we ask. */
const CHUNK_DIGITS_MAX = 12;
const CR = 0x0d;
const LF = 0x0a;

/** What the next bytes of a chunked body are. */
type Place = "size" | "data" | "data end" | "trailer";

export class BodyReader {
  /** Bytes; null: not known before its end. */
  readonly size: number | null;
  /** The connection's end is the body's. */
  readonly endsWithConnection: boolean;
  /** Something came behind its end. */
  hasMore = false;
  isWhole: boolean;
  readonly #isChunked: boolean;
  /** Bytes still to come of the body, or of the chunk. */
  #left = 0;
  #place: Place = "size";
  #line = "";

  /** @throws Error for a length that is none */
  constructor(status: number, header: (name: string) => string | null) {
    const isNone = status === 204 || status === 304;
    const coding = header("transfer-encoding")?.toLowerCase() ?? null;
    const length = header("content-length");
    this.#isChunked = !isNone && coding !== null && /(?:^|,)\s*chunked$/.test(coding);
    if (coding !== null && !this.#isChunked && !isNone)
      throw new Error("the answer comes in a coding that was not asked for");
    const size = isNone ? 0 : this.#isChunked || length === null ? null : sizeOf(length);
    this.size = size;
    this.endsWithConnection = size === null && !this.#isChunked;
    this.#left = size ?? (this.#isChunked ? 0 : Number.POSITIVE_INFINITY);
    this.isWhole = size === 0;
  }

  /** @returns what these bytes hold of the body @throws Error when they are not well-formed */
  *read(bytes: Buffer): Generator<Buffer> {
    let at = 0;
    while (at < bytes.length && !this.isWhole) {
      if (!this.#isChunked || this.#place === "data") {
        const part = bytes.subarray(at, Math.min(bytes.length, at + this.#left));
        at += part.length;
        this.#left -= part.length;
        if (this.#left === 0 && this.#isChunked) this.#place = "data end";
        else if (this.#left === 0) this.isWhole = true;
        yield part;
      } else this.#take(bytes[at++] ?? 0);
    }
    if (at < bytes.length) this.hasMore = true;
  }

  /** One byte between chunks. */
  #take(byte: number): void {
    if (byte !== LF) {
      if (byte !== CR) this.#line += String.fromCharCode(byte);
      if (this.#line.length > LINE_BYTES_MAX) throw new Error("a line between chunks is too long");
      return;
    }
    const line = this.#line;
    this.#line = "";
    if (this.#place === "data end") {
      if (line !== "") throw new Error("a chunk is longer than its size");
      this.#place = "size";
    } else if (this.#place === "trailer") this.isWhole = line === "";
    else {
      const digits = (line.split(";", 1)[0] ?? "").trim();
      if (!/^[0-9a-fA-F]+$/.test(digits) || digits.length > CHUNK_DIGITS_MAX) throw new Error("a chunk has no size");
      this.#left = Number.parseInt(digits, 16);
      this.#place = this.#left === 0 ? "trailer" : "data";
    }
  }
}

function sizeOf(length: string): number {
  // The same length twice is one; two lengths are how answers are smuggled.
  const [first = "", ...others] = length.split(",").map((each) => each.trim());
  const size = Number(first);
  if (!/^[0-9]+$/.test(first) || !Number.isSafeInteger(size) || others.some((other) => other !== first)) {
    throw new Error("the answer's length is none");
  }
  return size;
}
