/** Gives names to things that want the same one: by the title of their node, by number, or as they were named before. */
import { slug } from "./input-words.ts";

export interface Nameable {
  readonly base: string;
  readonly nodeTitle: string;
  /** Among several of one base, named after its title alone. */
  readonly byTitle?: boolean;
  /** Hidden things are named among themselves, so that they never change the name of one that shows. */
  readonly hidden: boolean;
}

/**
 * One name for each, unique, in the order given: the first of a base gets it bare. Of the others, one whose node's
 * title is its own among them is called after it (`refiner_steps`), the rest are counted (`seed_2`).
 * @param kept the name a thing had before; it keeps it unless one before it took it
 */
export function assignNames<Item extends Nameable>(
  items: readonly Item[],
  kept: (item: Item) => string | undefined = () => undefined,
): Map<Item, string> {
  const names = new Map<Item, string>();
  const taken = new Set<string>();
  for (const item of items) {
    const name = kept(item);
    if (name === undefined || taken.has(name)) continue;
    names.set(item, name);
    taken.add(name);
  }
  const key = (item: Item): string => `${item.base} ${item.hidden}`;
  const groups = Map.groupBy(items, key);
  const titles = new Map([...groups].map(([base, group]) => [base, countTitles(group)]));
  const numbers = new Map<string, number>();
  for (const item of items) {
    if (names.has(item)) continue;
    const group = groups.get(key(item)) ?? [];
    const title = slug(item.nodeTitle);
    const isOwn = (group.length > 1 || item.hidden) && title !== undefined && titles.get(key(item))?.get(title) === 1;
    const wanted = [
      ...(isOwn && item.byTitle === true ? [title] : []),
      item.base,
      ...(isOwn ? [`${title}_${item.base}`.slice(0, 60).replace(/_+$/, "")] : []),
    ];
    let name = wanted.find((candidate) => !taken.has(candidate));
    for (let number = numbers.get(item.base) ?? 2; name === undefined; number += 1) {
      const numbered = `${item.base}_${number}`;
      numbers.set(item.base, number + 1);
      if (!taken.has(numbered)) name = numbered;
    }
    names.set(item, name);
    taken.add(name);
  }
  return names;
}

function countTitles(group: readonly Nameable[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { nodeTitle } of group) {
    const title = slug(nodeTitle);
    if (title !== undefined) counts.set(title, (counts.get(title) ?? 0) + 1);
  }
  return counts;
}
