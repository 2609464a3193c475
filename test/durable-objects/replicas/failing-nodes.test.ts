import { describe, expect, it } from "vitest";
import type { HeldReplica } from "#contract/agent";
import type { NodeId, ReplicaId } from "#contract/ids";
import { FAST_FAILURE_MS, FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";
import { START_UNHEARD_MS, startLimit } from "#durable-objects/replicas/start-watch";
import { card, held, PodHarness, replicaOnNode } from "./pod-harness.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** A node that polls every half second for so long, each time with what `behave` makes of its orders. */
function run(
  pod: PodHarness,
  node: NodeId,
  ms: number,
  behave: (wanted: readonly ReplicaId[], round: number) => { held: HeldReplica[]; start: number },
): Set<ReplicaId> {
  const told = new Set<ReplicaId>();
  let wanted: ReplicaId[] = [];
  for (let round = 1; round <= ms / 500; round += 1) {
    const { held: replicas, start } = behave(wanted, round);
    const answer = pod.poll(node, replicas, { waitMs: 0, order: { start, seq: round } });
    if (typeof answer === "string") throw new Error(answer);
    wanted = answer.filter(({ action }) => action === "run").map(({ replica_id }) => replica_id);
    for (const id of wanted) told.add(id);
    pod.pass(500);
  }
  return told;
}

describe("a machine whose agent starts anew over and over", () => {
  it("is left alone for longer and longer, and shown with the reason", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.demand(pod.endpoint(), 1);
    const placed = run(pod, node, 75_000, (wanted, round) => ({
      held: round % 5 === 0 ? [] : wanted.map((id) => held(id, "booting")),
      start: Math.floor(round / 5),
    }));
    expect(placed.size).toBeLessThanOrEqual(5);
    expect(pod.shown(node).quarantine?.reason).toContain("The node no longer has the replica.");
  });

  it("is in quarantine as a whole where the same runs elsewhere", () => {
    const pod = new PodHarness();
    const good = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 2);
    const works = pod.wanted(good);
    const bad = pod.node();
    for (let failures = 0; failures < FAST_FAILURES_MAX; failures += 1) {
      pod.beat(good, 30_000, [held(works)]);
      pod.poll(bad, [held(pod.wanted(bad), "booting")], { waitMs: 0 });
      expect(pod.shown(bad).quarantine).toBeNull();
      pod.poll(bad, [], { waitMs: 0 });
    }
    expect(pod.shown(bad).quarantine?.reason).toContain("of a build that runs on other nodes");
  });

  it("has failed once, however many replicas it ran", () => {
    const pod = new PodHarness();
    const node = pod.node(4);
    const [first, second] = [pod.endpoint(), pod.endpoint()];
    pod.demand(first, 2);
    const { replicas } = pod.demand(second, 2);
    const answer = pod.poll(node, [], { waitMs: 0, slots: 4 });
    const all = typeof answer === "string" ? [] : answer.map(({ replica_id, slot }) => held(replica_id, "ready", slot));
    expect(replicas.length + 2).toBe(all.length);
    pod.poll(node, all, { waitMs: 0, slots: 4 });
    pod.poll(node, [], { waitMs: 0, slots: 4 });
    expect(pod.shown(node).quarantine).toBeNull();
    pod.pass(5_000);
    expect(pod.poll(node, [], { waitMs: 0, slots: 4 })).toHaveLength(4);
  });

  it("has not failed when what it ran had lived, nor when it was to drain", () => {
    const { pod, node, replicaId } = replicaOnNode();
    pod.beat(node, FAST_FAILURE_MS, [held(replicaId)]);
    const next = pod.wanted(node);
    expect(next).not.toBe(replicaId);
    pod.poll(node, [held(next)], { waitMs: 0 });
    pod.poll(node, [held(next, "draining")], { waitMs: 0, draining: true });
    pod.poll(node, [], { waitMs: 0, draining: true });
    expect(pod.poll(node, [], { waitMs: 0 })).toHaveLength(1);
  });
});

describe("a machine on which replicas stop although nobody asked for it", () => {
  it("is left alone for longer and longer", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.demand(pod.endpoint(), 1);
    const placed = run(pod, node, 150_000, (wanted) => ({ held: wanted.map((id) => held(id, "stopped")), start: 1 }));
    expect(placed.size).toBeLessThanOrEqual(6);
    expect(pod.shown(node).quarantine?.reason).toContain("The replica stopped.");
  });
});

describe("a start that gets nowhere", () => {
  it("is given to another machine when the node never begins with it", () => {
    const pod = new PodHarness();
    const deaf = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const replicaId = pod.wanted(deaf);
    const good = pod.node();
    for (let beats = 0; beats < START_UNHEARD_MS / 10_000; beats += 1) {
      expect(pod.demand(endpoint, 1).replicas).toMatchObject([{ replicaId }]);
      pod.beat(deaf, 5_000);
      pod.beat(good, 5_000);
    }
    expect(pod.farewells()).toMatchObject([{ replicaId, reason: expect.stringContaining("told to start") }]);
    expect(pod.demand(endpoint, 1).replicas).toMatchObject([{ nodeId: good }]);
  });

  it("is ended by the alarm too, while the node's poll is open", () => {
    const pod = new PodHarness();
    const deaf = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    for (let beats = 0; beats < 5; beats += 1) {
      pod.poll(deaf, [], { waitMs: 0 });
      pod.pass(11_000);
    }
    pod.poll(deaf, [], { waitMs: 25_000 });
    pod.pass(10_000);
    expect(pod.farewells()[0]?.reason).toContain("told to start");
  });

  it("is ended when it prepares for half an hour without progress, and its slot stays taken until it is gone", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.demand(pod.endpoint(), 1);
    const id = pod.wanted(node);
    const at = (progress: number): HeldReplica => ({ ...held(id, "preparing"), progress });
    for (let step = 0; step < 8; step += 1) pod.beat(node, 20 * MINUTE_MS, [at(step)]);
    expect(pod.farewells()).toEqual([]);
    pod.beat(node, 11 * MINUTE_MS, [at(7)]);
    expect(pod.farewells()[0]).toMatchObject({ replicaId: id, reason: expect.stringContaining("preparing") });
    // The node still has it: it is told to stop it, and gets nothing else before.
    expect(pod.poll(node, [at(7)], { waitMs: 0 })).toEqual([]);
    pod.pass(10_000);
    expect(pod.poll(node, [at(7)], { waitMs: 0 })).toEqual([]);
    expect(pod.poll(node, [], { waitMs: 0 })).toHaveLength(1);
  });

  it("has its time anew after the pod was away", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.demand(pod.endpoint(), 1);
    const id = pod.wanted(node);
    pod.now += START_UNHEARD_MS;
    pod.restart();
    expect(pod.wanted(node)).toBe(id);
    pod.poll(node, [held(id, "booting")], { waitMs: 0 });
    expect(pod.farewells()).toEqual([]);
  });

  const start = { isReported: true, tellsProgress: true, wasReady: false, since: 0, movedAt: 0 };
  it.each([
    [{ ...start, state: "placed", isReported: false } as const, START_UNHEARD_MS],
    [{ ...start, state: "placed" } as const, 5 * MINUTE_MS],
    [{ ...start, state: "preparing" } as const, 30 * MINUTE_MS],
    [{ ...start, state: "preparing", tellsProgress: false } as const, 6 * HOUR_MS],
    [{ ...start, state: "booting" } as const, 30 * MINUTE_MS],
    [{ ...start, state: "loading" } as const, HOUR_MS],
    [{ ...start, state: "preparing", movedAt: 24 * HOUR_MS } as const, 24 * HOUR_MS],
    // One that makes itself another build had its start long ago.
    [{ ...start, state: "preparing", movedAt: 24 * HOUR_MS, wasReady: true } as const, 24.5 * HOUR_MS],
    [{ ...start, state: "ready" } as const, null],
    [{ ...start, state: "draining" } as const, null],
  ])("is over in time: %o", (from, at) => {
    expect(startLimit(from)?.at ?? null).toBe(at);
  });
});

describe("a machine with one dead card of four", () => {
  const gpus = [0, 1, 2, 3].map((index) => card("NVIDIA GeForce RTX 4090", 24_564, index));
  const slots = 4;

  it("runs on the others: a slot that failed comes last until something gets ready on it", () => {
    const pod = new PodHarness();
    const node = pod.machine({ gpus, slots, slotsPerGpu: 1 });
    const endpoint = pod.endpoint();
    const more = { waitMs: 0, slots, gpus, slotsPerGpu: 1 };
    const answer = (replicas: readonly HeldReplica[] = []) => {
      const wanted = pod.poll(node, replicas, more);
      return typeof wanted === "string" ? [] : wanted;
    };
    const running: HeldReplica[] = [];
    const next = (wanted: number) => {
      pod.pass(5_000);
      pod.demand(endpoint, wanted);
      const fresh = answer(running).find(({ replica_id }) => running.every((each) => each.replica_id !== replica_id));
      if (fresh === undefined) throw new Error("nothing is wanted");
      return fresh;
    };
    const dead = next(1);
    expect(dead.slot).toBe(0);
    answer([held(dead.replica_id, "crashed", 0)]);
    pod.restart();
    answer();
    for (const slot of [1, 2, 3, 0]) {
      const fresh = next(running.length + 1);
      expect(fresh.slot).toBe(slot);
      running.push(held(fresh.replica_id, "ready", slot));
    }
    answer(running);
    // It is forgotten once the card has worked.
    pod.beat(node, FAST_FAILURE_MS, running, more);
    running.length = 0;
    expect(answer()[0]?.slot).toBe(0);
  });
});
