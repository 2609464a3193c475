import { describe, expect, it } from "vitest";
import { LONG_POLL_MS, NODE_LOST_MS } from "#contract/limits";
import { NODE_FORGOTTEN_MS } from "#durable-objects/pod/node-life";
import { held, replicaOnNode } from "./pod-harness.ts";

const HOUR_MS = 3_600_000;

/** A pod on which an endpoint had a replica, which went because nobody called any more; its end was taken note of. */
function quietPod() {
  const { pod, node, endpoint, replicaId: replica } = replicaOnNode();
  pod.demand(endpoint, 0, { drain: [replica] });
  pod.poll(node, [held(replica, "stopped")], { waitMs: 0 });
  for (const { replicaId } of pod.farewells()) pod.call((core) => core.farewellTaken(replicaId));
  return { pod, node };
}

describe("a pod whose endpoints are quiet", () => {
  it("wakes nobody and is not woken where no machine is online, but to forget one that never came back", () => {
    const { pod, node } = quietPod();
    pod.pass(NODE_LOST_MS);
    pod.call(() => undefined);
    const seenAt = Date.parse(pod.shown(node).last_seen_at);
    expect(pod.armedAt).toBe(seenAt + NODE_FORGOTTEN_MS);
    expect(NODE_FORGOTTEN_MS).toBeGreaterThan(24 * HOUR_MS);
    pod.pass(HOUR_MS);
    expect(pod.farewells()).toEqual([]);
    expect(pod.termsChanged).toEqual([]);
  });

  it("hears its online machines and, at their pace, looks for silent ones: it tells endpoints nothing and writes little", () => {
    const { pod, node } = quietPod();
    const rows = () => Number(pod.db.exec("SELECT total_changes() AS rows")[0]?.rows);
    const before = rows();
    let rings = 0;
    let polls = 0;
    for (const end = pod.now + HOUR_MS; pod.now < end; ) {
      pod.poll(node, []);
      polls += 1;
      const next = pod.now + LONG_POLL_MS;
      while (pod.armedAt !== null && pod.armedAt <= next) {
        pod.pass(Math.max(0, pod.armedAt - pod.now));
        rings += 1;
      }
      pod.pass(next - pod.now);
      pod.call((core) => core.pollTimedOut(node, pod.waiting.get(node) ?? ""));
    }
    expect(polls).toBe(HOUR_MS / LONG_POLL_MS);
    expect(rings).toBeLessThanOrEqual(polls);
    // That it was there, now and then.
    expect(rows() - before).toBeLessThanOrEqual(HOUR_MS / 30_000);
    expect(pod.farewells()).toEqual([]);
    expect([...pod.termsChanged, ...pod.reclaims]).toEqual([]);
    expect(pod.shown(node).slots).toEqual([{ slot: 0, replica_id: null }]);
  });
});
