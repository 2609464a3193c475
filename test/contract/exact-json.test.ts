import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JSON_DEPTH_MAX, JsonSyntaxError, JsonText, parseExactJson, stringifyExactJson } from "#contract/exact-json";

/** Own fields of a value made without prototypes, comparable to a plain one. */
const plain = (value: unknown): unknown => structuredClone(value);

describe("reading", () => {
  it("agrees with JSON.parse on every document that a double can hold", () => {
    const doubles = fc.jsonValue({ maxDepth: 6 }).map((value) => JSON.stringify(value));
    fc.assert(
      fc.property(doubles, (text) => {
        const actual = parseExactJson(text);
        const asDoubles = JSON.stringify(actual, (_, value) => (typeof value === "bigint" ? Number(value) : value));
        expect(JSON.parse(asDoubles)).toEqual(JSON.parse(text));
      }),
    );
  });

  it("reads every text, however it is escaped", () => {
    const escaped = (text: string) =>
      `"${Array.from({ length: text.length }, (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`).join("")}"`;
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (strange, plainText) => {
        for (const text of [strange, plainText, plainText + strange]) {
          expect(parseExactJson(JSON.stringify(text))).toBe(text);
          expect(parseExactJson(escaped(text))).toBe(text);
        }
      }),
    );
  });

  it.each([
    ["18446744073709551615", 18446744073709551615n],
    ["9007199254740993", 9007199254740993n],
    ["-9223372036854775808", -9223372036854775808n],
    ["9007199254740991", 9007199254740991],
    ["7.0", 7],
    ["1e-05", 0.00001],
    ["-0", -0],
  ])("keeps the number %s", (text, value) => {
    expect(parseExactJson(text)).toBe(value);
  });

  it.each([
    ["", "Unexpected end"],
    ["  ", "Unexpected end"],
    ["{", "field name"],
    ['{"a":1', "','"],
    ['{"a":1,}', "field name"],
    ["[1,]", "Unexpected character"],
    ["[1 2]", "','"],
    ["{'a':1}", "field name"],
    ['{"a" 1}', "':'"],
    ["1 2", "after the document"],
    ['{"a":1}x', "after the document"],
    ["01", "after the document"],
    ["+1", "Unexpected character"],
    [".5", "Unexpected character"],
    ["1.", "after the document"],
    ["NaN", "Unexpected character"],
    ["Infinity", "Unexpected character"],
    ["-Infinity", "Unexpected character"],
    ["1e400", "out of range"],
    ["9".repeat(10_000), "characters"],
    ['"a', "Unterminated"],
    ['"a\nb"', "Control character"],
    ['"\\x"', "Bad escape"],
    ['"\\u12g4"', "unicode"],
    ["tru", "Unexpected character"],
    ["// c\n1", "Unexpected character"],
    ["\ufeff1", "Unexpected character"],
    ['{"a":1,"a":2}', 'Repeated field "a"'],
    ['{"a":1,"\\u0061":2}', 'Repeated field "a"'],
  ])("refuses %j", (text, reason) => {
    expect(() => parseExactJson(text)).toThrow(JsonSyntaxError);
    expect(() => parseExactJson(text)).toThrow(reason);
  });

  it("says where the fault lies", () => {
    try {
      parseExactJson('{"a": 1, "b": nope}');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(JsonSyntaxError);
      expect((error as JsonSyntaxError).at).toBe(14);
    }
  });

  it("takes as many levels as it may and not one more", () => {
    const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
    expect(() => parseExactJson(nested(JSON_DEPTH_MAX))).not.toThrow();
    expect(() => parseExactJson(nested(JSON_DEPTH_MAX + 1))).toThrow("levels deep");
    expect(() => parseExactJson("[".repeat(500_000))).toThrow("levels deep");
  });

  it("accepts what Python writes only when told to", () => {
    const value = parseExactJson('{"a":[NaN,-Infinity,Infinity]}', { pythonNumbers: true });
    expect(plain(value)).toEqual({ a: [Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] });
  });

  it("treats __proto__ as a field like any other", () => {
    const value = parseExactJson('{"__proto__":{"polluted":true},"constructor":1}');
    expect(Object.keys(value as object)).toEqual(["__proto__", "constructor"]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe("writing", () => {
  it("is undone by reading", () => {
    const json = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "small" },
        fc.constant(null),
        fc.boolean(),
        fc
          .double({ noNaN: true, noDefaultInfinity: true })
          .map((n) => (Number.isInteger(n) && !Number.isSafeInteger(n) ? 0.5 : n)),
        fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
        fc.string({ unit: "binary" }),
        fc.array(tie("value"), { maxLength: 4 }),
        fc.dictionary(fc.string(), tie("value"), { maxKeys: 4, noNullPrototype: true }),
      ),
    })).value;
    fc.assert(
      fc.property(json, (value) => {
        // -0 has no spelling of its own in JSON.stringify; every other value comes back exactly.
        const text = stringifyExactJson(value);
        expect(stringifyExactJson(parseExactJson(text))).toBe(text);
      }),
    );
  });

  it("keeps a double a double, however large", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(parseExactJson(stringifyExactJson(value))).toBe(value === 0 ? 0 : value);
      }),
    );
    expect(parseExactJson(stringifyExactJson(2 ** 64))).toBe(2 ** 64);
  });

  it("spells texts, names and numbers as JSON.stringify does", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.constantFrom("\u007f", "\ud800", "\u2028", '"', "\\"),
    );
    const number = fc.oneof(fc.double({ min: -(2 ** 53) + 1, max: 2 ** 53 - 1, noNaN: true }), fc.constant(-0));
    fc.assert(
      fc.property(fc.dictionary(text, fc.oneof(text, number, fc.boolean())), (value) => {
        expect(stringifyExactJson(value)).toBe(JSON.stringify(value));
      }),
    );
  });

  it("leaves out undefined fields and writes numbers as Python reads them", () => {
    expect(stringifyExactJson({ a: undefined, b: [undefined, Number.NaN], c: 2n ** 64n - 1n })).toBe(
      '{"b":[null,NaN],"c":18446744073709551615}',
    );
  });

  it("writes text that it wrote before as it is", () => {
    const inner = stringifyExactJson({ seed: 2n ** 64n - 1n });
    const outer = stringifyExactJson({ list: [new JsonText(inner)], one: new JsonText(inner) });
    expect(outer).toBe('{"list":[{"seed":18446744073709551615}],"one":{"seed":18446744073709551615}}');
  });

  it("refuses what JSON cannot hold", () => {
    expect(() => stringifyExactJson(() => 1)).toThrow(TypeError);
  });
});
