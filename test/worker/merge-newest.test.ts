import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LookedThrough, mergeNewest } from "#worker/jobs/merge-newest";

interface Item {
  readonly id: string;
  readonly fits: boolean;
}

/** An object that looks through so many rows at once and gives so many jobs. */
class FakeObject {
  readonly #rows: Item[];
  readonly #looked: number;
  constructor(rows: readonly Item[], looked: number) {
    this.#rows = rows.toSorted((a, b) => (a.id < b.id ? 1 : -1));
    this.#looked = looked;
  }

  add(item: Item): void {
    this.#rows.unshift(item);
  }

  list(before: string | null, limit: number): LookedThrough<Item> {
    const rows = this.#rows.filter(({ id }) => before === null || id < before);
    const jobs: Item[] = [];
    for (const [index, row] of rows.entries()) {
      if (row.fits) jobs.push(row);
      const isLast = index === rows.length - 1;
      if (!isLast && (jobs.length === limit || index + 1 === this.#looked)) return { jobs, next: row.id };
    }
    return { jobs, next: null };
  }
}

const rowsOf = fc.uniqueArray(fc.record({ id: fc.integer({ min: 1_000, max: 5_000 }), fits: fc.boolean() }), {
  selector: ({ id }) => id,
  maxLength: 120,
});
const cluster = fc.record({
  rows: rowsOf,
  owners: fc.infiniteStream(fc.nat(4)),
  looks: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 5, maxLength: 5 }),
  limit: fc.integer({ min: 1, max: 20 }),
  arrivals: fc.infiniteStream(fc.nat(4)),
});

describe("a list over several objects", () => {
  it("holds every job that fits exactly once, newest first, while new ones arrive", () => {
    fc.assert(
      fc.property(cluster, ({ rows, owners, looks, limit, arrivals }) => {
        const shares: Item[][] = looks.map(() => []);
        const items = rows.map(({ id, fits }) => ({ id: `job_${id}`, fits }));
        for (const item of items) shares[owners.next().value]?.push(item);
        const objects = looks.map((looked, index) => new FakeObject(shares[index] ?? [], looked));

        const seen: string[] = [];
        let before: string | null = null;
        let newest = 6_000;
        let pages = 0;
        do {
          const lists = objects.map((object) => object.list(before, limit));
          const page: LookedThrough<Item> = mergeNewest(lists, limit);
          expect(page.jobs.length).toBeLessThanOrEqual(limit);
          if (before !== null && page.next !== null) expect(page.next < before).toBe(true);
          seen.push(...page.jobs.map(({ id }) => id));
          before = page.next;
          // Somebody submits between two pages.
          newest += 1;
          objects[arrivals.next().value]?.add({ id: `job_${newest}`, fits: true });
          pages += 1;
        } while (before !== null && pages < 1_000);

        const wanted = items
          .filter(({ fits }) => fits)
          .map(({ id }) => id)
          .toSorted()
          .toReversed();
        expect(seen).toEqual(wanted);
      }),
      { numRuns: 300 },
    );
  });

  it("goes on though a page holds nothing", () => {
    const lists = [
      { jobs: [], next: "job_5" },
      { jobs: [{ id: "job_3" }], next: null },
    ];
    expect(mergeNewest(lists, 10)).toEqual({ jobs: [], next: "job_5" });
  });

  it("ends when no object has more", () => {
    expect(
      mergeNewest(
        [
          { jobs: [{ id: "job_3" }], next: null },
          { jobs: [], next: null },
        ],
        1,
      ),
    ).toEqual({
      jobs: [{ id: "job_3" }],
      next: null,
    });
    expect(mergeNewest([], 5)).toEqual({ jobs: [], next: null });
  });
});
