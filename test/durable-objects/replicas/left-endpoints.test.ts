import { describe, expect, it } from "vitest";
import type { EndpointId } from "#contract/ids";
import { held, PodHarness } from "./pod-harness.ts";

const DAY_MS = 86_400_000;

const rows = (pod: PodHarness, table: string, endpointId: EndpointId) =>
  pod.db.exec(`SELECT * FROM ${table} WHERE endpoint_id = ?`, endpointId).length;

/** An endpoint that had a replica, and wants nothing any more. */
function idleEndpoint(pod: PodHarness) {
  const node = pod.node();
  const endpoint = pod.endpoint();
  pod.demand(endpoint, 1);
  const id = pod.wanted(node);
  pod.poll(node, [held(id)], { waitMs: 0 });
  pod.demand(endpoint, 0, { drain: [id] });
  return { endpoint, node, id };
}

describe("an endpoint that has left the pod", () => {
  it("is forgotten, with how it fared here, and told nothing any more", () => {
    const pod = new PodHarness();
    const { endpoint, node } = idleEndpoint(pod);
    pod.poll(node, [], { waitMs: 0 });
    pod.call((core) => core.leave(endpoint, Number.MAX_SAFE_INTEGER));
    expect([rows(pod, "demands", endpoint), rows(pod, "histories", endpoint)]).toEqual([0, 0]);
    pod.configure({ idle_timeout_s: 100 });
    expect(pod.termsChanged).toEqual([]);
  });

  it("is forgotten when it says so only as it is told of new terms", () => {
    const pod = new PodHarness();
    const { endpoint, node } = idleEndpoint(pod);
    pod.poll(node, [], { waitMs: 0 });
    for (const { replicaId } of pod.farewells()) pod.call((core) => core.farewellTaken(replicaId));
    pod.gone.add(endpoint);
    pod.configure({ idle_timeout_s: 100 });
    pod.pass(DAY_MS);
    expect(pod.termsChanged).toEqual([endpoint]);
    expect(rows(pod, "demands", endpoint)).toBe(0);
  });

  it("is kept until nothing of it runs here, and asked for nothing meanwhile", () => {
    const pod = new PodHarness();
    const { endpoint, node, id } = idleEndpoint(pod);
    pod.demand(endpoint, 2);
    pod.gone.add(endpoint);
    pod.configure({ idle_timeout_s: 100 });
    expect(pod.poll(node, [held(id)], { waitMs: 0 })).toMatchObject([{ replica_id: id, action: "drain" }]);
    expect(rows(pod, "demands", endpoint)).toBe(1);
    expect(pod.poll(node, [], { waitMs: 0 })).toEqual([]);
    pod.pass(60_000);
    expect(rows(pod, "demands", endpoint)).toBe(0);
  });

  it("is not forgotten for what it said before it came back", () => {
    const pod = new PodHarness();
    const { endpoint, node } = idleEndpoint(pod);
    pod.poll(node, [], { waitMs: 0 });
    pod.demand(endpoint, 1);
    pod.call((core) => core.leave(endpoint, 1));
    expect(rows(pod, "demands", endpoint)).toBe(1);
  });

  it("is not looked for in one that is there and may not have its share of the floor", () => {
    const pod = new PodHarness();
    pod.node();
    pod.configure({ min_replicas: 2 });
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    // Whenever it asks, it wants no more than it may have.
    const ask = (version: number) => pod.demand(endpoint, 1, { needed: 0, version }).floor;
    expect(ask(2)).toBe(2);
    pod.pass(2_000);
    expect([pod.termsChanged.splice(0), ask(2)]).toEqual([[endpoint], 2]);
    pod.pass(60_000);
    expect([pod.termsChanged, ask(3)]).toEqual([[], 2]);
    pod.pass(60_000);
    expect(pod.termsChanged).toEqual([]);
    pod.configure({ min_replicas: 3 });
    expect([pod.termsChanged.splice(0), ask(3)]).toEqual([[endpoint], 3]);
  });

  it("leaves the pod's warm floor to those who are there, also when nobody heard it say so", () => {
    const pod = new PodHarness();
    pod.node(4);
    pod.configure({ min_replicas: 1 });
    const [stays, leaves] = [pod.endpoint(), pod.endpoint()];
    for (const endpoint of [stays, leaves]) {
      pod.demand(endpoint, 1);
      pod.pass(10);
      pod.demand(endpoint, 0);
      pod.pass(1_000);
    }
    pod.gone.add(leaves);
    pod.pass(10_000);
    expect(pod.demand(stays, 0).floor).toBe(1);
  });
});
