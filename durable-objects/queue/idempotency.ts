/** One key, one result. */
import { IDEMPOTENCY_KEY_MS } from "#contract/limits";

export interface IdempotencyRecord {
  /** The operation, by its id in contract/api: the same key means another thing in another operation. */
  readonly scope: string;
  readonly key: string;
  /** sha256 of the raw body of the request that used the key first. */
  readonly fingerprint: string;
  /** What the first request made: a job's id, a batch's, an operation's. */
  readonly result: string;
  readonly createdAt: number;
}

export type IdempotencyAnswer =
  | { readonly type: "fresh" }
  | { readonly type: "replay"; readonly result: string }
  | { readonly type: "reused" };

/** What a key means for a request: unknown or outlived, the same request again, or another one. */
export function checkIdempotency(known: IdempotencyRecord | null, fingerprint: string, now: number): IdempotencyAnswer {
  if (known === null || now - known.createdAt >= IDEMPOTENCY_KEY_MS) return { type: "fresh" };
  return known.fingerprint === fingerprint ? { type: "replay", result: known.result } : { type: "reused" };
}

const DAY_MS = 86_400_000;

/** Keys are kept in heaps of one UTC day, so that old ones can be found without an index. */
export function dayOf(at: number): number {
  return Math.floor(at / DAY_MS);
}

/** Days in which a key that is valid now may have been kept. Tomorrow too, should the clock have stepped back. */
export function daysOfValidKeys(now: number): readonly number[] {
  const days: number[] = [];
  for (let day = dayOf(now - IDEMPOTENCY_KEY_MS); day <= dayOf(now) + 1; day += 1) days.push(day);
  return days;
}

/** When no key of that day is valid any more. */
export function dayIsOver(day: number): number {
  return (day + 1) * DAY_MS + IDEMPOTENCY_KEY_MS;
}
