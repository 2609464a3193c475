import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HEAD_KEYS, LaneHead } from "#durable-objects/queue/lane-head";
import { compareKeys, type Key } from "#durable-objects/queue/queue-index";

const idOf = (number: number): string => `job_${String(number).padStart(8, "0")}`;

/** A stored lane, its head, and how often the head read it. */
class ReadLane {
  keys: Key[] = [];
  reads = 0;
  readonly head = new LaneHead((limit) => {
    this.reads += 1;
    return this.keys.slice(0, limit);
  });

  add(key: Key): void {
    this.keys = [...this.keys, key].sort(compareKeys);
    this.head.add(key);
  }

  remove(key: Key | undefined): void {
    if (key === undefined) return;
    this.keys = this.keys.filter((other) => other !== key);
    this.head.remove(key);
  }
}

describe("the head of a lane", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constantFrom("append", "insert", "takeFirst", "takeAny"), count: fc.nat({ max: 150 }) }),
    fc.record({ type: fc.constantFrom("look", "lookFar"), count: fc.constant(1) }),
  );

  it("has the first keys of the lane, whatever comes, goes and is asked meanwhile (Q2)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20, size: "max" }), (steps) => {
        const lane = new ReadLane();
        let made = 0;
        for (const { type, count } of steps) {
          for (let round = 0; round < count; round += 1) {
            made += 1;
            // Ranks come close together, so that ids decide as well.
            if (type === "append") lane.add({ rank: made >> 2, id: idOf(made) });
            else if (type === "insert") lane.add({ rank: (made >> 2) - ((round * 31) % 97), id: idOf(made) });
            else if (type === "takeFirst") lane.remove(lane.keys[0]);
            else if (type === "takeAny") lane.remove(lane.keys[(round * 7_919) % Math.max(1, lane.keys.length)]);
            else {
              for (const place of type === "look" ? [0] : [0, 15, HEAD_KEYS - 1]) {
                expect(lane.head.at(place)).toEqual(lane.keys[place] ?? null);
              }
            }
          }
        }
        expect(lane.head.at(0)).toEqual(lane.keys[0] ?? null);
      }),
      { numRuns: 200 },
    );
  });

  it("reads a lane that is worked off once for so many jobs, and a short one once", () => {
    const lane = new ReadLane();
    for (let number = 0; number < 10 * HEAD_KEYS; number += 1) lane.add({ rank: number, id: idOf(number) });
    while (lane.keys.length > 0) {
      expect(lane.head.at(0)).toEqual(lane.keys[0]);
      lane.remove(lane.keys[0]);
    }
    expect(lane.head.at(0)).toBeNull();
    expect(lane.reads).toBe(11);
    for (let number = 0; number < HEAD_KEYS; number += 1) {
      lane.add({ rank: number, id: idOf(number) });
      expect(lane.head.at(0)).toEqual(lane.keys[0]);
      lane.remove(lane.keys[0]);
    }
    expect(lane.reads).toBe(11);
  });
});
