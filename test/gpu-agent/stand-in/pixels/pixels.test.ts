import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import type { ImageBatch } from "#gpu-agent/stand-in/node";
import { eachTextPixel, GLYPH_HEIGHT, textWidth } from "#gpu-agent/stand-in/pixels/bitmap-font";
import { cropped, fromBytes, mirrored, roundHalfEven, toBytes, turned } from "#gpu-agent/stand-in/pixels/float-images";
import { medianCut } from "#gpu-agent/stand-in/pixels/median-cut";
import { MersenneTwister, normalNumbers } from "#gpu-agent/stand-in/pixels/mersenne-twister";
import { dilated, eroded } from "#gpu-agent/stand-in/pixels/morphology";
import { encodePng } from "#gpu-agent/stand-in/pixels/png";
import { resize } from "#gpu-agent/stand-in/pixels/resample";
import { paintScene } from "#gpu-agent/stand-in/pixels/stand-in-picture";

const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
const anyImage: fc.Arbitrary<ImageBatch> = fc
  .record({
    width: fc.integer({ min: 1, max: 9 }),
    height: fc.integer({ min: 1, max: 9 }),
    channels: fc.constantFrom(1, 3, 4),
  })
  .chain((size) =>
    fc
      .uint8Array({
        minLength: size.width * size.height * size.channels,
        maxLength: size.width * size.height * size.channels,
      })
      .map((values) => fromBytes(values, { batch: 1, ...size })),
  );

describe("bytes and floats", () => {
  it("every byte survives loading and saving", () => {
    fc.assert(
      fc.property(bytes, (values) => {
        const line = fromBytes(values, { batch: 1, height: 1, width: values.length, channels: 1 });
        expect([...toBytes(line.data)]).toEqual([...values]);
      }),
    );
  });

  it("inverting truncates: most bytes come out one below 255 − v", () => {
    const all = Uint8Array.from({ length: 256 }, (_, v) => v);
    const inverted = toBytes(fromBytes(all, { batch: 1, height: 1, width: 256, channels: 1 }).data.map((x) => 1 - x));
    expect([...inverted].filter((value, v) => value === 254 - v)).toHaveLength(159);
    expect([...inverted].filter((value, v) => value === 255 - v)).toHaveLength(97);
  });

  it("cuts what lies outside 0..1 and makes NaN black", () => {
    expect([...toBytes(Float32Array.of(-1, 2, Number.NaN, Number.POSITIVE_INFINITY))]).toEqual([0, 255, 0, 255]);
  });

  it("rounds halves to the even neighbour", () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6].map(roundHalfEven)).toEqual([0, 2, 2, 0, -2, 2, 3]);
  });
});

describe("geometry", () => {
  it("four quarter turns, or two mirrorings, change nothing", () => {
    fc.assert(
      fc.property(anyImage, (image) => {
        expect(turned(turned(turned(turned(image, 1), 1), 1), 1)).toEqual(image);
        expect(turned(turned(image, 1), 1)).toEqual(turned(image, 2));
        expect(turned(image, 3)).toEqual(turned(image, -1));
        expect(mirrored(mirrored(image, "vertical"), "horizontal")).toEqual(turned(image, 2));
      }),
    );
  });

  it("a crop never leaves the picture", () => {
    const at = fc.integer({ min: 0, max: 20 });
    fc.assert(
      fc.property(anyImage, at, at, at, at, (image, x, y, width, height) => {
        const part = cropped(image, x, y, width, height);
        expect(part.width).toBe(Math.max(0, Math.min(width, image.width - Math.min(x, image.width))));
        expect(part.data).toHaveLength(part.width * part.height * part.channels);
      }),
    );
  });

  it.each(["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])("%s keeps a plain picture plain", (method) => {
    const side = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), side, side, (value, width, height) => {
        const plain = fromBytes(new Uint8Array(7 * 5 * 3).fill(value), { batch: 1, width: 7, height: 5, channels: 3 });
        const sized = resize(plain, width, height, method, "disabled");
        expect([sized.width, sized.height]).toEqual([width, height]);
        expect(sized.data.every((x) => Math.abs(x - value / 255) < 1e-5)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it("the same size changes nothing", () => {
    fc.assert(
      fc.property(anyImage, (image) => {
        for (const method of ["nearest-exact", "area", "bicubic"]) {
          expect(resize(image, image.width, image.height, method, "disabled").data).toEqual(image.data);
        }
      }),
    );
  });

  it("refuses an empty size", () => {
    const image = fromBytes(new Uint8Array(3), { batch: 1, width: 1, height: 1, channels: 3 });
    expect(() => resize(image, 0, 5, "bilinear", "disabled")).toThrow(
      "Input and output sizes should be greater than 0",
    );
  });
});

describe("morphology", () => {
  it("erodes to less and dilates to more, and both reach as far as their square", () => {
    fc.assert(
      fc.property(anyImage, fc.integer({ min: 3, max: 15 }), (image, side) => {
        const less = eroded(image, side);
        const more = dilated(image, side);
        expect(image.data.every((value, i) => (less.data[i] ?? 0) <= value && value <= (more.data[i] ?? 0))).toBe(true);
      }),
    );
    const dot = fromBytes(
      Uint8Array.from({ length: 49 }, (_, i) => (i === 24 ? 255 : 0)),
      { batch: 1, width: 7, height: 7, channels: 1 },
    );
    expect(dilated(dot, 3).data.reduce((sum, value) => sum + value, 0)).toBe(9);
    expect(dilated(dot, 99).data.every((value) => value === 1)).toBe(true);
  });
});

describe("random numbers", () => {
  it("are those of the Mersenne Twister's authors", () => {
    const twister = new MersenneTwister(5489);
    expect(twister.word()).toBe(3499211612);
    for (let i = 2; i < 10_000; i += 1) twister.word();
    expect(twister.word()).toBe(4123659995);
  });

  it("use the low 32 bits of a seed, as PyTorch does", () => {
    expect(normalNumbers(7n + 2n ** 32n, 20)).toEqual(normalNumbers(7, 20));
    expect(normalNumbers(8, 20)).not.toEqual(normalNumbers(7, 20));
  });

  it("have mean 0 and deviation 1", () => {
    const values = normalNumbers(1, 100_000);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    expect(mean).toBeCloseTo(0, 1);
    expect(variance).toBeCloseTo(1, 1);
  });
});

describe("a palette", () => {
  it("has no more colours than asked for, and exactly the picture's when it has few", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 16 }),
        (picks, size) => {
          const rgb = Uint8Array.from(picks.flatMap((pick) => [pick * 30, 255 - pick * 30, pick * pick]));
          const palette = medianCut(rgb, size);
          const distinct = new Set(picks).size;
          expect(palette.length).toBe(Math.min(size, distinct));
          if (size >= distinct) {
            const own = picks.map((pick) => [pick * 30, 255 - pick * 30, pick * pick].join());
            expect(new Set(palette.map((color) => color.join()))).toEqual(new Set(own));
          }
        },
      ),
    );
  });
});

describe("PNG", () => {
  it("decodes to the bytes it was made of", async () => {
    await fc.assert(
      fc.asyncProperty(anyImage, fc.integer({ min: 0, max: 9 }), async (image, level) => {
        // The reader makes grey pictures coloured.
        fc.pre(image.channels > 1);
        const values = toBytes(image.data);
        const decoded = await sharp(await encodePng(values, image, { note: "é €" }, level))
          .raw()
          .toBuffer({ resolveWithObject: true });
        expect(decoded.info.channels).toBe(image.channels);
        expect(new Uint8Array(decoded.data)).toEqual(values);
      }),
      { numRuns: 40 },
    );
  });
});

describe("the stand-in picture", () => {
  const scene = { prompt: "a lake", seed: 1n, steps: 4, cfg: 7, variant: "", index: 0, time: 0 };

  it("is drawn at any size without leaving 0..1", () => {
    const side = fc.integer({ min: 1, max: 90 });
    fc.assert(
      fc.property(
        side,
        side,
        fc.string(),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (width, height, prompt, seed) => {
          const image = paintScene({ ...scene, prompt, seed }, width, height);
          expect(image.data).toHaveLength(width * height * 3);
          expect(image.data.every((value) => value >= 0 && value <= 1)).toBe(true);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("says STAND-IN", () => {
    // The title's letters are of one colour that nothing else in the picture has.
    const { data, width, height } = paintScene({ ...scene, prompt: "" }, 64, 64);
    const title = new Set<string>();
    eachTextPixel("STAND-IN", (x, y) => title.add(`${x},${y}`));
    const colors = new Map<string, Set<string>>();
    for (let i = 0; i < width * height; i += 1) {
      const color = data.subarray(i * 3, i * 3 + 3).join();
      const places = colors.get(color) ?? new Set();
      colors.set(color, places.add(`${i % width},${Math.floor(i / width)}`));
    }
    const matches = [...colors.values()].filter((places) => {
      const [first] = [...places]
        .map((place) => place.split(",").map(Number))
        .sort(([ax = 0, ay = 0], [bx = 0, by = 0]) => ay - by || ax - bx);
      const [left = 0, top = 0] = first ?? [];
      // The first pixel of the S is one to the right of the title's corner.
      const moved = [...places]
        .map((place) => place.split(",").map(Number))
        .map(([x = 0, y = 0]) => `${x - left + 1},${y - top}`);
      return moved.length === title.size && moved.every((place) => title.has(place));
    });
    expect(matches).toHaveLength(1);
  });

  it("has letters as wide as it says", () => {
    let right = 0;
    let bottom = 0;
    eachTextPixel("Wg…é", (x, y) => {
      right = Math.max(right, x);
      bottom = Math.max(bottom, y);
    });
    expect([right, bottom]).toEqual([textWidth("Wg…é") - 1, GLYPH_HEIGHT - 1]);
  });
});
