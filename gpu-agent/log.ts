/** Structured logs: an event name and ids. Never inputs, prompts, tokens or file contents. */

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
export type Log = (event: string, fields?: LogFields) => void;

interface LogStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/**
 * Writes one line per event: JSON for machines, short text on a terminal.
 * @param stream stderr, so that stdout stays free for the caller of the program
 * @param now Unix ms
 */
export function createLog(stream: LogStream, now: () => number = Date.now): Log {
  return (event, fields = {}) => {
    const time = new Date(now()).toISOString();
    if (stream.isTTY === true) {
      const details = Object.entries(fields)
        .filter(([, value]) => value !== undefined)
        .map(([key, value]) => `${key}=${String(value)}`);
      stream.write(`${time.slice(11, 19)} ${[event, ...details].join(" ")}\n`);
    } else {
      stream.write(`${JSON.stringify({ time, event, ...fields })}\n`);
    }
  };
}

/** A log whose every line also carries these fields. */
export function withFields(log: Log, fields: LogFields): Log {
  return (event, more) => log(event, { ...fields, ...more });
}

/** The message of anything thrown, on one line of bounded length. */
export function messageOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
  const text = error instanceof Error ? `${error.message}${cause}` : String(error);
  return text.replace(/\s+/g, " ").slice(0, 500);
}
