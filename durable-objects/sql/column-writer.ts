import type { SqlValue } from "#durable-objects/sql/database";

/**
 * Statements that write some of a table's columns. Each value that is handed to SQLite costs its share, and so does each
 * index that its column is in. There are as many texts as there are kinds of writes; each is made once, because a
 * statement is prepared once for each text.
 */
export class ColumnWriter {
  readonly #columns: readonly string[];
  readonly #textOf: (columns: readonly string[]) => string;
  readonly #texts = new Map<number, string>();

  /** @param columns at most 52 */
  constructor(columns: readonly string[], textOf: (columns: readonly string[]) => string) {
    this.#columns = columns;
    this.#textOf = textOf;
  }

  /**
   * What to execute.
   * @param values one for each column
   * @param known what the row has, so that values that are the same are left out; null when that is not at hand
   * @returns null when there is nothing to write
   */
  write(values: readonly SqlValue[], known: readonly SqlValue[] | null): { text: string; given: SqlValue[] } | null {
    const given: SqlValue[] = [];
    let places = 0;
    for (let place = 0; place < values.length; place += 1) {
      const value = values[place] ?? null;
      if (known !== null && value === known[place]) continue;
      given.push(value);
      places += 2 ** place;
    }
    return places === 0 ? null : { text: this.#text(places), given };
  }

  /** @param places the sum of 2 ** place over the columns */
  #text(places: number): string {
    let text = this.#texts.get(places);
    if (text === undefined) {
      text = this.#textOf(this.#columns.filter((_, place) => Math.floor(places / 2 ** place) % 2 === 1));
      this.#texts.set(places, text);
    }
    return text;
  }
}
