import { IDEMPOTENCY_KEY_LENGTH_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";

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
