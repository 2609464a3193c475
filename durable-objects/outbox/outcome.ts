/** What the answer to a try means. */

/** What came back from a destination. */
export interface TryResult {
  /** HTTP status; null when no whole answer came. */
  readonly status: number | null;
  readonly ms: number;
  readonly error: string | null;
  /** The first 4 kB of the answer's body. */
  readonly answer: string | null;
  /** The header, as sent. */
  readonly retryAfter: string | null;
}

export type Outcome =
  | { readonly type: "delivered" }
  /** The destination wants no more messages (410). */
  | { readonly type: "gone" }
  /**
   * Failed: later again.
   * @property notBeforeMs what the receiver asked for with Retry-After, 0 when nothing
   * @property throttled it is the destination that is overloaded, so its other messages wait as well
   */
  | { readonly type: "failed"; readonly notBeforeMs: number; readonly throttled: boolean };

/** A receiver that names a longer pause is asked again after this: the schedule has no longer one either. */
export const RETRY_AFTER_MS_MAX = 86_400_000;
/** An overloaded receiver that names no pause. */
export const THROTTLE_MS = 30_000;
/** Statuses that say: not now. */
const THROTTLES: readonly number[] = [429, 502, 503, 504];

/** @param now Unix ms, for a Retry-After that is a date */
export function outcomeOf({ status, retryAfter }: TryResult, now: number): Outcome {
  if (status !== null && status >= 200 && status <= 299) return { type: "delivered" };
  if (status === 410) return { type: "gone" };
  const asked = retryAfterMs(retryAfter, now);
  const throttled = status !== null && THROTTLES.includes(status);
  return { type: "failed", throttled, notBeforeMs: asked ?? (throttled ? THROTTLE_MS : 0) };
}

/**
 * The three forms of an HTTP-date that RFC 9110, section 5.6.7, has every reader take; other texts that Date.parse would
 * make something of are refused.
 */
const HTTP_DATES: readonly RegExp[] = [
  /^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$/,
  /^[A-Z][a-z]{5,8}, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}$/,
];

/**
 * Reads a Retry-After header: whole seconds, or an HTTP date.
 * @returns ms from now, at most RETRY_AFTER_MS_MAX; null when there is none or it cannot be read
 */
export function retryAfterMs(header: string | null, now: number): number | null {
  const text = header?.trim() ?? "";
  let ms: number;
  if (/^[0-9]+$/.test(text)) ms = Number(text) * 1_000;
  else if (HTTP_DATES.some((form) => form.test(text))) {
    // The oldest form does not say that it is GMT.
    ms = Date.parse(text.endsWith("GMT") ? text : `${text} GMT`) - now;
  } else return null;
  return Number.isNaN(ms) ? null : Math.min(Math.max(0, ms), RETRY_AFTER_MS_MAX);
}

/** Why a try failed, for people; null when it did not. */
export function failureText({ status, error }: TryResult): string | null {
  if (error !== null) return error;
  if (status === null) return "No answer came.";
  if (status >= 200 && status <= 299) return null;
  if (status >= 300 && status <= 399)
    return `Answered ${status}: redirects are not followed; subscribe the address itself.`;
  if (status === 410) return "Answered 410: the receiver wants no more messages.";
  return `Answered ${status}; a success is 200 to 299.`;
}
