/**
 * What a command writes, and where. To a terminal: text. To anything else, or with --json: one JSON envelope on standard
 * output, with what is for people on standard error. `--json-stream`: events as lines of JSON, the envelope last.
 */

import type { Outcome } from "#cli/command";
import type { ShownError } from "#cli/errors";
import { stringifyExactJson } from "#contract/exact-json";

export const OUTPUT_FORMATS = ["text", "json", "ndjson", "id"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** A stream of the terminal or a pipe. */
export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface OutputOptions {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly format: OutputFormat;
  /** Rewrite one progress line in place; otherwise a line for each change of phase. */
  readonly animate: boolean;
  readonly quiet: boolean;
}

export class Output {
  readonly format: OutputFormat;
  readonly #options: OutputOptions;
  #progressShown = false;
  #lastPlain = "";
  #frameLines = 0;

  constructor(options: OutputOptions) {
    this.format = options.format;
    this.#options = options;
  }

  /** A line for people: on standard output when they read it, else on standard error. */
  say(line: string): void {
    this.#clearProgress();
    const sink = this.format === "text" ? this.#options.stdout : this.#options.stderr;
    if (this.format === "text" || !this.#options.quiet) sink.write(`${shown(line)}\n`);
  }

  /** A line for people that is not the result: always on standard error. */
  note(line: string): void {
    this.#clearProgress();
    if (!this.#options.quiet) this.#options.stderr.write(`${shown(line)}\n`);
  }

  /**
   * How far something is. On a terminal the line replaces the last one; elsewhere it is printed when `phase` changes.
   * @param phase the part of the line that makes it worth a line of its own
   */
  progress(text: string, phase: string): void {
    if (this.#options.quiet || this.format === "ndjson") return;
    const line = shown(text);
    if (this.#options.animate) {
      const columns = Math.max((this.#options.stderr.columns ?? 80) - 1, 20);
      const short = line.length > columns ? `${line.slice(0, columns - 1)}…` : line;
      this.#options.stderr.write(`\r\u001b[2K${short}`);
      this.#progressShown = true;
    } else if (phase !== this.#lastPlain) {
      this.#lastPlain = phase;
      this.#options.stderr.write(`${line}\n`);
    }
  }

  /**
   * Lines that take the place of the last ones, for what changes all the time. Where they cannot (no terminal), and where
   * people do not read them, nothing is shown.
   * @returns whether they are shown
   */
  frame(lines: readonly string[]): boolean {
    const { stdout, animate, quiet } = this.#options;
    if (!animate || quiet || this.format !== "text" || stdout.isTTY !== true) return false;
    this.#clearProgress();
    const columns = Math.max((stdout.columns ?? 80) - 1, 20);
    const back = this.#frameLines === 0 ? "" : `\u001b[${this.#frameLines}A`;
    const text = lines.map((line) => `\u001b[2K${[...shown(line)].slice(0, columns).join("")}\n`).join("");
    // What is left of a longer one goes as well.
    stdout.write(`${back}${text}\u001b[J`);
    this.#frameLines = lines.length;
    return true;
  }

  /** Something that happened, for `--json-stream`; shown in no other format. */
  event(event: Readonly<Record<string, unknown>>): void {
    if (this.format === "ndjson") this.#options.stdout.write(`${stringifyExactJson(event)}\n`);
  }

  /** The result. */
  succeed(command: string, outcome: Outcome): void {
    this.#clearProgress();
    switch (this.format) {
      case "text": {
        const lines = typeof outcome.text === "string" ? [outcome.text] : (outcome.text ?? []);
        for (const line of lines) this.#options.stdout.write(`${shown(line)}\n`);
        return;
      }
      case "id":
        for (const id of outcome.ids ?? []) this.#options.stdout.write(`${id}\n`);
        return;
      case "json":
      case "ndjson":
        this.#envelope({ schema: "envelope/1", ok: true, command, data: outcome.data ?? null });
        return;
    }
  }

  fail(command: string, error: ShownError): void {
    this.#clearProgress();
    if (this.format === "json" || this.format === "ndjson") {
      const { code, message, hint } = error;
      this.#envelope({
        schema: "envelope/1",
        ok: false,
        command,
        error: {
          code,
          message,
          hint,
          ...(error.details === undefined ? {} : { details: error.details }),
          ...(error.errors === undefined ? {} : { errors: error.errors }),
          ...(error.requestId === undefined ? {} : { request_id: error.requestId }),
        },
      });
      return;
    }
    const write = (line: string) => this.#options.stderr.write(`${shown(line)}\n`);
    write(`error: ${error.message} (${error.code})`);
    const wrong = (error.errors ?? []).map(({ path, reason }) => `${path}: ${reason}`);
    // A single wrong field is the message already.
    for (const line of wrong) if (line !== error.message) write(`  ${line}`);
    if (error.hint !== null) write(`hint: ${error.hint}`);
    if (error.requestId !== undefined) write(`request: ${error.requestId}`);
  }

  #envelope(envelope: unknown): void {
    this.#options.stdout.write(`${stringifyExactJson(envelope)}\n`);
  }

  #clearProgress(): void {
    if (this.#progressShown) this.#options.stderr.write("\r\u001b[2K");
    this.#progressShown = false;
  }
}

/**
 * What a terminal would obey instead of show: control characters (an escape sequence begins with one) and the marks that
 * turn the direction of a line. Tags, reasons, node names and answers of receivers come from others.
 */
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** A line as it may be written to a terminal: whatever it would obey is written out, as \u001b. */
function shown(line: string): string {
  return line.replace(OBEYED, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
