/**
 * The value of a promoted widget that nobody touched on the outside: the editor shows there, and sends everywhere the
 * slot leads to, what stands in the first widget inside that it was made of.
 */
import { endsOf, inputLinks, type Scope, type Source, slotOfInput } from "./scope.ts";

const NOTHING: Source = { type: "none" };
const inherited = new WeakMap<Scope, Map<number, Source>>();

/**
 * What an open shell's slot has without a link and without a value of its own. Shells inside it are asked in turn,
 * which are never deep; every answer is kept, so that a slot with thousands of links is followed once.
 */
export function inheritedValue(scope: Scope, slot: number): Source {
  const { shell } = scope;
  if (shell === null) return NOTHING;
  let known = inherited.get(scope);
  if (known === undefined) {
    known = new Map();
    inherited.set(scope, known);
  }
  const before = known.get(slot);
  if (before !== undefined) return before;
  const found = firstWidget(scope, inputLinks(shell.definition)[slot] ?? []);
  known.set(slot, found);
  return found;
}

function firstWidget(scope: Scope, links: readonly string[]): Source {
  const ends = scope.shell === null ? undefined : endsOf(scope.shell.definition.graph);
  for (const link of links) {
    const end = ends?.get(link);
    if (end === undefined) continue;
    const inner = scope.inner.get(end.node.id);
    if (inner?.shell) {
      const slot = slotOfInput(inner, end.input);
      if (slot === undefined) continue;
      const value = inner.shell.values.get(slot);
      if (value !== undefined) return { type: "value", value };
      const deeper = inheritedValue(inner, slot);
      if (deeper.type !== "none") return deeper;
    } else if (end.input.widget !== null) {
      return { type: "widget", node: `${scope.prefix}${end.node.id}`, field: end.input.widget };
    }
  }
  return NOTHING;
}
