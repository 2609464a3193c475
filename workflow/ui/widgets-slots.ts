/** Which widgets the editor makes for a node, in the order in which it stores their values. */
import { isJsonObject, type Json } from "#contract/exact-json";
import { AUTOGROW, DYNAMIC_COMBO, DYNAMIC_DEPTH_MAX, grownInput, optionsOf, subInputs } from "../dynamic-inputs.ts";
import type { KnownClass } from "../known-classes.ts";
import type { DeclaredInput } from "../object-info.ts";
import type { UiInput, UiNode } from "./ui-graph.ts";
import { type WidgetSlot, widgetType } from "./widgets-align.ts";

/** Types for which the editor itself has a widget. */
const WIDGET_TYPES: ReadonlySet<string> = new Set([
  "INT",
  "FLOAT",
  "STRING",
  "BOOLEAN",
  "COMBO",
  "COLOR",
  "COLORS",
  "MARKDOWN",
  "TEXTAREA",
  "BOUNDING_BOX",
  "CURVE",
  "RANGE",
  "WEBCAM",
  "LOAD_3D",
  "LOAD_3D_ANIMATION",
  "IMAGECOMPARE",
]);
/** Types that no widget makes. */
const CONNECTION_TYPES: ReadonlySet<string> = new Set(
  (
    "* IMAGE MASK LATENT MODEL CLIP VAE CONDITIONING CONTROL_NET CLIP_VISION CLIP_VISION_OUTPUT STYLE_MODEL " +
    "UPSCALE_MODEL SAMPLER SIGMAS GUIDER NOISE AUDIO VIDEO GLIGEN HOOKS MESH"
  ).split(" "),
);
/** What newer editors list among a node's inputs and is a button or a player of theirs. */
const EDITOR_TYPES: ReadonlySet<string> = new Set([
  "IMAGEUPLOAD",
  "AUDIOUPLOAD",
  "VIDEOUPLOAD",
  "FILEUPLOAD",
  "AUDIO_UI",
]);
const UPLOADS = ["image_upload", "animated_image_upload", "video_upload", "audio_upload", "file_upload", "upload"];
const UPLOADED_NAMES: ReadonlySet<string> = new Set(["image", "video", "audio", "file", "model_file"]);
const SEED_NAMES: ReadonlySet<string> = new Set(["seed", "noise_seed"]);

/**
 * The widgets of a node, if asked with those of types that only an extension has a widget for. With a described class they are the class's, and behind each the ones that the file names
 * and the class has lost; without one they are what the file names.
 */
export function widgetSlots(
  node: UiNode,
  known: KnownClass | undefined,
  options: { readonly customWidgets?: boolean } = {},
): WidgetSlot[] {
  const sockets = new Set(node.inputs.map((slot) => slot.name));
  // A connection always has a socket in the file, so that an input without one is a widget.
  const isExtra = (input: DeclaredInput): boolean =>
    options.customWidgets === true &&
    !sockets.has(input.name) &&
    input.options.forceInput !== true &&
    !input.type.startsWith("COMFY_") &&
    !CONNECTION_TYPES.has(input.type);
  const declared = known === undefined ? [] : declaredWidgets(node, [...known.inputs.values()], isExtra);
  return endingInButton(
    withNamed(declared, node).flatMap((input): WidgetSlot[] =>
      EDITOR_TYPES.has(input.type) ? [{ kind: "button" }] : [{ kind: "widget", input }, ...extraSlots(input)],
    ),
    known,
  );
}

/** Editors put the button of an upload behind everything that must be set, where it is not next to what it fills. */
function endingInButton(slots: WidgetSlot[], known: KnownClass | undefined): WidgetSlot[] {
  if (!slots.some(({ kind }) => kind === "button")) return slots;
  const required = slots.findLastIndex(
    (slot) => slot.kind === "widget" && known?.inputs.get(slot.input.name)?.required === true,
  );
  const next = slots[required + 1];
  if (required === -1 || (next !== undefined && next.kind !== "widget")) return slots;
  return slots.toSpliced(required + 1, 0, { kind: "button" });
}

/** An input that has a widget of its own, unless it is a connection only. */
export function isWidget(input: DeclaredInput): boolean {
  return input.options.forceInput !== true && hasWidgetType(input);
}

function hasWidgetType(input: DeclaredInput): boolean {
  return typeof input.options.widgetType === "string" || input.choices !== undefined || WIDGET_TYPES.has(input.type);
}

function declaredWidgets(
  node: UiNode,
  inputs: readonly DeclaredInput[],
  isExtra: (input: DeclaredInput) => boolean,
): DeclaredInput[] {
  // Values are searched for a dynamic choice from left to right, so that two of them do not read the same one.
  const values = Array.isArray(node.widgets) ? (node.widgets as readonly Json[]) : [];
  // An input that the class has made a connection since still has its value where its widget was.
  const before = new Set(node.inputs.flatMap(({ widget }) => (widget === null ? [] : [widget])));
  const wasWidget = (input: DeclaredInput): boolean => before.has(input.name) && hasWidgetType(input);
  let from = 0;
  const chosen = (input: DeclaredInput, keys: ReadonlySet<Json>): Json | undefined => {
    const named = node.overrides?.[input.name] ?? node.namedWidgets?.[input.name] ?? objectValue(node, input.name);
    if (named !== undefined && keys.has(named)) return named;
    const at = values.findIndex((value, index) => index >= from && keys.has(value));
    if (at === -1) return undefined;
    from = at + 1;
    return values[at];
  };
  const expand = (input: DeclaredInput, depth: number): DeclaredInput[] => {
    if (depth > DYNAMIC_DEPTH_MAX) return [];
    if (input.type === DYNAMIC_COMBO) {
      const options = optionsOf(input);
      const keys = new Set(options.map((option) => option.key));
      const key = chosen(input, keys) ?? options[0]?.key ?? null;
      const option = options.find((candidate) => candidate.key === key);
      const choice = { ...input, type: "COMBO", choices: [...keys] };
      return [choice, ...subInputs(input, option?.inputs).flatMap((inner) => expand(inner, depth + 1))];
    }
    // A growing input has as many widgets as the file names; its connections need none.
    if (input.type === AUTOGROW) return grownWidgets(node, input);
    return isWidget(input) || wasWidget(input) || isExtra(input) ? [input] : [];
  };
  return inputs.flatMap((input) => expand(input, 0));
}

function objectValue(node: UiNode, name: string): Json | undefined {
  return isJsonObject(node.widgets) && Object.hasOwn(node.widgets, name) ? node.widgets[name] : undefined;
}

function grownWidgets(node: UiNode, parent: DeclaredInput): DeclaredInput[] {
  const model = grownInput(parent);
  if (model === undefined || !isWidget(model)) return [];
  return node.inputs.flatMap((slot) => {
    const name = slot.widget ?? slot.name;
    return name.startsWith(`${parent.name}.`) ? [{ ...model, name, required: false }] : [];
  });
}

/** The widgets that the file names but the class does not have, each behind its neighbour in the file. */
function withNamed(declared: readonly DeclaredInput[], node: UiNode): readonly DeclaredInput[] {
  const names = new Set(declared.map((input) => input.name));
  const strangers = new Map<string | null, DeclaredInput[]>();
  let neighbour: string | null = null;
  const seen = new Set<string>();
  for (const slot of node.inputs) {
    if (slot.widget === null || seen.has(slot.widget)) continue;
    seen.add(slot.widget);
    if (names.has(slot.widget)) neighbour = slot.widget;
    else {
      const list = strangers.get(neighbour);
      if (list === undefined) strangers.set(neighbour, [named(slot, slot.widget)]);
      else list.push(named(slot, slot.widget));
    }
  }
  if (strangers.size === 0) return declared;
  return [
    ...(strangers.get(null) ?? []),
    ...declared.flatMap((input) => [input, ...(strangers.get(input.name) ?? [])]),
  ];
}

function named(slot: UiInput, name: string): DeclaredInput {
  // Some editors store the list of choices, joined by commas, as the type.
  const type = WIDGET_TYPES.has(slot.type) || !slot.type.includes(",") ? slot.type : "COMBO";
  return { name, type, options: {}, required: false, ...(type === "COMBO" ? { choices: [] } : {}) };
}

/** What an editor stores behind a widget that is no input. */
function extraSlots(input: DeclaredInput): WidgetSlot[] {
  const type = widgetType(input);
  const control = input.options.control_after_generate;
  const isControlled = control === undefined ? SEED_NAMES.has(last(input.name)) && type === "INT" : control !== false;
  if (isControlled) return type === "COMBO" ? [{ kind: "control" }, { kind: "filter" }] : [{ kind: "control" }];
  const isUpload =
    UPLOADS.some((flag) => input.options[flag] === true) ||
    (type === "COMBO" && (input.choices ?? []).length === 0 && UPLOADED_NAMES.has(input.name));
  return [
    // A list that the editor fetches has a switch and a button to fetch it again.
    ...(isJsonObject(input.options.remote) ? ([{ kind: "control" }, { kind: "button" }] as const) : []),
    ...(isUpload ? ([{ kind: "button" }, { kind: "button" }] as const) : []),
  ];
}

function last(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
