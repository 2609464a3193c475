import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlaceList } from "#durable-objects/queue/place-list";
import {
  compareKeys,
  type Key,
  type LaneReader,
  QueueIndex,
  STRETCH_KEYS,
  STRETCH_KEYS_MAX,
} from "#durable-objects/queue/queue-index";

/** A stored lane as a sorted array, counting the keys that are read of it. */
class ArrayLane implements LaneReader {
  readonly keys: Key[] = [];
  read = 0;

  insert(key: Key): void {
    this.keys.splice(this.#at(key), 0, key);
  }

  delete(key: Key): void {
    this.keys.splice(this.#at(key), 1);
  }

  nth(from: Key | null, offset: number): Key | null {
    this.read += offset + 1;
    return this.keys[(from === null ? 0 : this.#at(from)) + offset] ?? null;
  }

  count(from: Key | null, to: Key | null): number {
    return this.#between(from, to).length;
  }

  leastId(from: Key | null, to: Key | null): string | null {
    return (
      this.#between(from, to)
        .map(({ id }) => id)
        .sort()[0] ?? null
    );
  }

  #between(from: Key | null, to: Key | null): Key[] {
    const keys = this.keys.slice(from === null ? 0 : this.#at(from), to === null ? undefined : this.#at(to));
    this.read += keys.length;
    return keys;
  }

  #at(key: Key): number {
    let low = 0;
    let high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.keys[middle];
      if (other !== undefined && compareKeys(other, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const idOf = (number: number): string => `job_${String(number).padStart(8, "0")}`;

describe("the index of a lane", () => {
  // Ranks come close together, so that ids decide as well; sizes and jumps make it cut, append and join stretches.
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ type: fc.constant("append" as const), count: fc.nat({ max: 300 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({ type: fc.constant("insert" as const), count: fc.nat({ max: 300 }), back: fc.nat() }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("takeFirst" as const), count: fc.nat({ max: 400 }) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("takeAny" as const), count: fc.nat({ max: 400 }) }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("rebuild" as const), count: fc.constant(0) }) },
  );

  it("gives the place, the total and the lowest id that counting would give (Q1)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25, size: "max" }), (steps) => {
        const lane = new ArrayLane();
        let index = new QueueIndex(lane);
        let made = 0;
        const add = (rank: number): void => {
          made += 1;
          const key = { rank, id: idOf(made) };
          lane.insert(key);
          index.add(key);
        };
        const remove = (key: Key | undefined): void => {
          if (key === undefined) return;
          lane.delete(key);
          index.remove(key);
        };
        for (const each of steps) {
          if (each.type === "rebuild") index = new QueueIndex(lane);
          for (let round = 0; round < each.count; round += 1) {
            if (each.type === "append") add(made >> 2);
            else if (each.type === "insert") add((made >> 2) - ((each.back + round) % 97));
            else remove(lane.keys[each.type === "takeFirst" ? 0 : (round * 7_919) % Math.max(1, lane.keys.length)]);
          }
          expect(index.total).toBe(lane.keys.length);
          expect(index.leastId()).toBe(lane.leastId(null, null));
          for (const at of [0, 1, lane.keys.length >> 1, lane.keys.length - 2, lane.keys.length - 1]) {
            const key = lane.keys[at];
            if (key === undefined) continue;
            expect(index.ahead(key, true)).toBe(at);
            const absent = { rank: key.rank, id: `${key.id}x` };
            expect(index.ahead(absent, false)).toBe(at + 1);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it("reads no more for a place in a long lane than in a short one, and nothing for the last", () => {
    const lane = new ArrayLane();
    const index = new QueueIndex(lane);
    for (let number = 0; number < 50_000; number += 1) {
      const key = { rank: number, id: idOf(number) };
      lane.insert(key);
      index.add(key);
    }
    expect(lane.read).toBeLessThanOrEqual(STRETCH_KEYS_MAX);
    expect(index.stretches).toBeLessThanOrEqual(50_000 / STRETCH_KEYS + 1);
    const readFor = (work: () => unknown): number => {
      const before = lane.read;
      work();
      return lane.read - before;
    };
    expect(readFor(() => index.ahead({ rank: 49_999, id: idOf(49_999) }, true))).toBe(0);
    for (const at of [0, 777, 25_000, 49_998]) {
      expect(readFor(() => index.ahead({ rank: at, id: idOf(at) }, true))).toBeLessThanOrEqual(STRETCH_KEYS_MAX);
    }
    index.leastId();
    const first = { rank: 0, id: idOf(0) };
    lane.delete(first);
    index.remove(first);
    expect(readFor(() => index.leastId())).toBeLessThanOrEqual(STRETCH_KEYS_MAX);
  });

  it("says so when it is told of a key that was never there", () => {
    expect(() => new QueueIndex(new ArrayLane()).remove({ rank: 1, id: "job_1" })).toThrow(RangeError);
  });
});

describe("a list of places", () => {
  it("is in order, whatever comes and goes", () => {
    const change = fc.record({ add: fc.boolean(), rank: fc.nat({ max: 20 }), id: fc.nat({ max: 20 }) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 100 }), (changes) => {
        const list = new PlaceList();
        let naive: Key[] = [];
        for (const { add, rank, id } of changes) {
          const key = { rank, id: idOf(id) };
          const isKnown = naive.some((other) => compareKeys(other, key) === 0);
          if (add && !isKnown) {
            list.add(key);
            naive.push(key);
          } else if (!add) {
            list.remove(key);
            naive = naive.filter((other) => compareKeys(other, key) !== 0);
          }
          expect(list.size).toBe(naive.length);
          expect(list.ahead(key)).toBe(naive.filter((other) => compareKeys(other, key) < 0).length);
          expect(list.leastId()).toBe(naive.map((other) => other.id).sort()[0] ?? null);
        }
      }),
    );
  });
});
