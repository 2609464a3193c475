/** New replicas in the place of old ones: by hand, and when the active release needs another build. */
import { describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import type { ReplicaState } from "#contract/replica";
import type { DemandReply } from "#durable-objects/pod/rpc";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";

const [OLD, NEW] = ["a".repeat(64), "b".repeat(64)];

/** An endpoint whose active release needs a build. */
function activate(world: EndpointHarness, build: string | null, release = 1, floor = 2): void {
  const { endpointId, workspaceId, podId } = world;
  const settings = { ...DEFAULT_SETTINGS, min_replicas: floor, max_replicas: 4 };
  const needs = { build, models: [] };
  world.call((core) => core.configure({ endpointId, workspaceId, podId, slug: "picture", release, settings, needs }));
}

function report(world: EndpointHarness, replica: FakeReplica, state: ReplicaState, build: string | null = OLD): void {
  world.call((core) => core.reportReplica(replica.node, replica.id, { state, phases: [], build }));
}

function ready(world: EndpointHarness, build: string | null = OLD): FakeReplica {
  world.pass(10);
  const replica = world.replica();
  report(world, replica, "ready", build);
  world.poll(replica);
  return replica;
}

/** The pod's answer to what it is told now. */
function answer(
  world: EndpointHarness,
  placed: readonly FakeReplica[],
  code: DemandReply["shortage"]["code"] = "none",
): void {
  const demand = world.core.demand();
  if (demand === null) throw new Error("there is no demand");
  const reply: DemandReply = {
    replicas: placed.map(({ id, node }) => ({ replicaId: id, nodeId: node.nodeId, gpuType: null, slotsOnCard: 1 })),
    floor: 0,
    idleTimeoutMs: null,
    room: code === "none" ? 5 : 0,
    held: 0,
    gpuTypes: [],
    shortage: { code, error: null },
    lack: { code, error: null },
  };
  world.call((core) => core.demandAnswered(demand, reply, world.now));
}

function stateOf(world: EndpointHarness, { id }: FakeReplica): string {
  const reply = world.core.getReplica(world.workspaceId, id);
  return reply.ok ? reply.replica.state : reply.code;
}

const wanted = (world: EndpointHarness) => world.core.demand()?.wanted;

/** Two replicas of the old build, which is the active release's. */
function running(): { world: EndpointHarness; replicas: [FakeReplica, FakeReplica] } {
  const world = new EndpointHarness();
  activate(world, OLD);
  const replicas: [FakeReplica, FakeReplica] = [ready(world), ready(world)];
  answer(world, replicas);
  expect(wanted(world)).toBe(2);
  return { world, replicas };
}

describe("a replica that is replaced by hand", () => {
  it("works until the new one is ready, and then goes", () => {
    const { world, replicas } = running();
    const [first, second] = replicas;
    const reply = world.call((core) => core.replaceReplica(world.workspaceId, first.id));
    expect(reply).toMatchObject({ ok: true, replica: { id: first.id, state: "ready" } });
    expect(wanted(world)).toBe(3);
    world.pass(10);
    const third = world.replica();
    answer(world, [...replicas, third]);
    report(world, third, "booting");
    expect([stateOf(world, first), wanted(world)]).toEqual(["ready", 3]);
    report(world, third, "ready");
    expect([first, second, third].map((each) => stateOf(world, each))).toEqual(["draining", "ready", "ready"]);
    expect(world.core.demand()?.drain).toEqual([first.id]);
    world.pass(3_000);
    expect(wanted(world)).toBe(2);
  });

  it("goes first where the pod has no room, after its job", () => {
    const { world, replicas } = running();
    const [first] = replicas;
    world.submit();
    const busy = replicas.find((each) => stateOf(world, each) === "busy") ?? first;
    world.call((core) => core.replaceReplica(world.workspaceId, busy.id));
    answer(world, replicas, "all_slots_busy");
    expect(stateOf(world, busy)).toBe("draining");
    expect(world.core.demand()?.drain).toEqual([busy.id]);
    const lease = world.answers.findLast(({ replicaId }) => replicaId === busy.id)?.answer.lease;
    expect(lease).toBeTruthy();
    if (lease) expect(world.complete(busy, lease)).toMatchObject({ ok: true });
  });

  it("goes one at a time where the pod has no room, however many are to go", () => {
    const { world, replicas } = running();
    activate(world, OLD, 1, 4);
    const all = [...replicas, ready(world), ready(world)];
    answer(world, all);
    for (const each of all) world.call((core) => core.replaceReplica(world.workspaceId, each.id));
    const states = () => all.map((each) => stateOf(world, each)).sort();
    answer(world, all, "all_slots_busy");
    expect(states()).toEqual(["draining", "ready", "ready", "ready"]);
    world.pass(3_000);
    answer(world, all, "all_slots_busy");
    expect(states()).toEqual(["draining", "ready", "ready", "ready"]);
    for (const each of all) if (stateOf(world, each) === "draining") report(world, each, "stopped");
    world.pass(10);
    const fifth = world.replica();
    const placed = () => [...all.filter((each) => stateOf(world, each) !== "stopped"), fifth];
    world.pass(3_000);
    answer(world, placed(), "all_slots_busy");
    expect(states()).toEqual(["ready", "ready", "ready", "stopped"]);
    report(world, fifth, "ready");
    expect(states()).toEqual(["draining", "ready", "ready", "stopped"]);
  });

  it("stays while new ones crash: there being no room is another thing", () => {
    const { world, replicas } = running();
    world.call((core) => core.replaceReplica(world.workspaceId, replicas[0].id));
    answer(world, replicas, "crash_looping");
    expect(stateOf(world, replicas[0])).toBe("ready");
  });

  it("is replaced once, however often that is asked for, also after a restart", () => {
    const { world, replicas } = running();
    for (let times = 0; times < 3; times += 1) {
      world.call((core) => core.replaceReplica(world.workspaceId, replicas[0].id));
      world.restart();
    }
    expect(wanted(world)).toBe(3);
    for (const each of replicas) world.call((core) => core.replaceReplica(world.workspaceId, each.id));
    expect(wanted(world)).toBe(4);
    world.pass(10);
    const fresh = world.replica();
    report(world, fresh, "ready");
    expect(replicas.map((each) => stateOf(world, each))).toEqual(["draining", "ready"]);
    report(world, world.replica(), "ready");
    expect(replicas.map((each) => stateOf(world, each))).toEqual(["draining", "draining"]);
  });

  it("is not there, or has ended: that is said", () => {
    const { world, replicas } = running();
    report(world, replicas[0], "stopped");
    const call = (id: FakeReplica["id"]) => world.call((core) => core.replaceReplica(world.workspaceId, id));
    expect(call(replicas[0].id)).toMatchObject({ ok: false, code: "replica_ended" });
    expect(call("rep_00000000000000000000000000" as FakeReplica["id"])).toMatchObject({ code: "replica_not_found" });
  });
});

describe("a replica that is stopped by hand", () => {
  it("takes no more jobs, and another is started where it is needed", () => {
    const { world, replicas } = running();
    const stopped = world.call((core) => core.stopReplica(world.workspaceId, replicas[0].id));
    expect(stopped).toMatchObject({ ok: true, replica: { state: "draining" } });
    expect(world.poll(replicas[0])).toMatchObject({ stop: true });
    expect(world.core.demand()).toMatchObject({ wanted: 2, drain: [replicas[0].id] });
    expect(world.call((core) => core.stopReplica(world.workspaceId, replicas[0].id))).toMatchObject({ ok: true });
  });
});

describe("an active release of another build", () => {
  it("gets its replicas one after the other, a new one first", () => {
    const { world, replicas } = running();
    activate(world, NEW, 2);
    expect(wanted(world)).toBe(3);
    const third = ready(world, NEW);
    const first = replicas.filter((each) => stateOf(world, each) === "draining");
    expect(first).toHaveLength(1);
    for (const each of first) report(world, each, "stopped");
    world.pass(3_000);
    answer(world, [...replicas.filter((each) => !first.includes(each)), third]);
    expect(wanted(world)).toBe(3);
    const fourth = ready(world, NEW);
    expect(replicas.map((each) => stateOf(world, each)).sort()).toEqual(["draining", "stopped"]);
    for (const each of replicas) report(world, each, "stopped");
    world.pass(3_000);
    answer(world, [third, fourth]);
    expect([wanted(world), world.core.demand()?.drain]).toEqual([2, []]);
    expect([third, fourth].map((each) => stateOf(world, each))).toEqual(["ready", "ready"]);
  });

  it("takes one place at a time where there is no room", () => {
    const { world, replicas } = running();
    activate(world, NEW, 2);
    answer(world, replicas, "all_slots_busy");
    const gone = replicas.filter((each) => stateOf(world, each) === "draining");
    expect(gone).toHaveLength(1);
    for (const each of gone) report(world, each, "stopped");
    world.pass(10);
    const third = world.replica();
    answer(world, [...replicas.filter((each) => !gone.includes(each)), third]);
    report(world, third, "preparing", NEW);
    answer(world, [...replicas.filter((each) => !gone.includes(each)), third], "all_slots_busy");
    expect(replicas.filter((each) => stateOf(world, each) === "ready")).toHaveLength(1);
    report(world, third, "ready", NEW);
    world.poll(third);
    world.pass(3_000);
    answer(world, [...replicas.filter((each) => !gone.includes(each)), third]);
    answer(world, [...replicas.filter((each) => !gone.includes(each)), third], "all_slots_busy");
    expect(replicas.filter((each) => stateOf(world, each) === "ready")).toHaveLength(0);
  });

  it("leaves alone what takes any release, what has made itself one of it, and all where the build is the same", () => {
    const world = new EndpointHarness();
    activate(world, OLD);
    const replicas = [ready(world, null), ready(world, OLD)] as const;
    answer(world, replicas);
    activate(world, OLD, 2);
    expect(wanted(world)).toBe(2);
    activate(world, NEW, 3);
    expect(wanted(world)).toBe(3);
    report(world, replicas[1], "preparing", NEW);
    report(world, replicas[1], "ready", NEW);
    world.pass(3_000);
    answer(world, replicas);
    expect([wanted(world), world.core.demand()?.drain]).toEqual([2, []]);
  });

  it("has its jobs done by replicas of its build, and earlier jobs by the others", () => {
    const { world, replicas } = running();
    const early = world.submit();
    const busy = replicas.find((each) => stateOf(world, each) === "busy");
    if (busy === undefined) throw new Error("nobody works");
    activate(world, NEW, 2);
    world.pass(1);
    const third = world.replica();
    report(world, third, "preparing", NEW);
    const job = world.submit({ release: 2 });
    expect(world.job(job).state).toBe("queued");
    report(world, third, "ready", NEW);
    expect(world.take(third).job_id).toBe(job);
    expect(world.job(early).state).toBe("running");
  });

  it("has its jobs done by replicas that remake themselves where there are no others", () => {
    const { world, replicas } = running();
    activate(world, NEW, 2);
    const job = world.submit({ release: 2 });
    expect(world.job(job).state).toBe("running");
    expect(replicas.map(({ id }) => id)).toContain(world.answers.at(-1)?.replicaId);
  });

  it("takes no further place while its replicas crash, says until when, and then goes on by itself", () => {
    const { world, replicas } = running();
    activate(world, NEW, 2);
    answer(world, replicas, "all_slots_busy");
    const gone = replicas.filter((each) => stateOf(world, each) === "draining");
    const left = replicas.filter((each) => !gone.includes(each));
    for (const each of gone) report(world, each, "stopped");
    world.pass(10);
    const third = world.replica();
    report(world, third, "crashed", NEW);
    const crashedAt = world.now;
    const pass = (untilMs: number): void => {
      while (world.now < crashedAt + untilMs) {
        world.pass(Math.min(20_000, crashedAt + untilMs - world.now));
        answer(world, left, "all_slots_busy");
        for (const each of left) world.poll(each);
      }
    };
    const standing = () => [world.core.demand()?.drain, left.map((each) => stateOf(world, each))];
    const reason = () => {
      const reply = world.core.scaling(world.workspaceId, 1);
      return reply.ok ? reply.scaling.reason : reply.code;
    };
    pass(10 * 60_000 - 1);
    expect(standing()).toEqual([[], ["ready"]]);
    const until = new Date(crashedAt + 10 * 60_000).toISOString();
    expect(reason()).toContain(`the roll-out of release 2 is held until ${until}`);
    world.pass(1);
    expect(wanted(world)).toBe(3);
    expect(reason()).not.toContain("held");
    answer(world, left, "all_slots_busy");
    expect(standing()).toEqual([left.map(({ id }) => id), ["draining"]]);
  });

  it("begins though replicas of the build before it have crashed", () => {
    const world = new EndpointHarness();
    activate(world, OLD);
    report(world, world.replica(), "crashed");
    const replicas = [ready(world), ready(world)];
    answer(world, replicas);
    activate(world, NEW, 2);
    expect(wanted(world)).toBe(3);
  });
});
