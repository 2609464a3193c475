import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { type FieldError, Problem } from "#contract/problems";
import { jsonPointer } from "#worker/http/field-errors";
import { summary } from "#worker/http/json-body";
import type { NodeClass, ObjectInfo } from "#workflow/object-info";

const ERRORS_MAX = 20;

/**
 * Checks what a caller sends as ComfyUI's /object_info and keeps the fields the importer reads.
 * @throws Problem invalid_body that names each class of another form
 */
export function objectInfoOf(value: Json): ObjectInfo {
  const errors: FieldError[] = [];
  const classes: Record<string, NodeClass> = Object.create(null);
  for (const [name, entry] of Object.entries(isJsonObject(value) ? value : {})) {
    const node = nodeClass(name, entry);
    if (typeof node === "string") errors.push({ path: jsonPointer(["object_info", name]), reason: node });
    else classes[name] = node;
    if (errors.length >= ERRORS_MAX) break;
  }
  if (errors.length > 0) throw new Problem("invalid_body", summary(errors), { errors });
  return classes;
}

/** The class, or what is wrong with it. */
function nodeClass(name: string, entry: Json): NodeClass | string {
  if (!isJsonObject(entry)) return "Must be an object, as GET /object_info answers.";
  const input = sections(entry.input);
  if (input === undefined) return "Its `input` must hold objects called required, optional or hidden.";
  const order = entry.input_order;
  return {
    input,
    ...(isJsonObject(order)
      ? { input_order: { required: strings(order.required), optional: strings(order.optional) } }
      : {}),
    output: Array.isArray(entry.output) ? entry.output : [],
    output_is_list: Array.isArray(entry.output_is_list) ? entry.output_is_list.map((item) => item === true) : [],
    output_name: strings(entry.output_name),
    name,
    display_name: text(entry.display_name) ?? null,
    description: text(entry.description) ?? "",
    python_module: text(entry.python_module) ?? "",
    category: text(entry.category) ?? "",
    output_node: entry.output_node === true,
  };
}

function sections(input: Json | undefined): NodeClass["input"] | undefined {
  if (input === undefined) return {};
  if (!isJsonObject(input)) return undefined;
  const found: Record<string, JsonObject> = {};
  for (const section of ["required", "optional", "hidden"]) {
    const inputs = input[section];
    if (inputs === undefined || inputs === null) continue;
    if (!isJsonObject(inputs)) return undefined;
    found[section] = inputs;
  }
  return found;
}

function strings(value: Json | undefined): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function text(value: Json | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
