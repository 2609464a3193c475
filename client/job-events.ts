import { readServerSentEvents, type ServerSentEvent } from "#client/event-stream";
import { PilotlightError } from "#client/pilotlight-error";
import { pause, pauseBefore } from "#client/retry";
import type { CallOptions, Transport } from "#client/transport";
import { getJobEvents } from "#contract/api/jobs";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { TERMINAL_STATES } from "#contract/job";

/**
 * One event of a job's stream. Numbered ones (queued, started, phase, retrying, and the last one, named after the state
 * the job ended in, whose data is the whole job) come once each and in order; `progress` and `preview` show the moment
 * and have no number.
 */
export interface JobStreamEvent {
  readonly seq: number | null;
  readonly type: string;
  readonly data: JsonObject;
}

/** The server sends a comment every 10 s; a stream this silent is dead. */
const SILENCE_MS_MAX = 45_000;
const EVENT_DEPTH_MAX = 96;

/**
 * Follows a job to its end. A lost or silent connection is opened again after the last number seen, for as long as the
 * client retries; numbers that come twice are dropped.
 * @throws PilotlightError when the stream cannot be had; the signal's reason when it is aborted
 */
export async function* watchJob(
  transport: Transport,
  job: string,
  options: CallOptions & { readonly afterSeq?: number },
): AsyncGenerator<JobStreamEvent, void, void> {
  let lastSeq = options.afterSeq ?? 0;
  let failures = 0;
  let failedSince: number | null = null;
  for (;;) {
    const connection = new AbortController();
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => connection.abort(new Error("silent")), SILENCE_MS_MAX);
    };
    const signals = options.signal === undefined ? [connection.signal] : [connection.signal, options.signal];
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (lastSeq > 0) headers["last-event-id"] = String(lastSeq);
      // The silence timer starts with the answer; until then the transport's own timeout watches.
      const response = await transport.open(getJobEvents, {
        params: { job },
        headers,
        signal: AbortSignal.any(signals),
      });
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
        if ((TERMINAL_STATES as readonly string[]).includes(event.type)) return;
      }
    } catch (error) {
      options.signal?.throwIfAborted();
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
        detail: `The event stream of ${job} keeps breaking off`,
        retryable: true,
      });
    }
    await pause(pauseBefore(failures), options.signal);
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
