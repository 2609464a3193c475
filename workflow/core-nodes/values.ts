/** Classes that hold, make and show plain values: numbers, booleans, strings. */
import type { ObjectInfo } from "../object-info.ts";
import { bool, extras, float, int, LINES, oneOf, text, v1, v3 } from "./builder.ts";

/** The largest signed 64-bit number, which is what Python calls `sys.maxsize`. */
const WORD_MAX = 0x7fff_ffff_ffff_ffffn;
const TEXT = "utils/string";
const flags = { case_insensitive: bool(true), multiline: bool(false), dotall: bool(false) };
const pattern = { string: LINES, regex_pattern: LINES } as const;

export const values: ObjectInfo = {
  ...v3("primitive", {
    PrimitiveString: {
      title: "String",
      category: "utils/primitive",
      inputs: { value: text(undefined, { multiline: false }) },
      outputs: ["STRING"],
    },
    PrimitiveStringMultiline: {
      title: "String (Multiline)",
      category: "utils/primitive",
      inputs: { value: LINES },
      outputs: ["STRING"],
    },
    PrimitiveInt: {
      title: "Int",
      category: "utils/primitive",
      inputs: { value: int(undefined, -WORD_MAX, WORD_MAX, undefined, { control_after_generate: true }) },
      outputs: ["INT"],
    },
    PrimitiveFloat: {
      title: "Float",
      category: "utils/primitive",
      inputs: { value: float(undefined, -WORD_MAX, WORD_MAX) },
      outputs: ["FLOAT"],
    },
    PrimitiveBoolean: {
      title: "Boolean",
      category: "utils/primitive",
      inputs: { value: bool() },
      outputs: ["BOOLEAN"],
    },
  }),
  ...v3("string", {
    StringConcatenate: {
      title: "Concatenate",
      category: TEXT,
      inputs: { string_a: LINES, string_b: LINES, delimiter: text("", { multiline: false }) },
      outputs: ["STRING"],
    },
    StringSubstring: {
      title: "Substring",
      category: TEXT,
      inputs: { string: LINES, start: int(), end: int() },
      outputs: ["STRING"],
    },
    StringLength: { title: "Length", category: TEXT, inputs: { string: LINES }, outputs: { length: "INT" } },
    CaseConverter: {
      title: "Case Converter",
      category: TEXT,
      inputs: { string: LINES, mode: oneOf(["UPPERCASE", "lowercase", "Capitalize", "Title Case"]) },
      outputs: ["STRING"],
    },
    StringTrim: {
      title: "Trim",
      category: TEXT,
      inputs: { string: LINES, mode: oneOf(["Both", "Left", "Right"]) },
      outputs: ["STRING"],
    },
    StringReplace: {
      title: "Replace",
      category: TEXT,
      inputs: { string: LINES, find: LINES, replace: LINES },
      outputs: ["STRING"],
    },
    StringContains: {
      title: "Contains",
      category: TEXT,
      inputs: { string: LINES, substring: LINES, case_sensitive: bool(true) },
      outputs: { contains: "BOOLEAN" },
    },
    StringCompare: {
      title: "Compare",
      category: TEXT,
      inputs: {
        string_a: LINES,
        string_b: LINES,
        mode: oneOf(["Starts With", "Ends With", "Equal"]),
        case_sensitive: bool(true),
      },
      outputs: ["BOOLEAN"],
    },
    RegexMatch: {
      title: "Regex Match",
      category: TEXT,
      inputs: { ...pattern, ...flags },
      outputs: { matches: "BOOLEAN" },
    },
    RegexExtract: {
      title: "Regex Extract",
      category: TEXT,
      inputs: {
        ...pattern,
        mode: oneOf(["First Match", "All Matches", "First Group", "All Groups"]),
        ...flags,
        group_index: int(1, 0, 100),
      },
      outputs: ["STRING"],
    },
    RegexReplace: {
      title: "Regex Replace",
      category: TEXT,
      inputs: { ...pattern, replace: LINES },
      optional: { ...flags, count: int(0, 0, 100) },
      outputs: ["STRING"],
    },
  }),
  ...v1(extras("preview_any"), {
    PreviewAny: { title: "Preview Any", category: "utils", inputs: { source: "*" }, isOutput: true },
  }),
};
