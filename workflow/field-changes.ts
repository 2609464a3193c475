/** How two things differ, field by field and word by word. */
import type { FieldChange } from "#contract/release";

/** The fields whose values differ, in the order of the newer one and then those it has no more. */
export function fieldChanges(from: ReadonlyMap<string, unknown>, to: ReadonlyMap<string, unknown>): FieldChange[] {
  const names = new Set([...to.keys(), ...from.keys()]);
  return [...names].flatMap((field) => {
    const [before, after] = [from.get(field), to.get(field)];
    if (isSame(before, after)) return [];
    return [
      { field, ...(before === undefined ? {} : { from: before }), ...(after === undefined ? {} : { to: after }) },
    ];
  });
}

/** Equal as JSON, whatever the order of fields. */
function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const [fields, others] = [new Map(Object.entries(one)), new Map(Object.entries(other))];
  return (
    fields.size === others.size &&
    [...fields].every(([name, value]) => others.has(name) && isSame(value, others.get(name)))
  );
}

/** Words of one list that the other has not. */
export function wordsDiff(from: readonly string[], to: readonly string[]): { added: string[]; removed: string[] } {
  const [before, after] = [new Set(from), new Set(to)];
  return {
    added: [...after].filter((word) => !before.has(word)),
    removed: [...before].filter((word) => !after.has(word)),
  };
}
