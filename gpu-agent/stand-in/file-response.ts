/** A file over HTTP as aiohttp sends it: ETag from time and size, conditions, one range, HEAD. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
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
  const described = { ...validators, ...headers };
  const isNewerThan = (date: string | undefined) => date !== undefined && modifiedS * 1000 > Date.parse(date);
  const ifMatch = asked["if-match"];
  if (ifMatch !== undefined && !matches(ifMatch, etag)) return { status: 412, headers: described };
  if (ifMatch === undefined && isNewerThan(asked["if-unmodified-since"])) return { status: 412, headers: described };
  const { "if-none-match": ifNoneMatch, "if-modified-since": since } = asked;
  if (ifNoneMatch !== undefined) {
    if (matches(ifNoneMatch, etag)) return { status: 304, headers: described };
  } else if (since !== undefined && modifiedS * 1000 <= Date.parse(since)) return { status: 304, headers: described };

  const full = { ...described, "Accept-Ranges": "bytes" };
  // A tag here is no date, and what is no date does not count.
  const ifRange = asked["if-range"];
  const isOutdated = typeof ifRange === "string" && isNewerThan(ifRange);
  const range = asked.range === undefined || isOutdated ? undefined : parseRange(asked.range, size);
  if (range === "unsatisfiable") {
    return { status: 416, headers: { ...described, "Content-Range": `bytes */${size}` }, body: Readable.from([]) };
  }
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
  // The last zero bytes are, to aiohttp, the whole file.
  const suffix = Number(last) === 0 ? size : Number(last);
  const start = first === "" ? Math.max(0, size - suffix) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start >= size || start > end ? "unsatisfiable" : { start, end };
}
