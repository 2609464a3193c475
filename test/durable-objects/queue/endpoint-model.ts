/**
 * Random operations on an endpoint's core, with every fault a message or an object can suffer, against an oracle that
 * knows only what it was told. The invariants' numbers are those of the design.
 */
import fc from "fast-check";
import type { Lease } from "#contract/agent";
import { type JobId, jobIdOf, type LeaseId, leaseIdOf, leaseNumber, type ReplicaId } from "#contract/ids";
import { isTerminal } from "#contract/job";
import { LEASE_CONFIRM_MS, LEASE_MS, PROGRESS_PERSIST_MS } from "#contract/limits";
import { ALARM_PACE_MS } from "#durable-objects/endpoint/alarm-clock";
import { GIVE_BACK_QUIET_MS, type LeaseRecord } from "#durable-objects/queue/lease";
import { rankOf } from "#durable-objects/queue/order";
import { FREE_HANDBACKS_MAX } from "#durable-objects/queue/retry";
import type { SqlRow } from "#durable-objects/sql/database";
import { EndpointHarness, type FakeReplica } from "./endpoint-harness.ts";

const ATTEMPTS_MAX = 2;
const INTERACTIVE_LATELY_MS = 10 * 60_000;

export const operation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("enqueue"),
      key: fc.integer({ min: 0, max: 5 }),
      body: fc.integer({ min: 0, max: 1 }),
      batch: fc.boolean(),
      priority: fc.integer({ min: 0, max: 9 }),
      short: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("cancel"), pick: fc.nat() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("pass"),
      ms: fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 45_000 })),
      late: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("poll"),
      replica: fc.nat(),
      wait: fc.boolean(),
      honest: fc.integer({ min: 0, max: 5 }),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      type: fc.constant("say"),
      pick: fc.nat(),
      fresh: fc.integer({ min: 0, max: 4 }),
      what: fc.constantFrom(
        "assigned",
        "executing",
        "executing",
        "uploading",
        "complete",
        "complete",
        "fail",
        "break",
        "release",
        "grant",
      ),
      next: fc.boolean(),
      forged: fc.integer({ min: 0, max: 9 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("replay"), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("restart") }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("gone"), replica: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("demand") }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("abandon"), replica: fc.nat() }) },
);
export type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

interface KnownLease {
  readonly lease: Lease;
  readonly replica: FakeReplica;
  readonly pollId: string;
  /** When its answer last left, and when the agent was last heard under it. */
  offeredAt: number;
  heardAt: number | null;
  /** The agent thinks that it still holds it. */
  held: boolean;
}

export class EndpointModel {
  readonly world = new EndpointHarness({
    max_replicas: 4,
    attempts_max: ATTEMPTS_MAX,
    idle_timeout_s: 20,
    batch_target_wait_s: 30,
    queue_depth_max: 25,
  });
  readonly replicas: FakeReplica[] = [];
  readonly accepted = new Set<JobId>();
  readonly keys = new Map<string, { body: string; jobId: JobId }>();
  readonly leases = new Map<LeaseId, KnownLease>();
  readonly ended = new Map<JobId, string>();
  readonly sent: (() => void)[] = [];
  /** Replicas whose leases this operation may take. */
  takenFrom: ReplicaId | null = null;
  /** Leases that were not listed in this operation's poll. */
  unlisted = new Set<LeaseId>();
  seenAnswers = 0;
  /** The highest token counter before this operation, and within it. */
  counterBefore = 0;
  counterNow = 0;
  readonly knownLost = new Set<LeaseId>();

  constructor() {
    const first = this.world.node();
    const second = this.world.node();
    this.replicas.push(this.world.replica(first), this.world.replica(first), this.world.replica(second));
  }

  run(op: Operation): void {
    this.takenFrom = null;
    this.unlisted = new Set();
    this.counterBefore = this.counterNow;
    const ready = this.#ready();
    this.#apply(op);
    this.#checkOrder(ready);
    this.#readAnswers();
    this.check();
  }

  #apply(op: Operation): void {
    const { world } = this;
    switch (op.type) {
      case "enqueue":
        this.#enqueue(op);
        return;
      case "cancel": {
        const id = pick([...this.accepted], op.pick);
        if (id !== undefined) this.#cancel(id);
        return;
      }
      case "pass":
        world.pass(op.ms, op.late);
        return;
      case "poll": {
        const replica = pick(this.replicas, op.replica);
        if (replica !== undefined) this.#poll(replica, op.wait, op.honest > 0);
        return;
      }
      case "say":
        this.#say(op);
        return;
      case "replay":
        pick(this.sent, op.pick)?.();
        return;
      case "restart":
        world.restart();
        return;
      case "gone": {
        const at = op.replica % this.replicas.length;
        const gone = this.replicas[at];
        if (gone === undefined) return;
        this.takenFrom = gone.id;
        world.call((core) => core.replicaGone(world.podId, gone.id, "the machine burned down", false));
        for (const known of this.leases.values()) if (known.replica.id === gone.id) known.held = false;
        this.replicas[at] = world.replica(gone.node);
        return;
      }
      case "demand":
        world.answerDemand(this.replicas);
        return;
      case "abandon": {
        const replica = pick(this.replicas, op.replica);
        const pollId = replica === undefined ? undefined : world.waiting.get(replica.id);
        if (replica === undefined || pollId === undefined) return;
        world.waiting.delete(replica.id);
        world.call((core) => core.abandonPoll(replica.id, pollId));
        return;
      }
      default:
        throw new Error(`unhandled: ${JSON.stringify(op satisfies never)}`);
    }
  }

  #enqueue(op: Operation & { type: "enqueue" }): void {
    const { world } = this;
    const key = op.key < 3 ? `key-${op.key}` : null;
    const body = `body-${op.body}`;
    const before = world.db.exec("SELECT count(*) AS jobs FROM jobs")[0]?.jobs;
    const reply = world.call((core) =>
      core.enqueue(
        world.request({
          lane: op.batch ? "batch" : "interactive",
          priority: op.priority,
          expiresInMs: op.short ? 20_000 : 3_600_000,
          tags: op.short ? ["short", "short"] : [],
          ...(key === null ? {} : { idempotency: { key, fingerprint: body } }),
        }),
      ),
    );
    const known = key === null ? undefined : this.keys.get(key);
    const after = world.db.exec("SELECT count(*) AS jobs FROM jobs")[0]?.jobs;
    if (known !== undefined) {
      // I2: one key, one job; other bytes are refused.
      if (known.body === body) must(reply.ok && reply.replayed && reply.job.id === known.jobId, "I2: not replayed");
      else must(!reply.ok && reply.code === "idempotency_key_reused", "I2: other bytes are taken");
      must(after === before, "I2: a second job");
      return;
    }
    if (!reply.ok) {
      must(reply.code === "queue_full" && after === before, "a refused job is stored");
      return;
    }
    must(!reply.replayed && !this.accepted.has(reply.job.id), "a new job is not new");
    this.accepted.add(reply.job.id);
    if (key !== null) this.keys.set(key, { body, jobId: reply.job.id });
  }

  #cancel(id: JobId): void {
    const before = this.world.job(id);
    const reply = this.world.call((core) => core.cancelJob(this.world.workspaceId, id));
    // I8: the answer is the outcome.
    const state = isTerminal(before.state) ? before.state : "canceled";
    must(reply.ok && reply.job.state === state && this.world.job(id).state === state, "I8: the cancel's answer");
  }

  #poll(replica: FakeReplica, wait: boolean, honest: boolean): void {
    const held = [...this.leases.values()].filter((known) => known.held && known.replica.id === replica.id);
    const listed = honest ? held.map(({ lease }) => lease) : [];
    if (!honest) for (const known of held) known.held = false;
    const listedIds = new Set(listed.map(({ lease_id }) => lease_id));
    const pollId = `poll-${replica.id.slice(-6)}-${this.sent.length}-${this.world.now}`;
    const send = (): void => {
      for (const id of this.#open(replica.id)) {
        if (!listedIds.has(id)) this.unlisted.add(id);
      }
      const answer = this.world.poll(replica, listed, { pollId, waitMs: wait ? 25_000 : 0 });
      if (typeof answer === "string") return;
      if (answer.lease !== null) this.#offered(answer.lease, replica, pollId);
      for (const id of answer.ended) {
        const known = this.leases.get(id);
        if (known !== undefined) known.held = false;
        must(!this.#open(replica.id).includes(id), "a living lease is called ended");
      }
    };
    this.sent.push(send);
    send();
  }

  #say(op: Operation & { type: "say" }): void {
    const all = [...this.leases.values()];
    // Mostly somebody who still holds a lease speaks, at times somebody whose lease is long over.
    const speakers = op.fresh > 0 ? all.filter(({ held }) => held) : all;
    const known = pick(speakers.length > 0 ? speakers : all, op.pick);
    if (known === undefined) return;
    const { lease } = known;
    const token = op.forged === 0 ? `${lease.token.slice(0, -1)}${lease.token.endsWith("0") ? "1" : "0"}` : lease.token;
    const nextPollId = op.next ? `next-${this.sent.length}-${lease.lease_id.slice(-4)}` : undefined;
    const send = (): void => this.#message(known, { ...lease, token: token as Lease["token"] }, op.what, nextPollId);
    this.sent.push(send);
    send();
  }

  #message(
    known: KnownLease,
    lease: Lease,
    what: (Operation & { type: "say" })["what"],
    nextPollId: string | undefined,
  ): void {
    const { world } = this;
    const { replica } = known;
    const before = this.#row(lease.job_id);
    const outcome = this.#outcome(lease.lease_id);
    const genuine = lease.token === known.lease.token;
    const current = genuine && before?.lease_id === lease.lease_id;
    const reply = ((): { ok: boolean } => {
      switch (what) {
        case "complete": {
          const done = world.complete(replica, lease, nextPollId);
          if (done.ok && done.next !== null && nextPollId !== undefined) this.#offered(done.next, replica, nextPollId);
          return done;
        }
        case "fail":
          return world.fail(replica, lease);
        case "break":
          return world.fail(replica, lease, "execution_error");
        case "release":
          return world.release(replica, lease);
        case "grant":
          return world.call((core) => core.grantOutput(world.proof(replica, lease)));
        default:
          return world.progress(replica, lease, what);
      }
    })();
    const ends = what === "complete" || what === "fail" || what === "break" || what === "release";
    if (current) {
      // I4: the present lease speaks for its job.
      must(reply.ok, "I4: the present lease is refused");
      known.heardAt = world.now;
      if (ends) known.held = false;
      return;
    }
    // I4, I5, I16: nobody else changes anything.
    must(same(this.#row(lease.job_id), before), "I4: a stale message has changed a job");
    const expected = {
      complete: "completed",
      fail: "failed",
      break: "failed",
      release: "released",
      grant: "",
      assigned: "",
      executing: "",
      uploading: "",
    }[what];
    // I13: the same end twice gets the same answer; a revoked lease is told to stop by the answer to its progress.
    const revoked = !ends && what !== "grant" && (outcome === "canceled" || outcome === "timed_out");
    must(reply.ok === (genuine && (outcome === expected || revoked)), "I13: the answer to a stale message");
    if (revoked && genuine)
      must("answer" in reply && same(reply.answer, { cancel: true, renew_within_ms: 0 }), "not told to stop");
    known.held = false;
  }

  #offered(lease: Lease, replica: FakeReplica, pollId: string, at = this.world.now): void {
    const counter = Number(lease.token.split(".")[0]);
    const known = this.leases.get(lease.lease_id);
    if (known === undefined) {
      // I3: tokens only grow.
      must(counter > this.counterBefore, "I3: a token that is not newer");
      this.counterNow = Math.max(this.counterNow, counter);
      this.leases.set(lease.lease_id, { lease, replica, pollId, offeredAt: at, heardAt: null, held: true });
      return;
    }
    // I13: a lease comes again only for the poll that got it, and it is the same.
    must(
      lease.token === known.lease.token && pollId === known.pollId && replica.id === known.replica.id,
      "I13: a lease came again otherwise",
    );
    known.offeredAt = at;
    known.held = true;
  }

  #readAnswers(): void {
    for (; this.seenAnswers < this.world.answers.length; this.seenAnswers += 1) {
      const given = this.world.answers[this.seenAnswers];
      const replica = this.replicas.find(({ id }) => id === given?.replicaId);
      if (given?.answer.lease && replica !== undefined)
        this.#offered(given.answer.lease, replica, given.pollId, given.at);
    }
  }

  #row(id: JobId): SqlRow | undefined {
    return this.world.db.exec("SELECT * FROM jobs WHERE id = ?", id)[0];
  }

  #outcome(id: LeaseId): unknown {
    const row = this.#row(jobIdOf(id));
    return row === undefined ? undefined : leasesIn(row)[leaseNumber(id) - 1]?.outcome;
  }

  #open(replicaId: ReplicaId): LeaseId[] {
    return this.world.db
      .exec("SELECT lease_id FROM jobs WHERE state = 'running' AND replica_id = ?", replicaId)
      .map((row) => row.lease_id as LeaseId);
  }

  check(): void {
    const { world } = this;
    const rows = world.db.exec("SELECT * FROM jobs ORDER BY id");
    // I1: accepted is present.
    must(
      rows.length === this.accepted.size && rows.every((row) => this.accepted.has(row.id as JobId)),
      "I1: a job is gone",
    );
    this.#checkLeases(rows);
    for (const row of rows) this.#checkJob(row);
    this.#checkQueue(rows);
    this.#checkAlarm(rows);
  }

  #checkJob(row: SqlRow): void {
    const id = row.id as JobId;
    const ended = isTerminal(row.state as "failed");
    const whole = JSON.stringify(row);
    const known = this.ended.get(id);
    // I5: terminal is final.
    must(known === undefined || known === whole, `I5: ${id} changed after its end`);
    if (known !== undefined) return;
    if (ended) this.ended.set(id, whole);
    const events = JSON.parse(row.events as string) as { seq: number; type: string }[];
    must(
      events.every(({ seq }, index) => seq === index + 1),
      "events have a gap",
    );
    const terminalAt = events.findIndex(({ type }) => isTerminal(type as "failed"));
    must(terminalAt === (ended ? events.length - 1 : -1), "the terminal event is not the last");
    // I10: attempts are bounded.
    must(leasesIn(row).length <= ATTEMPTS_MAX + FREE_HANDBACKS_MAX, "I10: too many leases");
    // I12: the place follows from the arrival and the priority alone, or from the deadline of a batch job that has joined.
    const priority = Number(row.priority);
    const hasJoined =
      row.lane === 0 && this.world.now >= joiningAt(row) && row.rank === rankOf(joiningAt(row), priority);
    must(hasJoined || row.rank === rankOf(Number(row.created_at), priority), "I12: the place has changed");
  }

  #checkLeases(rows: readonly SqlRow[]): void {
    const leases = rows.flatMap((row) =>
      leasesIn(row).map((lease, at) => ({ ...lease, id: leaseIdOf(row.id as JobId, at + 1) })),
    );
    // I3: every running job has exactly one open lease, and no other lease is open.
    const open = leases.filter(({ outcome }) => outcome === null);
    const running = rows.filter((row) => row.state === "running");
    must(
      open.length === running.length && open.every(({ id }, at) => id === running[at]?.lease_id),
      "I3: open leases and running jobs differ",
    );
    for (const { id, replicaId, endedAt, outcome } of leases) {
      if (outcome !== "lost" || endedAt === null || this.knownLost.has(id)) continue;
      this.knownLost.add(id);
      const known = this.leases.get(id);
      if (known === undefined || replicaId === this.takenFrom) continue;
      // I7: a living lease is not taken away. Time alone, or the agent's own word after a silence, ends it.
      const ranOut =
        known.heardAt === null ? endedAt - known.offeredAt >= LEASE_CONFIRM_MS : endedAt - known.heardAt >= LEASE_MS;
      const givenUp = this.unlisted.has(id) && endedAt - (known.heardAt ?? endedAt) >= GIVE_BACK_QUIET_MS;
      must(ranOut || givenUp, `I7: lease ${id} was taken away`);
    }
  }

  #checkQueue(rows: readonly SqlRow[]): void {
    const { world } = this;
    const queued = rows.filter((row) => row.state === "queued");
    const reply = world.core.queueSummary(world.workspaceId);
    if (!reply.ok) throw new Error(reply.code);
    // I11: what is counted in memory is what is there.
    must(reply.summary.queued.interactive === queued.filter((row) => row.lane === 0).length, "I11: interactive");
    must(reply.summary.queued.batch === queued.filter((row) => row.lane === 1).length, "I11: batch");
    must(reply.summary.running === rows.filter((row) => row.state === "running").length, "I11: running");
    const oldest = Math.min(...queued.map((row) => Number(row.created_at)));
    must(
      (reply.summary.oldest_wait_ms ?? Number.POSITIVE_INFINITY) ===
        (queued.length === 0 ? Number.POSITIVE_INFINITY : world.now - oldest),
      "the oldest wait",
    );
    const inOrder = queued.toSorted(
      (a, b) =>
        Number(a.lane) - Number(b.lane) || Number(a.rank) - Number(b.rank) || (String(a.id) < String(b.id) ? -1 : 1),
    );
    for (const at of new Set([0, inOrder.length >> 1, inOrder.length - 1])) {
      const row = inOrder[at];
      if (row !== undefined) must(world.job(row.id as JobId).position === at + 1, "I12: the shown position");
    }
    // Nothing that is ready waits beside a replica that may take it. Batch jobs leave some to interactive ones, as long as
    // there have been any lately; how many, batch-reserve.test.ts says.
    const [lately] = world.db.exec(
      "SELECT 1 AS found FROM jobs WHERE lane = 0 AND (finished_at IS NULL OR finished_at > ?)",
      world.now - INTERACTIVE_LATELY_MS,
    );
    const fresh = queued.some(
      (row) =>
        (row.lane === 0 || lately === undefined) &&
        row.available_at === null &&
        row.avoid_node === null &&
        (row.started_at !== null || Number(row.expires_at) > world.now),
    );
    if (!fresh) return;
    const taker = [...world.waiting.keys()].find((id) => {
      const [replica] = world.db.exec("SELECT state, draining FROM replicas WHERE id = ?", id);
      // Not everything is given ahead; what is, choose.test.ts and endpoint-ahead.test.ts say.
      return replica?.state === "ready" && replica.draining === 0 && this.#open(id).length === 0;
    });
    must(taker === undefined, "a ready job waits beside a waiting replica");
  }

  /** Jobs that any replica may take now, in order. */
  #ready(): SqlRow[] {
    return this.world.db.exec(
      `SELECT id, lane, leases FROM jobs WHERE state = 'queued' AND available_at IS NULL AND avoid_node IS NULL
       ORDER BY lane, rank, id`,
    );
  }

  /** I12: no job got a lease while one before it, of its lane and just as ready, was passed over. */
  #checkOrder(before: readonly SqlRow[]): void {
    const passedOver = new Map<unknown, unknown>();
    for (const job of before) {
      const now = this.#row(job.id as JobId);
      // A batch job that joined the interactive ones has another place now.
      if (now !== undefined && now.lane !== job.lane) continue;
      if (now?.state === "queued" && now.leases === job.leases) passedOver.set(job.lane, job.id);
      else if (now?.leases !== job.leases) must(!passedOver.has(job.lane), "I12: a job was passed over");
    }
  }

  #checkAlarm(rows: readonly SqlRow[]): void {
    const { world } = this;
    let due = Number.POSITIVE_INFINITY;
    for (const row of rows) {
      if (row.state === "queued" && row.started_at === null) {
        due = Math.min(due, row.lane === 1 ? joiningAt(row) : Number(row.expires_at));
      }
      if (row.available_at !== null) due = Math.min(due, Number(row.available_at));
      if (row.state !== "running") continue;
      const heardAt = this.leases.get(row.lease_id as LeaseId)?.heardAt ?? 0;
      due = Math.min(due, Math.max(Number(row.lease_until), heardAt + LEASE_MS) + PROGRESS_PERSIST_MS);
    }
    // I18: whatever waits for time has an alarm.
    must(
      due === Number.POSITIVE_INFINITY ||
        (world.armedAt ?? Number.POSITIVE_INFINITY) <= Math.max(world.now + ALARM_PACE_MS, due),
      "I18: no alarm",
    );
  }

  /** The faults stop: every job must end, within a bounded time. */
  heal(): void {
    const { world } = this;
    // Batch jobs may leave the last replicas alone until there has been no interactive job for ten minutes.
    for (let round = 0; round < 1_100; round += 1) {
      if (world.db.exec("SELECT 1 AS found FROM jobs WHERE state IN ('queued', 'running')").length === 0) return;
      const placed = world.db
        .exec("SELECT id FROM replicas WHERE draining = 0 AND state <> 'crashed'")
        .map((row) => row.id);
      this.replicas.forEach((replica, at) => {
        if (placed.includes(replica.id)) return;
        world.call((core) => core.replicaGone(world.podId, replica.id, "replaced", false));
        this.replicas[at] = world.replica(replica.node);
      });
      // There is no fourth machine: batch jobs that have waited long enough must do with these.
      world.answerDemand(this.replicas, { room: 0, shortage: { code: "all_slots_busy", error: null } });
      for (const replica of this.replicas) {
        const answer = world.poll(replica, [], { waitMs: 0 });
        if (typeof answer === "string" || answer.lease === null) continue;
        must(world.progress(replica, answer.lease).ok, "progress under a fresh lease is refused");
        must(world.complete(replica, answer.lease).ok, "complete under a fresh lease is refused");
      }
      world.pass(1_000);
    }
    throw new Error("jobs are left after all faults have stopped");
  }
}

function leasesIn(row: SqlRow): Omit<LeaseRecord, "id">[] {
  return JSON.parse(row.leases as string) as Omit<LeaseRecord, "id">[];
}

/** Cheaper than an assertion library where it runs a million times. */
function must(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function pick<T>(from: readonly T[], at: number): T | undefined {
  return from.length === 0 ? undefined : from[at % from.length];
}

/** When a batch job joins the interactive ones: five minutes before its start deadline, or at half of its time. */
function joiningAt(row: SqlRow): number {
  const [createdAt, expiresAt] = [Number(row.created_at), Number(row.expires_at)];
  return Math.max(expiresAt - 5 * 60_000, Math.floor((createdAt + expiresAt) / 2));
}
