/**
 * The answer of ComfyUI's `GET /object_info`: what each node class takes and gives. Only the fields that are read
 * here have types; everything else passes through.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

/** One class, as ComfyUI describes it. `input.required.seed` is `["INT", {default, min, max, …}]`. */
export interface NodeClass {
  readonly input: {
    readonly required?: Readonly<Record<string, Json>>;
    readonly optional?: Readonly<Record<string, Json>>;
    readonly hidden?: Readonly<Record<string, Json>>;
  };
  /** Names in the order the editor shows them; newer servers always send it. */
  readonly input_order?: { readonly required?: readonly string[]; readonly optional?: readonly string[] };
  readonly output: readonly Json[];
  readonly output_is_list: readonly boolean[];
  readonly output_name: readonly string[];
  readonly name: string;
  readonly display_name: string | null;
  readonly description: string;
  readonly python_module: string;
  readonly category: string;
  readonly output_node: boolean;
}

export type ObjectInfo = Readonly<Record<string, NodeClass>>;

/** An input as a class declares it: its type, its options object, and where it stands. */
export interface DeclaredInput {
  readonly name: string;
  /** `"INT"`, `"IMAGE"`, `"COMBO"` (both generations), or a union such as `"INT,FLOAT"`. */
  readonly type: string;
  readonly options: JsonObject;
  /** The values of a COMBO; undefined for every other type. */
  readonly choices?: readonly Json[];
  readonly required: boolean;
}

/** The inputs of a class in the order the editor shows them, hidden ones left out. */
export function declaredInputs(node: NodeClass): DeclaredInput[] {
  return (["required", "optional"] as const).flatMap((section) => {
    const specs = node.input[section] ?? {};
    const names = node.input_order?.[section] ?? Object.keys(specs);
    return names.flatMap((name) => {
      const declared = declaredInput(name, specs[name], section === "required");
      return declared === undefined ? [] : [declared];
    });
  });
}

/** Reads `[TYPE, options]`, `[[choices], options]` or `["COMBO", {options}]`; undefined when it is none of them. */
export function declaredInput(name: string, spec: Json | undefined, required: boolean): DeclaredInput | undefined {
  if (!Array.isArray(spec)) return undefined;
  const [type, second] = spec;
  const options = isJsonObject(second) ? second : {};
  if (Array.isArray(type)) return { name, type: "COMBO", options, choices: type, required };
  if (typeof type !== "string") return undefined;
  if (type === "COMBO" && Array.isArray(options.options)) {
    return { name, type, options, choices: options.options, required };
  }
  return { name, type, options, required };
}
