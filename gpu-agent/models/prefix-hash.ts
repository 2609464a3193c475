/**
 * sha256 of a file while it arrives: what is there from the start without a gap is read back and hashed while the rest
 * is on its way, so that a model of 20 GB is not read a second time at its end.
 */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

/** Hashed in one turn of the event loop: a quarter of a millisecond, which no job's message notices. */
const SLICE_BYTES = 256 * 1024;

export class PrefixHash {
  readonly #file: FileHandle;
  readonly #hash = createHash("sha256");
  #at = 0;
  #end = 0;
  #isStopped = false;
  #work: Promise<void> = Promise.resolve();
  #isWorking = false;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** The file's first `end` bytes are final. */
  advance(end: number): void {
    this.#end = Math.max(this.#end, end);
    if (this.#isWorking || this.#isStopped || this.#at >= this.#end) return;
    this.#isWorking = true;
    this.#work = this.#work.then(() => this.#read());
    // Heard again by whoever asks for the digest.
    this.#work.catch(() => undefined);
  }

  /** @returns hexadecimal @throws Error when the file cannot be read or has fewer bytes */
  async digest(size: number): Promise<string> {
    this.advance(size);
    await this.#work;
    if (this.#at !== size) throw new Error(`read ${this.#at} of ${size} bytes`);
    return this.#hash.copy().digest("hex");
  }

  /** Ends the reading, so that the file can be closed. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#work.catch(() => undefined);
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(SLICE_BYTES);
    try {
      while (this.#at < this.#end && !this.#isStopped) {
        const length = Math.min(SLICE_BYTES, this.#end - this.#at);
        const { bytesRead } = await this.#file.read(buffer, 0, length, this.#at);
        if (bytesRead === 0) return;
        this.#hash.update(buffer.subarray(0, bytesRead));
        this.#at += bytesRead;
      }
    } finally {
      this.#isWorking = false;
    }
  }
}
