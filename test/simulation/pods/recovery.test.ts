import { describe, expect, it } from "vitest";
import type { ReplicaState } from "#contract/replica";
import { PodSimulation } from "./pod-simulation.ts";
import { NO_POD_FAULTS } from "./pod-swarm.ts";
import type { SimulatedNode } from "./simulated-node.ts";

/** In which counters are right again, whatever happened; and what was on its way when it did. */
const RIGHT_AGAIN_MS = 45_000 + 200;
/** A replica starts within this in here. */
const START_MS = 60_000;
const PHASES: readonly ReplicaState[] = ["placed", "preparing", "booting", "loading", "ready", "busy", "draining"];
const FOR_LONG_MS = 60 * 60_000;

/** Two machines, or one, and an endpoint that wants two replicas; ends when one of them is in that phase. */
function untilOneIs(phase: ReplicaState, seed: number, nodes = 2): { world: PodSimulation; victim: SimulatedNode } {
  const swarm = { nodes, endpoints: 1, containersMax: null, minReplicas: 0, gpuTypes: [], faults: NO_POD_FAULTS };
  const world = new PodSimulation(seed, 0, { swarm });
  world.begin();
  world.pass(6_000);
  const [endpoint] = world.endpoints;
  endpoint?.rest(2);
  if (phase === "draining") {
    world.pass(START_MS);
    endpoint?.rest(0);
  }
  for (let waited = 0; waited < 2 * START_MS; waited += 20) {
    const victim = world.nodes.find(({ alive }) => alive.some(({ state }) => state === phase));
    if (victim !== undefined) return { world, victim };
    world.pass(20);
  }
  throw new Error(`no replica is ever ${phase}`);
}

const onNode = (world: PodSimulation, { id }: SimulatedNode) =>
  world
    .listed()
    .find((node) => node.id === id)
    ?.slots.flatMap(({ replica_id }) => replica_id ?? []) ?? [];

describe.each(PHASES)("while a replica is %s", (phase) => {
  const seeds = [1, 2, 3, 4, 5];

  it.each([
    ["its machine loses power", (node: SimulatedNode) => node.die(FOR_LONG_MS)],
    ["its machine's network is cut", (node: SimulatedNode) => node.cut(FOR_LONG_MS)],
  ])("%s: its slots are free within 45 s, and the other machine runs what is wanted", (_, strike) => {
    for (const seed of seeds) {
      const { world, victim } = untilOneIs(phase, seed);
      strike(victim);
      world.pass(RIGHT_AGAIN_MS);
      expect([seed, onNode(world, victim)]).toEqual([seed, []]);
      world.pass(START_MS);
      expect([seed, world.disagreement()]).toEqual([seed, null]);
    }
  });

  it.each([
    ["its agent is killed and started again", (node: SimulatedNode) => node.die(2_000)],
    ["its machine's network is away for a while", (node: SimulatedNode) => node.cut(8_000)],
  ])("%s: everything agrees within 45 s", (_, strike) => {
    for (const seed of seeds) {
      const { world, victim } = untilOneIs(phase, seed);
      strike(victim);
      world.pass(RIGHT_AGAIN_MS);
      expect([seed, world.disagreement()]).toEqual([seed, null]);
    }
  });

  it("its machine's network is away for so long that it is given up: what it runs is taken up, and nothing starts anew", () => {
    const isWarm = phase === "ready" || phase === "busy";
    for (const seed of seeds) {
      // With nobody else who could have started in its place meanwhile.
      const { world, victim } = untilOneIs(phase, seed, isWarm ? 1 : 2);
      const runs = () => victim.alive.map(({ replica_id }) => replica_id).sort();
      const before = runs();
      victim.cut(47_000);
      world.pass(46_500);
      expect([seed, onNode(world, victim)]).toEqual([seed, []]);
      world.pass(RIGHT_AGAIN_MS);
      expect([seed, world.disagreement()]).toEqual([seed, null]);
      if (!isWarm) continue;
      expect([seed, runs()]).toEqual([seed, before]);
      expect(world.hits.get("replica taken up")).toBe(before.length);
    }
  });

  it("its agent is killed and comes back after it was given up: it starts cleanly", () => {
    for (const seed of seeds) {
      const { world, victim } = untilOneIs(phase, seed);
      const before = victim.alive.map(({ replica_id }) => replica_id);
      victim.die(47_000);
      world.pass(47_000 + RIGHT_AGAIN_MS);
      expect([seed, world.disagreement()]).toEqual([seed, null]);
      expect(world.hits.has("replica taken up")).toBe(false);
      expect(victim.alive.filter(({ replica_id }) => before.includes(replica_id))).toEqual([]);
    }
  });

  it("the server restarts, also again and again: nothing is lost, and everything agrees within 45 s", () => {
    for (const seed of seeds) {
      const { world, victim } = untilOneIs(phase, seed);
      const before = onNode(world, victim);
      for (let restarts = 0; restarts < seed; restarts += 1) {
        world.restart();
        world.pass(500);
      }
      if (phase !== "draining") expect([seed, onNode(world, victim)]).toEqual([seed, before]);
      world.pass(RIGHT_AGAIN_MS);
      expect([seed, world.disagreement()]).toEqual([seed, null]);
    }
  });
});
