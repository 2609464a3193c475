/** Whether a value written in the graph can be what its node takes, and what ComfyUI makes of values it converts. */
import { isJsonObject, type Json } from "#contract/exact-json";
import {
  filenamePrefixFault,
  inputFileFault,
  isFileName,
  isModelFile,
  isPathField,
  mediaOf,
  modelFileFault,
} from "./file-names.ts";
import type { GraphNode } from "./graph.ts";
import type { DeclaredInput } from "./object-info.ts";

export interface LiteralFault {
  readonly reason: string;
  readonly allowed?: Record<string, unknown>;
}

/**
 * What is wrong with a literal, undefined when nothing is. Choices are not checked: a list of models or samplers
 * differs from machine to machine, and the replica has the last word.
 * @param known the node's class is described somewhere; `declared` is then what it says of the field, if anything
 */
export function checkLiteral(
  node: GraphNode,
  field: string,
  value: Json,
  declared: DeclaredInput | undefined,
  known: boolean,
): LiteralFault | undefined {
  if (typeof value === "string") {
    if (value.includes("\u0000") || !value.isWellFormed())
      return { reason: "The text holds a null or half a character." };
    const fault = nameFault(node, field, value, declared, known);
    if (fault !== undefined) return { reason: `The name ${fault}.` };
  }
  return declared === undefined ? undefined : numberFault(value, declared);
}

function nameFault(
  node: GraphNode,
  field: string,
  value: string,
  declared: DeclaredInput | undefined,
  known: boolean,
): string | undefined {
  if (field === "filename_prefix") return filenamePrefixFault(value);
  if (mediaOf(node, field, declared, known) !== undefined) return inputFileFault(value);
  if (isModelFile(field, value)) return modelFileFault(value);
  const isPath = isPathField(field) || isFileName(value) || /^(image|mask|video|audio)s?$/.test(field);
  if (isPath && /load/i.test(node.classType) && !/base64/i.test(node.classType)) return inputFileFault(value);
  return undefined;
}

/** Bounds and types of INT and FLOAT, after the conversion that ComfyUI does itself ("64" becomes 64). */
function numberFault(value: Json, declared: DeclaredInput): LiteralFault | undefined {
  const { type, options } = declared;
  if (type !== "INT" && type !== "FLOAT") return undefined;
  const number = converted(value, type);
  if (typeof number !== "bigint" && (typeof number !== "number" || !Number.isFinite(number))) {
    return { reason: type === "INT" ? "This must be a whole number." : "This must be a number.", allowed: { type } };
  }
  const minimum = numeric(options.min);
  const maximum = numeric(options.max);
  const allowed = {
    ...(minimum === undefined ? {} : { minimum }),
    ...(maximum === undefined ? {} : { maximum }),
  };
  if (minimum !== undefined && number < minimum) return { reason: `This must be ${minimum} or more.`, allowed };
  if (maximum !== undefined && number > maximum) return { reason: `This must be ${maximum} or less.`, allowed };
  return undefined;
}

/**
 * The value ComfyUI would use in place of a literal, for the types it converts; the value itself when it cannot be
 * converted. Converting early lets the graph's values serve as defaults.
 */
export function converted(value: Json, type: string): Json {
  switch (type) {
    case "INT":
      if (typeof value === "string" && /^\s*[+-]?[0-9]{1,20}\s*$/.test(value))
        return exact(BigInt(value.trim().replace("+", "")));
      return typeof value === "number" && Number.isFinite(value) ? Math.trunc(value) : value;
    case "FLOAT":
      return typeof value === "string" &&
        /^\s*[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})(e[+-]?[0-9]{1,3})?\s*$/i.test(value)
        ? Number(value)
        : value;
    case "STRING":
      return typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value))
        ? String(value)
        : value;
    case "BOOLEAN":
      // As Python's bool(): every text but the empty one is true, "false" as well.
      return typeof value === "object" && value !== null ? value : Boolean(value);
    default:
      return value;
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** A bound as object_info gives it; NaN and other values are none. */
export function numeric(value: Json | undefined): number | bigint | undefined {
  if (typeof value === "bigint") return value;
  return typeof value === "number" && !Number.isNaN(value) ? value : undefined;
}

/** True for a value that stands in the field itself: not a link, not a list or an object. */
export function isScalar(value: Json | undefined): value is string | number | bigint | boolean {
  return value !== undefined && value !== null && !Array.isArray(value) && !isJsonObject(value);
}
