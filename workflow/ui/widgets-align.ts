/**
 * Lays the values that a file stores by position over the widgets that its class has. The file may be older or newer
 * than the class, and editors store values that are no input (what to do with a seed after a run, upload buttons), so
 * that positions alone say little: values go where their type and their options say they belong.
 */
import { isJsonObject, type Json } from "#contract/exact-json";
import { isScalar } from "../check-literal.ts";
import type { DeclaredInput } from "../object-info.ts";

export type WidgetSlot =
  | { readonly kind: "widget"; readonly input: DeclaredInput }
  /** What the editor does to a seed after a run: a word, in 2023 a boolean. Often absent. */
  | { readonly kind: "control" }
  /** The filter text beside the control of a choice. */
  | { readonly kind: "filter" }
  /** An upload button or a player, which stores a dummy. */
  | { readonly kind: "button" };

export interface Alignment {
  /** Values by widget name. */
  readonly values: ReadonlyMap<string, Json>;
  /** Widgets for which the file has no value. */
  readonly unset: readonly DeclaredInput[];
  /** Values that fit no widget. */
  readonly unplaced: readonly Json[];
}

const CONTROL_WORDS: ReadonlySet<Json> = new Set(["fixed", "increment", "decrement", "randomize", "increment-wrap"]);
const BUTTON = /^(?:image|video|audio|file|refresh|(?:choose|upload)\b.*|\/?(?:api\/)?view\?.*|blob:.*)$/i;
const FILE_NAME = /\.[a-z0-9]{2,12}$/i;
/** Cost of a widget for which the file has nothing, and of a value for which the class has nothing. */
const UNSET_COST = 3;
const UNPLACED_COST = 6;
/** Widgets times values of one node; beyond it nothing is laid out and everything counts as unplaced. */
const CELLS_MAX = 250_000;
/** Values of one node beyond those for its widgets: classes lose some, and extensions add some, but never thousands. */
const VALUES_SPARE = 200;

/** The layout with the highest sum of fits; of equal ones, the one that fills the first widgets first. */
export function alignWidgets(slots: readonly WidgetSlot[], values: readonly Json[]): Alignment {
  const rows = slots.length + 1;
  const columns = values.length + 1;
  const tooMany = values.length > 4 * slots.length + VALUES_SPARE;
  if (tooMany || rows * columns > CELLS_MAX) return { values: new Map(), unset: inputsOf(slots), unplaced: values };
  // best[i * columns + j]: the sum for slots from i on with values from j on.
  const best = new Float64Array(rows * columns);
  for (let i = slots.length; i >= 0; i -= 1) {
    const slot = slots[i];
    for (let j = values.length; j >= 0; j -= 1) {
      if (slot === undefined) best[i * columns + j] = -UNPLACED_COST * (values.length - j);
      else {
        const skipped = sum(best, (i + 1) * columns + j) - skipCost(slot);
        const dropped = j === values.length ? Number.NEGATIVE_INFINITY : sum(best, i * columns + j + 1) - UNPLACED_COST;
        best[i * columns + j] = Math.max(skipped, dropped, taken(best, slot, i, j, values, columns));
      }
    }
  }
  const placed = new Map<string, Json>();
  const unset: DeclaredInput[] = [];
  const unplaced: Json[] = [];
  let j = 0;
  for (let i = 0; i < slots.length; ) {
    const slot = slots[i];
    if (slot === undefined) break;
    const here = sum(best, i * columns + j);
    if (j < values.length && taken(best, slot, i, j, values, columns) === here) {
      if (slot.kind === "widget") placed.set(slot.input.name, values[j] ?? null);
      i += 1;
      j += 1;
    } else if (sum(best, (i + 1) * columns + j) - skipCost(slot) === here) {
      if (slot.kind === "widget") unset.push(slot.input);
      i += 1;
    } else {
      unplaced.push(values[j] ?? null);
      j += 1;
    }
  }
  return { values: placed, unset, unplaced: [...unplaced, ...values.slice(j)] };
}

function taken(
  best: Float64Array,
  slot: WidgetSlot,
  i: number,
  j: number,
  values: readonly Json[],
  columns: number,
): number {
  const value = values[j];
  if (value === undefined) return Number.NEGATIVE_INFINITY;
  return sum(best, (i + 1) * columns + j + 1) + slotFit(slot, value);
}

function sum(best: Float64Array, at: number): number {
  return best[at] ?? Number.NEGATIVE_INFINITY;
}

function skipCost(slot: WidgetSlot): number {
  return slot.kind === "widget" ? UNSET_COST : 0;
}

function inputsOf(slots: readonly WidgetSlot[]): DeclaredInput[] {
  return slots.flatMap((slot) => (slot.kind === "widget" ? [slot.input] : []));
}

function slotFit(slot: WidgetSlot, value: Json): number {
  switch (slot.kind) {
    case "widget":
      return widgetFit(slot.input, value);
    case "control":
      return CONTROL_WORDS.has(value) ? 14 : typeof value === "boolean" ? 3 : Number.NEGATIVE_INFINITY;
    case "filter":
      return typeof value === "string" ? 1 : Number.NEGATIVE_INFINITY;
    case "button":
      if (value === null || value === "" || isStoredButton(value)) return 4;
      return typeof value === "string" && BUTTON.test(value) ? 12 : Number.NEGATIVE_INFINITY;
    default:
      throw new Error(`unhandled: ${JSON.stringify(slot satisfies never)}`);
  }
}

/** A button as an editor of early 2026 stored it: whole, where others store its text. */
function isStoredButton(value: Json): boolean {
  return isJsonObject(value) && value.type === "button";
}

const NEVER = Number.NEGATIVE_INFINITY;

/** How well a value fits a widget, 10 the best; minus infinity when ComfyUI could not take it as meant. */
export function widgetFit(input: DeclaredInput, value: Json): number {
  // An empty place says nothing: the widget then takes its default.
  if (value === null) return 0;
  switch (widgetType(input)) {
    case "INT":
      return isNumber(value) ? (isWhole(value) ? inRange(input, value) : 3) : isNumeric(value) ? 1 : NEVER;
    case "FLOAT":
      return isNumber(value) ? inRange(input, value) : isNumeric(value) ? 1 : NEVER;
    case "BOOLEAN":
      return typeof value === "boolean" ? 10 : value === 0 || value === 1 ? 2 : NEVER;
    case "STRING":
      return typeof value === "string" ? 8 : isNumber(value) ? 1 : NEVER;
    case "COMBO":
      return choiceFit(input, value);
    default:
      // A widget that a custom node brings along stores whatever it likes.
      return 5;
  }
}

function choiceFit(input: DeclaredInput, value: Json): number {
  const choices = input.choices ?? [];
  if (choices.includes(value)) return 10;
  if (Array.isArray(value)) return input.options.multiselect === true ? 8 : NEVER;
  if (typeof value === "string") {
    // Lists of files are those of one machine, and empty in the core tables.
    if (choices.length === 0) return 7;
    return FILE_NAME.test(value) && choices.some((choice) => typeof choice === "string" && FILE_NAME.test(choice))
      ? 7
      : 2;
  }
  if (choices.length === 0) return isNumber(value) ? 2 : NEVER;
  if (!isScalar(value)) return NEVER;
  return choices.some((choice) => isScalar(choice) && String(choice) === String(value)) ? 3 : NEVER;
}

function inRange(input: DeclaredInput, value: number | bigint): number {
  const { min, max } = input.options;
  return (isNumber(min) && value < min) || (isNumber(max) && value > max) ? 5 : 10;
}

/** The widget an input gets, which unions name apart from their type. */
export function widgetType(input: DeclaredInput): string {
  return typeof input.options.widgetType === "string" ? input.options.widgetType : input.type;
}

function isNumber(value: Json | undefined): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

function isWhole(value: number | bigint): boolean {
  return typeof value === "bigint" || Number.isInteger(value);
}

function isNumeric(value: Json): boolean {
  return typeof value === "string" && value.trim() !== "" && Number.isFinite(Number(value));
}
