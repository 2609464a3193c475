/**
 * The short notation in which the tables of this folder are written, and its expansion into what a ComfyUI server
 * answers to `GET /object_info`.
 *
 * Servers know two generations of node classes. The first (V1) writes a choice as `[["a", "b"], {}]`, the second (V3)
 * as `["COMBO", {options: ["a", "b"], multiselect: false}]`; V3 also says of every class whether it is deprecated,
 * experimental or a paid API node, V1 only when it is.
 */
import type { Json, JsonObject } from "#contract/exact-json";
import type { NodeClass, ObjectInfo } from "../object-info.ts";

/** An input before it is known in which generation it is written. */
export interface InputRow {
  readonly type: string;
  readonly options: JsonObject;
  /** The values of a choice; file lists are empty here, a server fills them with what it finds on disk. */
  readonly choices?: readonly string[];
}

/** A class in short notation. A bare string in `inputs` is a connection type such as `"IMAGE"`. */
export interface ClassRow {
  readonly category: string;
  /** The name an editor shows; V1 classes without one show their class name, V3 classes say null. */
  readonly title?: string;
  readonly inputs?: Readonly<Record<string, InputRow | string>>;
  readonly optional?: Readonly<Record<string, InputRow | string>>;
  /** Values the server itself fills in. `saves` is the pair every saving node asks for. */
  readonly hidden?: "saves" | "unique_id";
  /** Types, or names with types where an output is not called like its type. */
  readonly outputs?: readonly string[] | Readonly<Record<string, string>>;
  readonly lists?: boolean;
  readonly isOutput?: boolean;
  readonly experimental?: boolean;
  readonly deprecated?: boolean;
}

/** A class as V3 servers describe it; all of it is a `NodeClass`. */
interface DescribedClass extends NodeClass {
  readonly deprecated?: boolean;
  readonly experimental?: boolean;
  readonly api_node?: boolean;
}

/** The largest picture side and the largest offset the core nodes take, in pixels. */
export const SIDE_MAX = 16384;
/** The largest seed: the whole range of an unsigned 64-bit number. */
export const SEED_MAX = 0xffff_ffff_ffff_ffffn;

type Extra = Readonly<Record<string, Json>>;

function numberRow(type: string, bounds: readonly (Json | undefined)[], extra: Extra): InputRow {
  const options: JsonObject = {};
  for (const [index, key] of ["default", "min", "max", "step"].entries()) {
    const value = bounds[index];
    if (value !== undefined) options[key] = value;
  }
  return { type, options: { ...options, ...extra } };
}

type Whole = number | bigint;
/** A whole number: default, min, max, step. */
export function int(initial?: Whole, min?: Whole, max?: Whole, step?: number, extra: Extra = {}): InputRow {
  return numberRow("INT", [initial, min, max, step], extra);
}

/** A real number: default, min, max, step. */
export function float(initial?: number, min?: Whole, max?: Whole, step?: number, extra: Extra = {}): InputRow {
  return numberRow("FLOAT", [initial, min, max, step], extra);
}

/** A real number that the editor does not round. */
export function exactFloat(initial: number, min: number, max: number, step = 0.01): InputRow {
  return float(initial, min, max, step, { round: false });
}

export function bool(initial?: boolean): InputRow {
  return { type: "BOOLEAN", options: initial === undefined ? {} : { default: initial } };
}

export function text(initial?: string, extra: Extra = {}): InputRow {
  return { type: "STRING", options: { ...(initial === undefined ? {} : { default: initial }), ...extra } };
}

export function oneOf(choices: readonly string[], extra: Extra = {}): InputRow {
  return { type: "COMBO", choices, options: extra };
}

/** A prompt box: several lines, and the editor expands `{a|b}` in it. */
export const PROMPT = text(undefined, { multiline: true, dynamicPrompts: true });
export const LINES = text(undefined, { multiline: true });
/** The name of a model file; every server lists its own. */
export const MODEL_FILE = oneOf([]);
export const SEED = int(0, 0, SEED_MAX, undefined, { control_after_generate: true });
export const STEPS = int(20, 1, 10000);
export const CFG = float(8, 0, 100, 0.1, { round: 0.01 });
export const BATCH = int(1, 1, 4096);
export const COLOR = int(0, 0, 0xffffff, 1, { display: "color" });
/** A share of something, 0..1 in hundredths. */
export const share = (initial: number): InputRow => float(initial, 0, 1, 0.01);
/** A point in the course of sampling, 0..1 in thousandths. */
export const percent = (initial: number): InputRow => float(initial, 0, 1, 0.001);
/** A picture side in pixels. */
export const side = (initial: number, min: number, step?: number): InputRow => int(initial, min, SIDE_MAX, step);
/** A distance from the picture's upper left corner in pixels. */
export const offset = (step?: number): InputRow => int(0, 0, SIDE_MAX, step);

function expandInput(row: InputRow | string, v3: boolean): Json {
  if (typeof row === "string") return [row, {}];
  if (row.choices === undefined) return [row.type, { ...row.options }];
  if (!v3) return [[...row.choices], { ...row.options }];
  return ["COMBO", { multiselect: false, ...row.options, options: [...row.choices] }];
}

function expandInputs(rows: ClassRow["inputs"] = {}, v3: boolean): Record<string, Json> {
  return Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, expandInput(row, v3)]));
}

const HIDDEN = {
  saves: { prompt: "PROMPT", extra_pnginfo: "EXTRA_PNGINFO" },
  unique_id: { unique_id: "UNIQUE_ID" },
} as const;

function expandClass(name: string, row: ClassRow, module: string, v3: boolean): DescribedClass {
  const required = expandInputs(row.inputs, v3);
  const optional = row.optional === undefined ? undefined : expandInputs(row.optional, v3);
  const hiddenNames: Record<string, string> | undefined = row.hidden === undefined ? undefined : HIDDEN[row.hidden];
  const hidden =
    hiddenNames === undefined
      ? undefined
      : Object.fromEntries(Object.entries(hiddenNames).map(([key, type]) => [key, v3 ? [type] : type]));
  const sections = {
    required,
    ...(optional === undefined ? {} : { optional }),
    ...(hidden === undefined ? {} : { hidden }),
  };
  const outputs = row.outputs ?? [];
  const named: readonly (readonly [string, string])[] = Array.isArray(outputs)
    ? outputs.map((type: string) => [type, type] as const)
    : Object.entries(outputs as Readonly<Record<string, string>>);
  const marks = {
    ...(v3 || row.deprecated === true ? { deprecated: row.deprecated === true } : {}),
    ...(v3 || row.experimental === true ? { experimental: row.experimental === true } : {}),
    ...(v3 ? { api_node: false } : {}),
  };
  return {
    input: sections,
    input_order: Object.fromEntries(Object.entries(sections).map(([section, rows]) => [section, Object.keys(rows)])),
    output: named.map(([, type]) => type),
    output_is_list: named.map(() => row.lists === true),
    output_name: named.map(([label]) => label),
    name,
    display_name: row.title ?? (v3 ? null : name),
    description: "",
    python_module: module,
    category: row.category,
    output_node: row.isOutput === true,
    ...marks,
  };
}

function expand(module: string, rows: Readonly<Record<string, ClassRow>>, v3: boolean): ObjectInfo {
  return Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, expandClass(name, row, module, v3)]));
}

/** Classes of the first generation; `module` is their Python module. */
export function v1(module: string, rows: Readonly<Record<string, ClassRow>>): ObjectInfo {
  return expand(module, rows, false);
}

/** Classes of the second generation; `module` is the file in `comfy_extras`, without `nodes_`. */
export function v3(module: string, rows: Readonly<Record<string, ClassRow>>): ObjectInfo {
  return expand(extras(module), rows, true);
}

/** The Python module of an extra file. */
export function extras(file: string): string {
  return `comfy_extras.nodes_${file}`;
}
