/** Nodes that hold, make and show plain values. */
import { isJsonObject, type Json } from "#contract/exact-json";
import { NodeError, type NodeImplementation } from "../node.ts";
import { pythonJson } from "../python-json.ts";
import { pythonStr } from "../python-values.ts";
import { type Audio, toAudio } from "./audio.ts";
import { isConditioning } from "./conditioning-values.ts";
import { flagOf, numberOf, textOf } from "./inputs.ts";
import { isLatent } from "./latent-values.ts";
import { pythonRegex, pythonReplace } from "./python-regex.ts";
import { isSimulated } from "./simulated-models.ts";
import { tensorText } from "./tensor-text.ts";

const one = (value: unknown) => ({ outputs: [value] });
const primitive: NodeImplementation = { run: (inputs) => one(inputs.value) };

/** What Python's `strip` takes away; the byte order mark is not among it. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const LEADING = new RegExp(`^${SPACE}`);
const TRAILING = new RegExp(`${SPACE}$`);

/** Every run of letters starts with a capital, as Python's `title` has it: "they're" becomes "They'Re". */
function titleCase(text: string): string {
  let afterLetter = false;
  let out = "";
  for (const character of text) {
    out += afterLetter ? character.toLowerCase() : character.toUpperCase();
    afterLetter = /\p{Cased}/u.test(character);
  }
  return out;
}

function capitalized(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

const CASES: Readonly<Record<string, (text: string) => string>> = {
  UPPERCASE: (text) => text.toUpperCase(),
  lowercase: (text) => text.toLowerCase(),
  Capitalize: capitalized,
  "Title Case": titleCase,
};

const TRIMS: Readonly<Record<string, (text: string) => string>> = {
  Both: (text) => text.replace(LEADING, "").replace(TRAILING, ""),
  Left: (text) => text.replace(LEADING, ""),
  Right: (text) => text.replace(TRAILING, ""),
};

const COMPARISONS: Readonly<Record<string, (a: string, b: string) => boolean>> = {
  Equal: (a, b) => a === b,
  "Starts With": (a, b) => a.startsWith(b),
  "Ends With": (a, b) => a.endsWith(b),
};

type Inputs = Parameters<NodeImplementation["run"]>[0];

/** The pattern of a regex node; undefined when Python refuses it, which two of the three nodes swallow. */
function regexOf(inputs: Inputs): RegExp {
  return pythonRegex(textOf(inputs, "regex_pattern"), {
    ignoreCase: flagOf(inputs, "case_insensitive", true),
    multiline: flagOf(inputs, "multiline"),
    dotAll: flagOf(inputs, "dotall"),
  });
}

/** Runs `use` and gives `otherwise` when the pattern is none. */
function withPattern<T>(use: () => T, otherwise: T): T {
  try {
    return use();
  } catch (cause) {
    if (cause instanceof NodeError && cause.type === "re.error") return otherwise;
    throw cause;
  }
}

const EXTRACTIONS: Readonly<Record<string, (matches: RegExpMatchArray[], group: number) => string | null>> = {
  "First Match": ([match]) => match?.[0] ?? "",
  "All Matches": (matches) => matches.map((match) => (match.length > 1 ? (match[1] ?? "") : match[0])).join("\n"),
  "First Group": ([match], group) => (match !== undefined && match.length - 1 >= group ? (match[group] ?? null) : ""),
  "All Groups": (matches, group) =>
    matches
      .filter((match) => match.length > 1 && match.length - 1 >= group)
      .map((match, index) => {
        const found = match[group];
        if (found === undefined) {
          throw new NodeError("TypeError", `sequence item ${index}: expected str instance, NoneType found`);
        }
        return found;
      })
      .join("\n"),
};

const regexExtract: NodeImplementation = {
  run(inputs) {
    const extract = EXTRACTIONS[textOf(inputs, "mode")];
    const found = withPattern(() => {
      const matches = [...textOf(inputs, "string").matchAll(regexOf(inputs))];
      return extract?.(matches, numberOf(inputs, "group_index")) ?? null;
    }, "");
    return one(found);
  },
};

const stringContains: NodeImplementation = {
  run(inputs) {
    const fold = flagOf(inputs, "case_sensitive", true) ? (text: string) => text : (text: string) => text.toLowerCase();
    return one(fold(textOf(inputs, "string")).includes(fold(textOf(inputs, "substring"))));
  },
};

const stringCompare: NodeImplementation = {
  run(inputs) {
    const fold = flagOf(inputs, "case_sensitive", true) ? (text: string) => text : (text: string) => text.toLowerCase();
    const compare = COMPARISONS[textOf(inputs, "mode")];
    return one(compare?.(fold(textOf(inputs, "string_a")), fold(textOf(inputs, "string_b"))) ?? null);
  },
};

/** True for what `json.dumps` takes: plain values, lists and dictionaries all the way down. */
function isPlain(value: unknown): value is Json {
  if (value === null || ["string", "number", "bigint", "boolean"].includes(typeof value)) return true;
  if (Array.isArray(value)) return value.every(isPlain);
  if (!isJsonObject(value) || MARKS.some((mark) => mark in value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === null || prototype === Object.prototype) && Object.values(value).every(isPlain);
}

/** Fields by which this server's own values are known; none of them is a dictionary of a workflow. */
const MARKS = ["simulated", "conditioning", "latent", "waveform", "video", "data"];

/** What PreviewAny writes: Python's words for plain values, PyTorch's for tensors, a short name for everything else. */
export function shownValue(value: unknown): string {
  if (value === undefined || value === null) return "None";
  if (isPlain(value)) return typeof value === "object" ? pythonJson(value) : pythonStr(value);
  if (isSimulated(value)) return `<simulated ${value.kind} ${value.name}>`;
  if (isConditioning(value)) return `<simulated CONDITIONING ${value.text}>`;
  if (isLatent(value)) return `<simulated LATENT ${value.batch} x ${value.frames} x ${value.width} x ${value.height}>`;
  if (typeof value !== "object") return "source exists, but could not be serialized.";
  if ("waveform" in value) return audioText(toAudio(value));
  if (!("data" in value) || !(value.data instanceof Float32Array))
    return `<simulated ${Object.keys(value)[0] ?? "value"}>`;
  const sides: Readonly<Record<string, unknown>> = { ...value };
  const shape = ["batch", "height", "width", "channels"].map((side) => sides[side]);
  return tensorText(
    value.data,
    shape.filter((side): side is number => typeof side === "number"),
  );
}

function audioText({ waveform, sampleRate }: Audio): string {
  const channels = waveform[0]?.length ?? 0;
  const length = waveform[0]?.[0]?.length ?? 0;
  const data = new Float32Array(waveform.length * channels * length);
  for (const [i, samples] of waveform.flat().entries()) data.set(samples, i * length);
  return `{'waveform': ${tensorText(data, [waveform.length, channels, length])}, 'sample_rate': ${sampleRate}}`;
}

export const valueNodes: Readonly<Record<string, NodeImplementation>> = {
  PrimitiveString: primitive,
  PrimitiveStringMultiline: primitive,
  PrimitiveInt: primitive,
  PrimitiveFloat: primitive,
  PrimitiveBoolean: primitive,
  StringConcatenate: {
    run: (inputs) => one([textOf(inputs, "string_a"), textOf(inputs, "string_b")].join(textOf(inputs, "delimiter"))),
  },
  // Python counts characters where this language counts UTF-16 units.
  StringSubstring: {
    run: (inputs) =>
      one([...textOf(inputs, "string")].slice(numberOf(inputs, "start"), numberOf(inputs, "end")).join("")),
  },
  StringLength: { run: (inputs) => one([...textOf(inputs, "string")].length) },
  CaseConverter: {
    run: (inputs) => one(CASES[textOf(inputs, "mode")]?.(textOf(inputs, "string")) ?? textOf(inputs, "string")),
  },
  StringTrim: {
    run: (inputs) => one(TRIMS[textOf(inputs, "mode")]?.(textOf(inputs, "string")) ?? textOf(inputs, "string")),
  },
  StringReplace: { run: (inputs) => one(replaced(inputs)) },
  StringContains: stringContains,
  StringCompare: stringCompare,
  RegexMatch: {
    run: (inputs) => one(withPattern(() => regexOf(inputs).test(textOf(inputs, "string")), false)),
  },
  RegexExtract: regexExtract,
  RegexReplace: {
    run: (inputs) => {
      const count = inputs.count === undefined ? 0 : numberOf(inputs, "count");
      return one(pythonReplace(regexOf(inputs), textOf(inputs, "replace"), textOf(inputs, "string"), count));
    },
  },
  PreviewAny: { run: (inputs) => ({ outputs: [], ui: { text: [shownValue(inputs.source)] } }) },
};

/** Python's `replace`: an empty search text matches before every character and at the end. */
function replaced(inputs: Inputs): string {
  const text = textOf(inputs, "string");
  const find = textOf(inputs, "find");
  const replacement = textOf(inputs, "replace");
  if (find !== "") return text.split(find).join(replacement);
  return [replacement, ...[...text].flatMap((character) => [character, replacement])].join("");
}
