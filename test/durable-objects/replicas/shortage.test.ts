import { describe, expect, it } from "vitest";
import type { NodeId, ReplicaId } from "#contract/ids";
import { NODE_LOST_MS } from "#contract/limits";
import { held, PodHarness, replicaOnNode } from "./pod-harness.ts";

/** The only replica of the node starts and dies. */
function crash(pod: PodHarness, node: NodeId, error: string | undefined, region?: string): void {
  const answer = pod.poll(node, [], { waitMs: 0, ...(region === undefined ? {} : { region }) });
  const replicaId = typeof answer === "string" ? undefined : answer[0]?.replica_id;
  if (replicaId === undefined) throw new Error("nothing to start");
  const said = error === undefined ? {} : { error };
  pod.poll(node, [{ ...held(replicaId, "crashed"), ...said }], {
    waitMs: 0,
    ...(region === undefined ? {} : { region }),
  });
}

describe("a pod says why there are too few replicas", () => {
  it("no machine, one that was lost, or one that goes", () => {
    const pod = new PodHarness();
    const endpoint = pod.endpoint();
    expect(pod.demand(endpoint, 1).shortage).toEqual({ code: "no_node_online", error: null });
    const node = pod.node();
    pod.poll(node, [], { waitMs: 0 });
    expect(pod.demand(endpoint, 1)).toMatchObject({ shortage: { code: "none" }, replicas: [{ nodeId: node }] });
    pod.pass(NODE_LOST_MS);
    expect(pod.demand(endpoint, 1)).toMatchObject({ shortage: { code: "no_node_online" }, replicas: [] });
    pod.poll(node, [], { waitMs: 0, draining: true });
    expect(pod.demand(endpoint, 1).shortage.code).toBe("no_node_online");
    pod.poll(node, [], { waitMs: 0 });
    expect(pod.demand(endpoint, 1).shortage.code).toBe("none");
  });

  it("no machine in the endpoint's regions", () => {
    const pod = new PodHarness();
    const endpoint = pod.endpoint();
    const [east, nowhere] = [pod.node(1, "us-east"), pod.node()];
    const regions = ["eu-west", "eu-north"];
    expect(pod.demand(endpoint, 1, { regions })).toMatchObject({
      shortage: {
        code: "region_unavailable",
        error:
          "The pod's machines that are online are in us-east, no region that they name. Join one in eu-west or eu-north (node join --region), or add one of their regions to the endpoint.",
      },
      replicas: [],
    });
    pod.poll(east, [], { waitMs: 0, region: "us-east" });
    pod.poll(nowhere, [], { waitMs: 0 });
    expect(pod.demand(endpoint, 1, { regions }).shortage.code).toBe("region_unavailable");
    const north = pod.node(1, "eu-north");
    expect(pod.demand(endpoint, 1, { regions })).toMatchObject({
      shortage: { code: "none" },
      replicas: [{ nodeId: north }],
    });
  });

  it("slots that all work for others, and those of other regions do not count", () => {
    const pod = new PodHarness();
    const [west, east] = [pod.node(1, "eu-west"), pod.node(1, "us-east")];
    const [first, second] = [pod.endpoint(), pod.endpoint()];
    expect(pod.demand(first, 1, { regions: ["eu-west"] }).replicas).toMatchObject([{ nodeId: west }]);
    expect(pod.demand(second, 1, { regions: ["eu-west"] }).shortage).toEqual({ code: "all_slots_busy", error: null });
    expect(pod.demand(second, 1).replicas).toMatchObject([{ nodeId: east }]);
    expect(pod.demand(first, 2).shortage.code).toBe("all_slots_busy");
  });

  it("crashes, with the last error, while the pause runs and no longer", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    crash(pod, node, "CUDA out of memory");
    expect(pod.demand(endpoint, 1).shortage).toEqual({ code: "crash_looping", error: "CUDA out of memory" });
    expect(pod.demand(pod.endpoint(), 1).shortage.code).toBe("none");
  });

  it("crashes of the machines that fit, not of others", () => {
    const pod = new PodHarness();
    const [west, east] = [pod.node(1, "eu-west"), pod.node(1, "us-east")];
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1, { regions: ["eu-west"] });
    crash(pod, west, "no such model", "eu-west");
    pod.pass(1_000);
    pod.demand(endpoint, 1, { regions: ["us-east"] });
    crash(pod, east, "driver too old", "us-east");
    expect(pod.demand(endpoint, 1, { regions: ["eu-west"] }).shortage.error).toBe("no such model");
    expect(pod.demand(endpoint, 1, { regions: ["us-east"] }).shortage.error).toBe("driver too old");
    expect(pod.demand(endpoint, 1).shortage).toEqual({ code: "crash_looping", error: "driver too old" });
  });

  it("crashes also after the object restarted, with an error that is cut to its length", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    crash(pod, node, `${"x".repeat(999)}🙀${"y".repeat(3_000)}`);
    pod.restart();
    expect(pod.demand(endpoint, 1).shortage).toEqual({ code: "crash_looping", error: "x".repeat(999) });
  });

  it("crashes without a word, when there was none", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    crash(pod, node, "the first says something");
    pod.pass(5_000);
    crash(pod, node, undefined);
    expect(pod.demand(endpoint, 1).shortage).toEqual({ code: "crash_looping", error: null });
  });

  it("names the pod's regions where those keep the endpoint's machines out, and what helps", () => {
    const pod = new PodHarness();
    pod.configure({ regions: ["home", "rack-2"] });
    const endpoint = pod.endpoint();
    const node = pod.node(1, "home");
    const { shortage } = pod.demand(endpoint, 1, { regions: ["eu-west"] });
    expect(shortage.code).toBe("region_unavailable");
    expect(shortage.error).toContain("online are in home, and the pod takes machines in home, rack-2 only.");
    expect(shortage.error).toContain("add eu-west to the pod's regions");
    // Of the endpoint's regions the ones that the pod takes are where a machine may be joined.
    const both = pod.demand(endpoint, 1, { regions: ["eu-west", "rack-2"] }).shortage.error;
    expect(both).toContain("Join one in rack-2 (node join --region)");
    pod.poll(node, [], { waitMs: 0, region: "cellar" });
    expect(pod.demand(endpoint, 1, { regions: ["cellar"] }).shortage).toMatchObject({
      code: "no_node_online",
      error: expect.stringContaining("is in cellar, and the pod takes machines in home, rack-2 only"),
    });
  });

  it("each time it is asked anew, and writes nothing for it", () => {
    const pod = new PodHarness();
    const endpoint = pod.endpoint();
    const ask = () => pod.demand(endpoint, 1, { version: 1, regions: ["eu-west"] }).shortage.code;
    const rows = () => pod.db.exec("SELECT total_changes() AS rows")[0]?.rows;
    expect(ask()).toBe("no_node_online");
    const node = pod.node(1, "us-east");
    const before = rows();
    expect(ask()).toBe("region_unavailable");
    expect(ask()).toBe("region_unavailable");
    expect(rows()).toBe(before);
    pod.poll(node, [], { waitMs: 0, region: "eu-west" });
    expect(ask()).toBe("none");
    const placed = rows();
    expect(placed).not.toBe(before);
    expect(ask()).toBe("none");
    expect(rows()).toBe(placed);
    crash(pod, node, "broken", "eu-west");
    const crashed = rows();
    expect(ask()).toBe("crash_looping");
    expect(rows()).toBe(crashed);
  });
});

describe("a pod says what one more replica would lack, wanted or not", () => {
  it("a machine", () => {
    const pod = new PodHarness();
    const endpoint = pod.endpoint();
    const nothing = { room: 0, held: 0, shortage: { code: "none" }, lack: { code: "no_node_online" } };
    expect(pod.demand(endpoint, 0)).toMatchObject(nothing);
    const node = pod.node();
    expect(pod.demand(endpoint, 0)).toMatchObject({ room: 1, lack: { code: "none" } });
    pod.call((core) => core.changeNode(pod.workspaceId, node, { cordoned: true }));
    expect(pod.demand(endpoint, 0)).toMatchObject({ ...nothing, lack: { error: "The machine machine is cordoned." } });
  });

  it("a slot, and how many may be left in favour of it", () => {
    const pod = new PodHarness();
    const [west] = [pod.node(2, "eu-west"), pod.node(1, "us-east")];
    const [other, endpoint] = [pod.endpoint(), pod.endpoint()];
    const [placed] = pod.demand(other, 3).replicas;
    const ask = (more = {}) => pod.demand(endpoint, 0, more);
    expect(ask()).toMatchObject({ room: 0, held: 3, shortage: { code: "none" }, lack: { code: "all_slots_busy" } });
    expect(ask({ regions: ["eu-west"] }).held).toBe(2);
    expect(ask({ regions: ["eu-north"] })).toMatchObject({ held: 0, lack: { code: "region_unavailable" } });
    // Its own do not count, until they go.
    expect(pod.demand(other, 3)).toMatchObject({ room: 0, held: 0 });
    const drain = placed === undefined ? [] : [placed.replicaId];
    expect(pod.demand(other, 2, { drain })).toMatchObject({ room: 0, held: 1 });
    pod.call((core) => core.changeNode(pod.workspaceId, west, { cordoned: true }));
    expect(ask().held).toBe(1);
  });

  it("a slot that nobody leaves to one who has as many, give or take one", () => {
    const pod = new PodHarness();
    pod.node(4);
    const [other, endpoint] = [pod.endpoint(), pod.endpoint()];
    pod.demand(other, 2);
    pod.demand(endpoint, 2);
    expect(pod.demand(endpoint, 3)).toMatchObject({ held: 0, shortage: { code: "all_slots_busy" } });
    // What is not needed is left to anybody.
    pod.demand(other, 2, { needed: 1 });
    expect(pod.demand(endpoint, 3)).toMatchObject({ held: 2 });
  });

  it("what a warm floor does not give to batch jobs", () => {
    const pod = new PodHarness();
    pod.node();
    pod.demand(pod.endpoint(), 1, { warm: 1, calls: false });
    const endpoint = pod.endpoint();
    expect(pod.demand(endpoint, 0, { calls: false })).toMatchObject({ held: 0, lack: { code: "all_slots_busy" } });
    expect(pod.demand(endpoint, 0, { calls: true }).held).toBe(1);
  });

  it("another machine than the one on which it crashes", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    crash(pod, node, "CUDA out of memory");
    const error = "CUDA out of memory";
    expect(pod.demand(endpoint, 0)).toMatchObject({ room: 0, held: 0, lack: { code: "crash_looping", error } });
  });
});

describe("who waits for a turn", () => {
  /** A slot that another endpoint works on, whose turn is over. */
  function besideAnother() {
    const { pod, node, replicaId } = replicaOnNode();
    const beat = (ms: number) => pod.beat(node, ms, [held(replicaId, "busy")]);
    beat(120_000);
    const goes = () => {
      const answer = pod.poll(node, [held(replicaId, "busy")], { waitMs: 0 });
      return typeof answer !== "string" && answer[0]?.action === "drain";
    };
    return { pod, beat, goes, late: pod.endpoint() };
  }

  it("goes on waiting after a while in which it needed none here", () => {
    const { pod, beat, goes, late } = besideAnother();
    pod.demand(late, 1);
    beat(40_000);
    pod.demand(late, 0);
    beat(60_000);
    pod.demand(late, 1);
    beat(10_000);
    expect(goes()).toBe(false);
    beat(20_000);
    expect(goes()).toBe(true);
  });

  it("begins anew after a long one", () => {
    const { pod, beat, goes, late } = besideAnother();
    pod.demand(late, 1);
    beat(50_000);
    pod.demand(late, 0);
    beat(11 * 60_000);
    pod.demand(late, 1);
    beat(50_000);
    expect(goes()).toBe(false);
    beat(20_000);
    expect(goes()).toBe(true);
  });
});

describe("regions", () => {
  it("are shown as the machine stated them last", () => {
    const pod = new PodHarness();
    const node = pod.node(1, "eu-west");
    const shown = () => {
      const reply = pod.core.listNodes(pod.workspaceId);
      return reply.ok ? reply.nodes.map(({ region }) => region) : reply.code;
    };
    expect(shown()).toEqual(["eu-west"]);
    pod.poll(node, [], { waitMs: 0, region: "eu-north" });
    expect(shown()).toEqual(["eu-north"]);
    pod.restart();
    expect(shown()).toEqual(["eu-north"]);
    pod.poll(node, [], { waitMs: 0 });
    expect(shown()).toEqual([null]);
  });

  it("that an endpoint gives up are left after the job in hand, and replaced elsewhere", () => {
    const pod = new PodHarness();
    const west = pod.node(1, "eu-west");
    const endpoint = pod.endpoint();
    const [placed] = pod.demand(endpoint, 1, { regions: ["eu-west"] }).replicas;
    const running = [held(placed?.replicaId ?? ("" as ReplicaId), "busy")];
    const beat = () => pod.poll(west, running, { waitMs: 0, region: "eu-west" });
    expect(beat()).toMatchObject([{ action: "run" }]);
    expect(pod.demand(endpoint, 1, { regions: ["us-east"] }).shortage.code).toBe("region_unavailable");
    expect(beat()).toMatchObject([{ action: "drain" }]);
    const east = pod.node(1, "us-east");
    const { replicas } = pod.demand(endpoint, 1, { regions: ["us-east"] });
    expect(replicas.map(({ nodeId }) => nodeId).sort()).toEqual([west, east].sort());
    expect(pod.farewells()).toEqual([]);
  });

  it("that widen move nothing", () => {
    const pod = new PodHarness();
    const west = pod.node(1, "eu-west");
    const endpoint = pod.endpoint();
    const [placed] = pod.demand(endpoint, 1, { regions: ["eu-west"] }).replicas;
    pod.demand(endpoint, 1, { regions: ["eu-west", "us-east"] });
    pod.demand(endpoint, 1);
    const running = [held(placed?.replicaId ?? ("" as ReplicaId))];
    expect(pod.poll(west, running, { waitMs: 0, region: "eu-west" })).toMatchObject([{ action: "run" }]);
  });

  it("that a machine changes empty it of what may not run there", () => {
    const pod = new PodHarness();
    const node = pod.node(2, "eu-west");
    const [bound, free] = [pod.endpoint(), pod.endpoint()];
    const placed = [...pod.demand(bound, 1, { regions: ["eu-west"] }).replicas, ...pod.demand(free, 1).replicas];
    const running = placed.map(({ replicaId }, slot) => held(replicaId, "ready", slot));
    const beat = (region: string) => pod.poll(node, running, { waitMs: 0, slots: 2, region });
    expect(beat("eu-west")).toMatchObject([{ action: "run" }, { action: "run" }]);
    expect(beat("us-east")).toMatchObject([
      { endpoint_id: bound, action: "drain" },
      { endpoint_id: free, action: "run" },
    ]);
    expect(pod.demand(bound, 1, { regions: ["eu-west"] }).shortage.code).toBe("region_unavailable");
  });

  it("bound an endpoint's claim on others' slots: who runs elsewhere is left alone", () => {
    const pod = new PodHarness();
    const [west, east] = [pod.node(1, "eu-west"), pod.node(1, "us-east")];
    const [idle, other, eager] = [pod.endpoint(), pod.endpoint(), pod.endpoint()];
    const inEast = pod.demand(idle, 1, { regions: ["us-east"] }).replicas[0]?.replicaId;
    const inWest = pod.demand(other, 1, { regions: ["eu-west"] }).replicas[0]?.replicaId;
    pod.poll(east, [held(inEast ?? ("" as ReplicaId))], { waitMs: 0, region: "us-east" });
    pod.poll(west, [held(inWest ?? ("" as ReplicaId))], { waitMs: 0, region: "eu-west" });
    pod.demand(idle, 1, { needed: 0, regions: ["us-east"] });
    pod.demand(eager, 1, { regions: ["eu-west"] });
    expect(pod.reclaims).toEqual([]);
    pod.demand(other, 1, { needed: 0, regions: ["eu-west"] });
    expect(pod.reclaims).toMatchObject([{ endpointId: other, replicaId: inWest }]);
  });
});
