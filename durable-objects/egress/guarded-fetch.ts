/** The one way out: every request to an address that a caller gave us goes through here. */
import type { PublicUrl } from "#contract/public-url";

const USER_AGENT = "pilotlight";

export interface OutgoingRequest {
  readonly method: "GET" | "POST";
  /** Of ours alone: no header of a caller's own request, no cookie and no credentials are ever passed on. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  /** From the start to the last byte read of the answer, in ms. */
  readonly deadlineMs: number;
}

/** Why there is no answer. */
export interface FetchFailure {
  readonly ok: false;
  /**
   * `unreachable` is also what a name that leads to a private address gives: the network refuses the connection and
   * says no more.
   */
  readonly why: "timeout" | "unreachable" | "broken_off";
  /** Until the failure, in ms. */
  readonly ms: number;
  /** For the log. */
  readonly cause: unknown;
}

export interface OpenAnswer {
  readonly ok: true;
  /** As sent: a redirect is an answer like any other and is never followed. */
  readonly status: number;
  readonly headers: Headers;
  /** From the start to the answer's headers, in ms. */
  readonly ms: number;
  /** The body as it arrives. Ends the connection when its reader stops; throws FetchBroken and nothing else. */
  readonly chunks: AsyncGenerator<Uint8Array<ArrayBuffer>, void>;
  /**
   * Hands the body to a stream of the platform's own, past JavaScript, which large files need. In place of `chunks`.
   * @throws FetchBroken also when the destination takes no more
   */
  pipeTo(destination: WritableStream<Uint8Array>): Promise<void>;
  /** Ends the connection without reading. */
  discard(): Promise<void>;
}

export interface WholeAnswer {
  readonly ok: true;
  readonly status: number;
  readonly headers: Headers;
  /** From the start to the last byte read, in ms. */
  readonly ms: number;
  /** The first bytes, at most as many as were asked for; the rest was not taken. */
  readonly body: Uint8Array<ArrayBuffer>;
  /** The body was longer. */
  readonly truncated: boolean;
}

/** The body did not arrive whole. */
export class FetchBroken extends Error {
  readonly failure: FetchFailure;
  constructor(failure: FetchFailure) {
    super(`The answer's body: ${failure.why}`, { cause: failure.cause });
    this.name = "FetchBroken";
    this.failure = failure;
  }
}

/** Sends the request and hands over the answer's body as it arrives. Read `chunks`, or call `pipeTo` or `discard`. */
export async function openGuarded(url: PublicUrl, request: OutgoingRequest): Promise<OpenAnswer | FetchFailure> {
  const start = Date.now();
  // Not AbortSignal.timeout: its timer runs on when the answer is long read, and keeps an object in memory that would rest.
  const stopper = new AbortController();
  const timer = setTimeout(
    () => stopper.abort(new DOMException("the deadline passed", "TimeoutError")),
    request.deadlineMs,
  );
  const settle = (): void => clearTimeout(timer);
  const { signal } = stopper;
  const failed = (why: "unreachable" | "broken_off", cause: unknown): FetchFailure => ({
    ok: false,
    why: signal.aborted ? "timeout" : why,
    ms: Date.now() - start,
    cause,
  });
  let response: Response;
  try {
    response = await fetch(url.href, {
      method: request.method,
      redirect: "manual",
      headers: { accept: "*/*", ...request.headers, "user-agent": USER_AGENT },
      ...(request.body === undefined ? {} : { body: request.body }),
      signal,
    });
  } catch (error) {
    settle();
    return failed("unreachable", error);
  }
  const { body, status, headers } = response;
  return {
    ok: true,
    status,
    headers,
    ms: Date.now() - start,
    chunks: chunksOf(body, signal, failed, settle),
    pipeTo: async (destination) => {
      const expiry = expiryOf(signal);
      try {
        const piped = body === null ? destination.close() : body.pipeTo(destination, { signal });
        await Promise.race([piped, expiry.expired]);
      } catch (error) {
        throw new FetchBroken(failed("broken_off", error));
      } finally {
        expiry.forget();
        settle();
      }
    },
    discard: async () => {
      settle();
      await body?.cancel().catch(() => undefined);
    },
  };
}

/**
 * Sends the request and reads the first bytes of the answer.
 * @param bytesMax bytes kept of the body; once there are more, the rest is cancelled
 */
export async function fetchGuarded(
  url: PublicUrl,
  request: OutgoingRequest & { readonly bytesMax: number },
): Promise<WholeAnswer | FetchFailure> {
  const start = Date.now();
  const answer = await openGuarded(url, request);
  if (!answer.ok) return answer;
  const kept: Uint8Array<ArrayBuffer>[] = [];
  let room = request.bytesMax;
  let truncated = false;
  try {
    for await (const chunk of answer.chunks) {
      kept.push(chunk.subarray(0, room));
      truncated = chunk.byteLength > room;
      room -= Math.min(room, chunk.byteLength);
      if (truncated) break;
    }
  } catch (error) {
    if (error instanceof FetchBroken) return error.failure;
    throw error;
  }
  const { status, headers } = answer;
  const body = new Uint8Array(await new Blob(kept).arrayBuffer());
  return { ok: true, status, headers, ms: Date.now() - start, body, truncated };
}

async function* chunksOf(
  body: ReadableStream<Uint8Array<ArrayBuffer>> | null,
  signal: AbortSignal,
  failed: (why: "broken_off", cause: unknown) => FetchFailure,
  settle: () => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  if (body === null) {
    settle();
    return;
  }
  const reader = body.getReader();
  const expiry = expiryOf(signal);
  try {
    for (;;) {
      let next: ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
      try {
        next = await Promise.race([reader.read(), expiry.expired]);
      } catch (error) {
        throw new FetchBroken(failed("broken_off", error));
      }
      if (next.done) return;
      yield next.value;
    }
  } finally {
    settle();
    expiry.forget();
    reader.cancel().catch(() => undefined);
  }
}

/** A stream that has stalled answers nothing, so the deadline has to win against it. */
function expiryOf(signal: AbortSignal): { readonly expired: Promise<never>; readonly forget: () => void } {
  let onAbort = (): void => undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
  });
  expired.catch(() => undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return { expired, forget: () => signal.removeEventListener("abort", onAbort) };
}
