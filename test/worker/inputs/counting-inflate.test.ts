import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { joinedBytes, stored } from "#test/worker/pictures";
import { CountingInflate, type InflateState } from "#worker/inputs/counting-inflate";

async function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream): Promise<Uint8Array> {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}
const pack = (bytes: Uint8Array) => through(bytes, new CompressionStream("deflate"));

/** The platform's own answer: how long the data becomes, undefined where it is no zlib data. */
async function unpackedLength(bytes: Uint8Array): Promise<number | undefined> {
  return through(bytes, new DecompressionStream("deflate")).then(
    ({ byteLength }) => byteLength,
    () => undefined,
  );
}

function counted(bytes: Uint8Array, step = bytes.byteLength, most = 1e9): { state: InflateState; count: number } {
  const inflate = new CountingInflate(most);
  for (let at = 0; at < bytes.byteLength; at += step) inflate.push(bytes.subarray(at, at + step));
  return { state: inflate.finish(), count: inflate.count };
}

/** Bytes that pack into all kinds of blocks: runs, words that come again, and noise. */
const packable = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.tuple(fc.nat(255), fc.nat(70_000)).map(([byte, count]) => new Uint8Array(count).fill(byte)),
      fc.tuple(fc.uint8Array({ maxLength: 9 }), fc.nat(500)).map(([word, times]) => {
        return joinedBytes(...new Array<Uint8Array>(times).fill(word));
      }),
    ),
    { maxLength: 6 },
  )
  .map((parts) => joinedBytes(...parts));

describe("the length of packed data", () => {
  it("is that of what was packed, in pieces of any size", async () => {
    await fc.assert(
      fc.asyncProperty(packable, fc.integer({ min: 1, max: 5_000 }), async (bytes, step) => {
        const packed = await pack(bytes);
        expect(counted(packed, step)).toEqual({ state: "done", count: bytes.byteLength });
        expect(counted(stored(bytes), step)).toEqual({ state: "done", count: bytes.byteLength });
      }),
      { numRuns: 100 },
    );
  });

  it("is never more than was allowed, but for the last step", async () => {
    const packed = await pack(new Uint8Array(1_000_000));
    expect(counted(packed, 100, 1_000_000)).toEqual({ state: "done", count: 1_000_000 });
    const { state, count } = counted(packed, 100, 999_999);
    expect(state).toBe("over");
    expect(count).toBeLessThan(999_999 + 259);
    expect(counted(stored(new Uint8Array(70_000)), 999, 69_999).state).toBe("over");
  });

  it("is short where the data was cut off", async () => {
    const packed = await pack(crypto.getRandomValues(new Uint8Array(5_000)).map((byte) => byte & 15));
    // The last four bytes are a checksum, which a decoder of rows never gets to.
    for (let length = 0; length < packed.byteLength - 4; length += 1) {
      expect(counted(packed.subarray(0, length), 97).state).toBe("short");
    }
    expect(counted(packed.subarray(0, packed.byteLength - 4)).state).toBe("done");
  });

  it("does not hang on what follows", async () => {
    const packed = await pack(new Uint8Array(1_000));
    expect(counted(joinedBytes(packed, new Uint8Array(50)), 11)).toEqual({ state: "done", count: 1_000 });
  });

  it("is what the platform says, for data with wrong bits", async () => {
    const change = fc.array(fc.tuple(fc.nat(100_000), fc.nat(7)), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), change, async (bytes, changes) => {
        const packed = await pack(bytes.map((byte) => byte & 31));
        for (const [at, bit] of changes) {
          const place = at % (packed.byteLength - 4);
          packed[place] = (packed[place] ?? 0) ^ (1 << bit);
        }
        const { state, count } = counted(packed, 61);
        const length = await unpackedLength(packed);
        // The platform also compares the checksum, so that its yes is ours, but not the other way round.
        if (length !== undefined) expect({ state, count }).toEqual({ state: "done", count: length });
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ["no method", [0x77, 0x01, 0x03, 0x00]],
    ["a dictionary", [0x78, 0x20, 0, 0, 0, 0]],
    ["a block that is none", [0x78, 0x01, 0x07, 0x00]],
    ["a stored block whose lengths differ", [0x78, 0x01, 0x01, 5, 0, 5, 0, 1, 2, 3, 4, 5]],
    ["a copy of what never came", [0x78, 0x01, 0x03, 0x02, 0x00, 0x00]],
  ])("is none: %s", (_name, bytes) => {
    expect(counted(Uint8Array.from(bytes)).state).toBe("broken");
  });

  it("is none for data of nothing but codes, which cost time and become nothing", async () => {
    const blocks = (count: number) => {
      const bits: number[] = [];
      for (let block = 1; block <= count; block += 1) bits.push(...emptyBlock(block === count));
      const bytes = Uint8Array.from({ length: Math.ceil(bits.length / 8) }, (_, at) =>
        bits.slice(at * 8, at * 8 + 8).reduce((byte, bit, place) => byte | (bit << place), 0),
      );
      return joinedBytes([0x78, 0x01], bytes, [0, 0, 0, 1]);
    };
    expect(await unpackedLength(blocks(300))).toBe(0);
    expect(counted(blocks(300), 7)).toEqual({ state: "done", count: 0 });
    expect(counted(blocks(3_000), 7).state).toBe("broken");
  });
});

/** The bits of a block that brings codes of its own, of which only the one for its end is used. */
function emptyBlock(isLast: boolean): number[] {
  const number = (value: number, bits: number) => Array.from({ length: bits }, (_, bit) => (value >> bit) & 1);
  const lengths = new Map([
    [18, 1],
    [0, 2],
    [1, 2],
  ]);
  const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1];
  return [
    ...number(isLast ? 1 : 0, 1),
    ...number(2, 2),
    ...number(0, 10),
    ...number(order.length - 4, 4),
    ...order.flatMap((symbol) => number(lengths.get(symbol) ?? 0, 3)),
    // 256 lengths of 0, a 1 for the end of the block, a 0 for the one distance.
    ...[0, ...number(127, 7), 0, ...number(107, 7), 1, 1, 1, 0],
    0,
  ];
}
