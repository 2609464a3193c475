import { describe, expect, it } from "vitest";
import { IMAGE_PIXELS_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import {
  animatedWebp,
  big32,
  bmp,
  box,
  flac,
  gif,
  joinedBytes,
  jpeg,
  little,
  mp3,
  mp4,
  ogg,
  PNG_END,
  PNG_SIGNATURE,
  png,
  pngChunk,
  pngHeader,
  riff,
  stored,
  wav,
  webm,
  webp,
} from "#test/worker/pictures";
import { FileCheck, misfit } from "#worker/inputs/check-file";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** What is said of a file that comes in chunks of that size: its content type, or why it is refused. */
function verdict(bytes: Uint8Array, chunk = bytes.byteLength, claimed = "application/octet-stream"): string {
  const check = new FileCheck(claimed);
  try {
    for (let at = 0; at < bytes.byteLength; at += chunk) check.push(bytes.subarray(at, at + chunk));
    check.end();
    return check.contentType;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    expect(error.code).toBe("invalid_file");
    return error.message;
  }
}

async function packed(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const grey = (width: number, height: number) => new Uint8Array(height * (1 + Math.ceil(width / 8)));
const pngOf = (...chunks: Uint8Array[]) => joinedBytes(PNG_SIGNATURE, ...chunks, PNG_END);
const idat = (width: number, height: number) => pngChunk("IDAT", stored(grey(width, height)));

const WHOLE: readonly (readonly [string, Uint8Array, string])[] = [
  ["a PNG", png(40, 30), "image/png"],
  ["a JPEG", jpeg(40, 30), "image/jpeg"],
  ["a JPEG after metadata", jpeg(40, 30, 200_000), "image/jpeg"],
  ["a GIF", gif(40, 30), "image/gif"],
  ["a GIF of five frames", gif(40, 30, 5), "image/gif"],
  ["a WebP", webp(40, 30), "image/webp"],
  ["an animated WebP", animatedWebp(40, 30, 5), "image/webp"],
  ["a BMP", bmp(41, 30), "image/bmp"],
  ["a WAV", wav(), "audio/wav"],
  ["a FLAC", flac(), "audio/flac"],
  ["an MP3", mp3(), "audio/mpeg"],
  ["an MP3 of one frame", mp3(1), "audio/mpeg"],
  ["an MP3 behind a tag", joinedBytes(text("ID3"), [4, 0, 0, 0, 0, 1, 0], new Uint8Array(128), mp3()), "audio/mpeg"],
  ["a FLAC behind a tag", joinedBytes(text("ID3"), [4, 0, 0, 0, 0, 0, 5], text("12345"), flac()), "audio/flac"],
  ["Vorbis", ogg(), "audio/ogg"],
  ["Opus", ogg("OpusHead"), "audio/ogg"],
  ["Theora", ogg("\u0080theora"), "video/ogg"],
  ["an MP4", mp4(), "video/mp4"],
  ["an M4A", mp4("soun", 0, 0, "M4A "), "audio/mp4"],
  ["a QuickTime film", mp4("vide", 640, 480, "qt  "), "video/quicktime"],
  ["a QuickTime film without a type", mp4().subarray(16), "video/quicktime"],
  ["WebM", webm(), "video/webm"],
  ["Matroska", webm(1, "matroska"), "video/x-matroska"],
  ["Matroska with long lengths", webm(1, "matroska", 65, 8), "video/x-matroska"],
  ["WebM of sound", webm(2), "audio/webm"],
];

describe("a whole file", () => {
  it.each(WHOLE)("is known: %s", (_name, bytes, type) => {
    expect(verdict(bytes)).toBe(type);
  });

  it.each(WHOLE)("is the same in chunks of any size: %s", (_name, bytes, type) => {
    const sizes = bytes.byteLength > 10_000 ? [4_001] : [1, 2, 3, 7, 64, 1_000];
    for (const size of sizes) expect(verdict(bytes, size)).toBe(type);
  });

  it("may be anything that is not called a picture, a sound or a film", () => {
    expect(verdict(text("a,b\n1,2\n"), 3, "text/csv; header=present")).toBe("text/csv");
    expect(verdict(text("anything"), 3, "nonsense")).toBe("application/octet-stream");
    expect(verdict(text("anything"), 3, "image/png")).toContain("sent as image/png, but its bytes are no PNG");
    expect(verdict(text("anything"), 3, "audio/wav")).toContain("sent as audio/wav, but its bytes are no WAV");
    expect(verdict(text("anything"), 3, "video/avi")).toContain("sent as video/avi, but its bytes are no MP4");
  });

  it("is what its bytes are and not what it is called", () => {
    expect(verdict(jpeg(9, 9), 5, "image/png")).toBe("image/jpeg");
    expect(verdict(png(9, 9), 5, "video/mp4")).toBe("image/png");
  });
});

describe("a file that is cut off", () => {
  // Of other sounds and films only the head is read: what is cut off later plays until there.
  it.each(WHOLE.filter(([, , type]) => /^image|wav|quicktime|mp4$/.test(type)))(
    "at any place is refused: %s",
    (name, bytes, type) => {
      const step = bytes.byteLength > 5_000 ? 997 : 1;
      // A GIF may lack its trailer, and then its last frame's end is its end.
      const missing = type === "image/gif" ? 2 : 1;
      for (let length = 0; length <= bytes.byteLength - missing; length += step) {
        const said = verdict(bytes.subarray(0, length), 100, type);
        if (said === type && /five frames|animated/.test(name)) continue; // So many frames came whole.
        expect(`${length}: ${said}`).toMatch(/: (It is sent|The .* (is cut off|is broken|has no|holds)|The file)/);
      }
    },
  );

  it.each(WHOLE.filter(([, , type]) => /flac|mpeg|ogg|webm|matroska/.test(type)))(
    "before its head ends is refused: %s",
    (_name, bytes, type) => {
      for (let length = 0; length < 16; length += 1) {
        expect(verdict(bytes.subarray(0, length), 5, type)).not.toBe(type);
      }
    },
  );
});

describe("the size of a picture", () => {
  const [width, height] = [10_000, IMAGE_PIXELS_MAX / 10_000 + 1];
  it.each([
    ["PNG", png(width, height)],
    ["JPEG", jpeg(width, height)],
    ["GIF", gif(width, height)],
    ["WebP", webp(width, height)],
    ["BMP", bmp(width, height)],
    ["MP4", mp4("vide", width, height)],
    ["WebM", webm(1, "webm", width)],
    ["lossless WebP", riff("WEBP", ["VP8L", joinedBytes([0x2f], little(9_999 | (5_001 << 14), 4), [0])])],
  ])("is taken from the header: %s", (_name, bytes) => {
    expect(verdict(bytes)).toContain(`at most ${IMAGE_PIXELS_MAX} are taken`);
  });

  it("is refused as soon as it has been read", () => {
    const check = new FileCheck("image/png");
    expect(() => check.push(png(50_000, 50_000).subarray(0, 64))).toThrow("50000 × 50000 pixels");
  });

  it.each([
    ["PNG", pngOf(pngHeader(0, 5), idat(0, 5))],
    ["JPEG", jpeg(5, 0)],
    ["BMP", bmp(0, 5)],
  ])("may not be nothing: %s", (_name, bytes) => {
    expect(verdict(bytes)).toMatch(/is [05] × [05] pixels/);
  });

  it("of a GIF grows with frames that reach out", () => {
    const far = gif(10, 10);
    far.set([0xff, 0xff, 0xff, 0xff], 14);
    expect(verdict(far)).toContain("65545 × 65545 pixels");
  });

  it.each([
    ["GIF", gif(5_000, 5_000, 9), 9],
    ["WebP", animatedWebp(5_000, 5_000, 9), 9],
    [
      "PNG",
      pngOf(pngHeader(5_000, 5_000), pngChunk("acTL", joinedBytes(big32(1_000), big32(0))), idat(5_000, 5_000)),
      1_000,
    ],
  ])("counts once for each frame: %s", (_name, bytes, frames) => {
    expect(verdict(bytes)).toContain(`Its ${frames} frames of 5000 × 5000 have more than 200000000 pixels`);
  });

  it("counts once for each picture that a JPEG's index names", () => {
    const entry = joinedBytes([0xb0, 0x01, 0, 4], big32(1), big32(5_000));
    const index = joinedBytes(text("MPF\0MM\0*"), big32(8), [0, 1], entry);
    const segment = joinedBytes([0xff, 0xe2, 0, index.byteLength + 2], index);
    const bytes = jpeg(1_000, 1_000);
    expect(verdict(joinedBytes(bytes.subarray(0, 2), segment, bytes.subarray(2)))).toContain("Its 5000 frames");
  });
});

describe("a PNG", () => {
  it.each([
    [1, 0, 0, 17 * (1 + 2)],
    [16, 6, 0, 17 * (1 + 13 * 8)],
    [8, 2, 0, 17 * (1 + 13 * 3)],
    // Adam7, row by row of the seven passes of 13 × 17.
    [8, 2, 1, 3 * (1 + 6) + 3 * (1 + 6) + 2 * (1 + 12) + 5 * (1 + 9) + 4 * (1 + 21) + 9 * (1 + 18) + 8 * (1 + 39)],
  ])("of depth %i, colour %i, interlaced %i unpacks to %i bytes", async (depth, colour, interlaced, bytes) => {
    const of = async (count: number) =>
      verdict(
        pngOf(pngHeader(13, 17, depth, colour, interlaced), pngChunk("IDAT", await packed(new Uint8Array(count)))),
      );
    expect(await of(bytes)).toBe("image/png");
    expect(await of(bytes - 1)).toContain(`holds ${bytes - 1} of the ${bytes} bytes`);
    expect(await of(bytes + 1)).toContain(`more than the ${bytes} bytes`);
  });

  it("that is a bomb is refused before it has been unpacked", async () => {
    const bomb = await packed(new Uint8Array(60_000_000));
    expect(bomb.byteLength).toBeLessThan(70_000);
    expect(verdict(pngOf(pngHeader(1, 1), pngChunk("IDAT", bomb)))).toContain("more than the 2 bytes");
    expect(
      verdict(pngOf(pngHeader(40, 30), pngChunk("zTXt", joinedBytes(text("a\0\0"), bomb)), idat(40, 30))),
    ).toContain("A zTXt chunk of the PNG unpacks to more than 1048576 bytes");
    expect(
      verdict(pngOf(pngHeader(40, 30), pngChunk("iCCP", joinedBytes(text("a\0\0"), bomb)), idat(40, 30))),
    ).toContain("A iCCP chunk");
    const international = joinedBytes(text("a\0\u0001\0en\0b\0"), bomb);
    expect(verdict(pngOf(pngHeader(40, 30), idat(40, 30), pngChunk("iTXt", international)))).toContain("A iTXt chunk");
  });

  it("may hold texts, but not without end", async () => {
    const note = pngChunk("zTXt", joinedBytes(text("note\0\0"), await packed(new Uint8Array(1_000_000))));
    expect(verdict(pngOf(pngHeader(40, 30), note, idat(40, 30)))).toBe("image/png");
    const many = new Array<Uint8Array>(70).fill(note);
    expect(verdict(pngOf(pngHeader(40, 30), ...many, idat(40, 30)))).toContain("more than 67108864 bytes of text");
  });

  it("may be in many pieces, of any size", async () => {
    const pixels = await packed(crypto.getRandomValues(new Uint8Array(300 * (1 + 100))));
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < pixels.byteLength; at += 1_000)
      pieces.push(pngChunk("IDAT", pixels.subarray(at, at + 1_000)));
    expect(verdict(pngOf(pngHeader(100, 300, 8), pngChunk("IDAT", new Uint8Array(0)), ...pieces), 777)).toBe(
      "image/png",
    );
  });

  it("may be an animation whose frames fit", () => {
    const control = pngChunk("acTL", joinedBytes(big32(2), big32(0)));
    const frame = (order: number, width: number, left: number) =>
      pngChunk("fcTL", joinedBytes(big32(order), big32(width), big32(10), big32(left), big32(0), new Uint8Array(6)));
    const data = (order: number, width: number) => pngChunk("fdAT", joinedBytes(big32(order), stored(grey(width, 10))));
    const start = [pngHeader(40, 30), control, frame(0, 40, 0), idat(40, 30)];
    expect(verdict(pngOf(...start, frame(1, 16, 8), data(2, 16)))).toBe("image/png");
    expect(verdict(pngOf(...start, frame(1, 16, 30), data(2, 16)))).toContain("outside the picture");
    expect(verdict(pngOf(...start, frame(1, 16, 8), data(2, 40)))).toContain("more than the 30 bytes");
    expect(verdict(pngOf(...start, data(2, 16)))).toContain("a frame has no header");
  });

  const broken: [string, Uint8Array][] = [
    ["no header", joinedBytes(PNG_SIGNATURE, idat(1, 1), PNG_END)],
    ["two headers", pngOf(pngHeader(1, 1), pngHeader(1, 1), idat(1, 1))],
    ["no pixels", pngOf(pngHeader(1, 1))],
    ["a colour that is none", pngOf(pngHeader(1, 1, 8, 5), idat(1, 1))],
    ["a depth that does not go with its colour", pngOf(pngHeader(1, 1, 4, 2), idat(1, 1))],
    ["a palette that is missing", pngOf(pngHeader(1, 1, 8, 3), idat(8, 1))],
    ["pixels that are no zlib data", pngOf(pngHeader(1, 1), pngChunk("IDAT", text("hello")))],
    ["pixels in two places", pngOf(pngHeader(8, 2), idat(8, 2), pngChunk("tIME", new Uint8Array(7)), idat(8, 2))],
    ["a type that is none", pngOf(pngHeader(1, 1), pngChunk("1234", new Uint8Array(0)), idat(1, 1))],
  ];
  it.each(broken)("with %s is refused", (_name, bytes) => {
    expect(verdict(bytes)).toContain("The PNG is broken");
  });

  it("with one wrong bit is refused", () => {
    const whole = png(20, 20);
    for (let at = 0; at < whole.byteLength; at += 1) {
      const copy = whole.slice();
      copy[at] = (copy[at] ?? 0) ^ 0x04;
      expect(`${at}: ${verdict(copy, 50, "image/png")}`).not.toBe(`${at}: image/png`);
    }
  });
});

describe("a JPEG", () => {
  const kind = (marker: number, precision = 8, components = 3) => {
    const bytes = jpeg(8, 8);
    const at = bytes.indexOf(0xc0);
    bytes[at] = marker;
    bytes[at + 3] = precision;
    bytes[at + 8] = components;
    return verdict(bytes);
  };

  it("may be what decoders know", () => {
    for (const marker of [0xc0, 0xc1, 0xc2, 0xc9, 0xca]) expect(kind(marker)).toBe("image/jpeg");
    for (const components of [1, 3, 4]) expect(kind(0xc2, 8, components)).toBe("image/jpeg");
    expect(kind(0xc3)).toContain("of a rare kind");
    expect(kind(0xc0, 12)).toContain("of a rare kind");
    expect(kind(0xc0, 8, 2)).toContain("of a rare kind");
  });

  it("has no more scans than a picture needs", () => {
    const bytes = jpeg(8, 8);
    const scan = bytes.subarray(bytes.lastIndexOf(0xda) - 1, -2);
    const scans = (count: number) =>
      verdict(joinedBytes(bytes.subarray(0, -2), ...new Array<Uint8Array>(count).fill(scan), [0xff, 0xd9]));
    expect(scans(20)).toBe("image/jpeg");
    expect(scans(5_000)).toContain("more than 64 scans");
  });

  it("has no more segments than a file may need", () => {
    const bytes = jpeg(8, 8);
    const comments = new Uint8Array(4 * 20_000).map((_, index) => [0xff, 0xfe, 0, 2][index % 4] ?? 0);
    expect(verdict(joinedBytes(bytes.subarray(0, 2), comments, bytes.subarray(2)))).toContain(
      "more than 10000 segments",
    );
  });
});

describe("a WebP", () => {
  const simple = (type: string, ...bytes: number[]) =>
    verdict(riff("WEBP", [type, joinedBytes(bytes, new Uint8Array(8))]));
  it("begins with a whole picture of a known version", () => {
    expect(simple("VP8 ", 0x10, 0x01, 0, 0x9d, 0x01, 0x2a, 8, 0, 8, 0)).toBe("image/webp");
    expect(simple("VP8 ", 0x11, 0x01, 0, 0x9d, 0x01, 0x2a, 8, 0, 8, 0)).toContain("does not begin with a whole one");
    expect(simple("VP8 ", 0x18, 0x01, 0, 0x9d, 0x01, 0x2a, 8, 0, 8, 0)).toContain("does not begin with a whole one");
    expect(simple("VP8 ", 0x30, 0x01, 0, 0x9d, 0x01, 0x2a, 8, 0, 8, 0)).toContain("does not begin with a whole one");
    expect(simple("VP8L", 0x2f, 7, 0xc0, 1, 0)).toBe("image/webp");
    expect(simple("VP8L", 0x2f, 7, 0xc0, 1, 0x20)).toContain("of an unknown version");
    expect(simple("VP8L", 0x2e, 7, 0xc0, 1, 0)).toContain("its picture has no header");
  });
});

describe("other files that would break later", () => {
  it.each([
    [
      "a WebP of two sizes",
      riff("WEBP", ["VP8X", new Uint8Array(10)], ["VP8 ", webp(40, 30).subarray(38)]),
      "not of the size",
    ],
    ["a WebP without a picture", riff("WEBP", ["VP8X", new Uint8Array(10)]), "has no picture"],
    ["a GIF of an unknown block", joinedBytes(gif(5, 5).subarray(0, 13), [0x55]), "should be a block"],
    ["a GIF without frames", joinedBytes(gif(5, 5).subarray(0, 13), [0x3b]), "cut off"],
    ["a WAV without a format", riff("WAVE", ["data", new Uint8Array(4)]), "does not say how its sound is written"],
    ["a WAV without channels", riff("WAVE", ["fmt ", new Uint8Array(16)], ["data", new Uint8Array(4)]), "no channels"],
    ["a FLAC of days", flac(2 ** 35, 8), "Send a shorter piece"],
    ["an Ogg of something else", ogg("\u0080kate"), "holds no Vorbis"],
    ["an MP4 without an index", box("ftyp", text("isom"), [0, 0, 0, 0]), "has no index (moov)"],
    [
      "an MP4 without tracks",
      joinedBytes(box("ftyp", text("isom")), box("moov")),
      "neither a video nor an audio track",
    ],
    ["an MP4 of subtitles", mp4("text"), "neither a video nor an audio track"],
    [
      "an MP4 box that outgrows its own",
      joinedBytes(box("ftyp", text("isom")), box("moov", big32(99), text("trak"))),
      "is longer",
    ],
    ["a WebM without tracks", webm(17), "neither a video nor an audio track"],
    [
      "a tag without sound",
      joinedBytes(text("ID3"), [4, 0, 0, 0, 0, 0, 0], new Uint8Array(90_000)),
      "no frames of sound",
    ],
    ["nothing at all", new Uint8Array(0), "The file is empty"],
  ])("%s", (_name, bytes, reason) => {
    expect(verdict(bytes)).toContain(reason);
  });

  it.each([
    ["an AVIF", joinedBytes(big32(28), text("ftypavif"), big32(0), text("mif1miaf"))],
    ["an AVIF", joinedBytes(big32(28), text("ftypmif1"), big32(0), text("avifmiaf"))],
    ["a HEIC", joinedBytes(big32(24), text("ftypheic"), big32(0), text("mif1heic"))],
    ["a TIFF", joinedBytes(text("II*\0"), new Uint8Array(20))],
    ["a TIFF", joinedBytes(text("MM\0*"), new Uint8Array(20))],
    ["a JPEG XL", joinedBytes([0xff, 0x0a], new Uint8Array(20))],
    ["an SVG", text('<?xml version="1.0"?><svg onload="alert(1)">')],
  ])("%s, with what to do", (name, bytes) => {
    expect(verdict(bytes)).toBe(
      `It is ${name}, which not every ComfyUI can open. Convert it to PNG, JPEG, WebP, GIF or BMP.`,
    );
  });
});

describe("what an input takes", () => {
  it.each([
    ["image/png", "image", true],
    ["image/bmp", "mask", true],
    ["image/gif", "video", true],
    ["image/png", "video", false],
    ["video/mp4", "video", true],
    ["video/webm", "audio", true],
    ["audio/flac", "audio", true],
    ["audio/flac", "video", false],
    ["audio/flac", "image", false],
    ["application/octet-stream", "audio", false],
    ["application/octet-stream", "video", false],
    ["application/octet-stream", "image", false],
    ["text/csv", "file", true],
    ["image/png", "file", true],
  ] as const)("%s as %s: %s", (contentType, media, fits) => {
    expect(misfit(contentType, media) === undefined).toBe(fits);
  });

  it("is refused before the rest has come", () => {
    const check = new FileCheck("", "image");
    expect(() => check.push(mp4().subarray(0, 64))).toThrow("Must be a picture");
    const film = new FileCheck("", "video");
    film.push(mp4("soun"));
    expect(() => film.end()).toThrow("by its bytes this one is audio/mp4");
    const theora = new FileCheck("", "video");
    theora.push(ogg("\u0080theora"));
    theora.end();
    expect(theora.contentType).toBe("video/ogg");
  });

  it("is said", () => {
    expect(misfit("audio/wav", "image")).toBe(
      "Must be a picture: PNG, JPEG, WebP, GIF or BMP; by its bytes this one is audio/wav.",
    );
  });
});
