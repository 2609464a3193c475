/** Following a stream of numbered events to its end, over as many connections as that takes. */
import { readServerSentEvents, type ServerSentEvent } from "#client/event-stream";
import { PilotlightError } from "#client/pilotlight-error";
import { pause, pauseBefore } from "#client/retry";
import type { CallInput, Transport } from "#client/transport";
import type { Route } from "#contract/api/route";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";

/** Events with a number come once each and in order; those without one show the moment. */
export interface FollowedEvent {
  readonly seq: number | null;
  readonly type: string;
  readonly data: JsonObject;
}

/** The server sends a comment every 10 s; a stream this silent is dead. */
const SILENCE_MS_MAX = 45_000;
const EVENT_DEPTH_MAX = 96;

export interface Following<R extends Route> {
  readonly route: R;
  readonly params: NonNullable<CallInput<R>["params"]>;
  /** Whose events they are, for the error. */
  readonly of: string;
  /** Only events after this number; 0 for all. */
  readonly afterSeq: number;
  /** Nothing comes after this event. */
  readonly isLast: (type: string) => boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Follows the stream to its end. A lost or silent connection is opened again after the last number seen, for as long as
 * the client retries; numbers that come twice are dropped.
 * @throws PilotlightError when the stream cannot be had; the signal's reason when it is aborted
 */
export async function* followEvents<R extends Route>(
  transport: Transport,
  { route, params, of, afterSeq, isLast, signal }: Following<R>,
): AsyncGenerator<FollowedEvent, void, void> {
  let lastSeq = afterSeq;
  let failures = 0;
  let failedSince: number | null = null;
  for (;;) {
    const connection = new AbortController();
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => connection.abort(new Error("silent")), SILENCE_MS_MAX);
    };
    const signals = signal === undefined ? [connection.signal] : [connection.signal, signal];
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (lastSeq > 0) headers["last-event-id"] = String(lastSeq);
      // The silence timer starts with the answer; until then the transport's own timeout watches.
      const input: CallInput<Route> = { params: params as never, headers, signal: AbortSignal.any(signals) };
      const response = await transport.open<Route>(route, input);
      // Everything up to the end has been seen already.
      if (response.status === 204) return;
      if (response.body === null)
        throw new PilotlightError({ code: "invalid_answer", status: 200, detail: "No stream" });
      heard();
      for await (const event of readServerSentEvents(response.body, heard)) {
        const seq = numberOf(event);
        if (seq !== null && seq <= lastSeq) continue;
        if (seq !== null) lastSeq = seq;
        failures = 0;
        failedSince = null;
        yield { seq, type: event.type, data: dataOf(event) };
        if (isLast(event.type)) return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      // The transport has already retried what may be retried; what a stream throws while it is read is a lost connection.
      if (error instanceof PilotlightError) throw error;
    } finally {
      clearTimeout(silence);
      connection.abort();
    }
    failedSince ??= performance.now();
    if (performance.now() - failedSince > transport.retryForMs) {
      throw new PilotlightError({
        code: "network_error",
        status: 0,
        detail: `The event stream of ${of} keeps breaking off`,
        retryable: true,
      });
    }
    await pause(pauseBefore(failures), signal);
    failures += 1;
  }
}

function numberOf(event: ServerSentEvent): number | null {
  return event.id !== null && /^[1-9][0-9]{0,15}$/.test(event.id) ? Number(event.id) : null;
}

function dataOf(event: ServerSentEvent): JsonObject {
  const data = parseExactJson(event.data, { depthMax: EVENT_DEPTH_MAX });
  if (!isJsonObject(data))
    throw new PilotlightError({ code: "invalid_answer", status: 200, detail: "Event without data" });
  return data;
}
