/**
 * One source's file into a partial file, over several connections at once. What has arrived stays, whatever happens; a
 * connection that breaks goes on where it broke.
 */
import type { IncomingMessage } from "node:http";
import { type BackoffBounds, backoffMs } from "../control/backoff.ts";
import { type ByteSpan, coveredBytes, missingPieces } from "./byte-ranges.ts";
import { ModelFailure, shownBytes } from "./model-failure.ts";
import type { HttpSource } from "./model-source.ts";
import type { PartialFile } from "./partial-file.ts";
import type { SourceClient } from "./source-client.ts";

const MIB = 1024 * 1024;

export interface DownloadLimits {
  /**
   * One request's share. A killed agent loses at most one for each connection; a request costs about a round trip, so
   * smaller ones would leave a fast line idle.
   */
  readonly pieceBytes: number;
  /** Stores for models give one connection 50 to 100 MB/s; eight fill a line of 5 Gbit/s, and more are refused by some. */
  readonly connections: number;
  /** Failures in a row, without progress between them, until a source is given up. */
  readonly triesMax: number;
  /** After so many bytes a failure is not counted with the one before: the source does answer, only badly. */
  readonly progressBytes: number;
  readonly backoff: BackoffBounds;
}

export const DOWNLOAD_LIMITS: DownloadLimits = {
  pieceBytes: 16 * MIB,
  connections: 8,
  triesMax: 6,
  progressBytes: 64 * 1024,
  backoff: { retryBaseMs: 500, retryMaxMs: 20_000 },
};

/** Handed to the disk together: a call for each packet would keep the thread pool busy. */
const WRITE_BYTES = 512 * 1024;
/** A server that asks for more patience than this is tried again no later. */
const RETRY_AFTER_MS_MAX = 60_000;
/** A file that changes more often while it is fetched is one that is being written. */
const CHANGES_MAX = 3;
const BUSY: ReadonlySet<number> = new Set([408, 425, 429]);
/** What a signed link says when its time is over; the source gives a new one. */
const STALE_LINK: ReadonlySet<number> = new Set([400, 401, 403, 404, 410]);

export interface DownloadOptions {
  readonly client: SourceClient;
  readonly source: HttpSource;
  /** Names the source in the journal. */
  readonly sourceId: string;
  readonly partial: PartialFile;
  readonly limits: DownloadLimits;
  /** Uniform in [0, 1). */
  readonly chance: () => number;
  readonly pause: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Bytes that arrived; negative when such are thrown away. */
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** The file at the source is another than before. */
class FileChanged extends Error {}
/** The try failed; another may not. */
class TryFailed extends Error {
  readonly retryAfterMs: number;
  /** Not enough of something, rather than broken: fewer connections may help. */
  readonly isBusy: boolean;
  constructor(message: string, options: { retryAfterMs?: number; isBusy?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs ?? 0;
    this.isBusy = options.isBusy ?? false;
  }
}

/**
 * Fetches what is missing.
 * @throws ModelFailure; the signal's reason; Error with the system's code when the disk fails
 */
export async function download(options: DownloadOptions): Promise<void> {
  for (let changes = 0; changes <= CHANGES_MAX; changes += 1) {
    const run = new DownloadRun(options);
    try {
      await run.toEnd();
      if (options.partial.isWhole) return;
    } catch (error) {
      if (!(error instanceof FileChanged)) throw error;
      options.onBytes(-run.bytesThere);
      await options.partial.startOver();
    }
  }
  const what = `The file at ${options.source.host} changed ${CHANGES_MAX + 1} times while it was fetched.`;
  throw new ModelFailure("source_changed", what);
}

class DownloadRun {
  readonly #options: DownloadOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  /** Where redirects led last; null before, and when that link is stale. */
  #place: URL | null = null;
  /**
   * What the file was called by each host that gave bytes of it. Two hosts of one store have the same file under two
   * ETags, so a link that leads to another host than before says nothing about a change.
   */
  readonly #validators: Map<string, string>;
  /** Any request was answered with a range. */
  #hasRanges: boolean;
  #pieces: ByteSpan[];
  #working = 0;
  #received: number;

  constructor(options: DownloadOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
    const { partial, sourceId, limits } = options;
    const known = partial.origins.filter(({ source }) => source === sourceId);
    this.#validators = new Map(
      known.flatMap((each) => (each.validator === null ? [] : [[each.servedBy, each.validator]])),
    );
    this.#hasRanges = this.#validators.size > 0 && partial.spans.length > 0;
    this.#pieces = missingPieces(partial.spans, partial.sizeBytes, limits.pieceBytes);
    this.#received = coveredBytes(partial.spans);
  }

  /** Bytes that were counted and are in the file, finished or not. */
  get bytesThere(): number {
    return this.#received;
  }

  async toEnd(): Promise<void> {
    if (this.#pieces.length === 0) return;
    // One goes ahead and learns whether the source has the file, in this size, and serves parts of it.
    const first = Promise.withResolvers<boolean>();
    const lead = this.#work(() => first.resolve(true));
    const others: Promise<void>[] = [];
    const isOver = lead.then(
      () => true,
      () => false,
    );
    if (!(await Promise.race([first.promise, isOver]))) return lead;
    const more = Math.min(this.#options.limits.connections - 1, this.#pieces.length);
    for (let count = 0; count < more; count += 1) others.push(this.#work());
    try {
      await Promise.all([lead, ...others]);
    } catch (error) {
      this.#stop.abort(error);
      // Nobody writes to the file any more once this returns.
      await Promise.allSettled([lead, ...others]);
      throw error;
    }
  }

  /** One connection's work: piece after piece until none is left. */
  async #work(onAnswer?: () => void): Promise<void> {
    this.#working += 1;
    for (let piece = this.#pieces.shift(); piece !== undefined; piece = this.#pieces.shift()) {
      if (!(await this.#fetchPiece(piece, onAnswer))) return;
    }
    this.#working -= 1;
  }

  /** @returns false when this connection has left the rest of its piece to the others */
  async #fetchPiece([start, end]: ByteSpan, onAnswer?: () => void): Promise<boolean> {
    const { partial, limits, chance, pause } = this.#options;
    let at = start;
    let failures = 0;
    for (;;) {
      const before = at;
      try {
        await this.#tryOnce([at, end], onAnswer, (bytes) => {
          at += bytes;
        });
        if (partial.isWhole || at >= end) {
          await partial.finish([start, at]);
          return true;
        }
        // A server may give less than was asked for.
        if (at === before) throw new TryFailed("the answer was empty");
        failures = 0;
      } catch (error) {
        // What this piece has got stays, whoever goes on with it.
        if (!(error instanceof FileChanged) && !isDiskError(error)) await partial.finish([start, at]);
        this.#signal.throwIfAborted();
        if (error instanceof ModelFailure || error instanceof FileChanged || isDiskError(error)) throw error;
        const failure = error instanceof TryFailed ? error : new TryFailed(wordsOf(error), { cause: error });
        failures = at - before >= limits.progressBytes ? 1 : failures + 1;
        if (failure.isBusy && this.#working > 1) {
          // The others get through where this one does not; the last one stays and waits.
          this.#working -= 1;
          this.#pieces.unshift([at, end]);
          return false;
        }
        if (failures >= limits.triesMax) {
          const what = `${this.#options.source.host} failed ${failures} times in a row: ${failure.message}.`;
          throw new ModelFailure("source_unreachable", what, { cause: failure });
        }
        await pause(backoffMs(failures, chance(), limits.backoff, failure.retryAfterMs), this.#signal);
      }
    }
  }

  /** One request, and its body into the file. @param onBytes told of what is in the file, in order */
  async #tryOnce(
    [start, end]: ByteSpan,
    onAnswer: (() => void) | undefined,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    const { client, source, partial } = this.#options;
    const headers: Record<string, string> = { range: `bytes=${start}-${end - 1}` };
    const place = this.#place;
    const url = place ?? source.url;
    const validator = this.#validators.get(url.host);
    if (validator !== undefined) headers["if-range"] = validator;
    const answer = await client.get(source, url, headers, this.#signal);
    const { body } = answer;
    try {
      if (body.headers["content-encoding"] !== undefined && body.headers["content-encoding"] !== "identity") {
        throw new ModelFailure("source_denied", `${source.host} sends the file packed, which has no ranges.`);
      }
      if (answer.status === 206) {
        await this.#acceptRange(body, answer.url.host, [start, end]);
        // An answer that began before its link was found stale does not bring that link back.
        if (this.#place === place) this.#place = answer.url;
        onAnswer?.();
        await this.#pour(body, start, end, onBytes);
      } else if (answer.status === 200) {
        // Ranges were served before, so this is what If-Range answers for another file.
        if (this.#hasRanges) throw new FileChanged();
        await this.#takeWhole(body);
      } else this.#refuse(answer.status, body, place);
    } finally {
      if (!body.readableEnded) body.destroy();
    }
    if (answer.status === 200) await partial.finish([0, partial.sizeBytes]);
  }

  /** @throws FileChanged, ModelFailure wrong_size, TryFailed */
  async #acceptRange(body: IncomingMessage, host: string, [start, end]: ByteSpan): Promise<void> {
    const { partial, source, sourceId } = this.#options;
    const range = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+|\*)$/.exec(body.headers["content-range"] ?? "");
    if (range === null) throw new TryFailed("its answer does not say which part it is");
    const [, from, to, total] = range;
    if (total !== "*" && Number(total) !== partial.sizeBytes) this.#wrongSize(Number(total));
    if (Number(from) !== start || Number(to) >= end) throw new TryFailed("it sent another part than was asked for");
    const validator = validatorOf(body);
    const known = this.#validators.get(host) ?? null;
    if (known !== null && validator !== null && validator !== known) throw new FileChanged();
    this.#hasRanges = true;
    if (known === null && validator !== null) this.#validators.set(host, validator);
    await partial.begin({ source: sourceId, host: source.host, servedBy: host, validator: known ?? validator });
  }

  /** The source knows no ranges: one stream from the start, which a broken connection begins anew. */
  async #takeWhole(body: IncomingMessage): Promise<void> {
    const { partial, source, sourceId, onBytes } = this.#options;
    const length = body.headers["content-length"];
    if (length !== undefined && Number(length) !== partial.sizeBytes) this.#wrongSize(Number(length));
    onBytes(-this.#received);
    this.#received = 0;
    this.#pieces = [];
    await partial.startOver();
    await partial.begin({ source: sourceId, host: source.host, servedBy: source.host, validator: null });
    let at = 0;
    try {
      await this.#pour(body, 0, partial.sizeBytes, (bytes) => {
        at += bytes;
      });
      if (at < partial.sizeBytes) throw new TryFailed(`it ended after ${shownBytes(at)}`);
    } catch (error) {
      onBytes(-this.#received);
      this.#received = 0;
      throw error;
    }
  }

  /** @throws TryFailed when more comes than belongs there; Error when it breaks off */
  async #pour(body: IncomingMessage, start: number, end: number, onBytes: (bytes: number) => void): Promise<void> {
    const { partial } = this.#options;
    let at = start;
    let waiting: Buffer[] = [];
    let bytes = 0;
    const flush = async () => {
      const batch = waiting;
      const length = bytes;
      waiting = [];
      bytes = 0;
      await partial.write(batch, at);
      at += length;
      onBytes(length);
      this.#received += length;
      this.#options.onBytes(length);
    };
    try {
      for await (const part of body) {
        const chunk = part as Buffer;
        if (at + bytes + chunk.byteLength > end) throw new TryFailed("it sent more than was asked for");
        waiting.push(chunk);
        bytes += chunk.byteLength;
        if (bytes >= WRITE_BYTES) await flush();
      }
    } finally {
      // What came before a connection broke counts as well.
      if (bytes > 0) await flush();
    }
  }

  /** @param place the remembered link that was asked, null when it was the source itself */
  #refuse(status: number, body: IncomingMessage, place: URL | null): never {
    const { source } = this.#options;
    if (status === 416) this.#wrongSize(null);
    if (place !== null && STALE_LINK.has(status)) {
      // Another connection may have a new one by now.
      if (this.#place === place) this.#place = null;
      throw new TryFailed(`its link is not taken any more (HTTP ${status})`);
    }
    if (BUSY.has(status) || status >= 500) {
      throw new TryFailed(`HTTP ${status}`, { retryAfterMs: retryAfterMs(body), isBusy: status !== 408 });
    }
    const advice = status === 401 || status === 403 ? "; it may need a token of an account that may read it" : "";
    throw new ModelFailure("source_denied", `${source.host} answered HTTP ${status}${advice}.`);
  }

  #wrongSize(found: number | null): never {
    const { partial, source } = this.#options;
    // The size was right when the first parts came.
    if (this.#hasRanges) throw new FileChanged();
    const has = found === null ? "a shorter file" : `${found} bytes`;
    const what = `${source.host} has ${has}; the build says ${partial.sizeBytes} bytes.`;
    throw new ModelFailure("wrong_size", what);
  }
}

/** What If-Range may name: a strong ETag, else the date. */
function validatorOf(body: IncomingMessage): string | null {
  const { etag } = body.headers;
  if (etag?.startsWith('"') === true) return etag;
  return body.headers["last-modified"] ?? null;
}

/** Seconds to wait; the form with a date needs clocks that agree, and is rare. */
function retryAfterMs(body: IncomingMessage): number {
  const seconds = Number(body.headers["retry-after"] ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(RETRY_AFTER_MS_MAX, seconds * 1_000) : 0;
}

/** Errors that only a disk has: another try would meet them again. */
function isDiskError(error: unknown): boolean {
  return (
    error instanceof Error && "code" in error && /^(?:ENOSPC|EDQUOT|EIO|EROFS|EFBIG|EBADF)$/.test(String(error.code))
  );
}

/** What went wrong on the wire, without the address, which may hold a secret. */
function wordsOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return error.code === "ECONNRESET" ? "the connection broke" : error.code;
  }
  return error instanceof Error ? error.message : String(error);
}
