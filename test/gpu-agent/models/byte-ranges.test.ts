import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteSpan, coveredBytes, missingPieces, prefixBytes, withSpan } from "#gpu-agent/models/byte-ranges";

const SIZE = 60;
const span = fc.tuple(fc.nat(SIZE), fc.nat(SIZE)).map(([a, b]): ByteSpan => [Math.min(a, b), Math.max(a, b)]);

/** The same by marking every byte. */
function marked(spans: readonly ByteSpan[]): boolean[] {
  return Array.from({ length: SIZE }, (_, at) => spans.some(([start, end]) => start <= at && at < end));
}

describe("spans of a file", () => {
  it("hold exactly the bytes that were added, in order, without touching", () => {
    fc.assert(
      fc.property(fc.array(span, { maxLength: 12 }), (added) => {
        const spans = added.reduce<ByteSpan[]>((all, each) => withSpan(all, each), []);
        expect(marked(spans)).toEqual(marked(added));
        for (const [index, [start, end]] of spans.entries()) {
          expect(start).toBeLessThan(end);
          if (index > 0) expect(start).toBeGreaterThan(spans[index - 1]?.[1] ?? -1);
        }
        expect(coveredBytes(spans)).toBe(marked(added).filter(Boolean).length);
        const gap = marked(added).indexOf(false);
        expect(prefixBytes(spans)).toBe(gap === -1 ? SIZE : gap);
      }),
    );
  });

  it("and the pieces that are missing make the whole, none of them too large", () => {
    fc.assert(
      fc.property(fc.array(span, { maxLength: 12 }), fc.integer({ min: 1, max: 70 }), (added, pieceBytes) => {
        const spans = added.reduce<ByteSpan[]>((all, each) => withSpan(all, each), []);
        const pieces = missingPieces(spans, SIZE, pieceBytes);
        for (const [start, end] of pieces) expect(end - start).toBeGreaterThan(0);
        for (const [start, end] of pieces) expect(end - start).toBeLessThanOrEqual(pieceBytes);
        expect(coveredBytes(pieces) + coveredBytes(spans)).toBe(SIZE);
        const whole = pieces.reduce<ByteSpan[]>((all, each) => withSpan(all, each), spans);
        expect(whole).toEqual([[0, SIZE]]);
      }),
    );
  });

  it("of an empty file are none, and nothing is missing", () => {
    expect(missingPieces([], 0, 10)).toEqual([]);
    expect(withSpan([], [0, 0])).toEqual([]);
  });
});
