import { type Json, parseExactJson } from "#contract/exact-json";

/** Jobs may carry deep inputs inside their own record. */
const LINE_DEPTH_MAX = 96;

/**
 * Lines of JSON as they arrive; whole numbers keep every digit.
 * @throws what the body throws when the connection breaks; JsonSyntaxError for a line that is none
 */
export async function* readJsonLines(body: ReadableStream<Uint8Array>): AsyncGenerator<Json, void, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += value === undefined ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.trim() !== "") yield parseExactJson(line, { depthMax: LINE_DEPTH_MAX });
      if (!done) continue;
      if (rest.trim() !== "") yield parseExactJson(rest, { depthMax: LINE_DEPTH_MAX });
      return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
