/** What one object found, newest first. Everything that fits and is not below `next` is among `jobs`; null: nothing more. */
export interface LookedThrough<Item extends { readonly id: string }> {
  readonly jobs: readonly Item[];
  readonly next: Item["id"] | null;
}

/**
 * One page of several objects' lists. An object looks only so far at once; what the others found below that place may be
 * older than something it has yet to find, so the page ends there.
 * @returns at most `limit` items, newest first, and where the next page goes on: no item is left out or comes twice
 */
export function mergeNewest<Item extends { readonly id: string }>(
  lists: readonly LookedThrough<Item>[],
  limit: number,
): LookedThrough<Item> {
  let end: Item["id"] | null = null;
  for (const { next } of lists) if (next !== null && (end === null || next > end)) end = next;
  const jobs = lists
    .flatMap((list) => list.jobs)
    .filter((job) => end === null || job.id >= end)
    .toSorted((a, b) => (a.id < b.id ? 1 : -1));
  const page = jobs.slice(0, limit);
  const last = page.at(-1);
  return { jobs: page, next: jobs.length > page.length && last !== undefined ? last.id : end };
}
