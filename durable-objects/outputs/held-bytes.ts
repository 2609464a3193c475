/**
 * The bytes of small outputs that this isolate has stored a moment ago: who waited for the job asks for them at once, and
 * R2, which has confirmed their hash, would only give the same ones back. A key's bytes never change.
 */

const HELD_MS = 10_000;
/** All of them together; an isolate has 128 MB. */
const HELD_BYTES_MAX = 16 * 1024 * 1024;

interface Held {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly until: number;
}

const held = new Map<string, Held>();
let total = 0;

/** @param bytes as R2 has confirmed them; must not be changed any more */
export function holdBytes(key: string, bytes: Uint8Array, sha256: string, nowMs: number): void {
  drop(key);
  held.set(key, { bytes, sha256, until: nowMs + HELD_MS });
  total += bytes.byteLength;
  // They were put in by time: the first ones are the oldest.
  for (const [oldest, { until }] of held) {
    if (total <= HELD_BYTES_MAX && until > nowMs) return;
    drop(oldest);
  }
}

/** @returns undefined when they are not at hand: R2 has them */
export function heldBytes(key: string, sha256: string, nowMs: number): Uint8Array | undefined {
  const entry = held.get(key);
  return entry !== undefined && entry.sha256 === sha256 && entry.until > nowMs ? entry.bytes : undefined;
}

function drop(key: string): void {
  total -= held.get(key)?.bytes.byteLength ?? 0;
  held.delete(key);
}
