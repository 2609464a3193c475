/** What the operator changes of the inferred inputs and outputs. Nothing that cannot be meant is passed over. */
import { isJsonObject, type Json } from "#contract/exact-json";
import type { FieldError } from "#contract/problems";
import type { InputOverride, InputSpec, OutputOverride, OutputSpec, Overrides } from "#contract/workflow";
import { nearestName } from "./nearest-name.ts";
import { allowed, valueFault } from "./validate-inputs.ts";

/** An inferred input or output: `names` are those an override may call it by, the present one first. */
export interface Overridable<Spec> {
  readonly spec: Spec;
  readonly names: readonly string[];
  readonly hidden: boolean;
}

const NAMES_QUOTED_MAX = 50;

/** The specs that show, overrides applied; every override that cannot be applied adds to `errors`. */
export function applyInputOverrides(
  inputs: readonly Overridable<InputSpec>[],
  overrides: Overrides["inputs"],
  errors: FieldError[],
): InputSpec[] {
  return apply("inputs", inputs, overrides, errors, overrideInput);
}

export function applyOutputOverrides(
  outputs: readonly Overridable<OutputSpec>[],
  overrides: Overrides["outputs"],
  errors: FieldError[],
): OutputSpec[] {
  const byNode = new Map(outputs.map((output) => [output.spec.node, output]));
  const named: Record<string, OutputOverride> = Object.create(null);
  const chosen = new Map<string, Overridable<OutputSpec>>();
  for (const [key, override] of Object.entries(overrides ?? {})) {
    const { node } = override;
    const output = node === undefined ? undefined : byNode.get(node);
    if (node !== undefined && output === undefined) errors.push(noOutputNode(key, node, [...byNode.keys()]));
    else if (output === undefined) named[key] = override;
    else {
      chosen.set(key, output);
      named[key] = { hidden: false, name: key, ...override };
    }
  }
  const change = (spec: OutputSpec, { name, title, temporary }: OutputOverride): OutputSpec => ({
    ...spec,
    ...(name === undefined ? {} : { name }),
    ...(title === undefined ? {} : { title }),
    ...(temporary === undefined ? {} : { temporary }),
  });
  return apply("outputs", outputs, named, errors, change, chosen);
}

function noOutputNode(key: string, node: string, nodes: readonly string[]): FieldError {
  const listed = nodes.slice(0, NAMES_QUOTED_MAX);
  return {
    path: `/overrides/outputs/${key}/node`,
    reason:
      `Node "${node}" gives no output; these do: ${listed.join(", ") || "none"}. ` +
      "To have what another node makes, put a node behind it that shows or saves it, such as PreviewImage.",
    allowed: { choices: listed },
  };
}

function apply<Spec extends { name: string }, Override extends InputOverride | OutputOverride>(
  section: "inputs" | "outputs",
  items: readonly Overridable<Spec>[],
  overrides: Readonly<Record<string, Override>> | undefined,
  errors: FieldError[],
  change: (spec: Spec, override: Override, path: string, errors: FieldError[]) => Spec,
  chosen: ReadonlyMap<string, Overridable<Spec>> = new Map(),
): Spec[] {
  const byName = new Map<string, Overridable<Spec>>();
  for (const item of items) if (item.names[0] !== undefined) byName.set(item.names[0], item);
  for (const item of items) {
    for (const name of item.names.slice(1)) if (!byName.has(name)) byName.set(name, item);
  }
  const changes = new Map<Overridable<Spec>, [string, Override]>();
  for (const [name, override] of Object.entries(overrides ?? {})) {
    const path = `/overrides/${section}/${name}`;
    const item = chosen.get(name) ?? byName.get(name);
    if (item === undefined) errors.push(unknownName(section, name, path, items));
    else if (changes.has(item)) errors.push({ path, reason: `Another override changes "${item.names[0]}" already.` });
    else changes.set(item, [path, override]);
  }
  const shown: Spec[] = [];
  const names = new Map<string, string>();
  for (const item of items) {
    const [path, override] = changes.get(item) ?? [undefined, undefined];
    if (override?.hidden ?? item.hidden) continue;
    const spec = path === undefined ? item.spec : change(item.spec, override, path, errors);
    const other = names.get(spec.name);
    if (other !== undefined) {
      errors.push({ path: `${path ?? other}/name`, reason: `Two ${section} would have the name "${spec.name}".` });
    }
    names.set(spec.name, path ?? "");
    shown.push(spec);
  }
  return shown;
}

function unknownName<Spec extends { name: string }>(
  section: "inputs" | "outputs",
  name: string,
  path: string,
  items: readonly Overridable<Spec>[],
): FieldError {
  const known = [...items].sort((a, b) => Number(a.hidden) - Number(b.hidden)).map((item) => item.spec.name);
  const nearest = nearestName(name, known);
  const hint = nearest === undefined ? "" : ` Did you mean "${nearest}"?`;
  const listed = known.slice(0, NAMES_QUOTED_MAX);
  return {
    path,
    reason: `The workflow has no ${section.slice(0, -1)} "${name}".${hint} It has: ${listed.join(", ") || "none"}.`,
    allowed: { choices: listed },
  };
}

/** Which fields of an override mean something for which type. */
const FIELDS_BY_TYPE: Readonly<Record<InputSpec["type"], readonly (keyof InputOverride)[]>> = {
  string: ["default", "maxLength", "choices"],
  integer: ["default", "minimum", "maximum", "step", "choices"],
  number: ["default", "minimum", "maximum", "step", "choices"],
  boolean: ["default"],
  choice: ["default", "choices"],
  file: [],
};
const FIELDS_OF_ALL: readonly (keyof InputOverride)[] = [
  "name",
  "hidden",
  "title",
  "description",
  "required",
  "advanced",
  "group",
];

function overrideInput(spec: InputSpec, override: InputOverride, path: string, errors: FieldError[]): InputSpec {
  const usable = [...FIELDS_OF_ALL, ...FIELDS_BY_TYPE[spec.type]];
  for (const field of Object.keys(override) as (keyof InputOverride)[]) {
    if (usable.includes(field) || override[field] === undefined) continue;
    errors.push({ path: `${path}/${field}`, reason: `An input of type ${spec.type} has no ${field}.` });
  }
  const { name, title, description, advanced, group } = override;
  const { group: before, ...ungrouped } = spec;
  const shown = group ?? before ?? "";
  const named: InputSpec = {
    ...ungrouped,
    ...(shown === "" ? {} : { group: shown }),
    ...(name === undefined ? {} : { name }),
    ...(title === undefined ? {} : { title }),
    ...(description === undefined ? {} : { description }),
    ...(advanced === undefined ? {} : { advanced }),
  };
  const bound =
    override.choices === undefined
      ? withBounds(named, override, path, errors)
      : withChoices(named, override.choices, path, errors);
  return withDefault(bound, override, path, errors);
}

/** Bounds may only get narrower: the node behind the input refuses what lies outside its own. */
function withBounds(spec: InputSpec, override: InputOverride, path: string, errors: FieldError[]): InputSpec {
  if (spec.type === "string") {
    const { maxLength = spec.maxLength } = override;
    if (maxLength > spec.maxLength) {
      errors.push({
        path: `${path}/maxLength`,
        reason: `This must be ${spec.maxLength} or less.`,
        allowed: { maximum: spec.maxLength },
      });
    }
    return { ...spec, maxLength };
  }
  if (spec.type !== "integer" && spec.type !== "number") return spec;
  const given: Record<string, number | bigint> = {};
  for (const field of ["minimum", "maximum", "step"] as const) {
    const value = override[field];
    if (value === undefined) continue;
    const fault = field === "step" ? stepFault(spec, value) : valueFault(spec, value);
    if (fault === undefined) given[field] = spec.type === "number" ? Number(value) : value;
    else errors.push({ path: `${path}/${field}`, reason: fault, allowed: allowed(spec) });
  }
  const bound = { ...spec, ...given } as InputSpec & { type: "integer" | "number" };
  if (bound.minimum !== undefined && bound.maximum !== undefined && bound.minimum > bound.maximum) {
    errors.push({ path: `${path}/minimum`, reason: "The minimum is above the maximum." });
  }
  return bound;
}

function stepFault(spec: InputSpec, step: number | bigint): string | undefined {
  if (step <= 0) return "A step must be more than 0.";
  return spec.type === "integer" && typeof step === "number" && !Number.isInteger(step)
    ? "The step must be whole."
    : undefined;
}

/** A list of choices makes a choice of any text or number; each must be a value the input takes. */
function withChoices(
  spec: InputSpec,
  choices: readonly (string | number | bigint)[],
  path: string,
  errors: FieldError[],
): InputSpec {
  if (spec.type === "boolean" || spec.type === "file") return spec;
  for (const [index, choice] of choices.entries()) {
    const fault = spec.type === "choice" ? undefined : valueFault(spec, choice);
    if (fault !== undefined) errors.push({ path: `${path}/choices/${index}`, reason: fault, allowed: allowed(spec) });
  }
  const { name, title, description, targets, required, advanced, group, default: value } = spec;
  return {
    name,
    title,
    ...(description === undefined ? {} : { description }),
    targets,
    required,
    advanced,
    ...(group === undefined ? {} : { group }),
    type: "choice",
    choices: [...new Set(choices)],
    ...(value === undefined ? {} : { default: value }),
  };
}

/** A required input has no default; any other default must be a value that callers could send. */
function withDefault(spec: InputSpec, override: InputOverride, path: string, errors: FieldError[]): InputSpec {
  if (spec.type === "file") return { ...spec, required: override.required ?? spec.required };
  const given = override.default as Json | undefined;
  if (override.required === true) {
    if (given !== undefined) errors.push({ path: `${path}/default`, reason: "A required input has no default." });
    const { default: _, ...rest } = spec;
    return { ...rest, required: true } as InputSpec;
  }
  const value = given === undefined || given === null ? spec.default : given;
  if (value === undefined) return { ...spec, required: override.required ?? spec.required };
  const fault = Array.isArray(value) || isJsonObject(value) ? "A default is one value." : valueFault(spec, value);
  if (fault !== undefined) {
    const reason = given === undefined ? `The value in the workflow does not fit; give a default. ${fault}` : fault;
    errors.push({ path: `${path}/default`, reason, allowed: allowed(spec) });
  }
  return { ...spec, default: value, required: false } as InputSpec;
}
