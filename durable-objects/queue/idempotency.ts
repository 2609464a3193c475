/** One key, one job. */
import type { JobId } from "#contract/ids";
import { IDEMPOTENCY_KEY_MS } from "#contract/limits";

export interface IdempotencyRecord {
  readonly key: string;
  /** sha256 of the raw body of the request that used the key first. */
  readonly fingerprint: string;
  readonly jobId: JobId;
  readonly createdAt: number;
}

export type IdempotencyAnswer =
  | { readonly type: "fresh" }
  | { readonly type: "replay"; readonly jobId: JobId }
  | { readonly type: "reused" };

/** What a key means for a request: unknown or outlived, the same request again, or another one. */
export function checkIdempotency(known: IdempotencyRecord | null, fingerprint: string, now: number): IdempotencyAnswer {
  if (known === null || now - known.createdAt >= IDEMPOTENCY_KEY_MS) return { type: "fresh" };
  return known.fingerprint === fingerprint ? { type: "replay", jobId: known.jobId } : { type: "reused" };
}
