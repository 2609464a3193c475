/**
 * Whether a submitted prompt may run, with ComfyUI's own refusals: the same types, messages, details and Python
 * texts, the same values changed in place, and the same things let through.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { NodeClass } from "#workflow/object-info";
import type { Generation } from "./generations.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import {
  PythonError,
  pythonBool,
  pythonEquals,
  pythonFloat,
  pythonInt,
  pythonRepr,
  pythonStr,
  pythonTypeName,
  reprFloat,
} from "./python-values.ts";
import { tracebackOf } from "./traceback.ts";

/** One reason, as clients read it. */
export interface ValidationError {
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly extra_info: JsonObject;
}

export interface NodeErrors {
  readonly errors: readonly ValidationError[];
  readonly dependent_outputs: string[];
  readonly class_type: Json;
}

/** Accepted prompts can have node errors too: outputs that cannot run are dropped while another can. */
export type Validation =
  | { readonly ok: true; readonly outputs: readonly string[]; readonly nodeErrors: ReadonlyMap<string, NodeErrors> }
  | { readonly ok: false; readonly error: ValidationError; readonly nodeErrors: ReadonlyMap<string, NodeErrors> };

/** ComfyUI does not list more choices than this in an error. */
const CHOICES_SHOWN_MAX = 20;

interface Checked {
  readonly valid: boolean;
  readonly errors: readonly ValidationError[];
}

/**
 * Checks a prompt and converts its literal inputs in place.
 * @param targets the output nodes the client wants, or undefined for all
 * @throws PythonError where ComfyUI answers 500: a prompt that is not an object, a node that cannot be read
 */
export async function validatePrompt(
  prompt: Json,
  targets: Json | undefined,
  catalog: NodeCatalog,
  generation: Generation,
): Promise<Validation> {
  const nodes = nodesOf(prompt);
  const outputs: string[] = [];
  for (const [id, node] of Object.entries(nodes)) {
    const refusal = unknownClass(id, node, catalog, generation);
    if (refusal !== undefined) return { ok: false, error: refusal, nodeErrors: new Map() };
    const className = isJsonObject(node) && typeof node.class_type === "string" ? node.class_type : "";
    if (catalog.isOutputNode(className) && isTarget(id, targets)) outputs.push(id);
  }
  if (outputs.length === 0) {
    return {
      ok: false,
      error: { type: "prompt_no_outputs", message: "Prompt has no outputs", details: "", extra_info: {} },
      nodeErrors: new Map(),
    };
  }
  return await new InputValidator(nodes, catalog, generation).validateOutputs(outputs);
}

function nodesOf(prompt: Json): JsonObject {
  if (isJsonObject(prompt)) return prompt;
  if (Array.isArray(prompt) && prompt.length === 0) return {};
  if (typeof prompt === "string" && prompt === "") return {};
  throw new PythonError("TypeError", `'${pythonTypeName(prompt)}' object is not a prompt`);
}

function isTarget(id: string, targets: Json | undefined): boolean {
  if (targets === undefined || targets === null) return true;
  if (Array.isArray(targets)) return targets.includes(id);
  if (typeof targets === "string") return targets.includes(id);
  if (isJsonObject(targets)) return id in targets;
  throw new PythonError("TypeError", `argument of type '${pythonTypeName(targets)}' is not iterable`);
}

function unknownClass(
  id: string,
  node: Json,
  catalog: NodeCatalog,
  generation: Generation,
): ValidationError | undefined {
  const details = `Node ID '#${id}'`;
  if (node === null || typeof node === "number" || typeof node === "boolean" || typeof node === "bigint") {
    throw new PythonError("TypeError", `argument of type '${pythonTypeName(node)}' is not iterable`);
  }
  const meta = isJsonObject(node) && isJsonObject(node._meta) ? node._meta : {};
  if (!isJsonObject(node) || !("class_type" in node)) {
    if (!generation.namesMissingNode) {
      const message = "Cannot execute because a node is missing the class_type property.";
      return { type: "invalid_prompt", message, details, extra_info: {} };
    }
    if (!isJsonObject(node))
      throw new PythonError("AttributeError", `'${pythonTypeName(node)}' object has no attribute 'get'`);
    const title = meta.title ?? null;
    const shown = pythonBool(title) ? pythonStr(title) : `ID #${id}`;
    return {
      type: "missing_node_type",
      message: `Node '${shown}' has no class_type. The workflow may be corrupted or a custom node is missing.`,
      details,
      extra_info: { node_id: id, class_type: null, node_title: title },
    };
  }
  const className = node.class_type ?? null;
  if (typeof className === "object" && className !== null) {
    throw new PythonError("TypeError", `unhashable type: '${pythonTypeName(className)}'`);
  }
  if (typeof className === "string" && catalog.implementation(className) !== undefined) return undefined;
  if (!generation.namesMissingNode) {
    const message = `Cannot execute because node ${pythonStr(className)} does not exist.`;
    return { type: "invalid_prompt", message, details, extra_info: {} };
  }
  const title = "title" in meta ? (meta.title ?? null) : className;
  return {
    type: "missing_node_type",
    message: `Node '${pythonStr(title)}' not found. The custom node may not be installed.`,
    details,
    extra_info: { node_id: id, class_type: className, node_title: title },
  };
}

class InputValidator {
  readonly #nodes: JsonObject;
  readonly #catalog: NodeCatalog;
  readonly #generation: Generation;
  readonly #checked = new Map<string, Checked>();
  readonly #described = new Map<string, NodeClass>();
  readonly #visiting: string[] = [];

  constructor(nodes: JsonObject, catalog: NodeCatalog, generation: Generation) {
    this.#nodes = nodes;
    this.#catalog = catalog;
    this.#generation = generation;
  }

  async validateOutputs(outputs: readonly string[]): Promise<Validation> {
    const good: string[] = [];
    const refusals: string[] = [];
    const nodeErrors = new Map<string, NodeErrors>();
    for (const output of outputs) {
      const { valid, errors } = await this.#validateOutput(output);
      if (valid) {
        good.push(output);
        continue;
      }
      refusals.push(...errors.map((error) => `${error.message}: ${error.details}`));
      // A node after a broken one is refused too, but without a reason of its own: only the broken ones are listed.
      for (const [id, checked] of this.#checked) {
        if (checked.valid || checked.errors.length === 0) continue;
        const listed = nodeErrors.get(id) ?? {
          errors: checked.errors,
          dependent_outputs: [],
          class_type: classOf(this.#nodes[id]),
        };
        listed.dependent_outputs.push(output);
        nodeErrors.set(id, listed);
      }
    }
    if (good.length > 0) return { ok: true, outputs: good, nodeErrors };
    const error: ValidationError = {
      type: "prompt_outputs_failed_validation",
      message: "Prompt outputs failed validation",
      details: refusals.join("\n"),
      extra_info: {},
    };
    return { ok: false, error, nodeErrors };
  }

  async #validateOutput(id: string): Promise<Checked> {
    try {
      return await this.#validateNode(id);
    } catch (error) {
      const raised = asPythonError(error);
      const checked: Checked = {
        valid: false,
        errors: [
          {
            type: "exception_during_validation",
            message: "Exception when validating node",
            details: raised.message,
            extra_info: { exception_type: raised.type, traceback: tracebackOf(raised) },
          },
        ],
      };
      this.#checked.set(id, checked);
      return checked;
    }
  }

  async #validateNode(id: string): Promise<Checked> {
    const known = this.#checked.get(id);
    if (known !== undefined) return known;
    if (this.#visiting.includes(id)) return this.#cycleAt(id);

    const node = this.#nodes[id];
    if (!isJsonObject(node) || !("inputs" in node)) throw new PythonError("KeyError", "'inputs'");
    const inputs = node.inputs;
    if (!isJsonObject(inputs)) {
      throw new PythonError("TypeError", `'${pythonTypeName(inputs ?? null)}' object is not a mapping of inputs`);
    }
    const className = String(node.class_type);
    const described = this.#describe(className);
    const ownCheck = this.#catalog.implementation(className)?.validate;
    const errors: ValidationError[] = [];
    let valid = true;

    for (const [section, isRequired] of [
      ["required", true],
      ["optional", false],
    ] as const) {
      for (const [name, spec] of Object.entries(described.input[section] ?? {})) {
        if (!(name in inputs)) {
          if (isRequired) errors.push(missingInput(name));
          continue;
        }
        const declared = declaration(spec);
        const value = inputs[name] ?? null;
        if (Array.isArray(value)) {
          const link = await this.#validateLink(id, name, declared, value);
          if (link.error !== undefined) errors.push(link.error);
          valid &&= link.valid;
        } else {
          const error = this.#validateLiteral(inputs, name, declared, value, ownCheck?.names.includes(name) === true);
          if (error !== undefined) errors.push(error);
        }
      }
    }
    errors.push(...(await this.#runOwnCheck(className, inputs)));

    const cycle = this.#checked.get(id);
    const all = [...(cycle?.errors ?? []), ...errors];
    const checked: Checked = { valid: valid && (cycle?.valid ?? true) && errors.length === 0, errors: all };
    this.#checked.set(id, checked);
    return checked;
  }

  /** 0.3.64 recurses until Python gives up and then forgets why; newer servers name the path. */
  #cycleAt(id: string): Checked {
    if (!this.#generation.reportsCycles) return { valid: false, errors: [] };
    const path = [...this.#visiting.slice(this.#visiting.indexOf(id)), id];
    const members = [...new Set(path)];
    const details = path.map((member) => `${member} (${pythonStr(classOf(this.#nodes[member]))})`).join(" -> ");
    for (const member of members) {
      this.#checked.set(member, {
        valid: false,
        errors: [
          {
            type: "dependency_cycle",
            message: "Dependency cycle detected",
            details,
            extra_info: { node_id: member, cycle_nodes: members },
          },
        ],
      });
    }
    return { valid: false, errors: [] };
  }

  async #validateLink(
    id: string,
    name: string,
    declared: Declaration,
    link: Json[],
  ): Promise<{ readonly valid: boolean; readonly error?: ValidationError }> {
    const [from = null, slot = null] = link;
    if (link.length !== 2) {
      const error: ValidationError = {
        type: "bad_linked_input",
        message: "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        details: name,
        extra_info: { input_name: name, input_config: declared.config, received_value: link },
      };
      return { valid: true, error };
    }
    const received = this.#outputType(from, slot);
    if (!typesMeet(received, declared.type)) {
      const details = `${name}, received_type(${pythonStr(received)}) mismatch input_type(${pythonStr(declared.type)})`;
      const error: ValidationError = {
        type: "return_type_mismatch",
        message: "Return type mismatch between linked nodes",
        details,
        extra_info: { input_name: name, input_config: declared.config, received_type: received, linked_node: link },
      };
      return { valid: true, error };
    }
    const source = String(from);
    this.#visiting.push(id);
    try {
      const { valid } = await this.#validateNode(source);
      return { valid };
    } catch (error) {
      const raised = asPythonError(error);
      this.#checked.set(source, {
        valid: false,
        errors: [
          {
            type: "exception_during_inner_validation",
            message: "Exception when validating inner node",
            details: raised.message,
            extra_info: {
              input_name: name,
              input_config: declared.config,
              exception_message: raised.message,
              exception_type: raised.type,
              traceback: tracebackOf(raised),
              linked_node: link,
            },
          },
        ],
      });
      return { valid: false };
    } finally {
      this.#visiting.pop();
    }
  }

  #outputType(from: Json, slot: Json): Json {
    if (typeof from === "object" && from !== null) {
      throw new PythonError("TypeError", `unhashable type: '${pythonTypeName(from)}'`);
    }
    const node = typeof from === "string" ? this.#nodes[from] : undefined;
    if (!isJsonObject(node)) throw new PythonError("KeyError", pythonRepr(from));
    const className = pythonStr(node.class_type ?? null);
    const types = this.#catalog.outputTypes(className);
    // Classes of ComfyUI's newer node API keep their types in a list, the older ones in a tuple.
    const container = "api_node" in this.#describe(className) ? "list" : "tuple";
    const index = typeof slot === "boolean" ? Number(slot) : slot;
    if (typeof index !== "number" || !Number.isInteger(index)) {
      throw new PythonError(
        "TypeError",
        `${container} indices must be integers or slices, not ${pythonTypeName(slot)}`,
      );
    }
    const type = types.at(index);
    if (type === undefined) throw new PythonError("IndexError", `${container} index out of range`);
    return type;
  }

  #validateLiteral(
    inputs: JsonObject,
    name: string,
    declared: Declaration,
    given: Json,
    hasOwnCheck: boolean,
  ): ValidationError | undefined {
    const wrapped = isJsonObject(given) && "__value__" in given ? (given.__value__ ?? null) : given;
    let value = wrapped;
    try {
      value = converted(wrapped, declared.type);
    } catch (error) {
      const raised = asPythonError(error);
      return {
        type: "invalid_input_type",
        message: `Failed to convert an input value to a ${pythonStr(declared.type)} value`,
        details: `${name}, ${pythonStr(wrapped)}, ${raised.message}`,
        extra_info: {
          input_name: name,
          input_config: declared.config,
          received_value: wrapped,
          exception_message: raised.message,
        },
      };
    }
    inputs[name] = value;
    if (hasOwnCheck) return undefined;
    return outOfRange(name, declared, value) ?? this.#notInList(name, declared, value);
  }

  #notInList(name: string, declared: Declaration, value: Json): ValidationError | undefined {
    const asObject = declared.type === "COMBO" && this.#generation.checksComboObjects;
    const listed = asObject ? (declared.options.options ?? []) : declared.type;
    if (!Array.isArray(listed)) return undefined;
    const several = asObject && declared.options.multiselect === true && Array.isArray(value);
    const refused = (several ? value : [value]).filter((item) => !listed.some((choice) => pythonEquals(choice, item)));
    if (refused.length === 0) return undefined;
    const isShort = listed.length <= CHOICES_SHOWN_MAX;
    const shown = this.#generation.checksComboObjects ? refused.map(pythonRepr).join(", ") : `'${pythonStr(value)}'`;
    return {
      type: "value_not_in_list",
      message: "Value not in list",
      details: `${name}: ${shown} not in ${isShort ? pythonRepr(listed) : `(list of length ${listed.length})`}`,
      extra_info: { input_name: name, input_config: isShort ? declared.config : null, received_value: value },
    };
  }

  /** The class's own check answers for all its inputs at once, so each of them carries the refusal. */
  async #runOwnCheck(className: string, inputs: JsonObject): Promise<ValidationError[]> {
    const check = this.#catalog.implementation(className)?.validate;
    if (check === undefined || check.names.length === 0) return [];
    const missing = check.names.filter((name) => !(name in inputs) && this.#isRequired(className, name));
    if (missing.length > 0) throw missingArguments(className, missing);
    const given = check.names.filter((name) => name in inputs);
    const values = Object.fromEntries(given.map((name) => [name, isLink(inputs[name]) ? null : inputs[name]]));
    const verdict = await check.check(values, this.#catalog.folders);
    if (verdict === true) return [];
    return given.map((name) => ({
      type: "custom_validation_failed",
      message: "Custom validation failed for node",
      details: `${name} - ${verdict}`,
      extra_info: { input_name: name },
    }));
  }

  #isRequired(className: string, name: string): boolean {
    return name in (this.#describe(className).input.required ?? {});
  }

  /** Lists of files are read once per validation: a second look could disagree with the first. */
  #describe(className: string): NodeClass {
    const known = this.#described.get(className) ?? this.#catalog.describe(className);
    if (known === undefined) throw new PythonError("KeyError", pythonRepr(className));
    this.#described.set(className, known);
    return known;
  }
}

interface Declaration {
  /** A type's name, or the list of choices. */
  readonly type: Json;
  readonly options: JsonObject;
  /** `[type, options]`, as errors repeat it. */
  readonly config: Json;
}

function declaration(spec: Json): Declaration {
  const [type = null, second] = Array.isArray(spec) ? spec : [spec];
  const options = isJsonObject(second) ? second : {};
  return { type, options, config: [type, options] };
}

/** A link is `[node id, slot]`; other lists of two are literals that slipped through, as in ComfyUI. */
export function isLink(value: Json | undefined): value is [string, number] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "number";
}

function classOf(node: Json | undefined): Json {
  return isJsonObject(node) ? (node.class_type ?? null) : null;
}

function missingInput(name: string): ValidationError {
  return {
    type: "required_input_missing",
    message: "Required input is missing",
    details: name,
    extra_info: { input_name: name },
  };
}

function missingArguments(className: string, names: readonly string[]): PythonError {
  const quoted = names.map((name) => `'${name}'`);
  const last = quoted.pop() ?? "";
  const list = quoted.length === 0 ? last : `${quoted.join(", ")}${quoted.length > 1 ? "," : ""} and ${last}`;
  const plural = names.length === 1 ? "argument" : "arguments";
  return new PythonError(
    "TypeError",
    `${className}.VALIDATE_INPUTS() missing ${names.length} required positional ${plural}: ${list}`,
  );
}

function converted(value: Json, type: Json): Json {
  switch (type) {
    case "INT":
      return pythonInt(value);
    case "FLOAT":
      return pythonFloat(value);
    case "STRING":
      return pythonStr(value);
    case "BOOLEAN":
      return pythonBool(value);
    default:
      return value;
  }
}

function outOfRange(name: string, declared: Declaration, value: Json): ValidationError | undefined {
  if (typeof value !== "number" && typeof value !== "bigint") return undefined;
  const { min, max } = declared.options;
  const shown = (number: number | bigint): string =>
    declared.type === "FLOAT" ? reprFloat(Number(number)) : pythonStr(number);
  const extra_info = { input_name: name, input_config: declared.config, received_value: value };
  if ((typeof min === "number" || typeof min === "bigint") && value < min) {
    const message = `Value ${shown(value)} smaller than min of ${shown(min)}`;
    return { type: "value_smaller_than_min", message, details: name, extra_info };
  }
  if ((typeof max === "number" || typeof max === "bigint") && value > max) {
    const message = `Value ${shown(value)} bigger than max of ${shown(max)}`;
    return { type: "value_bigger_than_max", message, details: name, extra_info };
  }
  return undefined;
}

/** Types are names joined by commas; one name in common is enough, and `*` goes with everything. */
function typesMeet(received: Json, wanted: Json): boolean {
  if (pythonEquals(received, wanted) || received === "*" || wanted === "*") return true;
  if (typeof received !== "string" || typeof wanted !== "string") return false;
  const names = new Set(wanted.split(",").map((name) => name.trim()));
  return received.split(",").some((name) => names.has(name.trim()));
}

function asPythonError(error: unknown): PythonError {
  if (error instanceof PythonError) return error;
  const raised = new PythonError("Exception", error instanceof Error ? error.message : String(error));
  if (error instanceof Error && error.stack !== undefined) raised.stack = error.stack;
  return raised;
}
