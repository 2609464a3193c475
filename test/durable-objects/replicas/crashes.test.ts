import { describe, expect, it } from "vitest";
import type { EndpointId, NodeId } from "#contract/ids";
import { FAST_FAILURE_MS, FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";
import { held, PodHarness } from "./pod-harness.ts";

const HOUR_MS = 3_600_000;
const PAUSE_MS = 60_000;

interface World {
  readonly pod: PodHarness;
  readonly node: NodeId;
  readonly endpoint: EndpointId;
}

/** The next replica dies while it boots. */
function crash({ pod, node }: World): void {
  const id = pod.wanted(node);
  pod.poll(node, [held(id, "booting")], { waitMs: 0 });
  pod.poll(node, [{ ...held(id, "crashed"), error: "out of luck" }], { waitMs: 0 });
  pod.poll(node, [], { waitMs: 0 });
}

/** Its replicas have crashed there so often in a row that other nodes come first. */
function crashed(): World {
  const pod = new PodHarness();
  const world = { pod, node: pod.node(), endpoint: pod.endpoint() };
  pod.demand(world.endpoint, 1);
  for (let times = 0; times < FAST_FAILURES_MAX; times += 1) {
    crash(world);
    pod.beat(world.node, PAUSE_MS);
  }
  return world;
}

/** How long nothing is placed there, s. */
function pauseS({ pod, endpoint }: World): number {
  const [row] = pod.db.exec("SELECT backoff_until FROM histories WHERE endpoint_id = ?", endpoint);
  return (Number(row?.backoff_until) - pod.now) / 1_000;
}

describe("fast failures", () => {
  it.each([
    ["says that it has stopped", true],
    ["is no longer there", false],
  ])("are no longer in a row after a replica that ran for long and %s as it was told to", (_, isSaid) => {
    const world = crashed();
    const { pod, node, endpoint } = world;
    const id = pod.wanted(node);
    pod.beat(node, HOUR_MS, [held(id)]);
    pod.demand(endpoint, 0, { drain: [id] });
    pod.poll(node, isSaid ? [held(id, "stopped")] : [], { waitMs: 0 });
    pod.demand(endpoint, 1);
    crash(world);
    expect(pauseS(world)).toBe(5);
  });

  it("are still in a row after one that was ready for a moment", () => {
    const world = crashed();
    const { pod, node, endpoint } = world;
    const id = pod.wanted(node);
    pod.poll(node, [held(id)], { waitMs: 0 });
    pod.demand(endpoint, 0, { drain: [id] });
    pod.poll(node, [held(id, "stopped")], { waitMs: 0 });
    pod.demand(endpoint, 1);
    crash(world);
    expect(pauseS(world)).toBe(40);
  });

  it("count no more for where the next replica goes once one runs well there", () => {
    const world = crashed();
    const { pod, node, endpoint } = world;
    const id = pod.wanted(node);
    const isLastResort = () => {
      const { replicas } = pod.demand(endpoint, 2);
      const second = replicas.find(({ replicaId }) => replicaId !== id)?.nodeId;
      pod.demand(endpoint, 1);
      return second !== node;
    };
    const running = [held(id)];
    pod.poll(node, running, { waitMs: 0, slots: 9 });
    const other = pod.node(1);
    expect(isLastResort()).toBe(true);
    for (let passed = 0; passed < FAST_FAILURE_MS; passed += 10_000) {
      pod.pass(10_000);
      pod.poll(other, [], { waitMs: 0 });
      pod.poll(node, running, { waitMs: 0, slots: 9 });
    }
    expect(isLastResort()).toBe(false);
  });
});
