import { describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { STRING_INPUT_LENGTH_MAX } from "#contract/limits";
import type { InputSpec } from "#contract/workflow";
import { validateInputs } from "#workflow/validate-inputs";

const base = (name: string) => ({
  name,
  title: name,
  targets: [{ node: "1", field: name }],
  required: false,
  advanced: false,
});
const INPUTS: InputSpec[] = [
  { ...base("prompt"), type: "string", default: "a lamp", multiline: true, maxLength: 20 },
  { ...base("width"), type: "integer", default: 512, minimum: 16, maximum: 2048, step: 8, seed: false },
  { ...base("seed"), type: "integer", default: 7, minimum: 0, maximum: 2n ** 64n - 1n, seed: true },
  { ...base("strength"), type: "number", default: 0.5, minimum: 0, maximum: 1 },
  { ...base("tiled"), type: "boolean", default: false },
  { ...base("sampler"), type: "choice", default: "euler", choices: ["euler", "heun", 3] },
  { ...base("image"), type: "file", media: "image" },
  { ...base("anything"), type: "integer", seed: false },
  { ...base("any_size"), type: "number" },
  { ...base("font"), type: "choice", choices: Array.from({ length: 2_000 }, (_, index) => `font ${index}`) },
];
const options = { randomSeed: () => 123_456_789 };
const check = (values: JsonObject, inputs: readonly InputSpec[] = INPUTS) => validateInputs(inputs, values, options);
const fault = (values: JsonObject) => {
  const result = check(values);
  return result.ok ? undefined : result.errors;
};

describe("values that fit", () => {
  it("are completed with defaults and a seed", () => {
    expect(check({})).toEqual({
      ok: true,
      values: { prompt: "a lamp", width: 512, seed: 123_456_789, strength: 0.5, tiled: false, sampler: "euler" },
      files: [],
    });
  });

  it("may be null, which means left out", () => {
    expect(check({ prompt: null, seed: null, image: null })).toEqual(check({}));
  });

  it("are kept as they are", () => {
    const values = { prompt: "", width: 16, seed: 0, strength: 1, tiled: true, sampler: 3 };
    expect(check(values)).toEqual({ ok: true, values, files: [] });
  });

  it.each([2n ** 64n - 1n, 2n ** 53n + 1n, 0, Number.MAX_SAFE_INTEGER])("keep the seed %s exactly", (seed) => {
    const result = check({ seed });
    expect(result.ok && result.values.seed).toBe(seed);
  });

  it("take a whole number for a real one, and 1e18 for a whole one", () => {
    const result = check({ strength: 1, seed: 1e18 });
    expect(result.ok && result.values).toMatchObject({ strength: 1, seed: 10n ** 18n });
  });

  it("between steps are taken: the step is a hint", () => {
    expect(check({ width: 17 }).ok).toBe(true);
  });

  it("of text count characters, not UTF-16 units", () => {
    expect(check({ prompt: "😀".repeat(20) }).ok).toBe(true);
    expect(check({ prompt: "😀".repeat(21) }).ok).toBe(false);
  });
});

describe("a file", () => {
  it.each([
    "file_0dpx4n3m8k7q2wz6tgr1vyc5ha",
    "https://example.com/a%20b.png?x=1#y",
    "data:image/png;base64,iVBORw0KGgo=",
    "data:text/plain;charset=utf-8;base64,aGk=",
  ])("may be %s", (image) => {
    expect(check({ image })).toMatchObject({ ok: true, files: [{ name: "image", value: image }], values: { image } });
  });

  it.each([
    "photo.png",
    "",
    "../../etc/passwd",
    "file:///etc/passwd",
    "http://example.com/a.png",
    "ftp://example.com/a.png",
    "javascript:alert(1)",
    "https://exa mple.com/",
    "https://example.com/\n",
    "data:,hello",
    "data:image/png,raw",
    "data:image/png;base64,not base64!",
    "file_0dpx4n3m8k7q2wz6tgr1vyc5h",
    `https://example.com/${"x".repeat(5000)}`,
  ])("may not be %j", (image) => {
    expect(fault({ image })).toMatchObject([{ path: "/inputs/image", allowed: { type: "file", media: "image" } }]);
  });
});

describe("values that do not fit", () => {
  it.each([
    ["width", "512", "whole number, not text"],
    ["width", 512.5, "not a number with a fraction"],
    ["width", true, "not true or false"],
    ["width", [512], "not a list"],
    ["width", { $gt: "" }, "not an object"],
    ["width", 15, "16 or more"],
    ["width", 2049, "2048 or less"],
    ["width", 2n ** 80n, "2048 or less"],
    ["width", Number.NaN, "whole number"],
    ["seed", -1, "0 or more"],
    ["seed", 2n ** 64n, "18446744073709551615 or less"],
    ["strength", "0.5", "number, not text"],
    ["strength", 1.01, "1 or less"],
    ["strength", Number.POSITIVE_INFINITY, "a number that 64 bits of floating point can hold"],
    ["strength", 10n ** 400n, "a number that 64 bits of floating point can hold"],
    ["anything", 2n ** 64n, "18446744073709551615 or less"],
    ["anything", -(2n ** 63n) - 1n, "-9223372036854775808 or more"],
    ["anything", 1e300, "18446744073709551615 or less"],
    ["any_size", 10n ** 309n, "a number that 64 bits"],
    ["tiled", "false", "true or false, not text"],
    ["tiled", 0, "true or false"],
    ["sampler", "Euler", 'one of the choices. Did you mean "euler"?'],
    ["sampler", "3", "one of the choices"],
    ["sampler", true, "one of the choices"],
    ["sampler", ["euler"], "one of the choices"],
    ["sampler", `euler${"r".repeat(100_000)}`, "one of the choices"],
    ["font", 4, "one of the choices, which are text, not a whole number"],
    ["font", "font_7", 'Did you mean "font 7"?'],
    ["prompt", 5, "text, not a whole number"],
    ["prompt", "x".repeat(21), "longer than 20"],
    ["prompt", "a\u0000b", "null character"],
    ["prompt", "a\ud800b", "surrogate"],
    ["image", 5, "not a whole number"],
  ])("%s: %s", (name, value, reason) => {
    expect(fault({ [name]: value as never })).toMatchObject([
      { path: `/inputs/${name}`, reason: expect.stringContaining(reason) },
    ]);
  });

  it("say what would be taken", () => {
    expect(fault({ width: 1 })?.[0]?.allowed).toEqual({ type: "integer", minimum: 16, maximum: 2048, step: 8 });
    expect(fault({ sampler: "x" })?.[0]?.allowed).toEqual({ type: "choice", choices: ["euler", "heun", 3] });
    expect(fault({ prompt: 1 })?.[0]?.allowed).toEqual({ type: "string", maxLength: 20 });
    expect(fault({ font: 1 })?.[0]?.allowed).toMatchObject({
      choices: expect.toSatisfy((list) => list.length === 100),
    });
  });

  it("are all listed", () => {
    const result = check({ width: 1, strength: 2, promt: "x" });
    expect(result).toMatchObject({
      ok: false,
      code: "invalid_inputs",
      detail: expect.stringMatching(/ 2 more inputs are wrong\.$/),
    });
    expect(check({ width: 1, strength: 2 })).toMatchObject({
      detail: expect.stringMatching(/ 1 more input is wrong\.$/),
    });
    expect(fault({ width: 1, strength: 2, promt: "x" })?.map((error) => error.path)).toEqual([
      "/inputs/promt",
      "/inputs/width",
      "/inputs/strength",
    ]);
  });

  it.each([
    ["promt", 'Did you mean "prompt"?'],
    ["Width", 'Did you mean "width"?'],
    ["num_steps", "Known inputs: prompt, width"],
    ["__proto__", "no input of this name"],
    ["constructor", "Known inputs"],
    ["toString", "Known inputs"],
  ])("hold an unknown name: %s", (name, hint) => {
    const values = Object.create(null) as JsonObject;
    values[name] = "x";
    expect(fault(values)).toMatchObject([{ path: `/inputs/${name}`, reason: expect.stringContaining(hint) }]);
  });

  it("with 60,000 unknown names give a short answer", () => {
    const values = Object.fromEntries(Array.from({ length: 60_000 }, (_, index) => [`key_${index}`, 1]));
    expect(fault(values)).toHaveLength(100);
  });

  it("lack a required input", () => {
    const inputs: InputSpec[] = [
      { ...base("image"), type: "file", media: "image", required: true },
      { ...base("prompt"), type: "string", multiline: true, maxLength: STRING_INPUT_LENGTH_MAX, required: true },
    ];
    const result = check({ prompt: null }, inputs);
    expect(result.ok ? [] : result.errors?.map((error) => error.path)).toEqual(["/inputs/image", "/inputs/prompt"]);
  });
});

describe("a text that names a file", () => {
  const text = (field: string, value: string, usual?: string) => {
    const input: InputSpec = {
      ...base("name"),
      targets: [
        { node: "1", field: "text" },
        { node: "2", field },
      ],
      type: "string",
      multiline: false,
      maxLength: 1_000,
      ...(usual === undefined ? {} : { default: usual }),
    };
    const result = check({ name: value }, [input]);
    return result.ok ? undefined : result.errors?.[0]?.reason;
  };
  const FIELDS: readonly (readonly [string, string?])[] = [
    ["ckpt_name"],
    ["lora_2"],
    ["model.unet_name"],
    ["image"],
    ["video_path"],
    ["directory"],
    ["thing", "a.safetensors"],
    ["thing", "clip.mp4"],
  ];

  it.each([
    "../../etc/passwd",
    "a/../../b.png",
    "..",
    "/etc/passwd",
    "~/.ssh/id_rsa",
    "C:\\Windows\\win.ini",
    "c:/a.png",
    "..\\..\\a.ckpt",
    "\\\\server\\share\\a.ckpt",
    "photo.png [output]",
    "photo.png[temp]",
    "photo.png [input] ",
    "photo.png [OUTPUT]",
    "CON",
    "loras/nul.safetensors",
    "com1.png",
    "LPT¹",
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "a\nb.png",
  ])("may not be %j, in any field of files", (value) => {
    for (const [field, usual] of FIELDS) {
      expect(`${field}: ${text(field, value, usual) ?? "taken"}`).toMatch(
        /: As the name of a file, it (?!.*undefined)/,
      );
    }
  });

  it.each([
    "photo.png",
    "a folder/photo 1.png",
    "style.v2.safetensors",
    "",
    "[output] of the fox.png",
    "console.png",
    "日本.png",
  ])("may be %j", (value) => {
    for (const [field, usual] of FIELDS) expect(text(field, value, usual)).toBeUndefined();
  });

  it("may have the folders of Windows where it is a model's, and an address where it is not", () => {
    expect(text("lora_name", "sub\\style.safetensors")).toBeUndefined();
    expect(text("image", "sub\\photo.png")).toContain("backslash");
    expect(text("image_url", "https://example.com/../a.png?x=[output]y")).toBeUndefined();
    expect(text("lora_name", "https://example.com/a.safetensors")).toContain("is an address");
  });

  it("may say anything where it is a prompt", () => {
    for (const value of ["../", "/imagine a fox [output]", "con", "C:\\"])
      expect(text("prompt", value)).toBeUndefined();
  });
});

describe("a drawn seed", () => {
  const drawn = (bounds: { minimum?: number | bigint; maximum?: number | bigint }, chance: number) => {
    const result = validateInputs(
      [{ ...base("seed"), type: "integer", seed: true, ...bounds }],
      {},
      { randomSeed: () => chance },
    );
    return result.ok ? result.values.seed : undefined;
  };

  it("is what chance gave, where the bounds allow it", () => {
    expect(drawn({}, Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER);
    expect(drawn({ minimum: 0, maximum: 2n ** 64n - 1n }, 5)).toBe(5);
    expect(drawn({ minimum: -(2n ** 63n), maximum: 2n ** 63n }, 5)).toBe(5);
  });

  it("stays within narrow bounds", () => {
    expect(drawn({ minimum: 10, maximum: 19 }, 25)).toBe(15);
    expect(drawn({ minimum: 3, maximum: 3 }, 25)).toBe(3);
    expect(drawn({ minimum: -9, maximum: -5 }, 6)).toBe(-8);
  });
});
