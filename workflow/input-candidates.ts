/** Collects what could become an input: places in the graph, each claimed once, with the name and order it wants. */
import type { Json } from "#contract/exact-json";
import type { GraphTarget, MediaKind } from "#contract/workflow";
import { isScalar } from "./check-literal.ts";
import { fieldDeclaration } from "./dynamic-inputs.ts";
import { type Graph, type GraphNode, linkOf, type Use } from "./graph.ts";
import type { ClassLookup, KnownClass } from "./known-classes.ts";
import type { DeclaredInput } from "./object-info.ts";
import { writtenChoices } from "./written-choices.ts";

/** What the finders read. */
export interface GraphView {
  readonly graph: Graph;
  /** Nodes that some output needs, each after all it reads. */
  readonly live: readonly GraphNode[];
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  readonly lookup: ClassLookup;
}

export type ScalarKind = "string" | "integer" | "number" | "boolean";

export interface Candidate {
  /** The name it wants; it gets another one when a candidate before it has that name. */
  readonly base: string;
  readonly title: string;
  readonly description?: string;
  /** Title of the node, for telling equal names apart. */
  readonly nodeTitle: string;
  /** Among several of one base, this one is named after its node alone, as its author gave it a title. */
  readonly byTitle?: boolean;
  readonly targets: GraphTarget[];
  /** Every place whose class says what the value may be: the targets and the fields linked to them. */
  readonly declaredAt: GraphTarget[];
  readonly value: Json;
  /** What it is where no class says so. */
  readonly kind: ScalarKind | "file";
  readonly media?: MediaKind;
  readonly seed?: boolean;
  readonly multiline?: boolean;
  /** Bounds and choices that a marker node carries itself. */
  readonly minimum?: number | bigint;
  readonly maximum?: number | bigint;
  readonly step?: number | bigint;
  readonly choices?: readonly string[];
  /** Whether callers must send it, where the author says so; otherwise files must be sent. */
  readonly required?: boolean;
  /** The author listed it in a form of all inputs. */
  fromForm?: boolean;
  advanced: boolean;
  /** Left out of the inputs unless the operator asks for it. */
  hidden: boolean;
  /** Place in the form, smallest first. */
  rank: number;
}

type Place = { readonly node: GraphNode; readonly field: string };

/** Where the literal is that ends up in a field, after following links, and every field on the way. */
export interface Resolved {
  readonly target: GraphTarget;
  readonly declaredAt: GraphTarget[];
  readonly value: Json;
}

/** Links followed from a field to the literal it gets; reroutes and primitives are one or two. */
const LINKS_FOLLOWED_MAX = 20;
/** The fields in which value nodes of the core and of common packs keep their value. */
const VALUE_FIELDS = [
  "value",
  "string",
  "text",
  "int",
  "float",
  "number",
  "seed",
  "boolean",
  "Value",
  "Number",
  "Text",
];

export class Candidates {
  readonly view: GraphView;
  readonly #found = new Set<Candidate>();
  /** Every place that is taken, with its candidate if it has one. */
  readonly #claimed = new Map<string, Candidate | undefined>();
  /** Equal values of one meaning share one input: two samplers with one seed. */
  readonly #shared = new Map<string, Candidate>();

  constructor(view: GraphView) {
    this.view = view;
  }

  all(): Candidate[] {
    return [...this.#found];
  }

  /** Leaves further candidates out of the inputs, unless the operator asks for them. */
  hide(isHidden: (candidate: Candidate) => boolean): void {
    for (const candidate of this.#found) if (isHidden(candidate)) candidate.hidden = true;
  }

  /** The candidate whose value goes to a place. */
  at(target: GraphTarget): Candidate | undefined {
    return this.#claimed.get(placeKey(target));
  }

  /** Marks a place as never to become an input, or as one already. False when it was claimed before. */
  claim(target: GraphTarget): boolean {
    const key = placeKey(target);
    if (this.#claimed.has(key)) return false;
    this.#claimed.set(key, undefined);
    return true;
  }

  isClaimed(target: GraphTarget): boolean {
    return this.#claimed.has(placeKey(target));
  }

  /** Adds a candidate at one place, unless the place is taken. `share` joins it to an equal one of the same base. */
  add(resolved: Resolved, candidate: Omit<Candidate, "targets" | "declaredAt" | "value">, share = false): void {
    if (this.isClaimed(resolved.target)) return;
    const key = this.#shareKey(candidate.base, candidate.kind, resolved);
    const shared = share ? this.#shared.get(key) : undefined;
    if (shared !== undefined) {
      this.#give(shared, [resolved.target], resolved.declaredAt);
      return;
    }
    const choices = candidate.choices ?? this.#writtenChoices(resolved.target);
    const added = {
      ...candidate,
      ...(choices === undefined ? {} : { choices }),
      targets: [],
      declaredAt: [],
      value: resolved.value,
    };
    this.#give(added, [resolved.target], resolved.declaredAt);
    this.#found.add(added);
    if (share) this.#shared.set(key, added);
  }

  /** The options that an author typed into the node of a place. */
  #writtenChoices({ node: id, field }: GraphTarget): string[] | undefined {
    const node = this.view.graph.get(id);
    return node === undefined ? undefined : writtenChoices(node.classType, field, node.inputs);
  }

  /** Gives a further place to the shared candidate that has its value and is of the same base, if there is one. */
  addToShared(resolved: Resolved, base: string, kind: ScalarKind): void {
    const shared = this.#shared.get(this.#shareKey(base, kind, resolved));
    if (shared !== undefined && !this.isClaimed(resolved.target)) {
      this.#give(shared, [resolved.target], resolved.declaredAt);
    }
  }

  /** Gives a further place, which nobody has claimed, to a candidate. */
  extend(candidate: Candidate, resolved: Resolved): void {
    if (!this.isClaimed(resolved.target)) this.#give(candidate, [resolved.target], resolved.declaredAt);
  }

  #give(candidate: Candidate, targets: readonly GraphTarget[], declaredAt: readonly GraphTarget[]): void {
    candidate.targets.push(...targets);
    candidate.declaredAt.push(...declaredAt);
    for (const target of targets) this.#claimed.set(placeKey(target), candidate);
  }

  #shareKey(base: string, expected: ScalarKind | "file", resolved: Resolved): string {
    const kind = this.kindAt(resolved.target, expected, resolved.value);
    return `${base}\n${kind}\n${typeof resolved.value}\n${String(resolved.value)}`;
  }

  /** Makes two candidates one: `other`'s places get the value of `kept`. */
  join(kept: Candidate, other: Candidate): void {
    this.#give(kept, other.targets, other.declaredAt);
    this.#found.delete(other);
  }

  classOf(node: GraphNode): KnownClass | undefined {
    return this.view.lookup(node.classType);
  }

  declared(target: GraphTarget): DeclaredInput | undefined {
    const node = this.view.graph.get(target.node);
    const known = node === undefined ? undefined : this.classOf(node);
    return node === undefined || known === undefined ? undefined : fieldDeclaration(known, node.inputs, target.field);
  }

  /** The kind a class declares at a place, else the kind that was expected there. */
  kindAt(target: GraphTarget, expected: ScalarKind | "file", value: Json): ScalarKind | "file" | "choice" {
    if (expected === "file") return "file";
    const type = this.declared(target)?.type;
    return (type === undefined ? undefined : kindOfType(type, value)) ?? expected;
  }

  /** Title of a node: the author's, the editor's, or its class. */
  titleOf(node: GraphNode): string {
    return node.title ?? this.classOf(node)?.displayName ?? node.classType;
  }

  /** True when the author has given the node a title of its own. */
  hasOwnTitle(node: GraphNode): boolean {
    if (node.title === undefined) return false;
    const plain = (text: string | undefined): string => (text ?? "").toLowerCase().replace(/[^a-z0-9]/g, "");
    const title = plain(node.title);
    return title !== plain(node.classType) && title !== plain(this.classOf(node)?.displayName);
  }

  /** Follows a field to the scalar it gets: its own literal, or the value of the primitive it is linked to. */
  resolve(node: GraphNode, field: string): Resolved | undefined {
    let place: Place = { node, field };
    const declaredAt: GraphTarget[] = [];
    for (let followed = 0; followed < LINKS_FOLLOWED_MAX; followed += 1) {
      const value = place.node.inputs[place.field];
      const target = { node: place.node.id, field: place.field };
      declaredAt.push(target);
      if (isScalar(value)) return { target, declaredAt: declaredAt.reverse(), value };
      const link = linkOf(value);
      const source = link === undefined ? undefined : this.view.graph.get(link.node);
      const next = source === undefined ? undefined : valueField(source);
      if (source === undefined || next === undefined) return undefined;
      place = { node: source, field: next };
    }
    return undefined;
  }
}

/** The field that decides what a value node gives; undefined for nodes that compute. */
function valueField(node: GraphNode): string | undefined {
  const fields = Object.keys(node.inputs);
  const named = VALUE_FIELDS.find((field) => Object.hasOwn(node.inputs, field));
  const links = fields.filter((field) => linkOf(node.inputs[field]) !== undefined);
  const literals = fields.filter((field) => isScalar(node.inputs[field]));
  if (named !== undefined && links.every((field) => field === named)) return named;
  if (links.length === 0 && literals.length === 1) return literals[0];
  return links.length === 1 && literals.length === 0 && /reroute|pass/i.test(node.classType) ? links[0] : undefined;
}

/** The kind of a declared type; for a union the one the value has, for a connection none. */
export function kindOfType(type: string, value: Json): ScalarKind | "choice" | undefined {
  switch (type) {
    case "INT":
      return "integer";
    case "FLOAT":
      return "number";
    case "STRING":
      return "string";
    case "BOOLEAN":
      return "boolean";
    case "COMBO":
      return "choice";
    default: {
      const kinds = type.includes(",") ? type.split(",").map((part) => kindOfType(part.trim(), value)) : [];
      if (kinds.includes("number") && typeof value !== "string" && typeof value !== "boolean") return "number";
      return kinds.find((kind) => kind !== undefined && kind === kindOfValue(value));
    }
  }
}

/** The kind of a value of which nothing else is known. */
export function kindOfValue(value: Json): ScalarKind {
  if (typeof value === "string") return "string";
  if (typeof value === "boolean") return "boolean";
  return typeof value === "bigint" || Number.isInteger(value) ? "integer" : "number";
}

function placeKey(target: GraphTarget): string {
  return `${target.node}\n${target.field}`;
}
