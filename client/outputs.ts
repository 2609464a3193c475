import { PilotlightError } from "#client/pilotlight-error";
import { pause, pauseBefore } from "#client/retry";
import { type CallOptions, networkError, reasonOf, type Transport } from "#client/transport";
import { getOutput } from "#contract/api/jobs";
import type { JobOutput } from "#contract/job";

/** What names an output: its job's id, and its name or its record. With the record, size and checksum are checked. */
export interface OutputRef {
  readonly job: string;
  readonly output: string | Pick<JobOutput, "name" | "size" | "sha256">;
}

export interface DownloadOptions extends CallOptions {
  /** Called as bytes arrive. */
  readonly onProgress?: (received: number, size: number | undefined) => void;
}

/** A connection that sends nothing for this long is given up and resumed. */
const SILENCE_MS_MAX = 60_000;

/** Files that jobs produced. */
export class Outputs {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * An output's bytes, in order, each once. When the connection is cut, the rest is fetched with a Range request, for as
   * long as the client retries. A file that changed in between (it never does) is an error, not a mixture.
   * @throws PilotlightError `output_damaged` when the size is not the record's; those of the route
   */
  async *download(ref: OutputRef, options: DownloadOptions = {}): AsyncGenerator<Uint8Array, void, void> {
    const name = typeof ref.output === "string" ? ref.output : ref.output.name;
    let size = typeof ref.output === "string" ? undefined : ref.output.size;
    let etag: string | null = null;
    let received = 0;
    let failures = 0;
    let failedSince: number | null = null;
    for (;;) {
      const resuming = received > 0;
      const headers: Record<string, string> = { accept: "*/*" };
      if (resuming) headers.range = `bytes=${received}-`;
      if (resuming && etag !== null) headers["if-range"] = etag;
      const response = await this.#transport.open(getOutput, {
        params: { job: ref.job, name },
        headers,
        signal: options.signal,
      });
      if (resuming && response.status !== 206) {
        await response.body?.cancel();
        throw damaged(name, "The server no longer has the file that was being downloaded");
      }
      etag ??= response.headers.get("etag");
      const length = response.headers.get("content-length");
      if (!resuming && size === undefined && length !== null) size = Number(length);
      try {
        for await (const piece of piecesOf(response, options.signal)) {
          received += piece.byteLength;
          failures = 0;
          failedSince = null;
          options.onProgress?.(received, size);
          yield piece;
        }
        if (size === undefined || received === size) return;
        if (received > size) throw damaged(name, `${received} bytes arrived, the record says ${size}`);
        // A proxy may end a cut answer as if it were whole.
        throw networkError(`The download ended after ${received} of ${size} bytes`, undefined);
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!(error instanceof PilotlightError) || !error.retryable) throw error;
        // A file of unknown size that broke before its first byte has nothing to resume; it is asked for again.
        failedSince ??= performance.now();
        if (performance.now() - failedSince > this.#transport.retryForMs) throw error;
        await pause(pauseBefore(failures), options.signal);
        failures += 1;
      }
    }
  }

  /**
   * A whole output in memory, checked against its record's sha256 when the record is given.
   * @throws PilotlightError `output_damaged`; those of the route
   */
  async bytes(ref: OutputRef, options: DownloadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of this.download(ref, options)) {
      pieces.push(piece);
      length += piece.byteLength;
    }
    const whole = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.byteLength;
    }
    if (typeof ref.output !== "string") {
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
      const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
      if (sha256 !== ref.output.sha256) throw damaged(ref.output.name, `Its sha256 is ${sha256}`);
    }
    return whole;
  }
}

/** The body's pieces; a broken or silent connection is a retryable network error. */
async function* piecesOf(
  response: Response,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const silence = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error("No bytes for too long")), SILENCE_MS_MAX);
      });
      let piece: Awaited<ReturnType<typeof reader.read>>;
      try {
        piece = await Promise.race([reader.read(), silence]);
      } catch (cause) {
        throw networkError(`The download broke off: ${reasonOf(cause)}`, cause);
      } finally {
        clearTimeout(timer);
      }
      signal?.throwIfAborted();
      if (piece.done) return;
      yield piece.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await reader.cancel().catch(() => {});
  }
}

function damaged(name: string, detail: string): PilotlightError {
  return new PilotlightError({ code: "output_damaged", status: 200, detail: `${name}: ${detail}` });
}
