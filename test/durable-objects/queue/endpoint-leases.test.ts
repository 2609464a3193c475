import { describe, expect, it } from "vitest";
import { LEASE_CONFIRM_MS, LEASE_MS, LEASE_RENEW_MS, LONG_POLL_MS } from "#contract/limits";
import { GIVE_BACK_QUIET_MS } from "#durable-objects/queue/lease";
import { FREE_HANDBACKS_MAX } from "#durable-objects/queue/retry";
import { EndpointHarness } from "./endpoint-harness.ts";

describe("a waiting replica", () => {
  it("gets a job in the turn that submits it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    expect(world.poll(replica)).toBe("waiting");
    const id = world.submit();
    expect(world.answers.at(-1)).toMatchObject({
      replicaId: replica.id,
      answer: { lease: { job_id: id, attempt: 1 } },
    });
    expect(world.job(id)).toMatchObject({ state: "running", phase: "assigned" });
  });

  it("is replaced by its own next poll", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.poll(replica, [], { pollId: "first-poll" });
    world.poll(replica, [], { pollId: "second-poll" });
    expect(world.answers.at(-1)).toMatchObject({
      pollId: "first-poll",
      answer: { lease: null, ended: [], stop: false },
    });
    world.submit();
    expect(world.answers.at(-1)?.pollId).toBe("second-poll");
  });

  it("gets nothing after its client has gone", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.poll(replica, [], { pollId: "first-poll" });
    world.call((core) => core.abandonPoll(replica.id, "first-poll"));
    expect(world.job(world.submit()).state).toBe("queued");
  });

  it("comes before one that would take the job ahead, the last used first", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const [old, recent, busy] = [world.replica(), world.replica(), world.replica()];
    for (const replica of [old, recent, busy]) {
      world.submit();
      world.pass(1_000);
      const lease = world.take(replica);
      if (replica === busy) world.poll(busy, [lease]);
      else world.complete(replica, lease);
    }
    world.poll(old);
    world.poll(recent);
    world.submit();
    expect(world.answers.at(-1)?.replicaId).toBe(recent.id);
    world.submit();
    expect(world.answers.at(-1)?.replicaId).toBe(old.id);
    world.submit();
    expect(world.answers.at(-1)?.replicaId).toBe(busy.id);
  });

  it("holds at most one lease ahead", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    for (let job = 0; job < 3; job += 1) world.submit();
    const first = world.take(replica);
    const ahead = world.take(replica, [first]);
    expect(world.poll(replica, [first, ahead], { waitMs: 0 })).toEqual({ lease: null, ended: [], stop: false });
  });
});

describe("a poll", () => {
  it("that comes again gets the same lease again, with time to confirm it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const first = world.poll(replica, [], { pollId: "same-poll" });
    expect(first).toMatchObject({ lease: { job_id: id } });
    world.pass(LEASE_CONFIRM_MS - 1);
    expect(world.poll(replica, [], { pollId: "same-poll" })).toEqual(first);
    world.pass(LEASE_CONFIRM_MS - 1);
    expect(world.job(id).state).toBe("running");
  });

  it("takes no fresh lease away, because it may be older than the lease", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    world.take(replica);
    world.poll(replica, [], { waitMs: 0 });
    expect(world.job(id).state).toBe("running");
  });

  it("gives back what the replica has lost, once it has been silent about it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(GIVE_BACK_QUIET_MS);
    const next = world.take(replica);
    expect(next).toMatchObject({ job_id: id, attempt: 1 });
    expect(next.lease_id).not.toBe(lease.lease_id);
    expect(world.complete(replica, lease)).toMatchObject({ ok: false, code: "lease_lost" });
    expect(world.complete(replica, next)).toMatchObject({ ok: true });
  });

  it("names the leases that are over", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.call((core) => core.cancelJob(world.workspaceId, id));
    expect(world.poll(replica, [lease])).toEqual({ lease: null, ended: [lease.lease_id], stop: false });
  });

  it("of a replica the pod has not vouched for is not answered", () => {
    const world = new EndpointHarness();
    const known = world.replica();
    const unknown = { ...known, id: known.id.replace(/.$/, (last) => (last === "0" ? "1" : "0")) as typeof known.id };
    const poll = { poll_id: "some-poll", leases: [], wait_ms: 0 };
    expect(world.core.pollReplica(unknown.node, unknown.id, poll)).toEqual({ type: "unverified" });
  });

  it("from another node than the replica's is refused", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    expect(world.poll({ ...replica, node: world.node() })).toBe("refused");
  });
});

describe("a lease", () => {
  it("that nobody confirms is lost after 10 s and costs no attempt", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    world.take(world.replica());
    world.pass(LEASE_CONFIRM_MS - 1);
    expect(world.job(id).state).toBe("running");
    world.pass(1);
    expect(world.job(id)).toMatchObject({ state: "queued", phase: "retrying", attempt: 0 });
  });

  it("lives 30 s after each word of the agent", () => {
    const world = new EndpointHarness({ attempts_max: 2 });
    const replica = world.replica();
    const id = world.submit({ timeoutMs: 3_600_000 });
    const lease = world.take(replica);
    for (let beat = 0; beat < 20; beat += 1) {
      expect(world.progress(replica, lease)).toMatchObject({
        ok: true,
        answer: { cancel: false, renew_within_ms: LEASE_MS },
      });
      world.pass(LEASE_RENEW_MS);
    }
    world.pass(LEASE_MS - LEASE_RENEW_MS - 1);
    expect(world.job(id).state).toBe("running");
    world.pass(1);
    expect(world.job(id)).toMatchObject({ state: "queued", attempt: 1 });
    expect(world.progress(replica, lease)).toMatchObject({ ok: false, code: "lease_lost" });
  });

  it("outlives the object's memory", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(4_000);
    world.progress(replica, lease);
    world.restart();
    world.pass(LEASE_MS - 1);
    expect(world.job(id).state).toBe("running");
    expect(world.complete(replica, lease)).toMatchObject({ ok: true });
  });

  it("cannot be used by another node, with another token, or by another workspace", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    const proof = world.proof(replica, lease);
    const forged = {
      ...lease,
      token: lease.token.replace(/.$/, (last) => (last === "0" ? "1" : "0")) as typeof lease.token,
    };
    const lost = { ok: false, code: "lease_lost" };
    expect(world.complete({ ...replica, node: world.node() }, lease)).toMatchObject(lost);
    expect(world.complete(replica, forged)).toMatchObject(lost);
    const other = { ...proof, workspaceId: "ws_00000000000000000000000000" as typeof proof.workspaceId };
    expect(world.core.progress(other, { phase: "executing" })).toMatchObject(lost);
    expect(world.core.inputFile(other, 0)).toMatchObject(lost);
    expect(world.core.grantOutput(other)).toMatchObject(lost);
    expect(world.job(id)).toMatchObject({ state: "running", phase: "assigned" });
  });

  it("is spoken for by its newest token only, and tokens only grow", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const counters: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const lease = world.take(replica);
      counters.push(Number(lease.token.split(".")[0]));
      world.release(replica, lease);
      world.pass(30_000);
      if (round === 2) world.restart();
    }
    expect(counters).toEqual(counters.toSorted((a, b) => a - b));
    expect(new Set(counters).size).toBe(5);
  });

  it("fetches its files under their index, without showing their keys to the agent", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const file = {
      index: 0,
      input: "image",
      file_id: "file_00000000000000000000000000" as never,
      filename: "a.png",
      content_type: "image/png",
      size: 1,
      sha256: "0".repeat(64),
      key: "in/secret",
    };
    world.submit({ files: [file] });
    const lease = world.take(replica);
    expect(JSON.stringify(lease)).not.toContain("in/secret");
    expect(world.core.inputFile(world.proof(replica, lease), 0)).toEqual({ ok: true, file });
    expect(world.core.inputFile(world.proof(replica, lease), 1)).toMatchObject({ code: "file_not_found" });
  });
});

describe("completing", () => {
  it("brings the next lease, and the same one again when it is said twice", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const second = world.submit();
    const lease = world.take(replica);
    const first = world.complete(replica, lease, "next-poll");
    expect(first).toMatchObject({ ok: true, next: { job_id: second } });
    expect(world.complete(replica, lease, "next-poll")).toEqual(first);
  });

  it("needs every output of the manifest under the lease's own token", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const proof = world.proof(replica, world.take(replica));
    const entry = {
      index: 0,
      name: "picture.png",
      output: "picture",
      kind: "image" as const,
      filename: "picture.png",
      content_type: "image/png",
      size: 3,
      sha256: "0".repeat(64),
    };
    const say = (...keys: string[]) =>
      world.call((core) =>
        core.complete(
          proof,
          { outputs: [entry], phases: [] },
          keys.map((key) => ({ ...entry, key })),
        ),
      );
    const { grant } = world.core.grantOutput(proof) as { grant: { keyPrefix: string } };
    expect(say()).toMatchObject({ ok: false, code: "output_missing" });
    expect(say(`${grant.keyPrefix.replace(/.\/$/, "x/")}0`)).toMatchObject({ ok: false, code: "output_missing" });
    expect(world.job(id).state).toBe("running");
    expect(say(`${grant.keyPrefix}0`)).toMatchObject({ ok: true });
    expect(world.job(id)).toMatchObject({ state: "succeeded", outputs: [{ key: `${grant.keyPrefix}0` }] });
  });

  it("says twice that there is nothing next, also when there is by then", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const lease = world.take(replica);
    expect(world.complete(replica, lease, "next-poll")).toEqual({ ok: true, next: null, waits: null });
    world.submit();
    expect(world.complete(replica, lease, "next-poll")).toEqual({ ok: true, next: null, waits: null });
  });

  it("goes on as a poll, which the next job answers and which may be asked again", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const waits = { replicaId: replica.id, ms: LONG_POLL_MS };
    expect(world.complete(replica, world.take(replica), "next-poll", 60_000)).toMatchObject({ next: null, waits });
    const id = world.submit();
    expect(world.job(id).state).toBe("running");
    const again = world.core.pollReplica(replica.node, replica.id, { poll_id: "next-poll", leases: [], wait_ms: 0 });
    expect(again).toMatchObject({ type: "answered", reply: { answer: { lease: { job_id: id } } } });
  });

  it("does not wait where a lease comes with it, nor for a replica that still holds one, nor a second time", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    world.submit();
    const first = world.take(replica);
    const second = world.take(replica, [first]);
    // It holds another one, of which a poll that lists none would know nothing.
    expect(world.complete(replica, first, "poll-one", 1_000)).toMatchObject({ next: null, waits: null });
    expect(world.complete(replica, second, "poll-two", 1_000)).toMatchObject({ next: null, waits: { ms: 1_000 } });
    world.call((core) => core.abandonPoll(replica.id, "poll-two"));
    expect(world.complete(replica, second, "poll-two", 1_000)).toMatchObject({ next: null, waits: null });
    const third = world.submit();
    expect(world.job(third).state).toBe("queued");
    expect(world.take(replica).job_id).toBe(third);
  });

  it("does not wait for a replica that late news of its start has made unready: asking makes it ready again", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const first = world.take(replica);
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "loading", phases: [] }));
    const second = world.submit();
    expect(world.complete(replica, first, "next-poll", 25_000)).toMatchObject({ next: null, waits: null });
    expect(world.take(replica).job_id).toBe(second);
  });

  it("brings nothing to a replica that is let go", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const [first, second] = [world.replica(), world.replica()];
    world.submit();
    world.submit();
    const leases = [world.take(first), world.take(second)] as const;
    world.submit();
    world.configure({ max_replicas: 1 });
    const nexts = [world.complete(first, leases[0], "next-one", 9), world.complete(second, leases[1], "next-two", 9)];
    expect(nexts.map((reply) => reply.ok && reply.next !== null)).toEqual([false, true]);
    expect(nexts.map((reply) => reply.ok && reply.waits !== null)).toEqual([false, false]);
    expect(world.poll(first)).toMatchObject({ lease: null, stop: true });
  });
});

describe("failing", () => {
  it("tries again later, on another node first", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const [here, there] = [world.replica(), world.replica()];
    world.poll(there, [], { waitMs: 0 });
    const id = world.submit();
    const lease = world.take(here);
    world.fail(here, lease);
    expect(world.job(id)).toMatchObject({ state: "queued", phase: "retrying", attempt: 1 });
    world.poll(here);
    world.pass(2_000);
    expect(world.job(id).state).toBe("queued");
    expect(world.take(there)).toMatchObject({ job_id: id, attempt: 2 });
  });

  it("tries again on the same node when there is no other", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    world.fail(replica, world.take(replica));
    expect(world.poll(replica)).toBe("waiting");
    world.pass(2_000);
    expect(world.answers.at(-1)?.answer.lease).toMatchObject({ attempt: 2 });
  });

  it("tries again on the same node when the other stays busy", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const [here, there] = [world.replica(), world.replica()];
    world.submit({ timeoutMs: 3_600_000 });
    const long = world.take(there);
    world.progress(there, long);
    world.submit();
    world.fail(here, world.take(here));
    world.poll(here);
    world.pass(8_000);
    expect(world.answers.at(-1)).toMatchObject({ replicaId: here.id, answer: { lease: { attempt: 2 } } });
  });

  it("ends the job when the attempts are used up, with the last error", () => {
    const world = new EndpointHarness({ attempts_max: 2 });
    const replica = world.replica();
    const id = world.submit();
    for (let attempt = 0; attempt < 2; attempt += 1) {
      world.fail(replica, world.take(replica));
      world.pass(2_000);
    }
    expect(world.job(id)).toMatchObject({ state: "failed", attempt: 2, error: { code: "out_of_memory" } });
  });

  it("ends the job at once when the error would come back", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    expect(world.fail(replica, lease, "execution_error")).toEqual({ ok: true });
    expect(world.fail(replica, lease, "execution_error")).toEqual({ ok: true });
    expect(world.job(id)).toMatchObject({ state: "failed", attempt: 1, error: { code: "execution_error" } });
  });

  it("can be handed back for free only so often", () => {
    const world = new EndpointHarness({ attempts_max: 1 });
    const id = world.submit({ expiresInMs: 86_400_000 });
    for (let round = 0; round <= FREE_HANDBACKS_MAX; round += 1) {
      expect(world.job(id).state).toBe("queued");
      const replica = world.replica();
      world.release(replica, world.take(replica));
      world.pass(60_000);
    }
    expect(world.job(id)).toMatchObject({ state: "failed", error: { code: "lease_lost" } });
  });
});

describe("time limits, by the server's clock", () => {
  it("end an execution that takes too long, for good", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit({ timeoutMs: 15_000 });
    const lease = world.take(replica);
    for (let beat = 0; beat < 4; beat += 1) {
      world.progress(replica, lease);
      world.pass(5_000);
    }
    expect(world.job(id)).toMatchObject({ state: "failed", error: { code: "execution_timeout" } });
    expect(world.progress(replica, lease)).toEqual({ ok: true, answer: { cancel: true, renew_within_ms: 0 } });
  });

  it("do not count the preparation, nor a phase that a late message reports", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit({ timeoutMs: 15_000 });
    const lease = world.take(replica);
    for (let beat = 0; beat < 6; beat += 1) {
      world.progress(replica, lease, "preparing");
      world.pass(5_000);
    }
    world.progress(replica, lease, "uploading");
    world.progress(replica, lease, "executing");
    expect(world.job(id)).toMatchObject({ state: "running", phase: "uploading" });
    world.pass(16_000);
    expect(world.job(id).state).toBe("running");
  });

  it("do not count a job taken ahead while the one before it executes", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit({ timeoutMs: 4 * 3_600_000 });
    const second = world.submit();
    const first = world.take(replica);
    const ahead = world.take(replica, [first]);
    for (let beat = 0; beat < 2 * 360; beat += 1) {
      world.progress(replica, first);
      world.progress(replica, ahead, "assigned");
      world.pass(LEASE_RENEW_MS);
    }
    expect(world.job(second)).toMatchObject({ state: "running", phase: "assigned" });
  });
});

describe("what a watcher sees", () => {
  it("is the job's story, without gaps, to its end", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    world.fail(replica, world.take(replica));
    world.pass(2_000);
    const lease = world.take(replica);
    world.progress(replica, lease, "preparing");
    world.progress(replica, lease);
    world.complete(replica, lease);
    const reply = world.core.watchJob(world.workspaceId, id, { seq: 0, version: 0 });
    if (!reply.ok) throw new Error(reply.code);
    expect(reply.events.map(({ type }) => type)).toEqual([
      "queued",
      "started",
      "retrying",
      "started",
      "phase",
      "phase",
      "succeeded",
    ]);
    expect(reply.events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(reply.ended).toBe(true);
    expect(world.core.watchJob(world.workspaceId, id, { seq: 5, version: 0 })).toMatchObject({
      events: [{ seq: 6 }, { seq: 7 }],
    });
  });

  it("is each new progress and preview once, and newer than any before a restart", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    const proof = world.proof(replica, lease);
    const progress = { fraction: 0.5, nodes_done: 1, nodes_total: 2 };
    const preview = { content_type: "image/png" as const, data: "AAAA" };
    world.call((core) => core.progress(proof, { phase: "executing", progress, preview }));
    const first = world.core.watchJob(world.workspaceId, id, { seq: 0, version: 0 });
    if (!first.ok) throw new Error(first.code);
    expect(first).toMatchObject({ progress, preview });
    expect(world.core.watchJob(world.workspaceId, id, { seq: 0, version: first.version })).toMatchObject({
      preview: null,
      version: first.version,
    });
    world.restart();
    expect(world.job(id).progress).toEqual(progress);
    world.pass(1);
    world.call((core) => core.progress(proof, { phase: "executing", progress: { ...progress, fraction: 0.6 } }));
    const later = world.core.watchJob(world.workspaceId, id, { seq: 0, version: first.version });
    expect(later.ok && later.version > first.version).toBe(true);
  });

  it("is the cold start the job has waited for", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    const replica = world.replica();
    const report = (state: "booting" | "loading" | "ready") =>
      world.call((core) => core.reportReplica(replica.node, replica.id, { state, phases: [] }));
    world.pass(1_000);
    report("booting");
    world.pass(8_000);
    report("loading");
    world.pass(3_000);
    report("ready");
    const lease = world.take(replica);
    const phases = [
      { phase: "executing", ms: 2_000 },
      { phase: "uploading", ms: 100 },
    ];
    world.pass(2_500);
    world.call((core) => core.complete(world.proof(replica, lease), { outputs: [], phases }, []));
    expect(world.job(id).timeline.map(({ phase, ms, attempt }) => [phase, ms, attempt])).toEqual([
      ["placement", 1_000, 0],
      ["booting", 8_000, 0],
      ["loading", 3_000, 0],
      ["executing", 2_000, 1],
      ["uploading", 100, 1],
    ]);
  });
});
