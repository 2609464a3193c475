/** From a place in the graph to a typed input: what the classes declare, narrowed to what every place takes. */
import type { Json } from "#contract/exact-json";
import { STRING_INPUT_LENGTH_MAX } from "#contract/limits";
import { type InputSpec, NumberDisplay } from "#contract/workflow";
import { numeric } from "./check-literal.ts";
import { isFileName, isModelFile } from "./file-names.ts";
import type { Candidate, Candidates } from "./input-candidates.ts";
import { kindOfType } from "./input-candidates.ts";
import type { DeclaredInput } from "./object-info.ts";
import { nameKindWhereUsed } from "./text-uses.ts";

/** A longer list, of fonts or styles, would make a release of megabytes. */
const CHOICES_MAX = 2_000;

/** Characters of a class's own help, as many as an operator may write. */
const HELP_LENGTH_MAX = 2_000;

type Whole = number | bigint;
interface Bounds {
  readonly minimum?: Whole;
  readonly maximum?: Whole;
  readonly step?: Whole;
}

/**
 * The input for a candidate, its default the value in the graph; undefined when the value is of another kind than its
 * class declares, so that no caller could send it.
 */
export function describeInput(name: string, candidate: Candidate, candidates: Candidates): InputSpec | undefined {
  const declared = candidate.declaredAt.flatMap((place) => candidates.declared(place) ?? []);
  const description = candidate.description ?? helpOf(declared);
  const base = {
    name,
    title: candidate.title,
    ...(description === undefined ? {} : { description }),
    targets: [...candidate.targets],
    required: candidate.required ?? candidate.kind === "file",
    advanced: candidate.advanced,
  };
  const { value } = candidate;
  if (candidate.kind === "file") {
    const example = typeof value === "string" && value !== "" ? value.slice(0, 2_000) : undefined;
    const media = candidate.media ?? "file";
    return { ...base, type: "file", media, ...(example === undefined ? {} : { example }) };
  }
  const own = ownDeclaration(candidate, candidates, declared);
  const kind = (own === undefined ? undefined : kindOfType(own.type, value)) ?? candidate.kind;
  switch (kind) {
    case "choice":
      return describeChoice(base, value, candidate.choices ?? sharedChoices(own, declared), candidate);
    case "string":
      if (typeof value !== "string" || value.length > STRING_INPUT_LENGTH_MAX) return undefined;
      if (candidate.choices !== undefined) return describeChoice(base, value, candidate.choices, candidate);
      return {
        ...base,
        type: "string",
        ...namesOf(candidate, candidates),
        // An empty text that callers must replace is no default.
        ...(candidate.required === true && value === "" ? {} : { default: value }),
        multiline: candidate.multiline === true || declared.some((input) => input.options.multiline === true),
        maxLength: STRING_INPUT_LENGTH_MAX,
      };
    case "boolean":
      return typeof value === "boolean" ? { ...base, type: "boolean", default: value } : undefined;
    case "integer":
      if (typeof value !== "bigint" && !Number.isInteger(value)) return undefined;
      return {
        ...base,
        type: "integer",
        default: value as Whole,
        ...wholeBounds(boundsOf(candidate, declared), value as Whole, candidate.seed === true),
        ...displayOf(declared),
        seed: candidate.seed === true,
      };
    case "number": {
      const number = typeof value === "bigint" ? Number(value) : value;
      if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
      const bounds = realBounds(boundsOf(candidate, declared), number);
      return { ...base, type: "number", default: number, ...bounds, ...displayOf(declared) };
    }
    default:
      throw new Error(`unhandled: ${JSON.stringify(kind satisfies never)}`);
  }
}

/** The tooltip of the first class that has one. */
function helpOf(declared: readonly DeclaredInput[]): string | undefined {
  for (const { options } of declared) {
    const { tooltip } = options;
    if (typeof tooltip === "string" && tooltip.trim() !== "") return tooltip.trim().slice(0, HELP_LENGTH_MAX);
  }
  return undefined;
}

function displayOf(declared: readonly DeclaredInput[]): { readonly display?: NumberDisplay } {
  const display = declared.flatMap(({ options }) => NumberDisplay.safeParse(options.display).data ?? [])[0];
  return display === undefined ? {} : { display };
}

/** What the class of the first target says; a primitive of any type takes after the field that reads it. */
function ownDeclaration(
  candidate: Candidate,
  candidates: Candidates,
  declared: readonly DeclaredInput[],
): DeclaredInput | undefined {
  const [first] = candidate.targets;
  const own = first === undefined ? undefined : candidates.declared(first);
  if (own !== undefined && kindOfType(own.type, candidate.value) !== undefined) return own;
  return declared.find((input) => {
    const kind = kindOfType(input.type, candidate.value);
    return kind !== undefined && (kind !== "choice" || (input.choices ?? []).includes(candidate.value));
  });
}

/** The choices of the input's own class that every other list takes which gets the value as well. */
function sharedChoices(
  own: DeclaredInput | undefined,
  declared: readonly DeclaredInput[],
): readonly Json[] | undefined {
  const lists = declared.flatMap(({ choices }) => (choices === undefined ? [] : [new Set(choices)]));
  return own?.choices?.filter((choice) => lists.every((list) => list.has(choice)));
}

function describeChoice(
  base: Pick<InputSpec, "name" | "title" | "targets" | "required" | "advanced">,
  value: Json,
  listed: readonly Json[] | undefined,
  candidate: Candidate,
): InputSpec | undefined {
  const field = candidate.targets[0]?.field ?? "";
  const choices = (listed ?? []).filter((choice) => typeof choice === "string" || numeric(choice) !== undefined);
  if (typeof value === "boolean") {
    return (listed ?? []).every((choice) => typeof choice === "boolean")
      ? { ...base, type: "boolean", default: value }
      : undefined;
  }
  // Infinity, which Python writes, is no value that JSON could say again.
  if (typeof value !== "string" && !Number.isFinite(Number(numeric(value)))) return undefined;
  // A list that the server fetches from elsewhere is checked by nobody.
  if (candidate.choices === undefined && listed === undefined) {
    if (typeof value !== "string" || value.length > STRING_INPUT_LENGTH_MAX) return undefined;
    return { ...base, type: "string", default: value, multiline: false, maxLength: STRING_INPUT_LENGTH_MAX };
  }
  const isFileList = isModelFile(field, value) || choices.some((choice) => isFileName(choice));
  // A list that the author wrote is meant as it is, of any length and of files too. Which other files the machines that
  // run the release have is not known here: one they lack would be refused after the wait, so operators name them.
  const isKnown = candidate.choices !== undefined || (!isFileList && choices.length <= CHOICES_MAX);
  // A value that the list lacks worked where the graph was made, so its machine knows more than this list.
  const all = !isKnown ? [value] : choices.includes(value) ? choices : [...choices, value];
  return {
    ...base,
    type: "choice",
    default: value as string | Whole,
    choices: [...new Set(all)] as (string | Whole)[],
  };
}

/** The narrowest bounds of all places that take numbers, and the step of the first. */
function boundsOf(candidate: Candidate, declared: readonly DeclaredInput[]): Bounds {
  const numbers = declared.filter((input) => /\b(INT|FLOAT)\b/.test(input.type));
  const minimum = narrowest(
    [candidate.minimum, ...numbers.map((input) => numeric(input.options.min))],
    (a, b) => a > b,
  );
  const maximum = narrowest(
    [candidate.maximum, ...numbers.map((input) => numeric(input.options.max))],
    (a, b) => a < b,
  );
  const declaredStep = numbers
    .map((input) => numeric(input.options.step))
    .find((found) => found !== undefined && found > 0);
  const step = candidate.step ?? declaredStep;
  return {
    ...(minimum === undefined ? {} : { minimum }),
    ...(maximum === undefined ? {} : { maximum }),
    ...(step === undefined ? {} : { step }),
  };
}

function narrowest(
  bounds: readonly (Whole | undefined)[],
  tighter: (a: Whole, b: Whole) => boolean,
): Whole | undefined {
  return bounds.reduce((best, bound) =>
    best === undefined || (bound !== undefined && tighter(bound, best)) ? bound : best,
  );
}

/**
 * Whole bounds. A seed keeps the real ones, up to 2^64-1; other bounds are clamped to what a double holds exactly, as
 * a bound of 2^63 is "any number" and callers' languages would round it. A bound that the value in the graph breaks
 * is wrong and left out.
 */
function wholeBounds(bounds: Bounds, value: Whole, seed: boolean): Bounds {
  const safe = BigInt(Number.MAX_SAFE_INTEGER);
  const clamp = (bound: Whole | undefined, round: (bound: number) => number): Whole | undefined => {
    if (bound === undefined || (typeof bound === "number" && !Number.isFinite(bound))) return undefined;
    const whole = typeof bound === "bigint" ? bound : BigInt(round(bound));
    if (whole > safe) return seed ? whole : Number.MAX_SAFE_INTEGER;
    if (whole < -safe) return seed ? whole : Number.MIN_SAFE_INTEGER;
    return Number(whole);
  };
  const minimum = clamp(bounds.minimum, Math.ceil);
  const maximum = clamp(bounds.maximum, Math.floor);
  return {
    ...(minimum === undefined || minimum > value ? {} : { minimum }),
    ...(maximum === undefined || maximum < value ? {} : { maximum }),
    ...(bounds.step === undefined || bounds.step <= 1 || !Number.isInteger(Number(bounds.step))
      ? {}
      : { step: bounds.step }),
  };
}

/** A whole bound of more than 53 bits as the nearest double within it: 2^63 - 1 is none, and 2^63 is outside. */
function inward(bound: Whole | undefined, direction: 1 | -1): Whole | undefined {
  if (typeof bound !== "bigint") return bound;
  const double = Number(bound);
  const isOutside = direction === 1 ? BigInt(double) < bound : BigInt(double) > bound;
  return isOutside ? double * (1 - Number.EPSILON / 2) : double;
}

function realBounds(bounds: Bounds, value: number): { minimum?: number; maximum?: number; step?: number } {
  const finite = (bound: Whole | undefined): number | undefined =>
    bound === undefined || !Number.isFinite(Number(bound)) ? undefined : Number(bound);
  const [minimum, maximum] = [finite(inward(bounds.minimum, 1)), finite(inward(bounds.maximum, -1))];
  const step = finite(bounds.step);
  return {
    ...(minimum === undefined || minimum > value ? {} : { minimum }),
    ...(maximum === undefined || maximum < value ? {} : { maximum }),
    ...(step === undefined ? {} : { step }),
  };
}

/** That a text becomes a file's name somewhere else in the graph; its own fields speak for themselves. */
function namesOf({ targets }: Candidate, candidates: Candidates): { names?: "file" | "model" } {
  const names = nameKindWhereUsed(targets, candidates);
  return names === undefined ? {} : { names };
}
