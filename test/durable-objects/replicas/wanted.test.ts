import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PodId } from "#contract/ids";
import { poolsOf } from "#durable-objects/replicas/pods-and-lanes";
import { type PodStanding, splitDemand } from "#durable-objects/replicas/wanted";

const [a, b, c] = ["pod_a", "pod_b", "pod_c"] as unknown as readonly [PodId, PodId, PodId];
const pod = (podId: PodId, more: Partial<PodStanding> = {}): PodStanding => ({
  podId,
  have: 0,
  busy: 0,
  room: null,
  held: 0,
  floor: 0,
  ...more,
});
const shares = (pods: readonly PodStanding[], wanted: number, needed = wanted, ceiling = 99) =>
  splitDemand(pods, { wanted, needed, ceiling }).map((share) => [share.wanted, share.needed]);

describe("what is asked of each pod", () => {
  it("is all of it where there is one", () => {
    expect(shares([pod(a)], 3, 2)).toEqual([[3, 2]]);
    expect(shares([pod(a, { have: 5, room: 0 })], 3, 1)).toEqual([[3, 1]]);
    expect(shares([pod(a, { have: 1, room: 0 })], 3)).toEqual([[3, 3]]);
  });

  it("is what the preferred pod has room for, and the rest of the next", () => {
    const pods = [pod(a, { have: 1, room: 1 }), pod(b, { room: 1 }), pod(c)];
    expect(shares(pods, 2)).toEqual([
      [2, 2],
      [0, 0],
      [0, 0],
    ]);
    expect(shares(pods, 5)).toEqual([
      [2, 2],
      [1, 1],
      [2, 2],
    ]);
  });

  it("leaves what runs where it is, though the preferred pod has room again", () => {
    expect(shares([pod(a), pod(b, { have: 2, busy: 1 })], 2)).toEqual([
      [0, 0],
      [2, 2],
    ]);
    expect(shares([pod(a), pod(b, { have: 2 })], 3)).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  it("is more than there is room for of the preferred one alone", () => {
    expect(shares([pod(a, { room: 0 }), pod(b, { room: 1 })], 4)).toEqual([
      [3, 3],
      [1, 1],
    ]);
  });

  it("is claimed where others can make room, and not of a pod that has no machine", () => {
    expect(shares([pod(a, { room: 0 }), pod(b, { room: 0, held: 3 })], 1)).toEqual([
      [0, 0],
      [1, 1],
    ]);
    expect(shares([pod(a, { room: 0, held: 1 }), pod(b, { room: 0, held: 3 })], 3)).toEqual([
      [1, 1],
      [2, 2],
    ]);
    // What nobody can make room for waits for the preferred one's next machine.
    expect(shares([pod(a, { room: 0 }), pod(b, { have: 1, room: 0, held: 1 })], 4)).toEqual([
      [2, 2],
      [2, 2],
    ]);
  });

  it("is claimed of nobody while there is room", () => {
    expect(shares([pod(a, { room: 0, held: 2 }), pod(b, { room: 2 })], 2)).toEqual([
      [0, 0],
      [2, 2],
    ]);
    expect(shares([pod(a, { room: 0, held: 2 }), pod(b)], 2)).toEqual([
      [0, 0],
      [2, 2],
    ]);
  });

  it("is needed where it works first", () => {
    expect(shares([pod(a, { have: 1 }), pod(b, { have: 1, busy: 1 })], 2, 1)).toEqual([
      [1, 0],
      [1, 1],
    ]);
  });

  it("is at least the pod's own floor, which is no need", () => {
    expect(shares([pod(a), pod(b, { have: 1, floor: 1 })], 0)).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });

  it("is no more than there may be, whatever floors the pods have", () => {
    expect(shares([pod(a, { floor: 2 })], 1, 1, 1)).toEqual([[1, 1]]);
    expect(shares([pod(a, { floor: 2 }), pod(b, { floor: 2 })], 1, 0, 3)).toEqual([
      [2, 0],
      [1, 0],
    ]);
    expect(shares([pod(a, { floor: 1 })], 0, 0, 0)).toEqual([[0, 0]]);
  });

  it("is all that is wanted, and never more needed than wanted", () => {
    const standing = fc.record({
      podId: fc.constant(a),
      have: fc.nat(5),
      busy: fc.nat(5),
      room: fc.option(fc.nat(5)),
      held: fc.nat(5),
      floor: fc.nat(3),
    });
    fc.assert(
      fc.property(fc.array(standing, { minLength: 1, maxLength: 4 }), fc.nat(12), fc.nat(12), (pods, one, other) => {
        const total = { wanted: Math.max(one, other), needed: Math.min(one, other), ceiling: 12 };
        const split = splitDemand(pods, total);
        const asked = split.reduce((sum, { wanted }) => sum + wanted, 0);
        expect(asked).toBeGreaterThanOrEqual(total.wanted);
        expect(asked).toBeLessThanOrEqual(total.ceiling);
        const floors = pods.every(({ floor }, index) => floor <= (split[index]?.wanted ?? 0));
        expect(floors || asked === total.ceiling).toBe(true);
        if (pods.every(({ floor }) => floor === 0)) expect(asked).toBe(total.wanted);
        for (const { needed, wanted } of split) expect(needed).toBeLessThanOrEqual(wanted);
        const needed = split.reduce((sum, share) => sum + share.needed, 0);
        expect(needed).toBeGreaterThanOrEqual(total.needed);
        // Beyond what it could have in time, a pod is asked for nothing, but for the first one and floors.
        for (const [index, { have, room, held, floor }] of pods.entries()) {
          const most = have + (room ?? total.wanted) + held;
          if (index > 0) expect(split[index]?.wanted).toBeLessThanOrEqual(Math.max(most, floor));
        }
      }),
    );
  });
});

describe("pods that share lanes", () => {
  const names = (pods: Parameters<typeof poolsOf>[0]) =>
    poolsOf(pods).map(({ name, pods: own }) => [name, own.map(({ podId }) => podId)]);

  it("are one group as soon as one serves both", () => {
    expect(names([{ podId: a, lanes: ["interactive", "batch"] }])).toEqual([["all", [a]]]);
    expect(
      names([
        { podId: a, lanes: ["interactive"] },
        { podId: b, lanes: ["batch", "interactive"] },
      ]),
    ).toEqual([["all", [a, b]]]);
  });

  it("are two where each lane has its own", () => {
    expect(
      names([
        { podId: a, lanes: ["batch"] },
        { podId: b, lanes: ["interactive"] },
        { podId: c, lanes: ["batch"] },
      ]),
    ).toEqual([
      ["interactive", [b]],
      ["batch", [a, c]],
    ]);
  });
});
