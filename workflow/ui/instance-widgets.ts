/**
 * What was typed into a subgraph's instance, and what its author brought to its outside. Three generations of files:
 * one value per promoted input; the same with a control value after each seed; and `proxyWidgets`, a list of inner
 * widgets with one value each.
 */
import { isJsonObject, type Json, type JsonObject, JsonSyntaxError, parseExactJson } from "#contract/exact-json";
import { idOf, listOf, textOf } from "./read-ui.ts";
import { endsOf, inputLinks, type Scope, slotOfInput } from "./scope.ts";
import { MODE, type PromotedWidget, type UiNode } from "./ui-graph.ts";

/** Values the editor keeps behind a seed's: what becomes of it after each run. */
const CONTROL_VALUES = new Set<Json>(["fixed", "increment", "decrement", "randomize", "increment-wrap"]);
/** Widgets that only show something. */
const PREVIEW_PREFIX = "$$";
/** Older files put the ids of the nodes on the way before a widget's name: `"5: 3: text"`. */
const LEGACY_PREFIX = /^\s*(\d+)\s*:\s*(.+)$/;
const OWN_INPUT = "-1";
const LEGACY_PREFIXES_MAX = 32;
/** Inner widgets on one shell; each is looked for. */
const PROXIES_MAX = 200;

interface ProxyWidget {
  readonly node: string;
  readonly widget: string;
  readonly deeper: string | undefined;
}

/** What a name on the outside leads to: a slot of an open shell, or a widget of a node. */
type Place =
  | { readonly type: "slot"; readonly scope: Scope; readonly slot: number }
  | { readonly type: "widget"; readonly scope: Scope; readonly node: UiNode; readonly field: string };

/** Hands the values of the shell around a scope to its inside. */
export function setInstanceValues(scope: Scope): void {
  const { shell } = scope;
  if (shell === null || shell.group !== null) return;
  const { definition, node } = shell;
  const values = Array.isArray(node.widgets) ? node.widgets : [];
  const listed = proxyWidgets(node);
  if (listed.length > 0) {
    listed.forEach((proxy, index) => {
      const value = values[index];
      const place = placeOfProxy(scope, proxy);
      if (place !== undefined && value !== undefined && value !== null) setValue(place, value);
    });
  } else setPositional(scope, values);

  const named = node.namedWidgets ?? (isJsonObject(node.widgets) ? node.widgets : {});
  // Values of widgets that lost their inner node were put aside under the input's name.
  for (const entry of listOf(node.properties.proxyWidgetErrorQuarantine).slice(0, PROXIES_MAX)) {
    if (!isJsonObject(entry) || entry.hostValue === undefined || entry.hostValue === null) continue;
    const [id, name] = listOf(entry.originalEntry);
    const slot = idOf(id) === OWN_INPUT ? insideOf(scope).slotOfName.get(textOf(name) ?? "") : undefined;
    if (slot !== undefined) shell.values.set(slot, entry.hostValue);
  }
  for (const [slot, input] of definition.inputs.entries()) {
    const value = Object.hasOwn(named, input.name) ? named[input.name] : undefined;
    if (value !== undefined && value !== null && isPromoted(scope, slot)) shell.values.set(slot, value);
  }
}

/** One value per promoted input, in the instance's order; a longer list has a control value behind some of them. */
function setPositional(scope: Scope, values: readonly Json[]): void {
  const { shell } = scope;
  if (shell === null) return;
  const slots = slotsInOrder(scope).filter((slot) => isPromoted(scope, slot));
  let surplus = values.length - slots.length;
  let at = 0;
  for (const slot of slots) {
    const value = values[at];
    if (value !== undefined && value !== null) shell.values.set(slot, value);
    at += 1;
    const after = values[at];
    if (surplus > 0 && after !== undefined && CONTROL_VALUES.has(after) && typeof value !== "string") {
      at += 1;
      surplus -= 1;
    }
  }
}

/**
 * The definition's slots in the order in which the instance keeps their values: the definition's, unless the instance
 * lists its inputs in another. Slots it does not list have no links, and follow.
 */
function slotsInOrder(scope: Scope): readonly number[] {
  const { shell } = scope;
  if (shell === null) return [];
  const all = shell.inputs.map((_, slot) => slot);
  const places = new Map(shell.node.inputs.map((input, place) => [input, place]));
  const listed = all.flatMap((slot) => {
    const input = shell.inputs[slot];
    const place = input === undefined ? undefined : places.get(input);
    return place === undefined ? [] : [{ slot, place }];
  });
  if (listed.every(({ place }, index) => index === 0 || place > (listed[index - 1]?.place ?? 0))) return all;
  const inOrder = listed.toSorted((a, b) => a.place - b.place).map(({ slot }) => slot);
  const known = new Set(inOrder);
  return [...inOrder, ...all.filter((slot) => !known.has(slot))];
}

/** True when a slot leads to a widget, so that the instance shows it as one. */
function isPromoted(scope: Scope, slot: number): boolean {
  const input = scope.shell?.inputs[slot];
  return (input !== undefined && input.widget !== null) || widgetsBehind(scope, slot).length > 0;
}

interface Target {
  readonly scope: Scope;
  readonly node: UiNode;
  readonly field: string;
}

/** What an open shell's slots lead to, found once: documents may name each of them thousands of times. */
interface Inside {
  readonly targets: readonly (readonly Target[])[];
  /** The first slot of each name. */
  readonly slotOfName: ReadonlyMap<string, number>;
  /** The slots that lead to a widget of a name. */
  readonly slotsOfField: ReadonlyMap<string, readonly number[]>;
}

const insides = new WeakMap<Scope, Inside>();

function insideOf(scope: Scope): Inside {
  const known = insides.get(scope);
  if (known !== undefined) return known;
  const { definition } = scope.shell ?? {};
  const targets = (definition?.inputs ?? []).map((_, slot) => targetsOf(scope, slot));
  const slotOfName = new Map<string, number>();
  const slotsOfField = new Map<string, number[]>();
  targets.forEach((list, slot) => {
    const name = definition?.inputs[slot]?.name ?? "";
    if (!slotOfName.has(name)) slotOfName.set(name, slot);
    for (const field of new Set(list.map((target) => target.field))) {
      const slots = slotsOfField.get(field);
      if (slots === undefined) slotsOfField.set(field, [slot]);
      else slots.push(slot);
    }
  });
  const inside = { targets, slotOfName, slotsOfField };
  insides.set(scope, inside);
  return inside;
}

/** The widgets that a slot of an open shell sets, through shells inside it, which are never deep. */
function targetsOf(scope: Scope, slot: number): readonly Target[] {
  if (scope.shell === null) return [];
  const { definition } = scope.shell;
  return (inputLinks(definition)[slot] ?? []).flatMap((link): readonly Target[] => {
    const end = endsOf(definition.graph).get(link);
    if (end === undefined) return [];
    const inner = scope.inner.get(end.node.id);
    if (inner !== undefined) return insideOf(inner).targets[slotOfInput(inner, end.input) ?? -1] ?? [];
    return end.input.widget === null ? [] : [{ scope, node: end.node, field: end.input.widget }];
  });
}

function widgetsBehind(scope: Scope, slot: number): readonly Target[] {
  return insideOf(scope).targets[slot] ?? [];
}

const proxies = new WeakMap<UiNode, readonly ProxyWidget[]>();

/** The inner widgets that a shell lists, in its order. */
function proxyWidgets(node: UiNode): readonly ProxyWidget[] {
  const known = proxies.get(node);
  if (known !== undefined) return known;
  const list = readProxyWidgets(node.properties.proxyWidgets);
  proxies.set(node, list);
  return list;
}

/** `properties.proxyWidgets`: `[[innerId, widget], …]`, in some files as text. */
function readProxyWidgets(property: Json | undefined): ProxyWidget[] {
  let list = property;
  if (typeof list === "string") {
    try {
      list = parseExactJson(list);
    } catch (error) {
      if (!(error instanceof JsonSyntaxError)) throw error;
      return [];
    }
  }
  return (Array.isArray(list) ? list : []).slice(0, PROXIES_MAX).map((entry) => {
    const [id, widget, deeper] = Array.isArray(entry) ? entry : [];
    return { node: idOf(id) ?? "", widget: textOf(widget) ?? "", deeper: idOf(deeper) };
  });
}

/** Where an inner widget of a shell's list is; with the ids before its name taken off where no node has the whole. */
function placeOfProxy(scope: Scope, proxy: ProxyWidget): Place | undefined {
  let { widget, deeper } = proxy;
  if (widget === "" || widget.startsWith(PREVIEW_PREFIX)) return undefined;
  for (let prefixes = 0; prefixes < LEGACY_PREFIXES_MAX; prefixes += 1) {
    const prefixed = LEGACY_PREFIX.exec(widget);
    if (prefixed?.[2] === undefined) break;
    deeper = prefixed[1];
    widget = prefixed[2];
  }
  return placeOf(scope, proxy.node, widget, deeper);
}

function placeOf(scope: Scope, id: string, widget: string, deeper: string | undefined): Place | undefined {
  const { shell } = scope;
  if (shell === null) return undefined;
  if (id === OWN_INPUT) {
    const slot = insideOf(scope).slotOfName.get(widget);
    return slot === undefined ? undefined : { type: "slot", scope, slot };
  }
  const node = scope.nodes.get(id);
  if (node === undefined) return undefined;
  const inner = scope.inner.get(id);
  if (inner !== undefined) return placeInShell(inner, widget, deeper);
  const input = node.inputs.find((candidate) => candidate.widget === widget);
  const link = input?.link == null ? undefined : scope.links.get(input.link);
  if (link?.from === shell.definition.inputNode) return { type: "slot", scope, slot: link.fromSlot };
  return { type: "widget", scope, node, field: widget };
}

/** A widget on a shell inside a shell: its own input of that name, or one that leads to such a widget. */
function placeInShell(inner: Scope, widget: string, deeper: string | undefined): Place | undefined {
  const { slotOfName, slotsOfField } = insideOf(inner);
  const fits = (slot: number): boolean =>
    deeper === undefined ||
    widgetsBehind(inner, slot).some((target) => target.field === widget && target.node.id === deeper);
  const named = slotOfName.get(widget);
  const slot = named !== undefined && fits(named) ? named : slotsOfField.get(widget)?.find(fits);
  if (slot === undefined) {
    const proxy = inner.shell === null ? undefined : proxyWidgets(inner.shell.node).find((p) => p.widget === widget);
    return proxy === undefined ? undefined : placeOfProxy(inner, proxy);
  }
  // The inner shell's slot may itself come from the rim of the outer one, which then keeps the value.
  const { shell } = inner;
  const link = shell?.inputs[slot]?.link ?? null;
  const from = link === null ? undefined : shell?.parent.links.get(link);
  const outer = shell?.parent;
  if (outer?.shell != null && from?.from === outer.shell.definition.inputNode) {
    return { type: "slot", scope: outer, slot: from.fromSlot };
  }
  return { type: "slot", scope: inner, slot };
}

function setValue(place: Place, value: Json): void {
  if (place.type === "slot") {
    place.scope.shell?.values.set(place.slot, value);
    return;
  }
  const set: JsonObject = place.scope.overrides.get(place.node.id) ?? Object.create(null);
  set[place.field] = value;
  place.scope.overrides.set(place.node.id, set);
}

/**
 * The widgets on the outside of a shell in the document, in the order it shows them. One that sets several inner
 * widgets is listed once for each, under the same name; one that something is linked to is no widget of the author's.
 */
export function promotedOf(scope: Scope): PromotedWidget[] {
  const { shell } = scope;
  if (shell === null) return [];
  if (shell.group !== null) {
    return shell.group.renamed.map((renamed) => ({ ...renamed, node: `${scope.prefix}${renamed.node}`, title: null }));
  }
  const found: PromotedWidget[] = [];
  const seen = new Set<string>();
  const add = (place: Place, name: string, label: string | null): void => {
    const targets = place.type === "slot" ? widgetsBehind(place.scope, place.slot) : [place];
    for (const target of targets) {
      const inner = target.scope.nodes.get(target.node.id);
      const node = `${target.scope.prefix}${target.node.id}`;
      if (inner === undefined || inner.mode === MODE.muted || inner.mode === MODE.bypassed) continue;
      if (seen.has(`${node}\n${target.field}`)) continue;
      seen.add(`${node}\n${target.field}`);
      found.push({ node, field: target.field, name, title: label });
    }
  };
  const addSlot = (slot: number): void => {
    const input = shell.inputs[slot];
    const rim = shell.definition.inputs[slot];
    if (rim === undefined || (input?.link ?? null) !== null) return;
    add({ type: "slot", scope, slot }, rim.name, input?.label ?? rim.label);
  };
  for (const proxy of proxyWidgets(shell.node)) {
    const place = placeOfProxy(scope, proxy);
    if (place === undefined) continue;
    if (place.type === "slot" && place.scope === scope) addSlot(place.slot);
    else add(place, proxy.widget.replace(LEGACY_PREFIX, "$2"), null);
  }
  for (const slot of slotsInOrder(scope)) if (isPromoted(scope, slot)) addSlot(slot);
  return found;
}
