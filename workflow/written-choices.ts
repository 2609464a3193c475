/**
 * ComfyUI's "Custom Combo": a choice whose options the author types into the node, so that no class lists them. The
 * server hands on `choice` and `index` as they come and checks neither, so that both must be right before.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

export const WRITTEN_CHOICE_CLASS = "CustomCombo";
/** The field that callers set. */
export const WRITTEN_CHOICE_FIELD = "choice";
/** The field that says which of the options it is, from 0. */
const INDEX_FIELD = "index";
const OWN_FIELD = /^(?:choice|option[1-9][0-9]{0,3})$/;
/** Options of one node that are read; a person typed them. */
const OPTIONS_MAX = 1_000;

/** The node's inputs as the editor sends them, from what it stores: by position, by name, and what is set from outside. */
export function storedChoice(stored: readonly Json[], ...named: readonly (JsonObject | null)[]): JsonObject {
  const [choice, second] = stored;
  // Older files have no index between the choice and its options.
  const hasIndex = typeof second === "number" || typeof second === "bigint";
  const options = stored.slice(hasIndex ? 2 : 1, OPTIONS_MAX).map((option, at) => [`option${at + 1}`, option] as const);
  const inputs = Object.create(null) as JsonObject;
  for (const [name, value] of [[WRITTEN_CHOICE_FIELD, choice] as const, ...options, ...named.flatMap(entriesOf)]) {
    if (typeof value === "string" && OWN_FIELD.test(name)) inputs[name] = value;
  }
  setChoiceIndex(inputs);
  return inputs;
}

function entriesOf(object: JsonObject | null): [string, Json][] {
  return Object.entries(object ?? {});
}

/** Whether a place in a graph in API format is the choice of such a node. */
export function isWrittenChoice(node: Json | undefined, field: string): boolean {
  return field === WRITTEN_CHOICE_FIELD && isJsonObject(node) && node.class_type === WRITTEN_CHOICE_CLASS;
}

/** The options in a node's inputs, by their numbers; an empty one is an empty line of the node. */
function writtenOptions(inputs: JsonObject): string[] {
  const options: string[] = [];
  for (let number = 1; number <= OPTIONS_MAX; number += 1) {
    const option = Object.hasOwn(inputs, `option${number}`) ? inputs[`option${number}`] : undefined;
    if (typeof option !== "string") break;
    options.push(option);
  }
  return options;
}

/** What callers may choose at a place, each option once; undefined where the class, and no author, says so. */
export function writtenChoices(classType: string, field: string, inputs: JsonObject): string[] | undefined {
  if (classType !== WRITTEN_CHOICE_CLASS || field !== WRITTEN_CHOICE_FIELD) return undefined;
  const options = writtenOptions(inputs).filter((option) => option !== "");
  return options.length === 0 ? undefined : [...new Set(options)];
}

/** Sets the index to that of the choice, -1 for one that is no option, as the editor does; no options, no index. */
export function setChoiceIndex(inputs: JsonObject): void {
  const options = writtenOptions(inputs);
  const choice = inputs[WRITTEN_CHOICE_FIELD];
  if (options.length > 0 && typeof choice === "string") inputs[INDEX_FIELD] = options.indexOf(choice);
}
