import { describe, expect, it } from "vitest";
import type { EndpointSettings } from "#contract/endpoint";
import { type JobId, makeId, PodId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { USUAL_WAIT_MS } from "#durable-objects/endpoint/job-store";
import { BATCH_JOINS_BEFORE_MS, joinsAt } from "#durable-objects/queue/joining";
import { EndpointHarness, type FakeReplica, podReply } from "./endpoint-harness.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const laneOf = (world: EndpointHarness, id: JobId) => world.job(id).lane;

function whyOf(world: EndpointHarness, id: JobId) {
  const reply = world.core.whyJob(world.workspaceId, id);
  if (!reply.ok) throw new Error(reply.code);
  return reply.why;
}

describe("a batch job whose start deadline comes near", () => {
  it.each([
    ["of its own", HOUR, 0],
    ["that is the usual one", USUAL_WAIT_MS, 0],
    ["that is the usual one, of a high priority", USUAL_WAIT_MS, 9],
    ["that is far away", 7 * 24 * HOUR, 3],
  ])("joins the interactive jobs five minutes before, with a deadline %s", (_, expiresInMs, priority) => {
    const world = new EndpointHarness();
    const id = world.submit({ lane: "batch", expiresInMs, priority });
    // Nobody has to be asked for replicas meanwhile.
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.pass(expiresInMs - BATCH_JOINS_BEFORE_MS - 1);
    expect(laneOf(world, id)).toBe("batch");
    world.pass(1);
    expect(laneOf(world, id)).toBe("interactive");
    world.pass(BATCH_JOINS_BEFORE_MS);
    expect(world.job(id).state).toBe("expired");
  });

  it("joins at half of its time where that is short", () => {
    const world = new EndpointHarness();
    const id = world.submit({ lane: "batch", expiresInMs: 2 * MINUTE });
    world.pass(MINUTE - 1);
    expect(laneOf(world, id)).toBe("batch");
    world.pass(1);
    expect(laneOf(world, id)).toBe("interactive");
  });

  it("joins after a restart too, and expires in time although it stands among younger jobs", () => {
    const world = new EndpointHarness();
    const own = world.submit({ lane: "batch", expiresInMs: HOUR });
    const usual = world.submit({ lane: "batch", expiresInMs: USUAL_WAIT_MS });
    world.pass(HOUR - 3 * MINUTE - BATCH_JOINS_BEFORE_MS);
    world.restart();
    world.pass(3 * MINUTE);
    expect([laneOf(world, own), laneOf(world, usual)]).toEqual(["interactive", "batch"]);
    world.pass(USUAL_WAIT_MS - HOUR);
    expect(laneOf(world, usual)).toBe("interactive");
    world.restart();
    world.pass(BATCH_JOINS_BEFORE_MS);
    expect(world.job(usual).state).toBe("expired");
  });

  it("goes behind the interactive jobs that wait, and ahead of those that come later and of other batch jobs", () => {
    const world = new EndpointHarness();
    const late = world.submit({ lane: "batch", expiresInMs: HOUR });
    const other = world.submit({ lane: "batch", expiresInMs: 2 * HOUR });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS - 1_000);
    const before = world.submit();
    world.pass(2_000);
    const after = world.submit();
    const replica = world.replica();
    const order = [1, 2, 3, 4].map(() => {
      const lease = world.take(replica);
      world.progress(replica, lease);
      world.complete(replica, lease);
      return lease.job_id;
    });
    expect(order).toEqual([before, late, after, other]);
  });

  it("is told so, before and after", () => {
    const world = new EndpointHarness({ batch_target_wait_s: 2 * 3_600 });
    const id = world.submit({ lane: "batch", expiresInMs: HOUR });
    const { createdAt, expiresAt } = world.job(id);
    const joins = new Date(joinsAt({ createdAt, expiresAt: expiresAt ?? 0 })).toISOString();
    const [waits] = whyOf(world, id).reasons;
    expect(waits).toMatchObject({ code: "batch_lane", detail: expect.stringContaining(`From ${joins} on`) });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS);
    const reason = whyOf(world, id).reasons.find(({ code }) => code === "batch_lane");
    expect(reason?.detail).toContain(`has gone with the interactive ones since ${joins}`);
    expect(whyOf(world, world.submit()).reasons.map(({ code }) => code)).not.toContain("batch_lane");
  });

  it("is given a replica although batch jobs would wait longer for one", () => {
    const world = new EndpointHarness({ batch_target_wait_s: 2 * 3_600 });
    world.submit({ lane: "batch", expiresInMs: HOUR });
    expect(world.core.demand()?.wanted).toBe(0);
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS);
    expect(world.core.demand()).toMatchObject({ wanted: 1, needed: 1 });
  });

  it("that has started before stays where it is: it does not expire", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit({ lane: "batch", expiresInMs: HOUR });
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.fail(replica, lease);
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.pass(HOUR);
    expect([laneOf(world, id), world.job(id).state]).toEqual(["batch", "queued"]);
  });
});

/** An endpoint whose jobs of the two lanes run on different pods. */
class SplitWorld extends EndpointHarness {
  readonly second = makeId(PodId, "pod", this.now, (length) => new Uint8Array(length).fill(9));

  /** @param first lanes of the preferred pod; the second one takes batch jobs alone */
  constructor(first: readonly Lane[] = ["interactive"], settings: Partial<EndpointSettings> = {}) {
    super();
    const pods = [
      { podId: this.podId, lanes: first },
      { podId: this.second, lanes: ["batch"] as const },
    ];
    this.configure({ max_replicas: 4, batch_target_wait_s: 0, idle_timeout_s: 600, ...settings }, { pods });
  }

  on(podId: PodId): FakeReplica {
    return this.replica({ ...this.node(), podId });
  }

  /** Takes the next job and ends it. */
  runOn(replica: FakeReplica): JobId {
    const lease = this.take(replica);
    this.progress(replica, lease);
    this.complete(replica, lease);
    return lease.job_id;
  }

  /** The first pod says that it has no machine. */
  firstIsEmpty(): void {
    const short = podReply([], { room: 0, gpuTypes: [], shortage: { code: "no_node_online", error: null } });
    const demand = this.core.demand();
    if (demand === null) throw new Error("nothing is wanted");
    this.call((core) => core.demandAnswered(demand, short, this.now));
    this.call((core) => core.cardsHeard(this.podId, []));
  }

  /** Submits a batch job and lets the time pass until it joins. */
  nearDeadline(): JobId {
    const id = this.submit({ lane: "batch", expiresInMs: HOUR });
    this.pass(HOUR - BATCH_JOINS_BEFORE_MS);
    return id;
  }
}

describe("a batch job near its deadline whose pod takes no interactive ones", () => {
  it.each<[string, readonly Lane[]]>([
    ["interactive ones alone", ["interactive"]],
    ["both", ["interactive", "batch"]],
  ])("still runs there when the pod that takes %s has no machine", (_, lanes) => {
    const world = new SplitWorld(lanes);
    const ids = Array.from({ length: 400 }, () => world.submit({ lane: "batch", expiresInMs: 20 * MINUTE }));
    const live: FakeReplica[] = [];
    for (let at = 0; at < 21 * MINUTE; at += 5_000) {
      world.firstIsEmpty();
      while (live.length < Math.min(2, world.core.demand(world.second)?.wanted ?? 0)) live.push(world.on(world.second));
      const short = live.length < (world.core.demand(world.second)?.wanted ?? 0);
      const shortage = { code: short ? "all_slots_busy" : "none", error: null } as const;
      world.answerDemand(live, { room: 2 - live.length, shortage }, world.second);
      for (const replica of live) {
        const answer = world.poll(replica);
        if (typeof answer === "string" || answer.lease === null) continue;
        world.progress(replica, answer.lease);
        world.pass(100);
        world.complete(replica, answer.lease);
      }
      world.pass(5_000);
    }
    expect(new Set(ids.map((id) => world.job(id).state))).toEqual(new Set(["succeeded"]));
  });

  it("has a replica started there although batch jobs would wait longer for one", () => {
    const world = new SplitWorld(["interactive"], { max_replicas: 1, batch_target_wait_s: 2 * 3_600 });
    world.nearDeadline();
    expect(world.core.demand(world.second)).toMatchObject({ wanted: 1, needed: 1 });
  });

  it("goes before the other batch jobs there", () => {
    const world = new SplitWorld();
    const replica = world.on(world.second);
    const hurried = world.submit({ lane: "batch", expiresInMs: HOUR });
    world.pass(1_000);
    const others = [9, 5].map((priority) => world.submit({ lane: "batch", expiresInMs: 3 * HOUR, priority }));
    const late = world.submit({ lane: "batch", expiresInMs: HOUR });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS);
    expect([1, 2, 3, 4].map(() => world.runOn(replica))).toEqual([hurried, late, ...others]);
  });

  it("runs on a replica for interactive jobs as well, in its place among them", () => {
    const world = new SplitWorld();
    const replica = world.on(world.podId);
    const late = world.submit({ lane: "batch", expiresInMs: HOUR });
    const other = world.submit({ lane: "batch", expiresInMs: 2 * HOUR });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS - 1_000);
    const before = world.submit();
    world.pass(2_000);
    const after = world.submit();
    expect([1, 2, 3].map(() => world.runOn(replica))).toEqual([before, late, after]);
    expect(world.poll(replica)).toBe("waiting");
    expect(world.job(other).state).toBe("queued");
  });

  it("is offered to a replica for interactive jobs that waits", () => {
    const world = new SplitWorld();
    const replica = world.on(world.podId);
    const late = world.submit({ lane: "batch", expiresInMs: 12 * MINUTE });
    for (let at = 0; at < 7 * MINUTE; at += 20_000) {
      world.poll(replica);
      world.pass(20_000);
    }
    expect(world.answers.at(-1)?.answer.lease?.job_id).toBe(late);
  });

  it("is given replicas on the pod for interactive jobs, as far as that leaves the other pod its own", () => {
    const world = new SplitWorld();
    for (let jobs = 0; jobs < 9; jobs += 1) world.submit({ lane: "batch", expiresInMs: HOUR });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS - 1_000);
    for (const replica of [world.on(world.second), world.on(world.second)]) world.take(replica);
    expect(world.core.demand()?.wanted).toBe(0);
    world.pass(1_000);
    expect(world.core.demand()).toMatchObject({ wanted: 2, needed: 2 });
    world.firstIsEmpty();
    world.pass(10_000);
    expect(world.core.demand()).toMatchObject({ wanted: 0, needed: 0 });
    expect(world.core.demand(world.second)?.drain).toEqual([]);
  });

  it("says that it has joined, and expires in time, also after a restart", () => {
    const world = new SplitWorld();
    const id = world.nearDeadline();
    const reason = whyOf(world, id).reasons.find(({ code }) => code === "batch_lane");
    expect(reason?.detail).toContain("has gone with the interactive ones since");
    world.restart();
    world.pass(BATCH_JOINS_BEFORE_MS - 1);
    expect(world.job(id).state).toBe("queued");
    world.pass(1);
    expect(world.job(id).state).toBe("expired");
  });

  it("moves on to the interactive lane when the endpoint gets pods that take both", () => {
    const world = new SplitWorld();
    const id = world.nearDeadline();
    expect(laneOf(world, id)).toBe("batch");
    world.configure({}, { pods: [{ podId: world.podId, lanes: ["interactive", "batch"] }] });
    world.pass(1_000);
    expect(laneOf(world, id)).toBe("interactive");
  });

  it("has no place ahead of older ones once it is moved by hand", () => {
    const world = new SplitWorld();
    const first = world.submit({ expiresInMs: 2 * HOUR });
    world.pass(1_000);
    const id = world.nearDeadline();
    expect(world.call((core) => core.patchJob(world.workspaceId, id, { lane: "interactive" })).ok).toBe(true);
    const replica = world.on(world.podId);
    expect([world.runOn(replica), world.runOn(replica)]).toEqual([first, id]);
  });
});
