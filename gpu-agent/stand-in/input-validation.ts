/** The nodes an output needs, checked one after the other against their classes. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { NodeClass } from "#workflow/object-info";
import type { Generation } from "./generations.ts";
import { classOf, isLink } from "./links.ts";
import { checkLiteral, type Declaration, declaration } from "./literal-inputs.ts";
import { NodeError } from "./node.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import { PythonError, pythonEquals, pythonRepr, pythonStr, pythonTypeName } from "./python-values.ts";
import { tracebackOf } from "./traceback.ts";
import type { NodeErrors, Validation, ValidationError } from "./validation.ts";

interface Checked {
  readonly valid: boolean;
  readonly errors: readonly ValidationError[];
}

/** Remembers what it checked, because several outputs share nodes. */
export class InputValidator {
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
    const className = String(node.class_type);
    const described = this.#describe(className);
    const inputs = mappingOf(node.inputs ?? null, described);
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
          const hasOwnCheck = ownCheck?.names.includes(name) === true;
          const error = checkLiteral(inputs, name, declared, hasOwnCheck, this.#generation.checksComboObjects);
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

/** Inputs that are no object are read as Python reads them: an empty list has no inputs, a number cannot have any. */
function mappingOf(inputs: Json, described: NodeClass): JsonObject {
  if (isJsonObject(inputs)) return inputs;
  if (!Array.isArray(inputs) && typeof inputs !== "string") {
    throw new PythonError("TypeError", `argument of type '${pythonTypeName(inputs)}' is not iterable`);
  }
  const names = [...Object.keys(described.input.required ?? {}), ...Object.keys(described.input.optional ?? {})];
  if (!names.some((name) => inputs.includes(name))) return {};
  const container = Array.isArray(inputs)
    ? "list indices must be integers or slices"
    : "string indices must be integers";
  throw new PythonError("TypeError", `${container}, not ${Array.isArray(inputs) ? "str" : "'str'"}`);
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

/** Types are names joined by commas; one name in common is enough, and `*` goes with everything. */
function typesMeet(received: Json, wanted: Json): boolean {
  if (pythonEquals(received, wanted) || received === "*" || wanted === "*") return true;
  if (typeof received !== "string" || typeof wanted !== "string") return false;
  const names = new Set(wanted.split(",").map((name) => name.trim()));
  return received.split(",").some((name) => names.has(name.trim()));
}

function asPythonError(error: unknown): PythonError {
  if (error instanceof PythonError) return error;
  if (error instanceof NodeError) return new PythonError(error.type, error.message);
  const raised = new PythonError("Exception", error instanceof Error ? error.message : String(error));
  if (error instanceof Error && error.stack !== undefined) raised.stack = error.stack;
  return raised;
}
