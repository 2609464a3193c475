import { createHash } from "node:crypto";

const LINES_KEPT = 400;

/** Everything that happened, one line each. All of it goes into the hash, the last lines are kept for people. */
export class Trace {
  readonly #hash = createHash("sha256");
  #lines: string[] = [];

  add(line: string): void {
    this.#hash.update(line);
    this.#lines.push(line);
    if (this.#lines.length >= 2 * LINES_KEPT) this.#lines = this.#lines.slice(-LINES_KEPT);
  }

  last(count: number): string[] {
    return this.#lines.slice(-count);
  }

  /** Ends the trace. */
  digest(): string {
    return this.#hash.digest("hex");
  }
}
