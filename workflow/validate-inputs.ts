/** Whether a caller's values fit an endpoint's inputs. Bad input is refused here and never reaches a GPU. */
import type { Json, JsonObject } from "#contract/exact-json";
import { FileId } from "#contract/ids";
import { type FieldError, type Refusal, refusal } from "#contract/problems";
import type { InputSpec } from "#contract/workflow";
import { fileNameFault } from "./check-text.ts";
import { nearestName } from "./nearest-name.ts";

export interface ValidInputs {
  readonly ok: true;
  /** A value for each input that has one: the caller's, its default, or the seed that was drawn. */
  readonly values: JsonObject;
  /** The file inputs among them. The value is a file's id, an https address or a data URI; nothing was fetched yet. */
  readonly files: { name: string; value: string }[];
}

/** Errors of one answer; a request may hold thousands of unknown names. */
const ERRORS_MAX = 100;
/** Choices that an error lists, and among which it looks for the one that was meant; the schema has them all. */
const CHOICES_SHOWN_MAX = 100;
/** Longer choices are not compared with what was sent. */
const CHOICE_LENGTH_MAX = 64;
/** Whole numbers that a node can hand on: Python's have no end, but those of what it calls have 64 bits. */
export const WHOLE_MIN = -(2n ** 63n);
export const WHOLE_MAX = 2n ** 64n - 1n;

/**
 * Checks and completes a caller's values. `null` and a left-out field mean the same. Values are taken as they are:
 * "1" is no 1, and no default replaces a wrong value.
 * @param values as parseExactJson read them, whole numbers beyond 2^53 as bigint
 * @param options.randomSeed gives a whole number from 0 to 2^53-1
 */
export function validateInputs(
  inputs: readonly InputSpec[],
  values: JsonObject,
  options: { randomSeed: () => number },
): ValidInputs | Refusal {
  const errors: FieldError[] = [];
  const accepted = Object.create(null) as JsonObject;
  const files: { name: string; value: string }[] = [];
  const known = new Set<string>(inputs.map((input) => input.name));
  const unknown = Object.keys(values).filter((name) => !known.has(name));
  errors.push(...unknown.slice(0, ERRORS_MAX).map((name) => unknownInput(name, [...known])));
  for (const input of inputs) {
    const given = Object.hasOwn(values, input.name) ? values[input.name] : undefined;
    if (given === undefined || given === null) {
      const value = input.type === "integer" && input.seed ? drawSeed(input, options.randomSeed) : defaultOf(input);
      if (value !== undefined) accepted[input.name] = value;
      else if (input.required)
        errors.push({ path: pathOf(input.name), reason: "This input is required.", allowed: allowed(input) });
      continue;
    }
    const reason = valueFault(input, given);
    if (reason !== undefined) {
      errors.push({ path: pathOf(input.name), reason, allowed: allowed(input) });
      continue;
    }
    accepted[input.name] = exactValue(input, given);
    if (input.type === "file" && typeof given === "string") files.push({ name: input.name, value: given });
  }
  if (errors.length === 0) return { ok: true, values: accepted, files };
  const [first] = errors;
  const others = errors.length - 1;
  const more = others === 0 ? "" : ` ${others} more ${others === 1 ? "input is" : "inputs are"} wrong.`;
  return refusal("invalid_inputs", `${first?.path ?? ""}: ${first?.reason ?? ""}${more}`, {
    errors: errors.slice(0, ERRORS_MAX),
  });
}

/** A value as it is kept: 1e30 written for a whole number as that number, a whole one for a real number as a double. */
function exactValue(input: InputSpec, given: Json): Json {
  if (input.type === "number") return Number(given);
  if (input.type !== "integer" || typeof given !== "number" || Number.isSafeInteger(given)) return given;
  return BigInt(given);
}

function pathOf(name: string): string {
  return `/inputs/${name.slice(0, 100).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

function unknownInput(name: string, known: readonly string[]): FieldError {
  const nearest = nearestName(name, known);
  const hint =
    nearest !== undefined
      ? ` Did you mean "${nearest}"?`
      : known.length === 0
        ? " This endpoint takes no inputs."
        : ` Known inputs: ${known.slice(0, 30).join(", ")}${known.length > 30 ? ", …" : ""}.`;
  return { path: pathOf(name), reason: `There is no input of this name.${hint}` };
}

function defaultOf(input: InputSpec): string | number | bigint | boolean | undefined {
  return input.type === "file" ? undefined : input.default;
}

/** A seed within the input's bounds, so far as 53 bits of chance reach them. */
function drawSeed(input: InputSpec & { type: "integer" }, randomSeed: () => number): number | bigint {
  const drawn = BigInt(randomSeed());
  const minimum = input.minimum === undefined ? 0n : BigInt(input.minimum);
  const maximum = input.maximum === undefined ? BigInt(Number.MAX_SAFE_INTEGER) : BigInt(input.maximum);
  // From 0 where the bounds allow it: a negative seed means "random" to some nodes.
  const lowest = minimum < 0n && maximum >= 0n ? 0n : minimum;
  const seed = lowest + (drawn % (maximum - lowest + 1n));
  const exact = Number(seed);
  return Number.isSafeInteger(exact) ? exact : seed;
}

/** What is wrong with a value, in words; undefined when it fits. Neither null nor undefined is a value. */
export function valueFault(input: InputSpec, value: Json): string | undefined {
  switch (input.type) {
    case "string":
      return textFault(input, value);
    case "integer":
      if (typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value)))
        return boundsFault(input, value) ?? boundsFault({ minimum: WHOLE_MIN, maximum: WHOLE_MAX }, value);
      return `This must be a whole number, not ${typeWord(value)}.`;
    case "number":
      if (typeof value !== "bigint" && typeof value !== "number")
        return `This must be a number, not ${typeWord(value)}.`;
      if (!Number.isFinite(Number(value))) return "This must be a number that 64 bits of floating point can hold.";
      return boundsFault(input, Number(value));
    case "boolean":
      return typeof value === "boolean" ? undefined : `This must be true or false, not ${typeWord(value)}.`;
    case "choice":
      return (input.choices as readonly Json[]).includes(value) ? undefined : choiceFault(input.choices, value);
    case "file":
      return fileFault(value);
    default:
      throw new Error(`unhandled: ${JSON.stringify(input satisfies never)}`);
  }
}

function textFault(input: InputSpec & { type: "string" }, value: Json): string | undefined {
  if (typeof value !== "string") return `This must be text, not ${typeWord(value)}.`;
  if (value.includes("\u0000")) return "The text holds a null character.";
  if (!value.isWellFormed()) return "The text holds half of a surrogate pair, which cannot be written as UTF-8.";
  // JSON Schema counts characters; UTF-16 units are never fewer, so that short texts need no counting.
  if (value.length > input.maxLength && [...value].length > input.maxLength) {
    return `The text is longer than ${input.maxLength} characters.`;
  }
  return fileNameFault(input, value);
}

function choiceFault(choices: readonly (string | number | bigint)[], value: Json): string {
  if (typeof value !== "string") {
    return choices.every((choice) => typeof choice === "string")
      ? `This must be one of the choices, which are text, not ${typeWord(value)}.`
      : "This must be one of the choices.";
  }
  const shown = choices.slice(0, CHOICES_SHOWN_MAX);
  const nearest = nearestName(
    value,
    shown.flatMap((choice) => (typeof choice === "string" && choice.length <= CHOICE_LENGTH_MAX ? [choice] : [])),
  );
  return `This must be one of the choices.${nearest === undefined ? "" : ` Did you mean "${nearest}"?`}`;
}

function boundsFault(
  input: { minimum?: number | bigint | undefined; maximum?: number | bigint | undefined },
  value: number | bigint,
): string | undefined {
  const { minimum, maximum } = input;
  if (minimum !== undefined && value < minimum) return `This must be ${minimum} or more.`;
  if (maximum !== undefined && value > maximum) return `This must be ${maximum} or less.`;
  return undefined;
}

const FILE_FORMS = "the id of an uploaded file, an https address, or a data URI with base64";

/** The form only; whether a file exists and may be used is found out when it is fetched. */
function fileFault(value: Json): string | undefined {
  if (typeof value !== "string") return `This must be ${FILE_FORMS}, not ${typeWord(value)}.`;
  if (FileId.safeParse(value).success) return undefined;
  if (/^data:/i.test(value)) {
    return /^data:[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(;[a-z0-9-]+=[^;,"\s]*)*;base64,[A-Za-z0-9+/_-]*={0,2}$/i.test(
      value,
    )
      ? undefined
      : "The data URI must name its media type and be in base64: data:image/png;base64,…";
  }
  if (value.length > 4_096) return "An address may have 4096 characters at most.";
  if (/[\u0000-\u0020\u007f]/.test(value) || !URL.canParse(value) || new URL(value).protocol !== "https:") {
    return `This must be ${FILE_FORMS}.`;
  }
  return undefined;
}

function typeWord(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  switch (typeof value) {
    case "string":
      return "text";
    case "boolean":
      return "true or false";
    case "object":
      return "an object";
    default:
      return Number.isInteger(value) || typeof value === "bigint" ? "a whole number" : "a number with a fraction";
  }
}

/** What would be taken, for the error's `allowed`. */
export function allowed(input: InputSpec): Record<string, unknown> {
  switch (input.type) {
    case "string":
      return { type: "string", maxLength: input.maxLength };
    case "integer":
    case "number": {
      const { type, minimum, maximum, step } = input;
      return {
        type,
        ...(minimum === undefined ? {} : { minimum }),
        ...(maximum === undefined ? {} : { maximum }),
        ...(step === undefined ? {} : { step }),
      };
    }
    case "boolean":
      return { type: "boolean" };
    case "choice":
      return { type: "choice", choices: input.choices.slice(0, CHOICES_SHOWN_MAX) };
    case "file":
      return { type: "file", media: input.media };
    default:
      throw new Error(`unhandled: ${JSON.stringify(input satisfies never)}`);
  }
}
