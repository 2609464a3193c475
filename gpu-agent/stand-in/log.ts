/** What the server says on stderr, as ComfyUI does, and the last lines of it for `GET /internal/logs`. */

/** ComfyUI keeps this many. */
const LINES_KEPT_MAX = 300;

export interface LogLine {
  /** ISO time. */
  readonly t: string;
  /** The text with its line break. */
  readonly m: string;
}

export class Log {
  readonly #kept: LogLine[] = [];
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  readonly line = (text: string): void => {
    const message = `${text}\n`;
    this.#kept.push({ t: new Date().toISOString(), m: message });
    if (this.#kept.length > LINES_KEPT_MAX) this.#kept.shift();
    this.#write(message);
  };

  lines(): readonly LogLine[] {
    return this.#kept;
  }
}
