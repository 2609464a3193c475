/** Inputs that bring inputs of their own: choices whose options do, and lists that grow. A class declares the outermost. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { KnownClass } from "./known-classes.ts";
import { type DeclaredInput, declaredInput } from "./object-info.ts";

export const DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3";
export const AUTOGROW = "COMFY_AUTOGROW_V3";
/** Levels of dynamic inputs inside each other; ComfyUI's own nodes have three. */
export const DYNAMIC_DEPTH_MAX = 8;

/** The options of a dynamic choice: their names, and the inputs that each brings. */
export function optionsOf(input: DeclaredInput): { readonly key: Json; readonly inputs: Json | undefined }[] {
  const options = Array.isArray(input.options.options) ? input.options.options : [];
  return options.filter(isJsonObject).map(({ key, inputs }) => ({ key: key ?? null, inputs }));
}

/** Inputs of a dynamic input's option, under their dotted names. */
export function subInputs(parent: DeclaredInput, sections: Json | undefined): DeclaredInput[] {
  if (!isJsonObject(sections)) return [];
  return (["required", "optional"] as const).flatMap((section) => {
    const specs = sections[section];
    return Object.entries(isJsonObject(specs) ? specs : {}).flatMap(([name, spec]) => {
      const declared = declaredInput(`${parent.name}.${name}`, spec, section === "required" && parent.required);
      return declared === undefined ? [] : [declared];
    });
  });
}

/** What every entry of a growing input is, under a name that means nothing. */
export function grownInput(parent: DeclaredInput): DeclaredInput | undefined {
  const template: JsonObject = isJsonObject(parent.options.template) ? parent.options.template : {};
  // Servers of different months write the one input as a section or bare.
  return subInputs(parent, isJsonObject(template.input) ? template.input : { required: template })[0];
}

/**
 * What a class says of a field of a node in API format, also of `resize_type.width`, which is there while
 * `resize_type` is an option that brings it. A dynamic choice is a plain one here, of those options that need nothing
 * which the node lacks: the server runs the graph with any of them.
 */
export function fieldDeclaration(known: KnownClass, inputs: JsonObject, field: string): DeclaredInput | undefined {
  const whole = known.inputs.get(field);
  let place = whole ?? known.inputs.get(field.split(".", 1)[0] ?? "");
  for (let depth = 0; depth < DYNAMIC_DEPTH_MAX && place !== undefined && place.name !== field; depth += 1) {
    place = inside(place, inputs, field);
  }
  if (place === undefined || place.name !== field) return undefined;
  return place.type === DYNAMIC_COMBO ? plainChoice(place, inputs) : place;
}

/** The input inside of a dynamic one that is the field, or that the field is inside of. */
function inside(parent: DeclaredInput, inputs: JsonObject, field: string): DeclaredInput | undefined {
  if (!field.startsWith(`${parent.name}.`)) return undefined;
  if (parent.type === AUTOGROW) {
    const model = grownInput(parent);
    return model === undefined ? undefined : { ...model, name: field, required: false };
  }
  if (parent.type !== DYNAMIC_COMBO) return undefined;
  const chosen = inputs[parent.name];
  const option = optionsOf(parent).find(({ key }) => key === chosen);
  return subInputs(parent, option?.inputs).find(({ name }) => field === name || field.startsWith(`${name}.`));
}

function plainChoice(input: DeclaredInput, inputs: JsonObject): DeclaredInput {
  const options = optionsOf(input);
  // What an option needs, it needs as soon as it is chosen, also where nobody must choose.
  const parent = { ...input, required: true };
  const chosen = options.find(({ key }) => key === inputs[input.name]);
  const now = new Map(subInputs(parent, chosen?.inputs).map((sub) => [sub.name, sub]));
  const choices = options
    .filter((option) => option === chosen || subInputs(parent, option.inputs).every((sub) => isReady(sub, now, inputs)))
    .map(({ key }) => key);
  return { ...input, type: "COMBO", choices };
}

/** Whether the node has what an option needs, and that with any value its own option lets it have. */
function isReady(sub: DeclaredInput, now: ReadonlyMap<string, DeclaredInput>, inputs: JsonObject): boolean {
  if (!Object.hasOwn(inputs, sub.name)) return !sub.required;
  const other = now.get(sub.name);
  return other !== undefined && sub.type === other.type && limitsOf(sub) === limitsOf(other);
}

/** What decides whether a server takes a value, as a text that can be compared. */
function limitsOf({ choices, options }: DeclaredInput): string {
  const limits = [choices ?? null, options.options ?? null, options.min ?? null, options.max ?? null];
  return JSON.stringify(limits, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}
