import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isWellFormedSecret, makeSecret } from "#contract/access";

const chance = fc.uint8Array({ minLength: 20, maxLength: 20 });

describe("a secret", () => {
  it("is 160 random bits with a checksum, and never another kind's", () => {
    fc.assert(
      fc.property(chance, (bytes) => {
        const key = makeSecret("pl", () => bytes);
        expect(key).toMatch(/^pl_[0-9A-Za-z]{33}$/);
        expect(isWellFormedSecret("pl", key)).toBe(true);
        expect(isWellFormedSecret("plj", key)).toBe(false);
      }),
    );
  });

  it("differs where the bits differ", () => {
    fc.assert(
      fc.property(chance, fc.integer({ min: 0, max: 159 }), (bytes, bit) => {
        const other = Uint8Array.from(bytes);
        other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(makeSecret("pl", () => bytes)).not.toBe(makeSecret("pl", () => other));
      }),
    );
  });

  it("is told from one with a typo", () => {
    fc.assert(
      fc.property(chance, fc.integer({ min: 3, max: 35 }), fc.constantFrom(..."0Az9"), (bytes, at, letter) => {
        const key = makeSecret("pl", () => bytes);
        const typo = key.slice(0, at) + letter + key.slice(at + 1);
        expect(isWellFormedSecret("pl", typo)).toBe(typo === key);
      }),
    );
  });

  it.each(["", "pl_", `pl_${"0".repeat(33)} `, `pl_${"0".repeat(32)}O`, "Pl_".padEnd(36, "0")])(
    "refuses %j",
    (text) => {
      expect(isWellFormedSecret("pl", text)).toBe(false);
    },
  );

  it("has the checksum other programs compute", () => {
    // CRC-32 of "pl_" and 27 zeros, checked against zlib.
    expect(makeSecret("pl", () => new Uint8Array(20))).toBe(`pl_${"0".repeat(27)}0xeRxB`);
  });
});
