import { OUTPUT_RETENTION_DAYS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { StoredOutput } from "#durable-objects/endpoint/rpc";
import type { Env } from "#worker/env";
import { problemAnswer } from "#worker/http/answer";
import { contentDisposition, servedType } from "#worker/outputs/content-disposition";
import { chooseRange, ifRangeHolds, noneMatchHits } from "#worker/outputs/range";

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
  // The hash names the bytes, so nobody has to ask R2 what it called them.
  const etag = `"${output.sha256}"`;
  const type = servedType(output.content_type);
  const headers: Record<string, string> = {
    "content-type": type,
    "content-disposition": contentDisposition(type, output.filename),
    "content-security-policy": SANDBOXED,
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, max-age=3600, no-transform",
    "accept-ranges": "bytes",
    etag,
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
  const object = await env.STORE.get(output.key, part === undefined ? {} : { range: part });
  if (object === null || object.size !== output.size) throw lost(output);
  return new Response(object.body, { status, headers });
}

function lost(output: StoredOutput): Problem {
  return new Problem("unavailable", "The stored file does not answer.", { cause: new Error(`missing ${output.key}`) });
}
