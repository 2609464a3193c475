/**
 * How Python shows and converts the values that JSON can hold. ComfyUI's error texts are Python's own, so the
 * stand-in's must be too: `['a', 'b']`, `None`, `invalid literal for int() with base 10: 'abc'`.
 */
import { isJsonObject, type Json } from "#contract/exact-json";

/** An exception as Python would raise it; `type` is the class name clients see. */
export class PythonError extends Error {
  readonly type: string;
  constructor(type: string, message: string) {
    super(message);
    this.name = "PythonError";
    this.type = type;
  }
}

/** The class name Python's JSON parser gives a value. Whole numbers count as int: JavaScript cannot tell 1 from 1.0. */
export function pythonTypeName(value: Json): string {
  if (value === null) return "NoneType";
  if (Array.isArray(value)) return "list";
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return Number.isInteger(value) ? "int" : "float";
    case "string":
      return "str";
    default:
      return "dict";
  }
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function reprString(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let shown = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const escaped = ESCAPES[character];
    if (escaped !== undefined) shown += escaped;
    else if (character === quote) shown += `\\${quote}`;
    else if (code < 0x20 || (code >= 0x7f && code < 0xa1) || code === 0xad) {
      shown += `\\x${code.toString(16).padStart(2, "0")}`;
    } else if (code >= 0xd800 && code <= 0xdfff) shown += `\\u${code.toString(16)}`;
    else shown += character;
  }
  return quote + shown + quote;
}

/** A double as Python's `repr` writes it: always with a point or an exponent, `inf` and `nan` in small letters. */
export function reprFloat(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  if (value === 0) return "0.0";
  const [digits = "", power = "0"] = value.toExponential().split("e");
  const exponent = Number(power);
  if (exponent >= -4 && exponent < 16) {
    const plain = exponent < 0 ? value.toFixed(digits.replace(/[-.]/g, "").length - 1 - exponent) : String(value);
    return plain.includes(".") ? plain : `${plain}.0`;
  }
  return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** Python's `repr` of a parsed JSON value. */
export function pythonRepr(value: Json): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return reprString(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return Number.isInteger(value) ? integerText(value) : reprFloat(value);
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(", ")}]`;
  return `{${Object.entries(value)
    .map(([key, item]) => `${reprString(key)}: ${pythonRepr(item)}`)
    .join(", ")}}`;
}

/** Python's `str` of a parsed JSON value: text stays as it is. */
export function pythonStr(value: Json): string {
  return typeof value === "string" ? value : pythonRepr(value);
}

function integerText(value: number): string {
  return BigInt(value).toString();
}

/** Python's truth of a value: empty, zero and None are false, the text "false" is true. */
export function pythonBool(value: Json): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isJsonObject(value)) return Object.keys(value).length > 0;
  return Boolean(value) || Number.isNaN(value);
}

/**
 * Python's `int(value)`.
 * @returns a bigint where a double could not hold the number
 * @throws PythonError with Python's words
 */
export function pythonInt(value: Json): number | bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") {
    if (Number.isNaN(value)) throw new PythonError("ValueError", "cannot convert float NaN to integer");
    if (!Number.isFinite(value)) throw new PythonError("OverflowError", "cannot convert float infinity to integer");
    const whole = Math.trunc(value);
    return Number.isSafeInteger(whole) ? whole + 0 : BigInt(whole);
  }
  if (typeof value === "string") {
    const text = value.trim();
    if (!/^[+-]?[0-9]+(_[0-9]+)*$/.test(text)) {
      throw new PythonError("ValueError", `invalid literal for int() with base 10: ${pythonRepr(value)}`);
    }
    const digits = text.replaceAll("_", "").replace(/^\+/, "");
    const whole = digits.startsWith("-") ? -BigInt(digits.slice(1)) : BigInt(digits);
    return whole >= Number.MIN_SAFE_INTEGER && whole <= Number.MAX_SAFE_INTEGER ? Number(whole) : whole;
  }
  throw new PythonError(
    "TypeError",
    `int() argument must be a string, a bytes-like object or a real number, not '${pythonTypeName(value)}'`,
  );
}

const FLOAT_TEXT = /^[+-]?([0-9]+(_[0-9]+)*\.?([0-9]+(_[0-9]+)*)?|\.[0-9]+(_[0-9]+)*)([eE][+-]?[0-9]+)?$/;

/**
 * Python's `float(value)`.
 * @throws PythonError with Python's words
 */
export function pythonFloat(value: Json): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "string") {
    const text = value.trim();
    if (FLOAT_TEXT.test(text)) return Number(text.replaceAll("_", ""));
    const named = /^([+-]?)(?:(inf|infinity)|(nan))$/i.exec(text);
    if (named === null) {
      throw new PythonError("ValueError", `could not convert string to float: ${pythonRepr(value)}`);
    }
    if (named[3] !== undefined) return Number.NaN;
    return named[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  throw new PythonError(
    "TypeError",
    `float() argument must be a string or a real number, not '${pythonTypeName(value)}'`,
  );
}

/** Python's `==` for JSON values: 1, 1.0 and True are one value; containers compare by what they hold. */
export function pythonEquals(a: Json, b: Json): boolean {
  if (isNumeric(a) && isNumeric(b)) return comparable(a) === comparable(b);
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => pythonEquals(item, b[index] ?? null));
  }
  if (isJsonObject(a)) {
    if (!isJsonObject(b)) return false;
    const keys = Object.keys(a);
    return (
      keys.length === Object.keys(b).length &&
      keys.every((key) => key in b && pythonEquals(a[key] ?? null, b[key] ?? null))
    );
  }
  return a === b;
}

function isNumeric(value: Json): value is number | bigint | boolean {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

function comparable(value: number | bigint | boolean): number | bigint {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "bigint" && BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)))
    return Number(value);
  return value;
}
