/**
 * Lines on their way to the server. Each has a number, and stays until it has room for it no more: what the server did
 * not get, or has forgotten, is sent again from the number that it names; what it gets twice it knows by its number.
 */
import { stripVTControlCharacters } from "node:util";
import { LOG_LINE_LENGTH_MAX, LOG_LINES_KEPT, LOG_LINES_PER_REPORT_MAX } from "#contract/limits";

export interface LogBatch {
  /** The number of the first of `lines`, or of the line that comes next. */
  readonly from: number;
  readonly lines: readonly string[];
}

export class ReportLog {
  readonly #redacted: (text: string) => string;
  /** The last lines, LOG_LINES_KEPT at most; the first of them has the number `#first`. */
  #lines: string[] = [];
  #first = 0;
  /** The number of the line that is sent next. */
  #next = 0;

  /** @param redacted takes out what must not leave the machine */
  constructor(redacted: (text: string) => string) {
    this.#redacted = redacted;
  }

  add(text: string): void {
    const line = this.#redacted(stripVTControlCharacters(text).trimEnd());
    if (line === "") return;
    this.#lines.push(line.slice(0, LOG_LINE_LENGTH_MAX));
    // Dropped in one go now and then, not one by one.
    const surplus = this.#lines.length - LOG_LINES_KEPT;
    if (surplus < LOG_LINES_PER_REPORT_MAX) return;
    this.#lines = this.#lines.slice(surplus);
    this.#first += surplus;
  }

  /** Lines that the server has not said to have. */
  get pending(): number {
    return this.#first + this.#lines.length - Math.max(this.#next, this.#first);
  }

  /** What the next report carries. */
  batch(): LogBatch {
    const from = Math.max(this.#next, this.#first);
    return { from, lines: this.#lines.slice(from - this.#first, from - this.#first + LOG_LINES_PER_REPORT_MAX) };
  }

  /** The server has answered: it wants the line of this number next. */
  answered(next: number): void {
    this.#next = Math.min(next, this.#first + this.#lines.length);
  }
}
