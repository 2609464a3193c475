import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EndpointId, makeId, NodeId, type ReplicaId, WorkspaceId } from "#contract/ids";
import { NODE_LOST_MS, POD_ENDPOINTS_LISTED_MAX } from "#contract/limits";
import { PodCapacity, ReplicaState } from "#contract/replica";
import { PodCore } from "#durable-objects/pod/pod-core";
import { type CapacityInput, type CountedReplica, capacityOf } from "#durable-objects/replicas/capacity";
import type { FreeSlot, PlaceInput } from "#durable-objects/replicas/place";
import { NodeDatabase } from "../queue/node-database.ts";
import { held, PodHarness, replicaOnNode } from "./pod-harness.ts";

const NOW = 1_800_000_000_000;
const numbered = (length: number, at: number) => new Uint8Array(length).fill(at);
const nodeId = (at: number) => makeId(NodeId, "node", NOW + at, (length) => numbered(length, at));
const endpointId = (at: number) => makeId(EndpointId, "ep", NOW + at, (length) => numbered(length, at));

const freeSlot = (slot: number): FreeSlot => ({ slot, card: slot, gpuType: null, vramMb: 0, failedAt: 0 });

/** One machine as drawn: what each slot holds, and whether it is there and takes new work. */
interface Drawn {
  readonly slots: readonly (null | "foreign" | Pick<CountedReplica, "endpointId" | "state" | "draining">)[];
  readonly is: "open" | "closed" | "away";
}

function inputOf(nodes: readonly Drawn[], wanted: readonly number[], containersMax: number | null): CapacityInput {
  const replicas = nodes.flatMap(({ slots }, at) =>
    slots.flatMap((each, slot) =>
      each === null || each === "foreign" ? [] : [{ ...each, nodeId: nodeId(at), slot } as const],
    ),
  );
  const wishes = wanted.map((count, at) => ({
    endpointId: endpointId(at),
    regions: [],
    needed: count,
    wanted: count,
    have: replicas.filter((each) => each.endpointId === endpointId(at) && !each.draining).length,
    since: NOW,
    build: null,
    models: [],
    trials: [],
  }));
  const place: PlaceInput = {
    nodes: nodes.flatMap(({ slots, is }, at) => {
      const free = slots.flatMap((each, slot) => (each === null ? [freeSlot(slot)] : []));
      return is === "open" ? [{ id: nodeId(at), region: null, free, builds: new Set(), models: new Set() }] : [];
    }),
    closed: nodes.filter(({ is }) => is === "closed").map(() => ({ region: null, reason: "It is cordoned." })),
    wishes,
    history: () => null,
    regions: [],
    typeOrder: [],
    containersLeft: containersMax === null ? null : Math.max(0, containersMax - replicas.length),
    now: NOW,
  };
  const online = nodes.flatMap(({ slots, is }, at) => {
    const foreign = slots.flatMap((each, slot) => (each === "foreign" ? [slot] : []));
    return is === "away" ? [] : [{ id: nodeId(at), slots: slots.length, foreign }];
  });
  const lacking = wishes.filter((wish) => wish.have < wish.wanted).map((wish) => [wish.endpointId, NOW] as const);
  return { nodesKnown: nodes.length, online, replicas, place, lackingSince: new Map(lacking) };
}

const owner = fc.nat({ max: 4 }).map(endpointId);
const KEPT = ["placed", "preparing", "booting", "loading", "ready"] as const;
const replica = fc.oneof(
  fc.record({ endpointId: owner, state: fc.constantFrom(...KEPT), draining: fc.constant(false) }),
  fc.record({ endpointId: owner, state: fc.constantFrom(...ReplicaState.options), draining: fc.constant(true) }),
);
const machine: fc.Arbitrary<Drawn> = fc.record({
  slots: fc.array(fc.oneof(fc.constant(null), fc.constant("foreign" as const), replica), { maxLength: 4 }),
  is: fc.constantFrom("open", "closed", "away"),
});

describe("the figures of any pod", () => {
  const drawn = fc
    .tuple(
      fc.array(machine, { maxLength: 6 }),
      fc.array(fc.nat({ max: 4 }), { minLength: 3, maxLength: 5 }),
      fc.option(fc.integer({ min: 1, max: 12 })),
    )
    .map((of) => inputOf(...of));

  it("add up: what is free and what is taken are slots, and endpoints' replicas are the pod's", () => {
    fc.assert(
      fc.property(drawn, (input) => {
        const { nodes, slots, replicas, endpoints, containers_left } = PodCapacity.parse(capacityOf(input));
        expect(nodes.open).toBeLessThanOrEqual(nodes.online);
        expect(nodes.online).toBeLessThanOrEqual(nodes.total);
        expect(slots.taken + slots.free).toBeLessThanOrEqual(slots.total);
        expect(slots.draining).toBeLessThanOrEqual(slots.taken);
        expect(slots.free).toBeLessThanOrEqual(containers_left ?? slots.total);
        const { total, ...states } = replicas;
        expect(Object.values(states).reduce((sum, count) => sum + count, 0)).toBe(total);
        for (const state of Object.keys(replicas) as (keyof typeof replicas)[]) {
          expect(endpoints.reduce((sum, each) => sum + each.replicas[state], 0)).toBe(replicas[state]);
        }
      }),
    );
  });

  it("name a reason only for who has fewer than it wants, and none where a slot is free for it", () => {
    fc.assert(
      fc.property(drawn, (input) => {
        const { slots, endpoints } = capacityOf(input);
        const missing = endpoints.reduce((sum, { wanted, have }) => sum + Math.max(0, wanted - have), 0);
        for (const { wanted, have, replicas, shortage, waits_since } of endpoints) {
          expect(have).toBe(replicas.total - replicas.draining);
          expect(waits_since !== null).toBe(have < wanted);
          if (shortage !== null) expect(have).toBeLessThan(wanted);
          if (missing <= slots.free) expect(shortage).toBeNull();
        }
        expect(endpoints.some(({ shortage }) => shortage !== null)).toBe(missing > slots.free);
      }),
    );
  });
});

describe("endpoints of a pod", () => {
  it("are named up to a bound, those that have waited longest first, and all are counted", () => {
    const count = POD_ENDPOINTS_LISTED_MAX + 20;
    const input = inputOf([], Array(count).fill(1), null);
    const lackingSince = new Map(input.place.wishes.map((wish, at) => [wish.endpointId, NOW - at * 1_000]));
    const { endpoints, endpoints_total } = capacityOf({ ...input, lackingSince });
    expect(endpoints).toHaveLength(POD_ENDPOINTS_LISTED_MAX);
    expect(endpoints_total).toBe(count);
    expect(endpoints[0]).toMatchObject({
      endpoint_id: endpointId(count - 1),
      waits_since: new Date(NOW - (count - 1) * 1_000).toISOString(),
      shortage: { code: "no_node_online" },
    });
    expect(endpoints.at(-1)?.endpoint_id).toBe(endpointId(20));
  });
});

/** How a pod stands, as the API shows it. */
function capacity(pod: PodHarness): PodCapacity {
  const reply = pod.call((core) => core.capacity(pod.workspaceId));
  if (!reply.ok) throw new Error(reply.code);
  return PodCapacity.parse(reply.capacity);
}

describe("a pod's capacity", () => {
  it("follows a replica from its slot to its end", () => {
    const pod = new PodHarness();
    const node = pod.node(2);
    const endpoint = pod.endpoint();
    const [placed] = pod.demand(endpoint, 1).replicas;
    const id = placed?.replicaId ?? ("" as ReplicaId);
    const seen = (state: Parameters<typeof held>[1]) => {
      pod.poll(node, [held(id, state)], { waitMs: 0, slots: 2 });
      return capacity(pod);
    };
    expect(capacity(pod)).toMatchObject({
      nodes: { total: 1, online: 1, open: 1 },
      slots: { total: 2, taken: 1, draining: 0, free: 1 },
      replicas: { total: 1, placed: 1 },
      endpoints: [{ endpoint_id: endpoint, wanted: 1, needed: 1, have: 1, waits_since: null, shortage: null }],
    });
    expect(seen("booting").replicas).toMatchObject({ total: 1, placed: 0, booting: 1 });
    expect(seen("busy").replicas).toMatchObject({ total: 1, booting: 0, ready: 1 });
    pod.demand(endpoint, 0, { drain: [id] });
    expect(capacity(pod)).toMatchObject({
      slots: { taken: 1, draining: 1, free: 1 },
      replicas: { total: 1, ready: 0, draining: 1 },
      endpoints: [{ endpoint_id: endpoint, wanted: 0, have: 0, replicas: { total: 1 } }],
    });
    expect(seen("stopped")).toMatchObject({
      slots: { taken: 0, draining: 0, free: 2 },
      replicas: { total: 0 },
      endpoints: [],
      endpoints_total: 0,
    });
  });

  it("is right again once a silent node is given up, and when it comes back", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    const lostAt = pod.now + NODE_LOST_MS;
    pod.pass(NODE_LOST_MS);
    expect(capacity(pod)).toMatchObject({
      nodes: { total: 1, online: 0, open: 0 },
      slots: { total: 0, taken: 0, free: 0 },
      replicas: { total: 0 },
      endpoints: [{ endpoint_id: endpoint, have: 0, waits_since: new Date(lostAt).toISOString() }],
    });
    expect(capacity(pod).endpoints[0]?.shortage).toEqual({ code: "no_node_online", error: null });
    pod.poll(node, [held(replicaId)], { waitMs: 0 });
    expect(capacity(pod)).toMatchObject({
      nodes: { total: 1, online: 1, open: 1 },
      slots: { total: 1, taken: 1, free: 0 },
      replicas: { total: 1 },
      endpoints: [{ have: 1, waits_since: null, shortage: null }],
    });
  });

  it("counts a closed node's slots and none of them as free", () => {
    const { pod, node } = replicaOnNode(3);
    pod.call((core) => core.changeNode(pod.workspaceId, node, { cordoned: true }));
    expect(capacity(pod)).toMatchObject({
      nodes: { total: 1, online: 1, open: 0 },
      slots: { total: 3, taken: 1, draining: 0, free: 0 },
    });
  });

  it("leaves no more free than the pod's containers do", () => {
    const { pod } = replicaOnNode(3);
    pod.configure({ containers_max: 2 });
    expect(capacity(pod)).toMatchObject({ containers_left: 1, slots: { total: 3, taken: 1, free: 1 } });
    pod.configure({ containers_max: 1 });
    expect(capacity(pod)).toMatchObject({ containers_left: 0, slots: { total: 3, taken: 1, free: 0 } });
  });

  it("counts a slot with something the pod does not know as taken, and as nobody's replica", () => {
    const { pod, node, replicaId } = replicaOnNode(2);
    const stray = `${replicaId.slice(0, -1)}0` as ReplicaId;
    pod.poll(node, [held(replicaId), held(stray, "ready", 1)], { waitMs: 0, slots: 2 });
    expect(capacity(pod)).toMatchObject({ slots: { total: 2, taken: 2, free: 0 }, replicas: { total: 1 } });
  });

  it("says since when somebody waits, through a restart of the object, until it has what it wants", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    pod.pass(3_000);
    const other = pod.endpoint();
    const since = new Date(pod.now).toISOString();
    pod.demand(other, 1);
    pod.pass(5_000);
    pod.restart();
    // Asking again, and for more, is the same wait.
    pod.demand(other, 2);
    expect(capacity(pod).endpoints).toMatchObject([
      { endpoint_id: other, wanted: 2, have: 0, waits_since: since, shortage: { code: "all_slots_busy" } },
      { endpoint_id: endpoint, wanted: 1, have: 1, waits_since: null, shortage: null },
    ]);
    pod.demand(endpoint, 0, { drain: [replicaId] });
    pod.demand(other, 1);
    pod.poll(node, [], { waitMs: 0 });
    expect(capacity(pod).endpoints).toMatchObject([{ endpoint_id: other, have: 1, waits_since: null, shortage: null }]);
    pod.demand(endpoint, 1);
    expect(capacity(pod).endpoints[0]).toMatchObject({
      endpoint_id: endpoint,
      waits_since: new Date(pod.now).toISOString(),
    });
  });

  it("names the error of replicas that crash", () => {
    const { pod, node, replicaId } = replicaOnNode();
    const crashed = { ...held(replicaId, "crashed"), error: "driver too old" };
    pod.poll(node, [crashed], { waitMs: 0 });
    expect(capacity(pod).endpoints).toMatchObject([{ shortage: { code: "crash_looping", error: "driver too old" } }]);
  });

  it("counts a trial for which no card is free as a wait", () => {
    const pod = new PodHarness();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 0, { needed: 0, trials: ["l4"] });
    expect(capacity(pod).endpoints).toMatchObject([
      { endpoint_id: endpoint, wanted: 0, trials: 1, waits_since: new Date(pod.now).toISOString(), shortage: null },
    ]);
  });

  it("is read without a write", () => {
    const { pod } = replicaOnNode();
    pod.demand(pod.endpoint(), 1);
    const rows = () => pod.db.exec("SELECT total_changes() AS rows")[0]?.rows;
    const before = [rows(), pod.armedAt];
    capacity(pod);
    expect([rows(), pod.armedAt]).toEqual(before);
  });

  it("is nobody else's, and no pod's that nobody has made", () => {
    const pod = new PodHarness();
    const stranger = makeId(WorkspaceId, "ws", 1, (length) => numbered(length, 9));
    expect(pod.core.capacity(stranger)).toMatchObject({ ok: false, code: "pod_not_found" });
    const bare = new PodCore(
      new NodeDatabase(),
      { now: () => NOW, randomBytes: (length) => numbered(length, 1) },
      null,
    );
    expect(bare.capacity(pod.workspaceId)).toMatchObject({ ok: false, code: "pod_not_found" });
  });
});
