import { describe, expect, it } from "vitest";
import type { NodeId, ReplicaId } from "#contract/ids";
import { DRAIN_ASK_MS, MUTE_MS } from "#durable-objects/pod/in-doubt";
import { held, PodHarness, replicaOnNode } from "./pod-harness.ts";

const MUTE = { works: false, leases: 0 };

function answer(pod: PodHarness, replicaId: ReplicaId, heard: { works: boolean; leases: number }): void {
  pod.call((core) => core.heardAnswered(replicaId, heard));
}

/** Polls of a node that goes on saying that. */
function says(pod: PodHarness, node: NodeId, id: ReplicaId, state: "ready" | "busy" | "draining", ms: number): void {
  pod.beat(node, ms, [held(id, state)]);
  pod.poll(node, [held(id, state)], { waitMs: 0 });
}

describe("a replica that its node calls ready", () => {
  it("and of which its endpoint has heard nothing after a minute is over, and another machine has its turn", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    const other = pod.node();
    says(pod, node, replicaId, "ready", MUTE_MS - 10_000);
    pod.poll(other, [], { waitMs: 0 });
    expect(pod.asked).toEqual([]);
    says(pod, node, replicaId, "busy", 10_000);
    expect(pod.asked).toEqual([replicaId]);
    answer(pod, replicaId, MUTE);
    expect(pod.farewells()).toMatchObject([
      { endpointId: endpoint, replicaId, silent: false, reason: expect.stringContaining("did not ask its endpoint") },
    ]);
    expect(pod.demand(endpoint, 1).replicas).toMatchObject([{ nodeId: other }]);
    // Its slot is taken until it has stopped it.
    expect(pod.poll(node, [held(replicaId)], { waitMs: 0 })).toEqual([]);
    expect(pod.demand(pod.endpoint(), 1).shortage.code).toBe("all_slots_busy");
  });

  it("counts as one that died on its start, so that the machine is in quarantine after three", () => {
    const pod = new PodHarness();
    const node = pod.node();
    for (let times = 0; times < 3; times += 1) {
      const endpoint = pod.endpoint();
      pod.demand(endpoint, 1);
      const id = pod.wanted(node);
      says(pod, node, id, "ready", MUTE_MS);
      answer(pod, id, MUTE);
      pod.demand(endpoint, 0);
      pod.pass(3_000);
    }
    expect(pod.shown(node).quarantine?.reason).toContain("did not ask its endpoint for work");
  });

  it("has longer and longer pauses on a machine where it is mute each time", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    let id = replicaId;
    const pauses = [5_000, 10_000, 20_000].map((pauseMs) => {
      says(pod, node, id, "ready", MUTE_MS);
      answer(pod, id, MUTE);
      pod.beat(node, pauseMs - 1);
      pod.poll(node, [], { waitMs: 0 });
      const before = pod.demand(endpoint, 1).replicas.length;
      pod.pass(1);
      id = pod.wanted(node);
      pod.poll(node, [held(id)], { waitMs: 0 });
      return before;
    });
    expect(pauses).toEqual([0, 0, 0]);
  });

  it("is not asked about again once its endpoint has vouched for it, and again and again until it is answered", () => {
    const { pod, node, replicaId } = replicaOnNode();
    says(pod, node, replicaId, "ready", MUTE_MS + 60_000);
    expect(pod.asked.length).toBeGreaterThan(1);
    answer(pod, replicaId, { works: true, leases: 0 });
    const asked = pod.asked.length;
    says(pod, node, replicaId, "busy", 30 * 60_000);
    expect(pod.asked).toHaveLength(asked);
    // An answer that is late says nothing of one that is on its way out.
    pod.poll(node, [held(replicaId, "draining")], { waitMs: 0 });
    answer(pod, replicaId, { works: true, leases: 0 });
    expect(pod.farewells()).toEqual([]);
  });
});

describe("a replica that drains", () => {
  it("goes on as long as it has a job, and ends when it has none and does not stop: its container is free", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    pod.configure({ containers_max: 1 });
    const other = pod.node();
    says(pod, node, replicaId, "draining", DRAIN_ASK_MS);
    expect(pod.asked).toEqual([replicaId]);
    answer(pod, replicaId, { works: true, leases: 1 });
    says(pod, node, replicaId, "draining", DRAIN_ASK_MS);
    expect(pod.asked).toEqual([replicaId, replicaId]);
    pod.poll(other, [], { waitMs: 0 });
    expect(pod.demand(endpoint, 1).shortage.code).toBe("all_slots_busy");
    answer(pod, replicaId, { works: true, leases: 0 });
    expect(pod.farewells()).toMatchObject([{ replicaId, reason: expect.stringContaining("did not stop") }]);
    expect(pod.demand(endpoint, 1).replicas).toMatchObject([{ nodeId: other }]);
    expect(pod.shown(node).quarantine).toBeNull();
  });
});
