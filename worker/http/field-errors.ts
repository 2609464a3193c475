import type * as z from "zod";
import type { FieldError } from "#contract/problems";

/** A JSON Pointer (RFC 6901) from the steps of a path. */
export function jsonPointer(steps: readonly PropertyKey[]): string {
  return steps.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** Most errors one answer lists; beyond it they say nothing new. */
const FIELD_ERRORS_MAX = 100;

/** How zod begins what it says of a wrong type; other words come from the schema, which knows better. */
const ZODS_OWN = "Invalid input";

/** Says what is wrong with each field, in words for whoever sent it. */
export function fieldErrors(issues: readonly z.core.$ZodIssue[]): FieldError[] {
  return issues.flatMap(errorsOf).slice(0, FIELD_ERRORS_MAX);
}

function errorsOf(issue: z.core.$ZodIssue): FieldError[] {
  const path = jsonPointer(issue.path);
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({
        path: jsonPointer([...issue.path, key]),
        reason: "There is no such field here; remove it or mend its name.",
      }));
    case "invalid_type":
      // A whole number beyond 2^53 is read as what keeps its digits: it is a number, but none that fits here.
      if (typeof issue.input === "bigint" && ["int", "number"].includes(issue.expected)) {
        return [{ path, reason: `Must be ${issue.input < 0n ? "at least -(2^53 - 1)" : "at most 2^53 - 1"}.` }];
      }
      if (!issue.message.startsWith(ZODS_OWN)) return [{ path, reason: sentence(issue.message) }];
      return issue.input === undefined && isMissing(issue)
        ? [{ path, reason: "This field is required.", allowed: { type: issue.expected } }]
        : [{ path, reason: `Must be ${typeName(issue.expected)}.`, allowed: { type: issue.expected } }];
    case "invalid_value":
      return [
        {
          path,
          reason: `Must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.map(String).join(", ")}.`,
          allowed: { choices: [...issue.values].map(String) },
        },
      ];
    case "too_big":
      return [
        {
          path,
          reason: `Must ${amount(issue.origin, "at most", issue.maximum)}.`,
          allowed: { maximum: Number(issue.maximum) },
        },
      ];
    case "too_small":
      return [
        {
          path,
          reason: `Must ${amount(issue.origin, "at least", issue.minimum)}.`,
          allowed: { minimum: Number(issue.minimum) },
        },
      ];
    case "invalid_union": {
      // Of several forms, the one that fits best says most: one that complains of what is inside it rather than of the
      // whole, then the one with the fewest complaints.
      const best = issue.errors.toSorted((a, b) => wholes(a) - wholes(b) || a.length - b.length)[0];
      if (best === undefined || best.length === 0) return [{ path, reason: "Is none of the forms taken here." }];
      return best.flatMap((inner) => errorsOf({ ...inner, path: [...issue.path, ...inner.path] }));
    }
    case "invalid_format":
      return [{ path, reason: issue.format === "datetime" ? momentWanted(issue.input) : sentence(issue.message) }];
    case "invalid_key":
      return [{ path, reason: `The name of this field is not valid: ${issue.issues[0]?.message ?? "malformed"}.` }];
    default:
      return [{ path, reason: sentence(issue.message) }];
  }
}

/** What a moment must be; one whose offset lost its + on the way, as it does in an address, is told so. */
function momentWanted(given: unknown): string {
  const reason = "Must be a date and time with Z or an offset, such as 2026-01-31T12:00:00Z.";
  const isTorn = typeof given === "string" && / [0-9]{2}:?[0-9]{2}$/.test(given) && given.includes("T");
  return isTorn ? `${reason} In an address, a + is written %2B.` : reason;
}

/** How many complaints are of the whole value and not of something in it. */
function wholes(issues: readonly z.core.$ZodIssue[]): number {
  return issues.filter((issue) => issue.code === "invalid_type" && issue.path.length === 0).length;
}

function isMissing(issue: z.core.$ZodIssue): boolean {
  return issue.message.includes("undefined");
}

function typeName(expected: string): string {
  switch (expected) {
    case "int":
      return "a whole number";
    case "record":
    case "object":
      return "an object";
    case "array":
      return "a list";
    case "boolean":
      return "true or false";
    default:
      return `a ${expected}`;
  }
}

function amount(origin: string, bound: string, limit: number | bigint): string {
  switch (origin) {
    case "string":
      return `have ${bound} ${limit} ${Number(limit) === 1 ? "character" : "characters"}`;
    case "array":
    case "set":
      return `have ${bound} ${limit} ${Number(limit) === 1 ? "item" : "items"}`;
    default:
      return `be ${bound} ${limit}`;
  }
}

function sentence(message: string): string {
  const text = `${message.charAt(0).toUpperCase()}${message.slice(1)}`;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
