/** Endpoints on several pods beside others: an order of preference costs nobody a turn, and what stands in goes home. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointSettings } from "#contract/endpoint";
import { type EndpointId, ownerKey } from "#contract/ids";
import type { Lane } from "#contract/job";
import { FAIR_TURN_MS } from "#durable-objects/replicas/reclaim";
import { Cluster, NO_FAULTS } from "./cluster.ts";

type Pod = Cluster["first"];
type Box = Cluster["endpoints"][number];

/** Steps until the condition holds. @returns ms that it took; null: it did not hold within `ms` */
function until(cluster: Cluster, ms: number, holds: () => boolean): number | null {
  const from = cluster.now;
  while (!holds() && cluster.now - from < ms) cluster.step();
  return holds() ? cluster.now - from : null;
}

const pass = (cluster: Cluster, ms: number) => until(cluster, ms, () => false);

const heldOn = (cluster: Cluster, pod: Pod, { id }: { readonly id: EndpointId }) =>
  cluster.slotsTaken([pod]).filter(({ replica }) => ownerKey(replica) === ownerKey(id)).length;

const wantedOf = (cluster: Cluster, { core }: Box) => cluster.pods.map(({ id }) => core.demand(id)?.wanted ?? 0);

const over = (cluster: Cluster) => cluster.jobs.every((job) => !["queued", "running"].includes(cluster.stateOf(job)));

/** Two pods: the second is full with another endpoint's jobs. */
function besideOthers(slots = 1, lane: Lane = "interactive") {
  const cluster = new Cluster(21);
  const second = cluster.addPod();
  cluster.addNode(slots, second);
  const settings = { max_replicas: slots, queue_depth_max: 2_000, batch_target_wait_s: 0 };
  const other = cluster.addEndpoint(settings, [second]);
  for (let job = 0; job < 1_000 * slots; job += 1) cluster.submit(other, lane);
  expect(until(cluster, 60_000, () => heldOn(cluster, second, other) === slots)).not.toBeNull();
  pass(cluster, 10_000);
  return { cluster, first: cluster.first, second, other };
}

type Beside = ReturnType<typeof besideOthers>;

/** How long a job waits there for its turn and its end, ms. */
function turnAfter(
  { cluster, second }: Beside,
  endpoint: Box,
  each: () => void = () => undefined,
  lane: Lane = "interactive",
): number {
  cluster.submit(endpoint, lane);
  const job = cluster.jobs.at(-1);
  const took = until(cluster, 20 * 60_000, () => {
    each();
    return job !== undefined && cluster.stateOf(job) === "succeeded";
  });
  expect(took).not.toBeNull();
  expect(heldOn(cluster, second, endpoint)).toBe(1);
  return took ?? 0;
}

/** The same where the full pod is the endpoint's only one. */
function turnAlone(): number {
  const world = besideOthers();
  return turnAfter(world, world.cluster.addEndpoint({}, [world.second]));
}

describe("an endpoint whose preferred pod takes nothing", () => {
  it("has its turn on the next one as soon as if that were its only one, where the first has no machine", () => {
    const world = besideOthers();
    const endpoint = world.cluster.addEndpoint({}, [world.first, world.second]);
    const took = turnAfter(world, endpoint);
    expect(took - turnAlone()).toBeLessThanOrEqual(1_000);
    expect(took).toBeGreaterThanOrEqual(FAIR_TURN_MS);
  });

  it("has it as soon where the machine of the first is cordoned", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    cluster.changeNode(cluster.addNode(1, first), { cordoned: true });
    const took = turnAfter(world, cluster.addEndpoint({}, [first, second]));
    expect(took - turnAlone()).toBeLessThanOrEqual(1_000);
  });

  it("has it as soon where the only slot of the first is its own", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    cluster.addNode(1, first);
    const endpoint = cluster.addEndpoint({ max_replicas: 2, min_replicas: 1, queue_depth_max: 2_000 }, [first, second]);
    expect(until(cluster, 60_000, () => heldOn(cluster, first, endpoint) === 1)).not.toBeNull();
    for (let job = 0; job < 1_000; job += 1) cluster.submit(endpoint);
    // Who has one elsewhere has none here: it waits as long as anybody.
    const took = until(cluster, 20 * 60_000, () => heldOn(cluster, second, endpoint) === 1);
    expect(took).not.toBeNull();
    expect((took ?? 0) - turnAlone()).toBeLessThanOrEqual(1_000);
  });

  it("has it as soon where a warm floor is on the first, and gives way to no batch job", () => {
    const settings = { batch_target_wait_s: 0 };
    const alone = besideOthers(1, "batch");
    const world = besideOthers(1, "batch");
    const { cluster, first, second } = world;
    cluster.addNode(1, first);
    const keeper = cluster.addEndpoint({ min_replicas: 1 }, [first]);
    expect(until(cluster, 30_000, () => heldOn(cluster, first, keeper) === 1)).not.toBeNull();
    const took = turnAfter(world, cluster.addEndpoint(settings, [first, second]), undefined, "batch");
    expect(
      took - turnAfter(alone, alone.cluster.addEndpoint(settings, [alone.second]), undefined, "batch"),
    ).toBeLessThanOrEqual(1_000);
    expect(heldOn(cluster, first, keeper)).toBe(1);
  });

  it("has it after the tries on the first, where its replicas crash there", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    cluster.addNode(1, first).isBroken = true;
    const took = turnAfter(world, cluster.addEndpoint({ attempts_max: 10 }, [first, second]));
    expect(took - turnAlone()).toBeLessThanOrEqual(45_000);
  });

  it("has it also where its object was away when the last one crashed there", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    cluster.addNode(1, first).isBroken = true;
    const endpoint = cluster.addEndpoint({ attempts_max: 10 }, [first, second]);
    const took = turnAfter(world, endpoint, () => cluster.restart(endpoint));
    expect(took - turnAlone()).toBeLessThanOrEqual(45_000);
  });

  it("has it as soon though its object wakes anew each time that it is called", () => {
    const world = besideOthers();
    const endpoint = world.cluster.addEndpoint({}, [world.first, world.second]);
    const took = turnAfter(world, endpoint, () => world.cluster.restart(endpoint));
    expect(took - turnAlone()).toBeLessThanOrEqual(1_000);
  });

  it("has it half a minute later where the first does not answer at all", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    cluster.addNode(1, first);
    first.isSilent = true;
    const endpoint = cluster.addEndpoint({}, [first, second]);
    const took = turnAfter(world, endpoint);
    expect(took - turnAlone()).toBeLessThanOrEqual(45_000);
    // What comes when it speaks again goes there.
    until(cluster, 120_000, () => heldOn(cluster, second, endpoint) === 0);
    first.isSilent = false;
    pass(cluster, 60_000);
    cluster.submit(endpoint);
    expect(until(cluster, 30_000, () => heldOn(cluster, first, endpoint) === 1)).not.toBeNull();
    expect(heldOn(cluster, second, endpoint)).toBe(0);
  });

  it("has it though the first does not answer and its own object wakes anew all the time", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    first.isSilent = true;
    const endpoint = cluster.addEndpoint({}, [first, second]);
    const took = turnAfter(world, endpoint, () => {
      if (cluster.now % 7_000 === 0) cluster.restart(endpoint);
    });
    expect(took - turnAlone()).toBeLessThanOrEqual(90_000);
  });

  it("keeps its claim where the first falls silent after it had said that it has nothing", () => {
    const world = besideOthers();
    const { cluster, first, second } = world;
    const endpoint = cluster.addEndpoint({}, [first, second]);
    const at = cluster.now;
    const took = turnAfter(world, endpoint, () => {
      if (cluster.now - at === 5_000) first.isSilent = true;
    });
    expect(took - turnAlone()).toBeLessThanOrEqual(1_000);
  });

  it("is given what others do not need there", () => {
    const { cluster, first, second, other } = besideOthers();
    const idle = cluster.addEndpoint({ idle_timeout_s: 86_400, max_replicas: 1 }, [second]);
    cluster.addNode(1, second);
    cluster.submit(idle);
    expect(until(cluster, 30_000, () => heldOn(cluster, second, idle) === 1)).not.toBeNull();
    pass(cluster, 10_000);
    const endpoint = cluster.addEndpoint({}, [first, second]);
    cluster.submit(endpoint);
    expect(until(cluster, 15_000, () => heldOn(cluster, second, endpoint) === 1)).not.toBeNull();
    expect(heldOn(cluster, second, other)).toBe(1);
  });
});

describe("what stands in on another pod", () => {
  it("goes home as long as it has not been started, and claims nothing there any more", () => {
    const { cluster, first, second, other } = besideOthers();
    const endpoint = cluster.addEndpoint({ idle_timeout_s: 600 }, [first, second]);
    cluster.submit(endpoint);
    pass(cluster, 30_000);
    expect(wantedOf(cluster, endpoint)).toEqual([0, 1]);
    cluster.addNode(1, first);
    expect(until(cluster, 11_000, () => heldOn(cluster, first, endpoint) === 1)).not.toBeNull();
    expect(wantedOf(cluster, endpoint)).toEqual([1, 0]);
    pass(cluster, 3 * FAIR_TURN_MS);
    expect(heldOn(cluster, second, endpoint)).toBe(0);
    expect(heldOn(cluster, second, other)).toBe(1);
  });

  it("stays where it runs, and causes no message and no ring of the alarm", () => {
    const { cluster, first, second } = besideOthers();
    const endpoint = cluster.addEndpoint({ idle_timeout_s: 86_400 }, [first, second]);
    const alone = cluster.addEndpoint({ idle_timeout_s: 86_400 }, [second]);
    cluster.addNode(2, second);
    for (const each of [endpoint, alone]) cluster.submit(each);
    const runs = (each: Box) => heldOn(cluster, second, each) === 1;
    expect(until(cluster, 60_000, () => runs(endpoint) && runs(alone))).not.toBeNull();
    pass(cluster, 2 * 60_000);
    const before = [endpoint.rings - alone.rings, endpoint.asked];
    pass(cluster, 10 * 60_000);
    expect([endpoint.rings - alone.rings, endpoint.asked]).toEqual(before);
    cluster.addNode(1, first);
    pass(cluster, 60_000);
    expect(heldOn(cluster, second, endpoint)).toBe(1);
    expect(heldOn(cluster, first, endpoint)).toBe(0);
  });

  it("is asked for once a minute, in one ring, while nothing but a warm floor is missing", () => {
    const { cluster, first } = besideOthers();
    const third = cluster.addPod();
    const endpoint = cluster.addEndpoint({ min_replicas: 1 }, [first, third]);
    pass(cluster, 2 * 60_000);
    const before = endpoint.rings;
    pass(cluster, 10 * 60_000);
    expect(endpoint.rings - before).toBeLessThanOrEqual(20);
  });
});

describe("pods in an order", () => {
  const chance = fc.constantFrom(0, 0, 0.02, 0.1);
  const shape = fc.record({
    seed: fc.nat(),
    slots: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 2, maxLength: 3 }),
    orders: fc.array(fc.array(fc.nat(2), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 }),
    jobs: fc.integer({ min: 1, max: 12 }),
    max: fc.integer({ min: 1, max: 3 }),
    lostMessage: chance,
    objectRestart: chance,
    nodeSilent: fc.constantFrom(0, 0, 0.01),
    replicaCrash: fc.constantFrom(0, 0, 0.01),
  });

  it("are asked for no more together than may be, and every job ends once the faults stop", () => {
    fc.assert(
      fc.property(shape, ({ seed, slots, orders, jobs, max, ...faults }) => {
        const cluster = new Cluster(seed);
        const pods = slots.map((_, index) => (index === 0 ? cluster.first : cluster.addPod()));
        slots.forEach((count, index) => {
          if (count > 0) cluster.addNode(count, pods[index]);
        });
        const settings: Partial<EndpointSettings> = { max_replicas: max, attempts_max: 10 };
        for (const order of orders) {
          const chosen = [...new Set(order)].flatMap((index) => pods[index] ?? []);
          cluster.addEndpoint(settings, chosen.length === 0 ? [cluster.first] : chosen);
        }
        const step = () => {
          cluster.step();
          for (const endpoint of cluster.endpoints) {
            const asked = wantedOf(cluster, endpoint).reduce((sum, wanted) => sum + wanted, 0);
            if (asked > max) throw new Error(`${asked} are asked for, and ${max} may be`);
          }
        };
        cluster.faults = { ...NO_FAULTS, ...faults };
        for (let index = 0; index < jobs; index += 1) {
          const endpoint = cluster.endpoints[index % orders.length];
          if (endpoint !== undefined) cluster.submit(endpoint);
          for (let steps = 0; steps < 20; steps += 1) step();
        }
        cluster.faults = NO_FAULTS;
        // Every pod has a machine in the end, so that every job can run.
        for (const [index, count] of slots.entries()) if (count === 0) cluster.addNode(1, pods[index]);
        for (let steps = 0; steps < 4_000 && !over(cluster); steps += 1) step();
        if (!over(cluster)) throw new Error("jobs are left");
        if (until(cluster, 1_000_000, () => cluster.slotsTaken().length === 0) === null)
          throw new Error("slots are left");
      }),
      { numRuns: Number(process.env.PILOTLIGHT_MODEL_RUNS ?? 25) },
    );
  }, 600_000);
});
