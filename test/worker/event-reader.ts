/** Reads server-sent events as a browser does, as far as tests need it. */
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";

export interface TestEvent {
  readonly id: string | null;
  readonly type: string;
  readonly data: JsonObject;
}

/** Events of a stream, one by one; leaving the loop closes the stream. */
export async function* eventsOf(answer: Response): AsyncGenerator<TestEvent> {
  if (answer.body === null) return;
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = eventOf(block);
        if (event !== undefined) yield event;
      }
    }
  } finally {
    await reader.cancel();
  }
}

function eventOf(block: string): TestEvent | undefined {
  const fields = new Map(
    block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
  );
  const data = fields.get("data");
  if (data === undefined) return undefined;
  const value = parseExactJson(data, { depthMax: 128 });
  if (!isJsonObject(value)) throw new Error("an event's data is an object");
  return { id: fields.get("id") ?? null, type: fields.get("event") ?? "message", data: value };
}
