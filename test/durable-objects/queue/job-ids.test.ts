import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EndpointId, JobId, makeId, ownerKey } from "#contract/ids";
import { firstIdAt, JobIds, madeAt, numberOf } from "#durable-objects/endpoint/job-ids";
import { seededBytes } from "../seeded-bytes.ts";

const NOW = 1_800_000_000_000;

function idsFrom(seed: number, last: JobId | null = null): JobIds {
  const randomBytes = seededBytes(seed);
  const owner = ownerKey(makeId(EndpointId, "ep", NOW, seededBytes(1)));
  return new JobIds(owner, { now: () => NOW, randomBytes }, last);
}

const strictlyGrowing = (values: readonly (string | number)[]) =>
  values.every((value, at) => at === 0 || value > (values[at - 1] ?? value));

describe("ids of jobs", () => {
  it("grow with their numbers whatever the clock does, also after restarts", () => {
    const step = fc.record({ by: fc.integer({ min: -50, max: 50 }), restart: fc.boolean(), seed: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        let now = NOW;
        let source = idsFrom(0);
        const made: JobId[] = [];
        for (const { by, restart, seed } of steps) {
          now += by;
          if (restart) source = idsFrom(seed, made.at(-1) ?? null);
          made.push(source.next(now));
        }
        expect(strictlyGrowing(made)).toBe(true);
        expect(strictlyGrowing(made.map(numberOf))).toBe(true);
        for (const id of made) expect(JobId.safeParse(id).success).toBe(true);
      }),
    );
  });

  it("of one millisecond go on in the next one when there are too many", () => {
    const source = idsFrom(3);
    const made = Array.from({ length: 20_000 }, () => source.next(NOW));
    expect(strictlyGrowing(made)).toBe(true);
    expect(strictlyGrowing(made.map(numberOf))).toBe(true);
    expect([made[0], made[8_191], made[8_192], made[19_999]].map((id) => madeAt(id as JobId) - NOW)).toEqual([
      0, 0, 1, 2,
    ]);
  });

  it("have numbers that a double holds exactly from 1990 until 2059", () => {
    for (const at of [Date.UTC(1991, 0, 1), Date.UTC(2024, 11, 31), NOW, Date.UTC(2059, 0, 1)]) {
      const source = idsFrom(4);
      const [first, second] = [numberOf(source.next(at)), numberOf(source.next(at))];
      expect([Number.isSafeInteger(first), second - first]).toEqual([true, 1]);
    }
  });

  it("stand behind the first one of their moment, by number as by name", () => {
    const id = idsFrom(5).next(NOW);
    expect([firstIdAt(NOW) < id, firstIdAt(NOW + 1) > id]).toEqual([true, true]);
    expect(numberOf(firstIdAt(NOW))).toBeLessThanOrEqual(numberOf(id));
    expect(numberOf(firstIdAt(NOW + 1))).toBeGreaterThan(numberOf(id));
  });
});
