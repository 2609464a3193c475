import { describe, expect, it } from "vitest";
import { ScaledWorld } from "./scaled-world.ts";

const MINUTE = 60_000;
const BOOT_MS = 12_000;

/** A job each quarter of an hour, so many times; `between` may do something in the middle of each pause. */
function quarters(count: number, between: (world: ScaledWorld) => void = () => undefined): ScaledWorld {
  const world = new ScaledWorld({
    settings: { policy: "predictive", max_replicas: 4 },
    slots: 4,
    bootMs: BOOT_MS,
    serviceMs: { interactive: 4_000, batch: 4_000 },
    seed: 1,
  });
  for (let time = 0; time < count; time += 1) {
    world.in(0, () => world.submit("interactive"));
    world.run(7 * MINUTE);
    between(world);
    world.run(8 * MINUTE);
  }
  return world;
}

const times = (count: number, value: number): number[] => Array.from({ length: count }, () => value);

describe("an endpoint whose jobs come by the clock", () => {
  it("has its replicas ready when they come, none in between, and is woken for that alone", () => {
    const world = quarters(12, ({ endpoint, replicas }) => {
      // An agent's long poll ends by itself within a minute; whoever was told to stop is gone by then.
      expect(replicas).toBe(0);
      expect(endpoint.core.demand()).toMatchObject({ wanted: 0 });
    });
    expect(world.waits.interactive).toHaveLength(12);
    // The first of all came before anybody knew how long a job takes, and begins nothing.
    expect(world.waits.interactive).toEqual([...times(6, BOOT_MS), ...times(6, 0)]);
    // It is expected once more, and then not again.
    world.run(20 * MINUTE);
    expect(world.replicas).toBe(0);
    const { rings, gpuMs } = world;
    world.run(600 * MINUTE);
    expect(world.rings).toBe(rings);
    expect(world.gpuMs).toBe(gpuMs);
  });

  it("has them ready after the object was thrown out of memory in each pause, too", () => {
    const world = quarters(12, ({ endpoint }) => endpoint.restart());
    expect(world.waits.interactive.slice(6)).toEqual(times(6, 0));
  });
});
