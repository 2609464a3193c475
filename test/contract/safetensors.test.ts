import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checkSafetensorsHeader,
  SAFETENSORS_HEADER_BYTES_MAX,
  SAFETENSORS_PREFIX_BYTES,
  safetensorsHeaderLength,
} from "#contract/safetensors";

/** A whole file: the header as it is given, then `dataBytes` bytes. */
function check(header: unknown, dataBytes: number): string | number {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const fileBytes = SAFETENSORS_PREFIX_BYTES + text.byteLength + dataBytes;
  const prefix = new Uint8Array(SAFETENSORS_PREFIX_BYTES);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  const length = safetensorsHeaderLength(prefix, fileBytes);
  if (!length.ok) return length.reason;
  const verdict = checkSafetensorsHeader(text, fileBytes);
  return verdict.ok ? verdict.tensors : verdict.reason;
}

const tensor = (start: number, end: number, more: object = {}) => ({
  dtype: "U8",
  shape: [end - start],
  data_offsets: [start, end],
  ...more,
});

describe("a safetensors header", () => {
  it.each([
    ["two tensors in any order", { b: tensor(4, 10), a: tensor(0, 4), __metadata__: { format: "pt" } }, 10, 2],
    ["padding at its end", `${JSON.stringify({ a: tensor(0, 4) })}     `, 4, 1],
    ["no tensor at all", {}, 0, 0],
    ["tensors without elements", { a: tensor(0, 0), b: tensor(0, 8), c: tensor(8, 8) }, 8, 3],
    ["a scalar", { a: { dtype: "F32", shape: [], data_offsets: [0, 4] } }, 4, 1],
    ["a type that came later", { a: { dtype: "F3_NEW", shape: [9], data_offsets: [0, 4] } }, 4, 1],
  ])("is taken with %s", (_, header, dataBytes, tensors) => {
    expect(check(header, dataBytes)).toBe(tensors);
  });

  it.each([
    [
      "a tensor beyond the end",
      { a: tensor(0, 12) },
      8,
      'The tensor "a" lies at 0 to 12, outside the file\'s 8 bytes.',
    ],
    ["a tensor that ends before it starts", { a: tensor(8, 4, { shape: [4] }) }, 8, "outside the file"],
    ["two tensors over each other", { a: tensor(0, 6), b: tensor(4, 8) }, 8, 'The tensor "b" lies over another.'],
    ["bytes between tensors", { a: tensor(0, 2), b: tensor(4, 8) }, 8, "2 bytes before"],
    ["bytes after the last tensor", { a: tensor(0, 4) }, 8, "The tensors end at 4 of 8 bytes."],
    ["a shape that needs more bytes", { a: tensor(0, 8, { dtype: "F32" }) }, 8, "needs 32 bytes, but has 8"],
    ["a negative size", { a: tensor(0, 8, { shape: [-8] }) }, 8, "no shape of whole numbers"],
    ["a text as an offset", { a: tensor(0, 8, { data_offsets: ["0", "8"] }) }, 8, "no data_offsets"],
    ["a tensor without a type", { a: tensor(0, 8, { dtype: 8 }) }, 8, "has no dtype"],
    ["a list", [], 0, "not a JSON object"],
    ["metadata that is no map of texts", { __metadata__: { a: 1 } }, 0, "__metadata__"],
    ["something that is not JSON", "{{{", 0, "not JSON"],
    ["a byte-order mark", "\ufeff{}", 0, "not JSON"],
  ])("is refused with %s", (_, header, dataBytes, reason) => {
    expect(check(header, dataBytes)).toContain(reason);
  });

  it("is refused when its length goes beyond the file, or beyond the bound", () => {
    const prefix = (length: bigint) => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, length, true);
      return bytes;
    };
    const beyond = 2 ** 40;
    expect(safetensorsHeaderLength(prefix(100n), 50)).toMatchObject({ ok: false });
    expect(safetensorsHeaderLength(prefix(2n ** 64n - 1n), 50)).toMatchObject({ ok: false });
    expect(safetensorsHeaderLength(prefix(BigInt(SAFETENSORS_HEADER_BYTES_MAX)), beyond)).toMatchObject({ ok: true });
    expect(safetensorsHeaderLength(prefix(BigInt(SAFETENSORS_HEADER_BYTES_MAX) + 1n), beyond).ok).toBe(false);
    expect(safetensorsHeaderLength(new Uint8Array(3), 3).ok).toBe(false);
    // The start of a pickled file in a zip archive, as .ckpt files are.
    expect(safetensorsHeaderLength(Buffer.from("PK\u0003\u0004aaaa"), 5_000).ok).toBe(false);
  });

  it("never throws, and never lets a tensor leave the file", () => {
    const entry = fc.oneof(
      fc.anything(),
      fc.record({
        dtype: fc.constantFrom("U8", "F16", "NEW"),
        shape: fc.array(fc.integer({ min: -1, max: 9 }), { maxLength: 3 }),
        data_offsets: fc.tuple(fc.integer({ min: -1, max: 70 }), fc.integer({ min: -1, max: 70 })),
      }),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), entry, { maxKeys: 4 }), fc.nat(64), (header, dataBytes) => {
        let text: string;
        try {
          text = JSON.stringify(header);
        } catch {
          return;
        }
        const result = check(text, dataBytes);
        if (typeof result === "string") return;
        for (const [name, value] of Object.entries(JSON.parse(text) as Record<string, { data_offsets: number[] }>)) {
          if (name !== "__metadata__") expect(Math.max(...value.data_offsets)).toBeLessThanOrEqual(dataBytes);
        }
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        checkSafetensorsHeader(bytes, bytes.byteLength + 8);
        safetensorsHeaderLength(bytes.subarray(0, 8), bytes.byteLength);
      }),
    );
  });
});
