import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EndpointId, JobId, makeId, ownerKey } from "#contract/ids";

const bytes = (seed: number) => (length: number) =>
  Uint8Array.from({ length }, (_, index) => (seed * 31 + index * 97) & 255);

describe("an id", () => {
  it("has the form its schema asks for, whatever the time and the chance", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 44 }),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        (at, chance) => {
          const id = makeId(JobId, "job", at, (length) => chance.slice(0, length));
          expect(JobId.safeParse(id).success).toBe(true);
        },
      ),
    );
  });

  it("carries its owner's key", () => {
    const endpoint = makeId(EndpointId, "ep", 1_763_700_000_000, bytes(1));
    const job = makeId(JobId, "job", 1_763_700_000_001, bytes(2), ownerKey(endpoint));
    expect(ownerKey(job)).toBe(ownerKey(endpoint));
    expect(ownerKey(endpoint)).toHaveLength(8);
  });

  it("sorts by age", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 43 }), fc.integer({ min: 1, max: 1_000_000 }), (at, later) => {
        const first = makeId(JobId, "job", at, bytes(255));
        const second = makeId(JobId, "job", at + later, bytes(0));
        expect(first < second).toBe(true);
      }),
    );
  });

  it.each([
    "job_",
    "job_short",
    "ep_0dpx4n3m8k7q2wz6tgr1vyc5ha",
    "job_0dpx4n3m8k7q2wz6tgr1vyc5hI",
    "job_0DPX4N3M8K7Q2WZ6TGR1VYC5HA",
    "job_0dpx4n3m8k7q2wz6tgr1vyc5ha\n",
  ])("refuses %j as a job's", (text) => {
    expect(JobId.safeParse(text).success).toBe(false);
  });
});
