import { JOB_HEADER } from "#contract/api/jobs";
import type { JobId } from "#contract/ids";
import { OUTPUT_RETENTION_DAYS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { StoredOutput } from "#durable-objects/endpoint/rpc";
import { heldBytes } from "#durable-objects/outputs/held-bytes";
import { servedType } from "#durable-objects/outputs/served-type";
import type { Env } from "#worker/env";
import { problemAnswer } from "#worker/http/answer";
import { contentDisposition } from "#worker/outputs/content-disposition";
import { type ByteRange, chooseRange, ifRangeHolds, noneMatchHits } from "#worker/outputs/range";

/** A file of strangers' making: it may not run anything, whatever a browser takes it for. */
const SANDBOXED = "default-src 'none'; sandbox; frame-ancestors 'none'";

/**
 * Answers with an output's bytes, or a part of them, streamed from R2.
 * @param expired whether retention has taken the bytes, or may at any moment
 * @throws Problem output_expired when retention took the bytes, unavailable when they are lost
 */
export async function downloadAnswer(
  env: Env,
  request: Request,
  requestId: string,
  output: StoredOutput,
  expired: boolean,
): Promise<Response> {
  if (expired) throw new Problem("output_expired", `Outputs are kept for ${OUTPUT_RETENTION_DAYS} days.`);
  const etag = etagOf(output);
  const headers: Record<string, string> = {
    ...fileHeaders(output),
    "cache-control": "private, max-age=3600, no-transform",
    "accept-ranges": "bytes",
  };
  if (noneMatchHits(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });

  // A Range means something in a GET only (RFC 9110, 14.2).
  const isGet = request.method === "GET";
  const asked = isGet && ifRangeHolds(request.headers.get("if-range"), etag) ? request.headers.get("range") : null;
  const choice = chooseRange(asked, output.size);
  if (choice.type === "outside") {
    return problemAnswer("range_not_satisfiable", `The file has ${output.size} bytes.`, requestId, {
      headers: { "content-range": `bytes */${output.size}` },
    });
  }
  const part = choice.type === "part" ? choice.range : undefined;
  if (part !== undefined) {
    headers["content-range"] = `bytes ${part.offset}-${part.offset + part.length - 1}/${output.size}`;
  }
  headers["content-length"] = String(part?.length ?? output.size);
  const status = part === undefined ? 200 : 206;

  if (request.method === "HEAD") {
    const object = await env.STORE.head(output.key);
    if (object === null || object.size !== output.size) throw lost(output);
    return new Response(null, { status: 200, headers: { ...headers, "content-length": String(output.size) } });
  }
  return new Response(await storedBytes(env, output, part), { status, headers });
}

/**
 * A job's answer that is its output: 200 with all the bytes, streamed from R2, as a download has them. It is an answer of
 * the moment about the job, so it is not kept, has no parts and is never "unchanged"; the output's own address has all that.
 * @param headers what the answer says of the job
 * @throws Problem unavailable when the bytes are lost
 */
export async function outputAsAnswer(
  env: Env,
  method: string,
  jobId: JobId,
  output: StoredOutput,
  headers: Record<string, string>,
): Promise<Response> {
  const body = method === "HEAD" ? null : await storedBytes(env, output, undefined);
  return new Response(body, {
    headers: {
      ...headers,
      ...fileHeaders(output),
      "cache-control": "no-store, no-transform",
      "content-length": String(output.size),
      "content-location": `/v1/jobs/${jobId}/outputs/${output.name}`,
      [JOB_HEADER]: jobId,
    },
  });
}

/** What an answer with a file's bytes says of them, and what keeps a browser from running them. */
function fileHeaders(output: StoredOutput): Record<string, string> {
  const type = servedType(output.content_type);
  return {
    "content-type": type,
    "content-disposition": contentDisposition(type, output.filename),
    "content-security-policy": SANDBOXED,
    "cross-origin-resource-policy": "same-origin",
    etag: etagOf(output),
  };
}

/** The hash names the bytes, so nobody has to ask R2 what it called them. */
function etagOf(output: StoredOutput): string {
  return `"${output.sha256}"`;
}

/** @throws Problem unavailable when the file is not there as it was stored */
async function storedBytes(
  env: Env,
  output: StoredOutput,
  part: ByteRange | undefined,
): Promise<ReadableStream | Uint8Array> {
  const bytes = heldBytes(output.key, output.sha256, Date.now());
  if (bytes !== undefined) return part === undefined ? bytes : bytes.subarray(part.offset, part.offset + part.length);
  const object = await env.STORE.get(output.key, part === undefined ? {} : { range: part });
  if (object === null || object.size !== output.size) throw lost(output);
  return object.body;
}

function lost(output: StoredOutput): Problem {
  return new Problem("unavailable", "The stored file does not answer.", { cause: new Error(`missing ${output.key}`) });
}
