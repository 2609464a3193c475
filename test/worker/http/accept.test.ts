import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { acceptedMedia, acceptsEvents, firstAccepted } from "#worker/http/accept";

/** The type chosen for such an Accept header; "json" when the answer is the job. */
function chosen(header: string | null, types: readonly string[]): string {
  const media = acceptedMedia(header);
  return (media && firstAccepted(media, types, (type) => type)) ?? "json";
}

const PNG_WEBP_TEXT = ["image/png", "image/webp", "text/plain; charset=utf-8"];

describe("an Accept header that names no media gets JSON", () => {
  it.each([
    null,
    "",
    "*/*",
    "application/json",
    "application/problem+json, application/json",
    "application/json, */*;q=0.5",
    "text/event-stream",
    "image/png;q=0",
    "image/png;q=0, */*",
    "*",
    ",;,;;q",
  ])("%j", (header) => {
    expect(acceptedMedia(header)).toBeUndefined();
    expect(chosen(header, PNG_WEBP_TEXT)).toBe("json");
  });
});

describe("an Accept header that names media", () => {
  it.each([
    ["image/png", "image/png"],
    ["IMAGE/PNG ", "image/png"],
    ["image/webp", "image/webp"],
    ["image/*", "image/png"],
    ["image/webp, image/png", "image/png"],
    ["image/webp, image/png;q=0.999", "image/webp"],
    ["image/png;q=0.5, image/webp;q=.6", "image/webp"],
    ["image/png;q=1.000;x=y, image/webp", "image/png"],
    ["image/*, image/png;q=0", "image/webp"],
    ["image/png;q=0, image/*;q=0.1", "image/webp"],
    ["image/*;q=0, image/png", "image/png"],
    ["image/*;q=0.9, image/png;q=0.2", "image/webp"],
    ["text/plain", "text/plain; charset=utf-8"],
    ["text/plain;charset=utf-16", "text/plain; charset=utf-8"],
    ["text/*, image/png;q=0.9", "text/plain; charset=utf-8"],
    ["video/*, image/*;q=0.1", "image/png"],
    ["image/avif,image/webp,*/*;q=0.8", "image/webp"],
    ["image/png;q=0.4, image/png", "image/png"],
  ])("%j chooses %s", (header, type) => {
    expect(chosen(header, PNG_WEBP_TEXT)).toBe(type);
  });

  it.each([
    "video/*",
    "image/gif",
    "image",
    "image/pn",
    "image/png2",
    "mage/*",
    "*/png",
    "application/octet-stream",
    "video/mp4, */*",
    "image/png;q=2",
    "image/png;q=-0.5",
    "image/png;q=0.0001",
    "image/png;q=",
    "image/png;q=0.4, video/mp4, image/png;q=0, application/json;q=0.5",
  ])("%j is fitted by none of them", (header) => {
    expect(chosen(header, PNG_WEBP_TEXT)).toBe("json");
  });

  it.each([
    ["application/json, text/plain, */*", "json"],
    ["image/png, application/json", "image/png"],
    ["application/json, image/png", "json"],
    ["application/json;q=0.9, image/png", "image/png"],
    ["image/png;q=0.9, application/json", "json"],
    ["image/webp, application/json, image/png", "image/webp"],
    ["application/json;q=0, image/png;q=0.1", "image/png"],
    ["image/png, application/problem+json", "image/png"],
  ])("beside JSON, %j gets %s", (header, type) => {
    expect(chosen(header, PNG_WEBP_TEXT)).toBe(type);
  });

  it.each(["application/json", "application/problem+json", "text/event-stream"])(
    "never gets a file of the type %s, which would pass for an answer of ours",
    (type) => {
      const [major] = type.split("/");
      for (const header of [`${major}/*`, `${type}, image/png`]) expect(chosen(header, [type])).toBe("json");
    },
  );
});

describe("events", () => {
  it.each([
    ["text/event-stream", true],
    ["application/json, TEXT/EVENT-STREAM;q=0.5", true],
    ["image/png, text/event-stream", true],
    ["text/event-stream;q=0", false],
    ["text/*", false],
    ["*/*", false],
    [null, false],
  ])("are asked for by name alone: %j", (header, asked) => {
    expect(acceptsEvents(header)).toBe(asked);
  });
});

/** Pieces of Accept headers, whole and broken. */
const piece = fc.oneof(
  fc.constantFrom("image/png", "image/*", "*/*", "application/json", "text/event-stream", "/", "constructor/*"),
  fc.constantFrom(",", ";", " ", "q=", ";q=0", ";q=0.5", ";q=1", '"', "=", "\t", ".", "__proto__"),
  fc.string({ maxLength: 5, unit: "binary" }),
);

it("any header is read, and what it chooses is one of the items", () => {
  const types = ["image/png", "image/webp", "video/mp4"];
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      const header = pieces.join("");
      expect([...types, "json"]).toContain(chosen(header, types));
      expect(typeof acceptsEvents(header)).toBe("boolean");
    }),
    { numRuns: 2_000 },
  );
});

/** Counted, because time tells little: reading goes over the header once, choosing looks each type up by its name. */
it.each([
  ["ranges", "a/b,".repeat(2_000)],
  ["ranges of all names", Array.from({ length: 1_600 }, (_, at) => `a/${at}`).join(",")],
  ["commas", ",".repeat(8_000)],
  ["semicolons", `image/png${";".repeat(8_000)}`],
  ["spaces", `image/png;${" ".repeat(8_000)}q=0.5`],
  ["spaces at the end", `image/png;q=0.5${" ".repeat(8_000)}x`],
  ["weights", `image/png${";q=0.1".repeat(1_300)}`],
  ["a long weight", `image/png;q=0.${"0".repeat(8_000)}`],
  ["quotes", `image/png;a=${'"'.repeat(8_000)}`],
])("8 kB of %s cost each item two look-ups and nothing that grows with the header", (_name, header) => {
  const media = acceptedMedia(`${header},video/x`);
  if (media === undefined) throw new Error("video/x is named");
  let lookups = 0;
  const counted: typeof media = Object.assign(Object.create(media), {
    get: (name: string) => {
      lookups += 1;
      return media.get(name);
    },
  });
  const items = Array.from({ length: 1_000 }, () => "video/x");
  expect(firstAccepted(counted, items, (type) => type)).toBe("video/x");
  expect(lookups).toBeLessThanOrEqual(2 * items.length + 1);
});
