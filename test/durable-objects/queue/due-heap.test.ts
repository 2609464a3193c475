import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DueHeap } from "#durable-objects/queue/due-heap";

describe("a heap of things that are due", () => {
  it("gives them back in the order of their times, and none too early", () => {
    const step = fc.record({ at: fc.nat({ max: 1_000 }), now: fc.nat({ max: 1_000 }), limit: fc.nat({ max: 5 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const heap = new DueHeap<number>();
        let naive: number[] = [];
        for (const { at, now, limit } of steps) {
          heap.push(at, at);
          naive = [...naive, at].sort((a, b) => a - b);
          const due = naive.filter((each) => each <= now).slice(0, limit);
          expect(heap.take(now, limit)).toEqual(due);
          naive = naive.slice(due.length);
          expect(heap.size).toBe(naive.length);
          expect(heap.nextDue()).toBe(naive[0] ?? null);
        }
      }),
    );
  });
});
