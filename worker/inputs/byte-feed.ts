/** The bytes of a file as they come, for readers that are generators: a reader yields wherever it has to wait for more. */
import { joined } from "#worker/http/read-body";

/** A reader of a file's bytes. It yields when it has used up what has come, and is resumed with more or at the end. */
export type Reading<Result> = Generator<void, Result, void>;

const NOTHING = new Uint8Array(0);

/**
 * Hands out each byte once, in order, and holds no more than what was asked for and has not come whole. Asks of `take`
 * and `peek` are for a few kilobytes at most, so that chunks of one byte cost no more than a copy of those.
 */
export class ByteFeed {
  #held: Uint8Array = NOTHING;
  #ended = false;
  #offset = 0;

  /** Bytes that were handed out or skipped. */
  get offset(): number {
    return this.#offset;
  }

  add(chunk: Uint8Array): void {
    this.#held = this.#held.byteLength === 0 ? chunk : joined([this.#held, chunk]);
  }

  /** No more will come. */
  end(): void {
    this.#ended = true;
  }

  /** The next `count` bytes; fewer only at the end of the file. */
  *take(count: number): Reading<Uint8Array> {
    const bytes = yield* this.peek(count);
    this.#pass(bytes.byteLength);
    return bytes;
  }

  /** As {@link take}, but the bytes come again. */
  *peek(count: number): Reading<Uint8Array> {
    while (this.#held.byteLength < count && !this.#ended) yield;
    return this.#held.subarray(0, count);
  }

  /** One to `most` bytes, as many as are there; none at the end of the file. */
  *some(most: number): Reading<Uint8Array> {
    const bytes = yield* this.peekSome(most);
    this.#pass(bytes.byteLength);
    return bytes;
  }

  /** As {@link some}, but the bytes come again. */
  *peekSome(most: number): Reading<Uint8Array> {
    while (this.#held.byteLength === 0 && !this.#ended) yield;
    return this.#held.subarray(0, most);
  }

  /** Passes over bytes without holding them. @returns how many there were, fewer than `count` only at the end */
  *skip(count: number): Reading<number> {
    let left = count;
    while (left > 0) {
      const { byteLength } = yield* this.some(left);
      if (byteLength === 0) break;
      left -= byteLength;
    }
    return count - left;
  }

  #pass(count: number): void {
    this.#held = this.#held.byteLength === count ? NOTHING : this.#held.subarray(count);
    this.#offset += count;
  }
}

/** A whole number of four bytes, the first one the highest. The bytes must be there. */
export function uint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);
}

/** Text of one byte a character; shorter where the bytes end. */
export function ascii(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
