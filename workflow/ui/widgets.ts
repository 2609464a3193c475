/** The values of a node's widgets, as the API format names them. */
import { isJsonObject, type Json } from "#contract/exact-json";
import type { KnownClass } from "../known-classes.ts";
import type { DeclaredInput } from "../object-info.ts";
import { storedChoice, WRITTEN_CHOICE_CLASS } from "../written-choices.ts";
import type { UiNode } from "./ui-graph.ts";
import { alignWidgets, widgetFit, widgetType } from "./widgets-align.ts";
import { widgetSlots } from "./widgets-slots.ts";

export interface WidgetValues {
  /** By input name. Lists are not wrapped yet. */
  readonly values: ReadonlyMap<string, Json>;
  /** What a reader should know, without the node's name. */
  readonly notes: readonly string[];
  /** Why the values cannot be told apart; undefined when they can. */
  readonly fault: string | undefined;
}

/** Keys of widgets that are no inputs, where a node stores its widgets as an object. */
const OBJECT_NOISE = /^(?:video-?preview|control_after_generate|control_filter_list|upload|choose .* to upload)$/;
const VALUE_LENGTH_MAX = 60;
/** Widgets that show what a run gave: servers insist on a value and read none. */
const SHOWING_TYPES: ReadonlySet<string> = new Set(["IMAGECOMPARE"]);
/** Nodes with a list of LoRAs as long as the author made it: their extension names the entries by number. */
const LORA_LISTS: ReadonlySet<string> = new Set(["Power Lora Loader (rgthree)"]);

/** Nodes to which the editor adds a viewer, and sends its empty value along: no class lists it, and no server reads it. */
const VIEWERS: Readonly<Record<string, string>> = { Preview3D: "image", SaveGLB: "image" };

function isLora(value: Json): boolean {
  return isJsonObject(value) && typeof value.lora === "string";
}

/**
 * Reads what a node stores: by name where the file has names, else by position. `linked` are the widgets that a link
 * fills: nothing that concerns them alone is a fault.
 */
export function widgetValues(node: UiNode, known: KnownClass | undefined, linked: ReadonlySet<string>): WidgetValues {
  const notes: string[] = [];
  const values = new Map<string, Json>();
  const first = widgetSlots(node, known);
  let slots = first;
  const stored = Array.isArray(node.widgets) ? (node.widgets as readonly Json[]) : [];
  if (node.type === WRITTEN_CHOICE_CLASS) {
    const byName = isJsonObject(node.widgets) ? node.widgets : node.namedWidgets;
    const inputs = storedChoice(stored, byName, node.overrides);
    return { values: new Map(Object.entries(inputs)), notes, fault: undefined };
  }
  let aligned = alignWidgets(first, stored);
  if (known !== undefined && aligned.unplaced.some(isTelling)) {
    // Inputs of types that only an extension has a widget for; they count when with them every value has its place.
    const withCustom = widgetSlots(node, known, { customWidgets: true });
    const again = withCustom.length > first.length ? alignWidgets(withCustom, stored) : aligned;
    if (!again.unplaced.some(isTelling)) {
      slots = withCustom;
      aligned = again;
    }
  }
  const inputs = new Map(slots.flatMap((slot) => (slot.kind === "widget" ? [[slot.input.name, slot.input]] : [])));
  let fault: string | undefined;

  if (isJsonObject(node.widgets)) {
    for (const [name, value] of Object.entries(node.widgets)) if (!OBJECT_NOISE.test(name)) values.set(name, value);
  } else if (LORA_LISTS.has(node.type) && node.namedWidgets === null) {
    for (const [index, lora] of stored.filter(isLora).entries()) values.set(`lora_${index + 1}`, lora);
  } else if (node.namedWidgets === null || known !== undefined) {
    const { values: placed, unset, unplaced } = aligned;
    for (const [name, value] of placed) values.set(name, value);
    if (node.namedWidgets === null) {
      fault = misfit(node, known, { unset, unplaced, linked, inputs: inputs.size });
      if (unplaced.some(isTelling)) {
        notes.push(
          `${quoted(unplaced.filter(isTelling))} belongs to no input of the class as ${known?.certain === false ? "the bundled tables have it" : "object_info has it"}; left out.`,
        );
      }
    }
  }
  for (const [name, value] of Object.entries(node.namedWidgets ?? {})) {
    // The bundled tables may be older than the file: what they do not know is sent along.
    if (OBJECT_NOISE.test(name) || (known?.certain === true && !inputs.has(name))) continue;
    const before = values.get(name);
    if (before !== undefined && !Object.is(before, value) && typeof before !== "object") {
      notes.push(
        `"${name}" is ${quoted([value])} by name and ${quoted([before])} by position; the named value counts.`,
      );
    }
    values.set(name, value);
  }
  for (const [name, value] of Object.entries(node.overrides ?? {})) values.set(name, value);

  const filled: string[] = [];
  for (const [name, input] of inputs) {
    if (SHOWING_TYPES.has(widgetType(input))) values.delete(name);
    if (values.has(name) && values.get(name) !== null) continue;
    values.delete(name);
    const initial = defaultOf(input, known);
    if (initial === undefined) continue;
    values.set(name, initial);
    if (!linked.has(name) && !SHOWING_TYPES.has(widgetType(input))) filled.push(name);
  }
  const viewer = Object.hasOwn(VIEWERS, node.type) ? VIEWERS[node.type] : undefined;
  if (viewer !== undefined && !values.has(viewer)) values.set(viewer, "");
  if (filled.length > 0) notes.push(`The file has no value for ${filled.join(", ")}; the default of the class counts.`);
  return { values, notes, fault };
}

/** Whether the layout left a doubt that a person must settle. */
function misfit(
  node: UiNode,
  known: KnownClass | undefined,
  found: {
    readonly unset: readonly DeclaredInput[];
    readonly unplaced: readonly Json[];
    readonly linked: ReadonlySet<string>;
    readonly inputs: number;
  },
): string | undefined {
  const telling = found.unplaced.filter(isTelling);
  const unset = found.unset.filter((input) => !found.linked.has(input.name));
  if (known === undefined) {
    if (telling.length === 0 && unset.length === 0 && (found.inputs < 2 || namesInOrder(node))) return undefined;
    if (telling.length === 0 && found.inputs === 0) return undefined;
    return "the class is unknown and the file does not name all its values";
  }
  const objects = telling.filter((value) => isJsonObject(value) && Object.keys(value).length > 0);
  if (objects.length > 0 && node.outputs.length > 0) {
    return `${quoted(objects)} is in a form that only the node's own extension can read`;
  }
  return telling.length > 0 && unset.length > 0
    ? `${quoted(telling)} fits none of ${unset.map((input) => input.name).join(", ")}`
    : undefined;
}

/** Editors that give every widget a slot list them in order; older ones list those that were once links, as they came. */
function namesInOrder(node: UiNode): boolean {
  return node.inputs.some((slot) => slot.widget !== null && slot.link === null);
}

/** A value that somebody chose, and no dummy of a button or a preview. */
function isTelling(value: Json): boolean {
  return value !== null && value !== "" && value !== "image";
}

/** What the editor puts into a fresh widget; undefined where nothing sensible is known. */
function defaultOf(input: DeclaredInput, known: KnownClass | undefined): Json | undefined {
  const { default: initial } = input.options;
  if (initial !== undefined && !Array.isArray(initial)) return initial;
  if (known === undefined || !isOfClass(input, known)) return undefined;
  switch (widgetType(input)) {
    case "INT":
    case "FLOAT":
      return typeof input.options.min === "number" && input.options.min > 0 ? input.options.min : 0;
    case "STRING":
      return "";
    case "BOOLEAN":
      return false;
    case "COMBO":
      return input.choices?.[0];
    case "IMAGECOMPARE":
      return ["", ""];
    default:
      return undefined;
  }
}

/** Whether the class has an input, also inside of a dynamic one, so that the file alone did not make it up. */
function isOfClass({ name }: DeclaredInput, known: KnownClass): boolean {
  if (known.inputs.has(name)) return true;
  const dot = name.indexOf(".");
  return dot !== -1 && known.inputs.get(name.slice(0, dot))?.type.startsWith("COMFY_") === true;
}

/** Whether a primitive's value may stand in a widget. */
export function takesValue(known: KnownClass | undefined, name: string, value: Json): boolean {
  const declared = known?.inputs.get(name);
  return declared === undefined || widgetFit(declared, value) > Number.NEGATIVE_INFINITY;
}

function quoted(values: readonly Json[]): string {
  return values
    .slice(0, 3)
    .map((value) => {
      const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value, bigintAsText) ?? "");
      return text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
    })
    .join(", ");
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
