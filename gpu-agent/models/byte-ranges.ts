/** Which parts of a file are there: spans in order that neither touch nor overlap, ends exclusive. Pure. */

export type ByteSpan = readonly [start: number, end: number];

/** The spans with one more; what it touches or overlaps becomes one with it. */
export function withSpan(spans: readonly ByteSpan[], [start, end]: ByteSpan): ByteSpan[] {
  if (end <= start) return [...spans];
  let merged: ByteSpan = [start, end];
  const before: ByteSpan[] = [];
  const after: ByteSpan[] = [];
  for (const span of spans) {
    if (span[1] < merged[0]) before.push(span);
    else if (span[0] > merged[1]) after.push(span);
    else merged = [Math.min(span[0], merged[0]), Math.max(span[1], merged[1])];
  }
  return [...before, merged, ...after];
}

/** What is missing of a file of `size` bytes, in pieces of at most `pieceBytes`, in order. */
export function missingPieces(spans: readonly ByteSpan[], size: number, pieceBytes: number): ByteSpan[] {
  const pieces: ByteSpan[] = [];
  let at = 0;
  for (const [start, end] of [...spans, [size, size] as const]) {
    for (; at < start; at = Math.min(start, at + pieceBytes)) pieces.push([at, Math.min(start, at + pieceBytes)]);
    at = Math.max(at, end);
  }
  return pieces;
}

export function coveredBytes(spans: readonly ByteSpan[]): number {
  return spans.reduce((sum, [start, end]) => sum + end - start, 0);
}

/** How many bytes are there from the start on without a gap. */
export function prefixBytes(spans: readonly ByteSpan[]): number {
  const [first] = spans;
  return first !== undefined && first[0] === 0 ? first[1] : 0;
}
