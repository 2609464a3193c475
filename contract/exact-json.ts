/**
 * JSON that keeps what JavaScript's own parser loses.
 *
 * ComfyUI seeds go up to 2^64-1 and Python writes bare NaN and Infinity; JSON.parse rounds the first and refuses the
 * second. It also takes the last of two equal keys, so that a check and a use can read different documents. This
 * parser keeps whole numbers beyond 2^53 as bigint, can be told to accept NaN, refuses equal keys, and bounds depth.
 */

/** A parsed document: what JSON can say, with bigint for whole numbers that a double cannot hold. */
export type Json = null | boolean | number | bigint | string | Json[] | JsonObject;
/** Made without a prototype, so that a field called "__proto__" is a field like any other. */
export type JsonObject = { [key: string]: Json };

export interface ExactJsonOptions {
  /** Levels of arrays and objects; RPC between Workers and Durable Objects dies at thousands. */
  readonly depthMax?: number;
  /** Accept NaN, Infinity and -Infinity, which Python writes. A caller's request never needs them. */
  readonly pythonNumbers?: boolean;
}

export const JSON_DEPTH_MAX = 64;
/** Digits of one number; longer ones are an attack on bigint's quadratic parser, not a seed. */
export const JSON_NUMBER_LENGTH_MAX = 400;

/** Says what is wrong with a document and where; `at` is an offset in UTF-16 units. */
export class JsonSyntaxError extends Error {
  readonly at: number;
  constructor(message: string, at: number) {
    super(`${message} at character ${at}`);
    this.name = "JsonSyntaxError";
    this.at = at;
  }
}

/** A document that is well formed as far as it was read, with a number that nothing here can hold. */
export class JsonNumberError extends JsonSyntaxError {
  constructor(message: string, at: number) {
    super(message, at);
    this.name = "JsonNumberError";
  }
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const PLAIN_STRING = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\n\r]*/y;

/**
 * Reads one JSON document.
 * @throws JsonSyntaxError when it is not exactly one, is too deep or repeats a key; JsonNumberError, which is one of these,
 *   when it holds a number out of range
 */
export function parseExactJson(text: string, options: ExactJsonOptions = {}): Json {
  const depthMax = options.depthMax ?? JSON_DEPTH_MAX;
  let at = 0;

  const fail = (message: string): never => {
    throw new JsonSyntaxError(message, at);
  };
  const skipSpace = (): void => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };
  const literal = <T>(word: string, value: T): T => {
    if (!text.startsWith(word, at)) return fail("Unexpected character");
    at += word.length;
    return value;
  };

  const string = (): string => {
    const start = at;
    let escapes = false;
    at += 1;
    for (;;) {
      PLAIN_STRING.lastIndex = at;
      PLAIN_STRING.test(text);
      at = PLAIN_STRING.lastIndex;
      const next = text[at];
      if (next === '"') {
        at += 1;
        return escapes ? (JSON.parse(text.slice(start, at)) as string) : text.slice(start + 1, at - 1);
      }
      if (next === undefined) return fail("Unterminated string");
      if (next !== "\\") return fail("Control character in string");
      escapes = true;
      const escaped = text[at + 1] ?? "";
      if (escaped === "u") {
        if (!/^[0-9a-fA-F]{4}$/.test(text.slice(at + 2, at + 6))) return fail("Bad unicode escape");
        at += 6;
      } else if ('"\\/bfnrt'.includes(escaped) && escaped !== "") at += 2;
      else return fail("Bad escape");
    }
  };

  const number = (): number | bigint => {
    if (options.pythonNumbers === true) {
      if (text.startsWith("-Infinity", at)) return literal("-Infinity", Number.NEGATIVE_INFINITY);
    }
    NUMBER.lastIndex = at;
    const match = NUMBER.exec(text);
    if (match === null) return fail("Unexpected character");
    const source = match[0];
    if (source.length > JSON_NUMBER_LENGTH_MAX) {
      throw new JsonNumberError(`Number of more than ${JSON_NUMBER_LENGTH_MAX} characters`, at);
    }
    const value = Number(source);
    if (!Number.isFinite(value)) throw new JsonNumberError("Number out of range", at);
    at += source.length;
    const whole = match[1] === undefined && match[2] === undefined;
    return whole && !Number.isSafeInteger(value) ? BigInt(source) : value;
  };

  const value = (depth: number): Json => {
    if (depth > depthMax) return fail(`More than ${depthMax} levels deep`);
    skipSpace();
    const first = text[at];
    switch (first) {
      case "{": {
        const object = Object.create(null) as JsonObject;
        at += 1;
        skipSpace();
        if (text[at] === "}") {
          at += 1;
          return object;
        }
        for (;;) {
          skipSpace();
          if (text[at] !== '"') return fail("Expected a field name");
          const keyAt = at;
          const key = string();
          if (key in object) {
            at = keyAt;
            return fail(`Repeated field ${JSON.stringify(key.slice(0, 100))}`);
          }
          skipSpace();
          if (text[at] !== ":") return fail("Expected ':'");
          at += 1;
          object[key] = value(depth + 1);
          skipSpace();
          const next = text[at];
          at += 1;
          if (next === "}") return object;
          if (next !== ",") {
            at -= 1;
            return fail("Expected ',' or '}'");
          }
        }
      }
      case "[": {
        const array: Json[] = [];
        at += 1;
        skipSpace();
        if (text[at] === "]") {
          at += 1;
          return array;
        }
        for (;;) {
          array.push(value(depth + 1));
          skipSpace();
          const next = text[at];
          at += 1;
          if (next === "]") return array;
          if (next !== ",") {
            at -= 1;
            return fail("Expected ',' or ']'");
          }
        }
      }
      case '"':
        return string();
      case "t":
        return literal("true", true);
      case "f":
        return literal("false", false);
      case "n":
        return literal("null", null);
      case "N":
        return options.pythonNumbers === true ? literal("NaN", Number.NaN) : fail("Unexpected character");
      case "I":
        return options.pythonNumbers === true
          ? literal("Infinity", Number.POSITIVE_INFINITY)
          : fail("Unexpected character");
      case undefined:
        return fail("Unexpected end");
      default:
        return number();
    }
  };

  const document = value(1);
  skipSpace();
  if (at < text.length) fail("Unexpected text after the document");
  return document;
}

/** A document that {@link stringifyExactJson} wrote before and that it writes again as it is, inside another. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/**
 * Writes a document, whole numbers exactly. NaN and Infinity come out bare, as Python reads them; `undefined` fields
 * are left out, as JSON.stringify does.
 */
export function stringifyExactJson(value: unknown): string {
  switch (typeof value) {
    case "bigint":
      return value.toString();
    case "number":
      // With an exponent, a double beyond 2^53 is read as the double it is, and not as a whole number with its digits.
      return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toExponential() : String(value);
    case "string":
      return quoted(value);
    case "boolean":
      return String(value);
    case "object": {
      if (value === null) return "null";
      if (value instanceof JsonText) return value.text;
      if (Array.isArray(value)) return `[${value.map((item) => stringifyExactJson(item ?? null)).join(",")}]`;
      let fields = "";
      for (const key of Object.keys(value)) {
        const item = (value as Record<string, unknown>)[key];
        if (item === undefined) continue;
        fields += `${fields === "" ? "" : ","}${fieldName(key)}${stringifyExactJson(item)}`;
      }
      return `{${fields}}`;
    }
    default:
      throw new TypeError(`JSON cannot hold a ${typeof value}`);
  }
}

/** Text in which nothing needs an escape: ASCII without quotes, backslashes and control characters. */
const UNESCAPED = /^[ !#-[\]-~]*$/;

/** As JSON.stringify, whose call takes longer than most names and ids take. */
function quoted(text: string): string {
  return UNESCAPED.test(text) ? `"${text}"` : JSON.stringify(text);
}

const FIELD_NAMES_KEPT = 1_000;
const fieldNames = new Map<string, string>();

/** A field's name as it is written, with its colon. The names of our own records are the same every time. */
function fieldName(key: string): string {
  const known = fieldNames.get(key);
  if (known !== undefined) return known;
  const written = `${quoted(key)}:`;
  if (fieldNames.size < FIELD_NAMES_KEPT) fieldNames.set(key, written);
  return written;
}

/** True for a JSON object (not null, not an array). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
