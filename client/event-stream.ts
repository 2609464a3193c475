/** Reads server-sent events from a byte stream, as the HTML standard says: any line end, comments, multi-line data. */

export interface ServerSentEvent {
  /** Null when this event carried none. */
  readonly id: string | null;
  readonly type: string;
  readonly data: string;
}

/** One event longer than this is not one of ours: previews are at most 400 kB. */
const EVENT_LENGTH_MAX = 4_000_000;

/**
 * Turns the stream's bytes into events. Ends when the stream ends; an unfinished event at the end is dropped, as the
 * standard says, because it may be cut anywhere.
 * @param onBytes hears of every piece that arrives, comments included
 * @throws what the stream throws; RangeError when one event has no end
 */
export async function* readServerSentEvents(
  stream: ReadableStream<Uint8Array>,
  onBytes: () => void = () => {},
): AsyncGenerator<ServerSentEvent, void, void> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = "";
  let id: string | null = null;
  let type = "";
  let data: string[] = [];
  try {
    for (;;) {
      const piece = await reader.read();
      if (piece.done) return;
      onBytes();
      rest += decoder.decode(piece.value, { stream: true });
      if (rest.length > EVENT_LENGTH_MAX) throw new RangeError("An event of the stream is too long");
      const lines = rest.split(/\r\n|\n|\r/);
      // A trailing \r may be the first half of \r\n: wait for what follows it.
      const last = rest.endsWith("\r") ? 2 : 1;
      rest = lines.splice(-last, last).join("\r");
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { id, type: type === "" ? "message" : type, data: data.join("\n") };
          id = null;
          type = "";
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon === -1 ? line : line.slice(0, colon);
        const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") data.push(value);
        else if (field === "event") type = value;
        else if (field === "id" && !value.includes("\0")) id = value;
      }
    }
  } finally {
    // Without this the connection of an abandoned iterator would stay open.
    await reader.cancel().catch(() => {});
  }
}
