import { BODY_DEADLINE_MS } from "#contract/limits";
import { Problem } from "#contract/problems";

/** The Content-Length a client states, or undefined; it bounds nothing, it only lets us refuse early. */
export function statedLength(request: Request): number | undefined {
  const header = request.headers.get("content-length");
  if (header === null) return undefined;
  if (!/^[0-9]{1,15}$/.test(header)) throw new Problem("malformed_request", "Content-Length is not a whole number.");
  return Number(header);
}

export function tooLarge(bytesMax: number): Problem {
  return new Problem("body_too_large", `The body may have at most ${bytesMax} bytes.`);
}

/**
 * The body's chunks, counted as they come, so that no header has to be believed.
 * @param idleMs a chunk must arrive within this, ms
 * @throws Problem body_too_large as soon as the count passes `bytesMax`; request_timeout; malformed_request when the
 *   count is not the stated length
 */
export async function* countedBody(
  request: Request,
  bytesMax: number,
  idleMs: number = BODY_DEADLINE_MS,
): AsyncGenerator<Uint8Array, void> {
  const stated = statedLength(request);
  let count = 0;
  if (request.body !== null) {
    const reader = request.body.getReader();
    try {
      if (stated !== undefined && stated > bytesMax) await refuseRest(reader, bytesMax, stated);
      for (;;) {
        const chunk = await nextChunk(reader, idleMs);
        if (chunk === undefined) break;
        count += chunk.byteLength;
        if (count > bytesMax) await refuseRest(reader, bytesMax, REFUSED_UNSTATED_BYTES);
        yield chunk;
      }
    } finally {
      // Also runs when the consumer stops early: what the client still sends is not wanted.
      reader.cancel().catch(() => undefined);
    }
  }
  if (stated !== undefined && stated !== count) {
    throw otherLength(stated, count);
  }
}

/** A body that is too large by no more than this is still read to its end, in this time, before the answer. */
const REFUSED_BYTES_MAX = 16 * 1024 * 1024;
const REFUSED_MS_MAX = 10_000;
/** Of one that does not say how long it is, so much is read. */
const REFUSED_UNSTATED_BYTES = 1024 * 1024;

/**
 * Reads the rest without keeping anything, then refuses: a client that still sends while the connection closes often
 * sees a broken pipe instead of our answer. What is far too large is refused at once.
 */
async function refuseRest(
  reader: ReadableStreamDefaultReader<unknown>,
  bytesMax: number,
  restBytes: number,
): Promise<never> {
  const endAt = Date.now() + REFUSED_MS_MAX;
  try {
    for (let left = restBytes > REFUSED_BYTES_MAX ? 0 : restBytes; left > 0 && Date.now() < endAt; ) {
      const chunk = await nextChunk(reader, Math.max(1, endAt - Date.now()));
      if (chunk === undefined) break;
      left -= chunk.byteLength;
    }
  } catch {
    // However it ends, it was too large.
  }
  throw tooLarge(bytesMax);
}

/**
 * The next chunk, undefined at the end.
 * @throws Problem request_timeout; malformed_request when the client breaks off before its body ends
 */
async function nextChunk(
  reader: ReadableStreamDefaultReader<unknown>,
  idleMs: number,
): Promise<Uint8Array | undefined> {
  try {
    const { done, value } = await withDeadline(reader.read(), idleMs);
    return done ? undefined : (value as Uint8Array);
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    throw brokenOff();
  }
}

/** A body that says it is no longer than this is read in one piece: HTTP lets no more than it says through. */
const ONE_PIECE_BYTES_MAX = 64 * 1024;

/** The whole body, at most `bytesMax` bytes, within BODY_DEADLINE_MS. Throws as {@link countedBody} does. */
export async function wholeBody(
  request: Request,
  bytesMax: number,
  deadlineMs: number = BODY_DEADLINE_MS,
): Promise<Uint8Array> {
  const stated = statedLength(request);
  if (stated !== undefined && stated <= Math.min(bytesMax, ONE_PIECE_BYTES_MAX)) {
    return await smallBody(request, stated, deadlineMs);
  }
  const chunks: Uint8Array[] = [];
  const endAt = Date.now() + deadlineMs;
  const body = countedBody(request, bytesMax, deadlineMs);
  try {
    for (;;) {
      const { done, value } = await withDeadline(body.next(), Math.max(1, endAt - Date.now()));
      if (done === true) break;
      chunks.push(value);
    }
  } catch (error) {
    // Not awaited: a generator that still waits for a chunk ends only when the chunk comes.
    body.return().catch(() => undefined);
    throw error;
  }
  return joined(chunks);
}

/** One promise of our own: the chain of a race, its timer's promise and a `finally` takes longer than the rest of it. */
function smallBody(request: Request, stated: number, deadlineMs: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late(deadlineMs)), deadlineMs);
    request.arrayBuffer().then(
      (buffer) => {
        clearTimeout(timer);
        if (buffer.byteLength === stated) resolve(new Uint8Array(buffer));
        else reject(otherLength(stated, buffer.byteLength));
      },
      () => {
        clearTimeout(timer);
        reject(brokenOff());
      },
    );
  });
}

function late(ms: number): Problem {
  return new Problem("request_timeout", `No more of the body arrived within ${ms} ms.`);
}

function brokenOff(): Problem {
  return new Problem("malformed_request", "The body broke off before its end.");
}

function otherLength(stated: number, arrived: number): Problem {
  return new Problem("malformed_request", `Content-Length says ${stated} bytes, ${arrived} arrived.`);
}

/** One array of all the chunks. */
export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

async function withDeadline<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late(ms)), ms);
  });
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    if (timer !== undefined) clearTimeout(timer);
  }
}
