/** Byte ranges and validators of RFC 9110, as far as downloads need them. */

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export type RangeChoice =
  | { readonly type: "whole" }
  | { readonly type: "part"; readonly range: ByteRange }
  | { readonly type: "outside" };

/**
 * The part of a file of `size` bytes that a Range header asks for. Several ranges and units we do not know get the
 * whole file, which the RFC allows.
 */
export function chooseRange(header: string | null, size: number): RangeChoice {
  const match = /^bytes\s*=\s*([0-9]{0,15})-([0-9]{0,15})$/i.exec(header?.trim() ?? "");
  if (match === null) return { type: "whole" };
  const [, first = "", last = ""] = match;
  if (first === "") {
    if (last === "") return { type: "whole" };
    const length = Math.min(Number(last), size);
    return length === 0 ? { type: "outside" } : { type: "part", range: { offset: size - length, length } };
  }
  const offset = Number(first);
  const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== "" && Number(last) < offset) return { type: "whole" };
  if (offset >= size) return { type: "outside" };
  return { type: "part", range: { offset, length: end - offset + 1 } };
}

/** True when If-None-Match names the entity, compared weakly. */
export function noneMatchHits(header: string | null, etag: string): boolean {
  if (header === null) return false;
  if (header.trim() === "*") return true;
  return header.split(",").some((one) => one.trim().replace(/^W\//, "") === etag);
}

/** True when a Range still counts: without If-Range, or when it names this very entity. */
export function ifRangeHolds(header: string | null, etag: string): boolean {
  return header === null || header.trim() === etag;
}
