import { IDEMPOTENCY_KEY_LENGTH_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { Idempotency } from "#durable-objects/endpoint/rpc";
import { sha256Hex } from "#worker/auth/digest";

const PATTERN = new RegExp(`^[A-Za-z0-9_:.-]{1,${IDEMPOTENCY_KEY_LENGTH_MAX}}$`);

/**
 * The key of an Idempotency-Key header, bare or as a quoted structured-field string; undefined without a header.
 * @throws Problem invalid_idempotency_key; two headers arrive joined by a comma and are refused as well
 */
export function idempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (!PATTERN.test(key)) {
    throw new Problem(
      "invalid_idempotency_key",
      `Idempotency-Key takes 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} letters, digits and _ : . - and may be given once.`,
    );
  }
  return key;
}

/**
 * The key with what it was used for; undefined without a header.
 * @param said the raw body, or method and address of a request without one
 * @throws Problem invalid_idempotency_key
 */
export async function idempotencyOf(
  header: string | undefined,
  said: Uint8Array | string,
): Promise<Idempotency | undefined> {
  const key = idempotencyKey(header);
  return key === undefined ? undefined : { key, fingerprint: await sha256Hex(said) };
}

/** Says that the answer is the one a request with this key got before. */
export function replayedHeader(replayed: boolean): Record<string, string> {
  return replayed ? { "idempotency-replayed": "true" } : {};
}
