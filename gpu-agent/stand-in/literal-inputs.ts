/** Literal values against what a class declares: converted as Python converts, then checked for range and choice. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import {
  PythonError,
  pythonBool,
  pythonEquals,
  pythonFloat,
  pythonInt,
  pythonRepr,
  pythonStr,
  reprFloat,
} from "./python-values.ts";
import type { ValidationError } from "./validation.ts";

/** ComfyUI does not list more choices than this in an error. */
const CHOICES_SHOWN_MAX = 20;

/** An input as its class declares it. */
export interface Declaration {
  /** A type's name, or the list of choices. */
  readonly type: Json;
  readonly options: JsonObject;
  /** `[type, options]`, as errors repeat it. */
  readonly config: Json;
}

/** Reads `[type, options]`. */
export function declaration(spec: Json): Declaration {
  const [type = null, second] = Array.isArray(spec) ? spec : [spec];
  const options = isJsonObject(second) ? second : {};
  return { type, options, config: [type, options] };
}

/**
 * Converts one literal input in place and checks it.
 * @param hasOwnCheck the class checks this input itself: then range and list do not count
 * @param checksComboObjects `["COMBO", {options}]` counts as a list too
 */
export function checkLiteral(
  inputs: JsonObject,
  name: string,
  declared: Declaration,
  hasOwnCheck: boolean,
  checksComboObjects: boolean,
): ValidationError | undefined {
  const given = inputs[name] ?? null;
  const wrapped = isJsonObject(given) && "__value__" in given ? (given.__value__ ?? null) : given;
  let value = wrapped;
  try {
    value = converted(wrapped, declared.type);
  } catch (error) {
    if (!(error instanceof PythonError)) throw error;
    return {
      type: "invalid_input_type",
      message: `Failed to convert an input value to a ${pythonStr(declared.type)} value`,
      details: `${name}, ${pythonStr(wrapped)}, ${error.message}`,
      extra_info: {
        input_name: name,
        input_config: declared.config,
        received_value: wrapped,
        exception_message: error.message,
      },
    };
  }
  inputs[name] = value;
  if (hasOwnCheck) return undefined;
  return outOfRange(name, declared, value) ?? notInList(name, declared, value, checksComboObjects);
}

function converted(value: Json, type: Json): Json {
  switch (type) {
    case "INT":
      return pythonInt(value);
    case "FLOAT":
      return pythonFloat(value);
    case "STRING":
      return pythonStr(value);
    case "BOOLEAN":
      return pythonBool(value);
    default:
      return value;
  }
}

function outOfRange(name: string, declared: Declaration, value: Json): ValidationError | undefined {
  if (typeof value !== "number" && typeof value !== "bigint") return undefined;
  const { min, max } = declared.options;
  const shown = (number: number | bigint): string =>
    declared.type === "FLOAT" ? reprFloat(Number(number)) : pythonStr(number);
  const extra_info = { input_name: name, input_config: declared.config, received_value: value };
  if ((typeof min === "number" || typeof min === "bigint") && value < min) {
    const message = `Value ${shown(value)} smaller than min of ${shown(min)}`;
    return { type: "value_smaller_than_min", message, details: name, extra_info };
  }
  if ((typeof max === "number" || typeof max === "bigint") && value > max) {
    const message = `Value ${shown(value)} bigger than max of ${shown(max)}`;
    return { type: "value_bigger_than_max", message, details: name, extra_info };
  }
  return undefined;
}

function notInList(
  name: string,
  declared: Declaration,
  value: Json,
  checksObjects: boolean,
): ValidationError | undefined {
  const asObject = declared.type === "COMBO" && checksObjects;
  const listed = asObject ? (declared.options.options ?? []) : declared.type;
  if (!Array.isArray(listed)) return undefined;
  const several = asObject && declared.options.multiselect === true && Array.isArray(value);
  const refused = (several ? value : [value]).filter((item) => !listed.some((choice) => pythonEquals(choice, item)));
  if (refused.length === 0) return undefined;
  const isShort = listed.length <= CHOICES_SHOWN_MAX;
  const shown = checksObjects ? refused.map(pythonRepr).join(", ") : `'${pythonStr(value)}'`;
  return {
    type: "value_not_in_list",
    message: "Value not in list",
    details: `${name}: ${shown} not in ${isShort ? pythonRepr(listed) : `(list of length ${listed.length})`}`,
    extra_info: { input_name: name, input_config: isShort ? declared.config : null, received_value: value },
  };
}
