/** Inputs that a ViewComfy form names: `view_comfy.json`, which its editor writes for a graph in API format. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { MediaKind } from "#contract/workflow";
import { numeric } from "./check-literal.ts";
import { type Candidate, type Candidates, kindOfValue, type ScalarKind } from "./input-candidates.ts";
import { slug } from "./input-words.ts";

/** Fields of one form that are looked at. */
const FIELDS_MAX = 500;
const TEXT_LENGTH_MAX = 2_000;
const TITLE_LENGTH_MAX = 200;
/** What the form's editor writes where its author wrote nothing. */
const PLACEHOLDER_HELP = "Helper Text";
/** A form's order is its author's: before everything that is only inferred. */
const FORM_RANK = -1;

const MEDIA: Readonly<Record<string, MediaKind>> = { image: "image", video: "video", audio: "audio", mask: "mask" };
const SEEDS: readonly string[] = ["seed", "noise_seed", "rand_seed"];

/**
 * Adds a candidate for each field of the form that is a value of the graph, in the form's order. Places of marker
 * nodes are left to them: their names are the author's as well, and stronger.
 * @returns what of the form could not be used, in sentences
 */
export function findViewComfy(candidates: Candidates, form: JsonObject): string[] {
  const { fields, notes } = fieldsOf(form);
  for (const { field, advanced } of fields) {
    const fault = addField(candidates, field, advanced);
    if (fault !== undefined) notes.push(`The form's "${titleOf(field) ?? "field"}" is left out: ${fault}.`);
  }
  return notes;
}

/** True for candidates whose author chose them by a form or a marker node; with a form, the others are hidden. */
export function isChosenByAuthor(candidate: Candidate, candidates: Candidates): boolean {
  return (
    candidate.fromForm === true ||
    candidate.targets.some((target) => isMarker(candidates.view.graph.get(target.node)?.classType ?? ""))
  );
}

function isMarker(classType: string): boolean {
  return classType.startsWith("ComfyUIDeployExternal") || classType.startsWith("CPackInput");
}

interface FormField {
  readonly field: JsonObject;
  readonly advanced: boolean;
}

function fieldsOf(form: JsonObject): { fields: FormField[]; notes: string[] } {
  const workflows = (Array.isArray(form.workflows) ? form.workflows : [form]).flatMap((workflow) =>
    isJsonObject(workflow) && isJsonObject(workflow.viewComfyJSON) ? [workflow.viewComfyJSON] : [],
  );
  const [first] = workflows;
  if (first === undefined) return { fields: [], notes: ["The ViewComfy form holds no inputs and was not used."] };
  const groups = (value: Json | undefined, advanced: boolean): FormField[] =>
    (Array.isArray(value) ? value : [])
      .flatMap((group) => (isJsonObject(group) && Array.isArray(group.inputs) ? group.inputs : []))
      .filter(isJsonObject)
      .map((field) => ({ field, advanced }));
  const fields = [...groups(first.inputs, false), ...groups(first.advancedInputs, true)];
  const notes = [
    ...(workflows.length > 1 ? [`The file has forms for ${workflows.length} workflows; the first was used.`] : []),
    ...(fields.length > FIELDS_MAX ? [`The form has ${fields.length} fields; ${FIELDS_MAX} of them were read.`] : []),
  ];
  return { fields: fields.slice(0, FIELDS_MAX), notes };
}

/** Adds one field; says why when it cannot. */
function addField(candidates: Candidates, field: JsonObject, advanced: boolean): string | undefined {
  const path = Array.isArray(field.workflowPath) ? field.workflowPath : [];
  const [id, , name] = path;
  if (path.length !== 3 || (typeof id !== "string" && typeof id !== "number") || typeof name !== "string") {
    return "it names no place in a graph";
  }
  const place = `${String(id).slice(0, 100)}.${name.slice(0, 100)}`;
  const node = candidates.view.graph.get(String(id));
  if (node === undefined || !Object.hasOwn(node.inputs, name)) return `the graph has no ${place}`;
  if (isMarker(node.classType)) return undefined;
  const resolved = candidates.resolve(node, name);
  if (resolved === undefined) return `${place} is computed by other nodes`;
  if (candidates.isClaimed(resolved.target)) return `${place} is an input already`;

  const type = typeof field.valueType === "string" ? field.valueType : "";
  const media = Object.hasOwn(MEDIA, type) && typeof resolved.value === "string" ? MEDIA[type] : undefined;
  const slider = isJsonObject(field.slider) ? field.slider : {};
  const [minimum, maximum, step] = [numeric(slider.min), numeric(slider.max), numeric(slider.step)];
  const choices = type === "select" ? optionsOf(field.options) : [];
  const required = requiredOf(field, media !== undefined, resolved.value);
  const help = text(field.helpText, TEXT_LENGTH_MAX);
  const kind = media !== undefined ? "file" : kindFor(type, resolved.value);
  const title = titleOf(field);
  candidates.add(resolved, {
    base: slug(title ?? "") ?? slug(name) ?? "input",
    title: title ?? name,
    ...(help === undefined || help === PLACEHOLDER_HELP ? {} : { description: help }),
    nodeTitle: candidates.titleOf(node),
    kind,
    ...(media === undefined ? {} : { media }),
    seed: SEEDS.includes(type) && kind === "integer",
    multiline: type === "long-text",
    ...(minimum === undefined ? {} : { minimum }),
    ...(maximum === undefined ? {} : { maximum }),
    ...(step === undefined || step <= 0 ? {} : { step }),
    ...(choices.length === 0 ? {} : { choices }),
    ...(required === undefined ? {} : { required }),
    fromForm: true,
    advanced,
    hidden: false,
    rank: FORM_RANK,
  });
  return undefined;
}

/** What the class does not say; the form's `number` may hold a fraction. */
function kindFor(type: string, value: Json): ScalarKind {
  if (type === "float" && (typeof value === "number" || typeof value === "bigint")) return "number";
  return kindOfValue(value);
}

/**
 * A file must come from the caller unless the form says it need not; of the other kinds only an empty text, since the
 * form starts with the graph's own values.
 */
function requiredOf(field: JsonObject, isFile: boolean, value: Json): boolean | undefined {
  const required = isJsonObject(field.validations) ? field.validations.required : undefined;
  if (isFile) return required !== false;
  return required === true && value === "" ? true : undefined;
}

/** `["a", "b"]`, or `[{label, value}]`. */
function optionsOf(options: Json | undefined): string[] {
  const listed = (Array.isArray(options) ? options : []).flatMap((option) => {
    const value = isJsonObject(option) ? option.value : option;
    return typeof value === "string" && value !== "" ? [value] : [];
  });
  return [...new Set(listed)].slice(0, 1_000);
}

function titleOf(field: JsonObject): string | undefined {
  return text(field.title, TITLE_LENGTH_MAX);
}

function text(value: Json | undefined, most: number): string | undefined {
  return typeof value === "string" && value.trim() !== "" ? value.trim().slice(0, most) : undefined;
}
