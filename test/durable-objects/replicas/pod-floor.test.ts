import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointId } from "#contract/ids";
import { type FloorCandidate, podFloors } from "#durable-objects/replicas/pod-floor";

const one = (endpoint: string, more: Partial<FloorCandidate>): FloorCandidate => ({
  endpointId: endpoint as EndpointId,
  needed: 0,
  have: 0,
  usedAt: 0,
  ...more,
});
const shares = (floor: number, candidates: readonly FloorCandidate[]) =>
  Object.fromEntries(podFloors(floor, candidates));

describe("a pod's warm floor", () => {
  it("is kept by who was used last, as far as that one has replicas, then by the one before", () => {
    const candidates = [one("old", { have: 3, usedAt: 1 }), one("new", { have: 2, usedAt: 9 })];
    expect(shares(1, candidates)).toEqual({ new: 1 });
    expect(shares(4, candidates)).toEqual({ new: 2, old: 2 });
    expect(shares(0, candidates)).toEqual({});
  });

  it("counts what others need now before what anybody keeps warm", () => {
    const busy = one("busy", { needed: 2, have: 2, usedAt: 1 });
    const idle = one("idle", { have: 2, usedAt: 9 });
    expect(shares(2, [busy, idle])).toEqual({ busy: 2 });
    expect(shares(3, [busy, idle])).toEqual({ busy: 2, idle: 1 });
  });

  it("starts what is missing for who was used last, and nothing for who never was", () => {
    expect(shares(2, [one("gone", { usedAt: 5 }), one("idle", { have: 1, usedAt: 1 })])).toEqual({ gone: 1, idle: 1 });
    expect(shares(2, [one("never", { have: 1 })])).toEqual({});
  });

  it("is given out as a whole, or to nobody when nobody has ever needed a replica", () => {
    const candidate = fc.record({ needed: fc.nat(4), have: fc.nat(6), usedAt: fc.nat(9) });
    fc.assert(
      fc.property(fc.nat(12), fc.array(candidate, { maxLength: 6 }), (floor, drawn) => {
        const candidates = drawn.map((each, index) => one(`ep_${index}`, each));
        const sum = [...podFloors(floor, candidates).values()].reduce((total, share) => total + share, 0);
        const anybody = candidates.some(({ usedAt, needed }) => usedAt > 0 || needed > 0);
        expect(sum).toBe(anybody ? floor : 0);
      }),
    );
  });
});
