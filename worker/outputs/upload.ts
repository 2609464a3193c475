/** Outputs on their way from an agent into R2. Keys come from the lease, never from the agent. */
import { FILE_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUT_PART_BYTES } from "#contract/limits";
import { Problem } from "#contract/problems";
import { servedType } from "#durable-objects/outputs/served-type";
import { PIECE_BYTES_MAX, storeOnce, storePiece } from "#durable-objects/outputs/store-output";
import { rememberStored } from "#durable-objects/outputs/stored-outputs";
import { hex } from "#worker/auth/digest";
import { statedLength, tooLarge, wholeBody } from "#worker/http/read-body";

/** Metadata of objects made in parts, of which R2 knows no hash: what the agent said they are. */
const STATED_SHA256 = "stated-sha256";
const STATED_SIZE = "stated-size";

/**
 * Stores one output in R2, create-only and with the hash checked by R2. The same bytes again are fine.
 * @param key where the lease's outputs belong; another lease's key has another token
 * @param granted asks the object whether the lease lives; what was stored meanwhile is removed again when it does not
 * @throws Problem length_required, body_too_large, checksum_mismatch, output_conflict; what `granted` throws
 */
export async function putOutput(
  store: R2Bucket,
  key: string,
  granted: () => Promise<unknown>,
  request: Request,
  sha256: string,
): Promise<void> {
  const size = requiredLength(request, FILE_BYTES_MAX);
  const output = { key, size, sha256, contentType: request.headers.get("content-type") ?? "" };
  try {
    if (size <= PIECE_BYTES_MAX) return await storePiece(store, output, wholeBody(request, size), granted);
    await granted();
    const content = exactBody(request, size);
    await storeOnce(store, output, content.body).finally(content.stop);
    rememberStored(key, size, sha256);
  } catch (error) {
    throw putProblem(error);
  }
}

/** Begins an output in parts. */
export async function startMultipart(
  store: R2Bucket,
  key: string,
  stated: { size: number; sha256: string; content_type: string },
): Promise<string> {
  if (stated.size > OUTPUT_BYTES_MAX) throw tooLarge(OUTPUT_BYTES_MAX);
  const upload = await store.createMultipartUpload(key, {
    httpMetadata: { contentType: servedType(stated.content_type) },
    customMetadata: { [STATED_SHA256]: stated.sha256, [STATED_SIZE]: String(stated.size) },
  });
  return upload.uploadId;
}

/**
 * Streams one part; sent again, it takes the place of the first one.
 * @throws Problem length_required, body_too_large, checksum_mismatch, output_missing for an upload that is over
 */
export async function putPart(
  store: R2Bucket,
  key: string,
  uploadId: string,
  part: number,
  request: Request,
  sha256: string | undefined,
): Promise<string> {
  const size = requiredLength(request, OUTPUT_PART_BYTES);
  const digest = new crypto.DigestStream("SHA-256");
  const { body, stop } = exactBody(request, size, digest);
  let uploaded: R2UploadedPart;
  try {
    uploaded = await store.resumeMultipartUpload(key, uploadId).uploadPart(part, body);
  } catch (error) {
    digest.digest.catch(() => undefined);
    throw putProblem(error);
  } finally {
    stop();
  }
  const found = hex(await digest.digest);
  if (sha256 !== undefined && found !== sha256) {
    throw new Problem("checksum_mismatch", `The part hashes to ${found}, not to the stated ${sha256}.`);
  }
  return uploaded.etag;
}

/** R2 numbers parts from 1 to this. */
const PARTS_MAX = 10_000;

/**
 * Joins the parts. Asked again after it was done, it says so again.
 * @throws Problem invalid_body for a list that names a part twice or one that cannot be, output_missing, output_conflict
 */
export async function completeMultipart(
  store: R2Bucket,
  key: string,
  uploadId: string,
  parts: readonly { part: number; etag: string }[],
): Promise<void> {
  if (new Set(parts.map(({ part }) => part)).size < parts.length || parts.some(({ part }) => part > PARTS_MAX)) {
    // R2 calls this a fault of its own, so that the agent would be told to try again.
    const reason = `Must name each part once, by a number from 1 to ${PARTS_MAX}.`;
    throw new Problem("invalid_body", `/parts: ${reason}`, { errors: [{ path: "/parts", reason }] });
  }
  // R2 has no create-only for parts; the key holds the lease's token, so only this lease could have written it.
  if ((await store.head(key)) !== null) return;
  try {
    await store
      .resumeMultipartUpload(key, uploadId)
      // In any order but theirs R2 takes a short last part for one that is too small.
      .complete(
        parts.map(({ part, etag }) => ({ partNumber: part, etag })).toSorted((a, b) => a.partNumber - b.partNumber),
      );
  } catch (error) {
    throw putProblem(error);
  }
}

function requiredLength(request: Request, bytesMax: number): number {
  const size = statedLength(request);
  if (size === undefined) throw new Problem("length_required", "Send the body with a Content-Length.");
  if (size > bytesMax) throw tooLarge(bytesMax);
  return size;
}

/**
 * The body as a stream of exactly `size` bytes, which R2 wants to know before it begins.
 * @param copy also gets the bytes
 */
function exactBody(
  request: Request,
  size: number,
  copy?: WritableStream<ArrayBuffer | ArrayBufferView>,
): { body: ReadableStream; stop: () => void } {
  const fixed = new FixedLengthStream(size);
  const stopper = new AbortController();
  const copyWriter = copy?.getWriter();
  const passing = new TransformStream<Uint8Array, Uint8Array>({
    async transform(chunk, controller) {
      await copyWriter?.write(chunk);
      controller.enqueue(chunk);
    },
    async flush() {
      await copyWriter?.close();
    },
  });
  const source = request.body ?? new Response(new Uint8Array(0)).body ?? new ReadableStream();
  const flow = copyWriter === undefined ? source : source.pipeThrough(passing);
  // When it fails, the reader of `body` hears of it; here it only must not be an unhandled rejection.
  flow.pipeTo(fixed.writable, { signal: stopper.signal }).catch(() => undefined);
  return { body: fixed.readable, stop: () => stopper.abort() };
}

/** R2's own error codes, which it puts in brackets behind its messages. */
const UNKNOWN_UPLOAD = 10024;
const PART_CODES: readonly number[] = [10011, 10025, 10048]; // too small, unknown or altered, uneven

/** What R2 says when it refuses, as a problem; anything else stays what it is. */
function putProblem(error: unknown): unknown {
  const message = error instanceof Error ? error.message : "";
  const code = Number(/\(([0-9]{5})\)$/.exec(message)?.[1] ?? Number.NaN);
  if (/checksum you specified did not match/i.test(message)) {
    return new Problem("checksum_mismatch", "The bytes do not have the stated sha256.");
  }
  if (code === UNKNOWN_UPLOAD) {
    return new Problem("output_missing", "That upload in parts is unknown or over; start it again.");
  }
  if (PART_CODES.includes(code)) {
    return new Problem("output_conflict", "The parts do not fit the upload; start it again.", { cause: error });
  }
  if (/FixedLengthStream|disconnected/i.test(message)) {
    return new Problem("malformed_request", "The body has not the length that Content-Length states.");
  }
  return error;
}
