/** What a step of a build wrote: in a file of bounded size, redacted, with its last lines at hand for an error. */
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { redact } from "../redact.ts";

/** pip says less than this about a whole ComfyUI; a compiler that goes on for ever must not fill the disk. */
const LOG_BYTES_MAX = 1024 * 1024;
/** Enough for a Python traceback, and still fit for a replica's error. */
const TAIL_LINES = 20;
const LINE_LENGTH_MAX = 300;

export class StepLog {
  readonly #file: number;
  readonly #folders: Readonly<Record<string, string>>;
  readonly #onLine: (line: string) => void;
  readonly #tail: string[] = [];
  #bytes = 0;
  #left = 0;

  /** @param folders what redact shows of this machine's folders */
  constructor(path: string, folders: Readonly<Record<string, string>>, onLine: (line: string) => void) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#file = openSync(path, "w", 0o600);
    this.#folders = folders;
    this.#onLine = onLine;
  }

  /** The last lines, redacted. */
  get tail(): string {
    return this.#tail.join("\n");
  }

  line(text: string): void {
    const line = redact(text.trimEnd(), this.#folders);
    if (line === "") return;
    this.#tail.push(line.slice(0, LINE_LENGTH_MAX));
    if (this.#tail.length > TAIL_LINES) this.#tail.shift();
    this.#onLine(line.slice(0, LINE_LENGTH_MAX));
    if (this.#bytes >= LOG_BYTES_MAX) this.#left += 1;
    else this.#bytes += this.#write(`${line}\n`);
  }

  close(): void {
    if (this.#left > 0) this.#write(`… ${this.#left} more lines; the last of them:\n${this.tail}\n`);
    try {
      fsyncSync(this.#file);
    } catch {
      // A full disk keeps what fits.
    }
    closeSync(this.#file);
  }

  /** A full disk must not hide why it is full: the tail is in memory. */
  #write(text: string): number {
    try {
      return writeSync(this.#file, text);
    } catch {
      return 0;
    }
  }
}
