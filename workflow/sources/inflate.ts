/** Inflating what strangers deflated: a few hundred bytes can hold gigabytes, so that every call has a bound. */

/**
 * Inflates up to `most` bytes; undefined when the stream is broken, cut off or longer.
 * @param format `deflate` for zlib's wrapping (PNG), `deflate-raw` without one (zip)
 */
export async function inflate(
  deflated: Uint8Array,
  format: "deflate" | "deflate-raw",
  most: number,
): Promise<Uint8Array | undefined> {
  const reader = new Blob([new Uint8Array(deflated)]).stream().pipeThrough(new DecompressionStream(format)).getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      length += value.length;
      if (length > most) {
        await reader.cancel();
        return undefined;
      }
      parts.push(value);
    }
  } catch {
    return undefined;
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
