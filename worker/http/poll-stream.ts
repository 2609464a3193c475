import { stringifyExactJson } from "#contract/exact-json";
import { POLL_HEARTBEAT_MS } from "#contract/limits";
import { Problem, problemBody } from "#contract/problems";
import type { Arrival } from "#worker/http/call";
import { isUnavailable } from "#worker/http/error-handler";

/**
 * Answers a long-poll: 200 at once, a newline every POLL_HEARTBEAT_MS, then one line of JSON. Only writing to a
 * connection shows that the other side has closed it; then `abandon` runs, so that no job goes to a dead waiter.
 * @param work what is waited for; its refusals become the line `{"problem": …}`, because the status is already sent
 */
export function pollAnswer(arrival: Arrival, work: Promise<object>, abandon: () => Promise<void>): Response {
  const encoder = new TextEncoder();
  const line = work.then(
    (answer) => `${stringifyExactJson(answer)}\n`,
    (error: unknown) => `${stringifyExactJson({ problem: problemLine(error, arrival) })}\n`,
  );
  let answered = false;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const text = await soonerOf(line, POLL_HEARTBEAT_MS);
        if (text === undefined) {
          controller.enqueue(encoder.encode("\n"));
          return;
        }
        answered = true;
        controller.enqueue(encoder.encode(text));
        controller.close();
      },
      cancel() {
        if (!answered) arrival.waitUntil(abandon().catch(() => undefined));
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    },
  });
}

/** The value, or undefined when it takes longer than `ms`. */
async function soonerOf<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    if (timer !== undefined) clearTimeout(timer);
  }
}

function problemLine(error: unknown, { requestId }: Arrival): object {
  if (error instanceof Problem) return problemBody(error.code, error.message, requestId, error.errors);
  if (isUnavailable(error)) return problemBody("unavailable", "A part of the service does not answer.", requestId);
  const cause = error instanceof Error ? `${error.name}: ${error.message}`.slice(0, 300) : typeof error;
  console.error(JSON.stringify({ event: "poll_failed", requestId, cause }));
  return problemBody(
    "internal",
    `Something went wrong on our side. Give this id when you ask: ${requestId}.`,
    requestId,
  );
}
