import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JobId, NodeId, ReplicaId } from "#contract/ids";
import { DETERMINISTIC_ERRORS, JobErrorCode, RunningPhase } from "#contract/job";
import { LEASE_CONFIRM_MS, LEASE_MS } from "#contract/limits";
import { newJob } from "#durable-objects/queue/admit";
import { isEnded, type QueuedJob, type RunningJob } from "#durable-objects/queue/job-record";
import { closed } from "#durable-objects/queue/lease";
import { FREE_HANDBACKS_MAX } from "#durable-objects/queue/retry";
import {
  cancel,
  complete,
  expire,
  failAttempt,
  grantLease,
  handBack,
  hear,
  loseLease,
  overrun,
} from "#durable-objects/queue/transition";

const NOW = 1_000_000;
const fields = {
  id: "job_1" as JobId,
  release: 1,
  lane: "interactive",
  priority: 5,
  attemptsMax: 3,
  timeoutMs: 10_000,
  expiresInMs: 60_000,
} as const;
const queued = newJob(fields, NOW);
const lease = (at: number) => ({
  token: `${at}.0`,
  replicaId: "rep_1" as ReplicaId,
  nodeId: "node_1" as NodeId,
  pollId: "poll-1",
  grantedAt: at,
  boot: [],
  isAhead: false,
});
const running = grantLease(queued, lease(NOW));
const oops = { code: "out_of_memory", message: "no memory" } as const;

describe("a lease", () => {
  it("begins an attempt and runs out soon unless it is confirmed", () => {
    expect(running).toMatchObject({ state: "running", phase: "assigned", attempt: 1 });
    expect(running.leases).toMatchObject([{ id: "lse_1-1", attempt: 1, endedAt: null, outcome: null, heard: false }]);
    expect(running.lease).toMatchObject({ confirmed: false, until: NOW + LEASE_CONFIRM_MS });
  });

  it("ends once, whatever is said of it later", () => {
    const end = { outcome: "completed" as const, phases: [], heard: true, endedAt: NOW + 9 };
    const over = closed(running.leases, end);
    expect(over).toMatchObject([{ id: "lse_1-1", ...end }]);
    expect(closed(over, { ...end, outcome: "lost", endedAt: NOW + 20 })).toBe(over);
  });

  it("is renewed by each word, which starts the job once", () => {
    const heard = hear(hear(running, "executing", NOW + 5), null, NOW + 9_000);
    expect(heard.lease).toMatchObject({ confirmed: true, until: NOW + 9_000 + LEASE_MS });
    expect(heard).toMatchObject({ startedAt: NOW + 5, executingAt: NOW + 5, deadlineAt: NOW + 5 + fields.timeoutMs });
  });

  it("is never shortened, and phases never go back, whatever arrives in whatever order", () => {
    const message = fc.record({ phase: fc.constantFrom(...RunningPhase.options, null), at: fc.nat({ max: 100_000 }) });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 20 }), (messages) => {
        let job: RunningJob = running;
        for (const { phase, at } of messages) {
          const after = hear(job, phase, NOW + at);
          expect(after.lease.until).toBeGreaterThanOrEqual(job.lease.until);
          expect(RunningPhase.options.indexOf(after.phase)).toBeGreaterThanOrEqual(
            RunningPhase.options.indexOf(job.phase),
          );
          job = after;
        }
        expect(job.events.length).toBeLessThanOrEqual(running.events.length + RunningPhase.options.length);
      }),
    );
  });
});

describe("an attempt that fails", () => {
  it.each(JobErrorCode.options)("with %s is tried again unless it would fail everywhere", (code) => {
    const after = failAttempt(running, { code, message: "" }, NOW + 1, 0.5);
    expect(after.state).toBe(DETERMINISTIC_ERRORS.includes(code) ? "failed" : "queued");
  });

  it("keeps its place, waits, and avoids its node for a moment", () => {
    const after = failAttempt(running, oops, NOW + 100, 0.5) as QueuedJob;
    expect(after).toMatchObject({ rank: queued.rank, attempt: 1, availableAt: NOW + 100 + 1_000 });
    expect(after.avoid).toEqual({ nodeId: "node_1", until: NOW + 100 + 1_000 + 5_000 });
  });

  it("ends the job when it was the last", () => {
    const last = { ...running, attempt: 3 };
    expect(failAttempt(last, oops, NOW, 0.5)).toMatchObject({ state: "failed", error: oops, finishedAt: NOW });
    expect(loseLease({ ...last, lease: { ...last.lease, confirmed: true } }, "silent", NOW, 0)).toMatchObject({
      state: "failed",
      error: { code: "lease_lost" },
    });
  });

  it("waits longer each time, at most a minute on average half", () => {
    const waits = [1, 2, 3, 4, 5, 9].map((attempt) => {
      const after = failAttempt({ ...running, attempt, attemptsMax: 20 }, oops, 0, 0.999_999) as QueuedJob;
      return Math.round((after.availableAt ?? 0) / 1_000);
    });
    expect(waits).toEqual([2, 4, 8, 16, 32, 60]);
  });
});

describe("a lease that comes back unfinished", () => {
  it("costs nothing, at first not even time", () => {
    expect(handBack(running, "shut down", NOW, 0.9)).toMatchObject({
      state: "queued",
      attempt: 0,
      handbacks: 1,
      availableAt: null,
    });
    expect(loseLease(running, "nobody", NOW, 0.9)).toMatchObject({ attempt: 0, handbacks: 1 });
  });

  it("costs an attempt once it has happened too often", () => {
    const after = handBack({ ...running, handbacks: FREE_HANDBACKS_MAX }, "again", NOW, 0.5);
    expect(after).toMatchObject({ state: "queued", attempt: 1, handbacks: FREE_HANDBACKS_MAX });
  });
});

describe("time that runs out", () => {
  it.each([
    ["assigned", "queued", undefined],
    ["preparing", "queued", undefined],
    ["executing", "failed", "execution_timeout"],
    ["uploading", "queued", undefined],
  ] as const)("while %s leaves the job %s", (phase, state, code) => {
    const after = overrun({ ...running, phase }, NOW, 0.5);
    expect(after.state).toBe(state);
    expect(after.state === "failed" ? after.error?.code : undefined).toBe(code);
  });
});

describe("every end", () => {
  it("is one terminal event, the last of a story without gaps", () => {
    const ends = [
      complete(running, [], NOW + 7),
      cancel(running, NOW + 7),
      cancel(queued, NOW + 7),
      expire(queued, NOW + 7),
      failAttempt(running, { code: "execution_error", message: "" }, NOW + 7, 0),
    ];
    for (const job of ends) {
      expect(isEnded(job)).toBe(true);
      expect(job.events.map(({ seq }) => seq)).toEqual(job.events.map((_, index) => index + 1));
      expect(job.events.at(-1)).toMatchObject({ type: job.state, at: NOW + 7 });
      expect("lease" in job || "availableAt" in job).toBe(false);
    }
  });

  it("of a success says how long it ran, from the first sign of execution", () => {
    const executing = hear(running, "executing", NOW + 2_000);
    expect(complete(executing, [], NOW + 5_000)).toMatchObject({ serviceMs: 3_000, startedAt: NOW + 2_000 });
    expect(complete(running, [], NOW + 5_000)).toMatchObject({ serviceMs: 5_000 });
  });
});
