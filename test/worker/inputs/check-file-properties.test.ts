import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Problem } from "#contract/problems";
import {
  animatedWebp,
  big32,
  bmp,
  flac,
  gif,
  joinedBytes,
  jpeg,
  mp3,
  mp4,
  ogg,
  PNG_SIGNATURE,
  png,
  pngChunk,
  pngHeader,
  wav,
  webm,
  webp,
} from "#test/worker/pictures";
import { FileCheck } from "#worker/inputs/check-file";

/** What is said of a file, in chunks of these sizes and the rest at once; anything but a verdict is thrown. */
function verdict(bytes: Uint8Array, sizes: readonly number[] = []): string {
  const check = new FileCheck("application/octet-stream");
  try {
    let at = 0;
    for (const size of sizes) {
      check.push(bytes.subarray(at, at + size));
      at = Math.min(at + size, bytes.byteLength);
    }
    if (at < bytes.byteLength) check.push(bytes.subarray(at));
    check.end();
    return check.contentType;
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "invalid_file") throw error;
    return error.message;
  }
}

const WHOLE = [
  png(20, 10),
  joinedBytes(PNG_SIGNATURE, pngHeader(5, 5), pngChunk("zTXt", new Uint8Array(20)), png(5, 5).subarray(33)),
  jpeg(20, 10, 50),
  gif(20, 10, 3),
  webp(20, 10),
  animatedWebp(20, 10, 3),
  bmp(20, 10),
  wav(20),
  flac(),
  mp3(2),
  joinedBytes([0x49, 0x44, 0x33, 4, 0, 0, 0, 0, 0, 9], new Uint8Array(9), mp3(2)),
  ogg(),
  mp4(),
  webm(),
];
const STARTS = WHOLE.map((bytes) => bytes.subarray(0, 12));

/** Files with bytes changed, cut out, put in or said twice: headers that lie in every way. */
const mutated = fc
  .tuple(
    fc.constantFrom(...WHOLE),
    fc.array(
      fc.record({
        how: fc.constantFrom("set", "cut", "put", "repeat", "huge"),
        at: fc.nat(2_000),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
      }),
      { minLength: 1, maxLength: 5 },
    ),
  )
  .map(([whole, changes]) =>
    changes.reduce((bytes, { how, at: place, bytes: changed }) => {
      const at = place % (bytes.byteLength + 1);
      const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
      if (how === "cut") return joinedBytes(before, after.subarray(changed.length));
      if (how === "put") return joinedBytes(before, changed, after);
      if (how === "repeat") return joinedBytes(before, before.subarray(-40), after);
      const written = how === "huge" ? new Uint8Array(4).fill(0xff) : changed;
      return joinedBytes(before, written, after.subarray(written.length));
    }, whole),
  );
const noise = fc
  .tuple(fc.constantFrom(new Uint8Array(0), ...STARTS), fc.uint8Array({ maxLength: 400 }))
  .map(([start, rest]) => joinedBytes(start, rest));
const anyFile = fc.oneof(mutated, noise);

describe("any bytes", () => {
  it("get a verdict, which is the same however they come", () => {
    fc.assert(
      fc.property(anyFile, fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 60 }), (bytes, sizes) => {
        expect(verdict(bytes, sizes)).toBe(verdict(bytes));
      }),
      { numRuns: 3_000 },
    );
  });

  it("are all that is read: what lies around them in memory changes nothing", () => {
    fc.assert(
      fc.property(anyFile, fc.nat(255), (bytes, around) => {
        const memory = new Uint8Array(bytes.byteLength + 2_000).fill(around);
        memory.set(bytes, 1_000);
        expect(verdict(memory.subarray(1_000, 1_000 + bytes.byteLength))).toBe(verdict(bytes));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("files that are made to cost time", () => {
  const repeated = (start: Uint8Array, unit: readonly number[] | Uint8Array, times: number) =>
    joinedBytes(start, ...new Array<readonly number[] | Uint8Array>(times).fill(unit));
  const jpegScan = jpeg(8, 8).subarray(0, -2);
  const emptyChunk = pngChunk("tIME", new Uint8Array(0));
  const oneByte = pngChunk("IDAT", Uint8Array.from([0]));
  const emptyBox = joinedBytes(big32(8), [0x66, 0x72, 0x65, 0x65]);

  it.each([
    ["PNG chunks of nothing", (n: number) => repeated(joinedBytes(PNG_SIGNATURE, pngHeader(9, 9)), emptyChunk, n)],
    ["PNG pixels by the byte", (n: number) => repeated(joinedBytes(PNG_SIGNATURE, pngHeader(900, 900)), oneByte, n)],
    ["JPEG data that looks like markers", (n: number) => repeated(jpegScan, [0xff, 0x00], n)],
    ["JPEG fill bytes", (n: number) => repeated(jpegScan, [0xff], n)],
    ["JPEG segments of nothing", (n: number) => repeated(jpegScan.subarray(0, 2), [0xff, 0xfe, 0, 2], n)],
    ["GIF pieces of one byte", (n: number) => repeated(gif(9, 9).subarray(0, 24), [1, 0], n)],
    ["GIF extensions of nothing", (n: number) => repeated(gif(9, 9).subarray(0, 13), [0x21, 0xfe, 0], n)],
    ["GIF frames", (n: number) => repeated(gif(1, 1).subarray(0, 13), gif(1, 1).subarray(13, -1), n)],
    ["WebP frames", (n: number) => animatedWebp(1, 1, n)],
    ["film boxes of nothing", (n: number) => repeated(mp4(), emptyBox, n)],
    [
      "the mark of an MP3",
      (n: number) => repeated(Uint8Array.from([0x49, 0x44, 0x33, 4, 0, 0, 0, 0, 0, 0]), [0xff], n),
    ],
    [
      "FLAC blocks of nothing",
      (n: number) => repeated(joinedBytes([0x66, 0x4c, 0x61, 0x43, 0, 0, 0, 34], new Uint8Array(34)), [1, 0, 0, 0], n),
    ],
  ])("take steps in proportion to their length: %s", (_name, make) => {
    /** Looks at pieces of the file: what all readers do for each step they take. */
    const steps = (bytes: Uint8Array, chunk: number): number => {
      const chunks = Array.from({ length: Math.ceil(bytes.byteLength / chunk) }, () => chunk);
      const looks = vi.spyOn(Uint8Array.prototype, "subarray");
      try {
        verdict(bytes, chunks);
        return looks.mock.calls.length;
      } finally {
        looks.mockRestore();
      }
    };
    for (const chunk of [16, 4_096]) {
      const [once, twice] = [steps(make(2_000), chunk), steps(make(4_000), chunk)];
      expect(twice).toBeLessThan(2.5 * once + 100);
    }
  });
});
