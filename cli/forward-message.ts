/** One webhook message to a program on this machine, as the service would send it. */
import { WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_ANSWER_READ_BYTES_MAX, WEBHOOK_TIMEOUT_MS } from "#contract/limits";
import type { DeliveryReport, ListenedMessage } from "#contract/webhook";

const ERROR_LENGTH_MAX = 1_000;

/**
 * Sends the very bytes with the very headers; nothing is followed, so that the program sees what the service sends.
 * @returns what to report; never throws
 */
export async function forwardMessage(
  target: string,
  message: Pick<ListenedMessage, "headers" | "body">,
  signal: AbortSignal,
): Promise<DeliveryReport> {
  const start = performance.now();
  const took = () => Math.round(performance.now() - start);
  try {
    const response = await fetch(target, {
      method: "POST",
      headers: message.headers,
      body: new TextEncoder().encode(message.body),
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(WEBHOOK_TIMEOUT_MS)]),
    });
    const answer = new TextDecoder().decode(await firstBytes(response.body));
    return { status: response.status, ms: took(), error: null, answer };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    return { status: null, ms: took(), error: cause.slice(0, ERROR_LENGTH_MAX), answer: null };
  }
}

/** The first WEBHOOK_ANSWER_BYTES_MAX bytes; of the others only so many are read that a short answer is read whole. */
async function firstBytes(body: ReadableStream<Uint8Array<ArrayBuffer>> | null): Promise<Uint8Array<ArrayBuffer>> {
  const kept: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  // Leaving the loop ends the connection.
  for await (const chunk of body ?? []) {
    if (length < WEBHOOK_ANSWER_BYTES_MAX) kept.push(chunk.subarray(0, WEBHOOK_ANSWER_BYTES_MAX - length));
    length += chunk.byteLength;
    if (length > WEBHOOK_ANSWER_READ_BYTES_MAX) break;
  }
  return new Uint8Array(await new Blob(kept).arrayBuffer());
}
