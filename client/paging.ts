/** A page of any list. */
export interface Page<Item> {
  readonly data: readonly Item[];
  readonly next_cursor: string | null;
}

/**
 * Everything a list holds, page by page; a page is asked for when the one before has been read.
 * @param first where to begin; at the start when undefined
 */
export async function* allPages<Item>(
  ask: (cursor: string | undefined) => Promise<Page<Item>>,
  first?: string | undefined,
): AsyncGenerator<Item, void, void> {
  let cursor = first;
  for (;;) {
    const page = await ask(cursor);
    yield* page.data;
    if (page.next_cursor === null) return;
    cursor = page.next_cursor;
  }
}
