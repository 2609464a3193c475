import { describe, expect, it } from "vitest";
import type { Json } from "#contract/exact-json";
import { pythonJson } from "#gpu-agent/stand-in/python-json";
import {
  pythonBool,
  pythonEquals,
  pythonFloat,
  pythonInt,
  pythonRepr,
  pythonStr,
  reprFloat,
} from "#gpu-agent/stand-in/python-values";

describe("repr", () => {
  it.each<[Json, string]>([
    [null, "None"],
    [true, "True"],
    ["plain", "'plain'"],
    ["it's", `"it's"`],
    [`it's "so"`, `'it\\'s "so"'`],
    ["a\\b\n\t\u0001é", "'a\\\\b\\n\\t\\x01é'"],
    [["a", 1, [false]], "['a', 1, [False]]"],
    [{ a: null, b: [1.5] }, "{'a': None, 'b': [1.5]}"],
    [18_446_744_073_709_551_615n, "18446744073709551615"],
    [1e21, "1000000000000000000000"],
  ])("shows value %# as Python does", (value, shown) => {
    expect(pythonRepr(value)).toBe(shown);
  });

  it.each([
    [1, "1.0"],
    [-0, "-0.0"],
    [0.1, "0.1"],
    [1e-5, "1e-05"],
    [0.0001, "0.0001"],
    [1.25e-7, "1.25e-07"],
    [1e16, "1e+16"],
    [123_456_789_012_345.6, "123456789012345.6"],
    [1e15, "1000000000000000.0"],
    [1.5e300, "1.5e+300"],
    [Number.NaN, "nan"],
    [Number.NEGATIVE_INFINITY, "-inf"],
  ])("of the float %d is %s", (value, shown) => {
    expect(reprFloat(value)).toBe(shown);
  });

  it("is the text itself for str", () => {
    expect([pythonStr("a"), pythonStr(null), pythonStr(["a"])]).toEqual(["a", "None", "['a']"]);
  });
});

describe("conversions", () => {
  it.each<[Json, number | bigint]>([
    ["64", 64],
    [" -7 ", -7],
    ["1_000", 1000],
    [64.9, 64],
    [-64.9, -64],
    [true, 1],
    ["18446744073709551615", 18_446_744_073_709_551_615n],
    [1e20, 100_000_000_000_000_000_000n],
  ])("int of value %#", (value, whole) => {
    expect(pythonInt(value)).toBe(whole);
  });

  it.each<[Json, string]>([
    ["64.5", "invalid literal for int() with base 10: '64.5'"],
    ["", "invalid literal for int() with base 10: ''"],
    [null, "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"],
    [{}, "int() argument must be a string, a bytes-like object or a real number, not 'dict'"],
    [Number.NaN, "cannot convert float NaN to integer"],
    [Number.POSITIVE_INFINITY, "cannot convert float infinity to integer"],
  ])("int of value %# raises", (value, message) => {
    expect(() => pythonInt(value)).toThrow(message);
  });

  it.each<[Json, number]>([
    ["1.5", 1.5],
    [" 1e3 ", 1000],
    [".5", 0.5],
    ["-Infinity", Number.NEGATIVE_INFINITY],
    ["nan", Number.NaN],
    [2n ** 64n, 2 ** 64],
  ])("float of value %#", (value, number) => {
    expect(pythonFloat(value)).toBe(number);
  });

  it("float of other things raises", () => {
    expect(() => pythonFloat("abc")).toThrow("could not convert string to float: 'abc'");
    expect(() => pythonFloat(null)).toThrow("float() argument must be a string or a real number, not 'NoneType'");
  });

  it("counts every text but the empty one as true", () => {
    expect(["false", "", 0, 0n, null, [], {}, [0], Number.NaN].map(pythonBool)).toEqual([
      true,
      false,
      false,
      false,
      false,
      false,
      false,
      true,
      true,
    ]);
  });

  it("compares numbers of all kinds by value", () => {
    expect(pythonEquals(1, true)).toBe(true);
    expect(pythonEquals(1n, 1)).toBe(true);
    expect(pythonEquals("1", 1)).toBe(false);
    expect(pythonEquals([1, { a: 2 }], [true, { a: 2n }])).toBe(true);
  });
});

describe("JSON in Python's spelling", () => {
  it("has spaces, escapes what is not ASCII, and keeps NaN and big numbers", () => {
    const value = { a: [1, 2.5, 2n ** 64n], "ü😀": Number.NaN, b: undefined, c: -0 };
    expect(pythonJson(value)).toBe('{"a": [1, 2.5, 18446744073709551616], "\\u00fc\\ud83d\\ude00": NaN, "c": 0}');
  });

  it("keeps the order of maps", () => {
    expect(
      pythonJson(
        new Map([
          ["10", 1],
          ["2", 2],
        ]),
      ),
    ).toBe('{"10": 1, "2": 2}');
  });
});
