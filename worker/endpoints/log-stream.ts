/** A log as Server-Sent Events while it grows. */
import { stringifyExactJson } from "#contract/exact-json";
import { Problem } from "#contract/problems";
import { isUnavailable } from "#worker/http/error-handler";

/** What one look at a log gives. */
interface LogReply {
  readonly state: string;
  /** Nothing comes after these lines. */
  readonly ended: boolean;
}

/** A line as an event. @param id the number after which a reader goes on that has seen it */
export function lineEvent(id: number, line: object): string {
  return `id: ${id}\nevent: line\ndata: ${stringifyExactJson(line)}\n\n`;
}

/**
 * Lines as events, to the end of the log, which has the state. Pull-driven: a slow reader makes the loop wait, a gone one
 * ends it.
 * @param first the first look, which comes before the answer: what is refused is no stream
 * @param eventsOf the lines of a look as text, see {@link lineEvent}
 * @param next looks for what comes after those, and waits for it for as long as a reader may hear nothing
 */
export function logStream<R extends LogReply>(
  first: R,
  eventsOf: (reply: R) => string,
  next: (reply: R) => Promise<R>,
): Response {
  const encoder = new TextEncoder();
  let shown: R | null = null;
  let open = true;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const before: R | null = shown;
        const reply = before === null ? first : await orNothing(() => next(before));
        if (!open) return;
        if (reply === null) {
          // The reader comes back by itself, with Last-Event-ID, and hears why.
          open = false;
          controller.close();
          return;
        }
        shown = reply;
        const end = reply.ended ? `event: end\ndata: ${stringifyExactJson({ state: reply.state })}\n\n` : "";
        const text = eventsOf(reply) + end;
        controller.enqueue(encoder.encode(text === "" ? ": still here\n\n" : text));
        if (!reply.ended) return;
        open = false;
        controller.close();
      },
      cancel() {
        open = false;
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      // no-transform: a proxy that compresses would hold events back.
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    },
  });
}

/** The next look; null when it is refused or nobody answers. */
export async function orNothing<R>(look: () => Promise<R>): Promise<R | null> {
  try {
    return await look();
  } catch (error) {
    if (isUnavailable(error) || error instanceof Problem) return null;
    throw error;
  }
}
