/** A file over HTTP as aiohttp sends it: ETag from time and size, conditions, one range, HEAD. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Reply, Request } from "./http-server.ts";

/** Streams a file. @throws Error when it is not there */
export async function fileReply(
  request: Request,
  file: string,
  headers: Readonly<Record<string, string>>,
): Promise<Reply> {
  const { size: bigSize, mtimeNs } = await stat(file, { bigint: true });
  const size = Number(bigSize);
  const etag = `"${mtimeNs.toString(16)}-${bigSize.toString(16)}"`;
  const modifiedS = Number(mtimeNs / 1_000_000_000n);
  const validators = { Etag: etag, "Last-Modified": new Date(modifiedS * 1000).toUTCString() };

  const { headers: asked } = request;
  if (asked["if-match"] !== undefined && !matches(asked["if-match"], etag)) return { status: 412, headers: validators };
  if (asked["if-none-match"] !== undefined) {
    if (matches(asked["if-none-match"], etag)) return { status: 304, headers: validators };
  } else if (asked["if-modified-since"] !== undefined && modifiedS * 1000 <= Date.parse(asked["if-modified-since"])) {
    return { status: 304, headers: validators };
  }

  const full = { ...validators, "Accept-Ranges": "bytes", ...headers };
  const ifRange = asked["if-range"];
  const rangeCounts = typeof ifRange !== "string" || modifiedS * 1000 <= Date.parse(ifRange);
  const range = asked.range === undefined || !rangeCounts ? undefined : parseRange(asked.range, size);
  if (range === "unsatisfiable") return { status: 416, headers: { ...validators, "Content-Range": `bytes */${size}` } };
  if (range === undefined) {
    return { status: 200, headers: { ...full, "Content-Length": String(size) }, body: createReadStream(file) };
  }
  const { start, end } = range;
  return {
    status: 206,
    headers: {
      ...full,
      "Content-Length": String(end - start + 1),
      "Content-Range": `bytes ${start}-${end}/${size}`,
    },
    body: createReadStream(file, { start, end }),
  };
}

function matches(header: string, etag: string): boolean {
  return header.split(",").some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag);
}

/** One range of bytes, both ends included. Anything but a single well-formed range cannot be satisfied. */
function parseRange(header: string, size: number): { start: number; end: number } | "unsatisfiable" {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(header.trim()) ?? [];
  if (first === "" && last === "") return "unsatisfiable";
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start >= size || start > end ? "unsatisfiable" : { start, end };
}
