/** Bytes of an import on their way from its source into R2's upload in parts; memory holds a few chunks of them. */
import { MODEL_STREAM_BYTES_MAX } from "#contract/limits";
import type { ModelOrigin } from "#contract/model-source";
import { FetchBroken, type OpenAnswer } from "#durable-objects/egress/guarded-fetch";
import {
  failureOf,
  type ImportSettings,
  openAddress,
  openSource,
  type SourceFailure,
} from "#durable-objects/models/import-source";
import { STREAM_PART_BYTES } from "#durable-objects/models/imports";
import type { PartRecord } from "#durable-objects/models/model-store";
import type { PartPlan } from "#durable-objects/models/model-work";
import type { ModelRef } from "#durable-objects/models/models-state";

/** One part must have arrived by then: a source slower than 110 kB a second is none. */
const PART_MS = 300_000;
/** A whole file that cannot be had in parts; below the fifteen minutes that an alarm may take. */
const STREAM_MS = 600_000;
/** A found address is asked again for so long before its source is; signed ones live for an hour. */
const ADDRESS_MS = 600_000;
const ADDRESSES_MAX = 100;

export type Fetched = { readonly ok: true; readonly etag: string } | SourceFailure;

/** What is to be fetched, and where it goes. */
export interface ImportJob {
  readonly ref: ModelRef;
  readonly origin: ModelOrigin;
  readonly sha256: string | null;
  readonly size: number | null;
  readonly validator: string | null;
  readonly key: string;
}

/** Fetches parts; remembers where the redirects of a source have led, so that it is not asked for each of them. */
export class PartFetcher {
  readonly #store: R2Bucket;
  readonly #settings: ImportSettings;
  readonly #found = new Map<string, { readonly address: string; readonly at: number }>();

  constructor(store: R2Bucket, settings: ImportSettings) {
    this.#store = store;
    this.#settings = settings;
  }

  /** @throws Error when the store fails, which may pass */
  async fetchPart(job: ImportJob, part: PartPlan): Promise<Fetched> {
    const last = part.offset + part.size - 1;
    const headers = {
      range: `bytes=${part.offset}-${last}`,
      ...(job.validator === null ? {} : { "if-range": job.validator }),
    };
    const name = `${job.ref.id} ${job.ref.attempt}`;
    const found = this.#foundLately(name);
    const opened =
      found === undefined
        ? await openSource(job.origin, job.sha256, this.#settings, headers, PART_MS)
        : await openAddress(found, this.#settings, headers, PART_MS);
    if (!opened.ok) {
      this.#found.delete(name);
      // What was found behind the redirects may have had its time; its source will say so if it is more than that.
      return found === undefined ? opened : { ...opened, final: false };
    }
    const { answer } = opened;
    if (answer.status !== 206 || answer.headers.get("content-range") !== `bytes ${part.offset}-${last}/${job.size}`) {
      await answer.discard();
      this.#found.delete(name);
      // A server answers with the whole file when it is not the one that If-Range names.
      return job.validator === null
        ? { ok: false, final: false, reason: "Its source sent another part than it was asked for." }
        : { ok: false, final: true, reason: "The file at its source changed while it was fetched; import it again." };
    }
    this.#remember(name, opened.address);
    try {
      const { etag } = await this.#write(job, part.uploadId, part.number, part.size, answer);
      return { ok: true, etag };
    } catch (error) {
      if (error instanceof FetchBroken) return failureOf(error.failure);
      throw error;
    }
  }

  /**
   * Fetches the whole file in one go.
   * @param onPart hears of each part that is stored
   * @returns how many bytes it has
   */
  async fetchStream(
    job: ImportJob,
    uploadId: string,
    onPart: (part: PartRecord) => void,
  ): Promise<{ readonly ok: true; readonly size: number } | SourceFailure> {
    const opened = await openSource(job.origin, job.sha256, this.#settings, {}, STREAM_MS);
    if (!opened.ok) return opened;
    let size = 0;
    let number = 0;
    try {
      for await (const bytes of piecesOf(opened.answer.chunks, STREAM_PART_BYTES)) {
        size += bytes.byteLength;
        if (size > MODEL_STREAM_BYTES_MAX) {
          const reason = `Its server sends no ranges; without them a file may have at most ${MODEL_STREAM_BYTES_MAX} bytes.`;
          return { ok: false, final: true, reason };
        }
        number += 1;
        const { etag } = await this.#store.resumeMultipartUpload(job.key, uploadId).uploadPart(number, bytes);
        onPart({ number, etag, size: bytes.byteLength });
      }
    } catch (error) {
      if (error instanceof FetchBroken) return failureOf(error.failure);
      throw error;
    }
    return size === 0 ? { ok: false, final: true, reason: "The file is empty." } : { ok: true, size };
  }

  async #write(
    { key }: ImportJob,
    uploadId: string,
    number: number,
    size: number,
    answer: OpenAnswer,
  ): Promise<R2UploadedPart> {
    const fixed = new FixedLengthStream(size);
    const feeding = answer.pipeTo(fixed.writable);
    const storing = this.#store.resumeMultipartUpload(key, uploadId).uploadPart(number, fixed.readable);
    // A store that stops reading would leave the other side waiting for room.
    storing.catch(() => fixed.readable.cancel().catch(() => undefined));
    const [fed, stored] = await Promise.allSettled([feeding, storing]);
    if (fed.status === "rejected") throw fed.reason;
    if (stored.status === "rejected") throw stored.reason;
    return stored.value;
  }

  #foundLately(name: string): string | undefined {
    const found = this.#found.get(name);
    return found !== undefined && Date.now() - found.at < ADDRESS_MS ? found.address : undefined;
  }

  /** From when it was found first: being used does not keep a signed address alive. */
  #remember(name: string, address: string): void {
    if (this.#foundLately(name) === address) return;
    if (this.#found.size >= ADDRESSES_MAX) this.#found.clear();
    this.#found.set(name, { address, at: Date.now() });
  }
}

/** Gathers chunks into pieces of `bytes`; the last one may be smaller. */
async function* piecesOf(chunks: AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Uint8Array, void> {
  let piece = new Uint8Array(bytes);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let rest = chunk; rest.byteLength > 0; ) {
      const taken = rest.subarray(0, bytes - filled);
      piece.set(taken, filled);
      filled += taken.byteLength;
      rest = rest.subarray(taken.byteLength);
      if (filled < bytes) continue;
      yield piece;
      // The store may still hold the one before.
      piece = new Uint8Array(bytes);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}
