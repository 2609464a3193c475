import { describe, expect, it } from "vitest";
import type { CanaryConfig } from "#durable-objects/endpoint/canary";
import { EndpointHarness, type FakeReplica } from "./endpoint-harness.ts";

const CANARY: CanaryConfig = {
  id: 7,
  release: 2,
  weight: 0.5,
  maxErrorRateIncrease: 0.1,
  maxLatencyRatio: 2,
  minJobs: 5,
};
const offer = { release: 2, inputs: '{"strength":2}', files: [] };

function withCanary(more: Partial<CanaryConfig> = {}, seed = 1): EndpointHarness {
  const endpoint = new EndpointHarness({ attempts_max: 1 }, seed);
  endpoint.configure({ attempts_max: 1 }, { canary: { ...CANARY, ...more } });
  return endpoint;
}

/** Runs one job to its end. @returns the release it was drawn for */
function run(endpoint: EndpointHarness, replica: FakeReplica, outcome: { ms?: number; failsOn?: number } = {}): number {
  const id = endpoint.submit({ canary: offer });
  const lease = endpoint.take(replica);
  endpoint.progress(replica, lease, "executing");
  endpoint.pass(outcome.ms ?? 100);
  const { release } = endpoint.job(id);
  if (release === outcome.failsOn) endpoint.fail(replica, lease, "execution_error");
  else endpoint.complete(replica, lease);
  return release;
}

const results = (endpoint: EndpointHarness) => {
  const reply = endpoint.core.canaryResults(endpoint.workspaceId);
  if (!reply.ok) throw new Error(reply.code);
  return reply.results;
};

describe("new jobs", () => {
  it("are drawn by the weight, each with the inputs of its release, which its lease names", () => {
    const endpoint = withCanary({ weight: 0.25 });
    const jobs = Array.from({ length: 400 }, () => endpoint.job(endpoint.submit({ canary: offer })));
    const drawn = jobs.filter(({ release }) => release === 2);
    // Ten standard deviations around a hundred: the dice are seeded, and no seed that anybody will meet is outside.
    expect(drawn.length).toBeGreaterThan(14);
    expect(drawn.length).toBeLessThan(186);
    for (const { release, inputs } of jobs) {
      expect(inputs).toBe(release === 2 ? offer.inputs : '{"seed":18446744073709551615}');
    }
    const replica = endpoint.replica();
    const lease = endpoint.take(replica);
    expect(lease.release).toBe(jobs.find(({ id }) => id === lease.job_id)?.release);
  });

  it.each([
    [0, 1],
    [1, 2],
  ])("with weight %d all run on release %d", (weight, release) => {
    const endpoint = withCanary({ weight });
    for (let job = 0; job < 20; job += 1)
      expect(endpoint.job(endpoint.submit({ canary: offer })).release).toBe(release);
  });

  it("stay where they are when the canary does not take them, is another one, or the request is an old one", () => {
    const endpoint = withCanary({ weight: 1 });
    expect(endpoint.job(endpoint.submit()).release).toBe(1);
    expect(endpoint.job(endpoint.submit({ canary: { ...offer, release: 3 } })).release).toBe(1);
    endpoint.configure({}, { release: 4, canary: CANARY });
    expect(endpoint.job(endpoint.submit({ release: 1, canary: offer })).release).toBe(1);
  });

  it("are on the active release again once there is no canary", () => {
    const endpoint = withCanary({ weight: 1 });
    endpoint.configure({});
    expect(endpoint.job(endpoint.submit({ canary: offer })).release).toBe(1);
    expect(results(endpoint)).toBeNull();
  });

  it("keep their release through the canary's end", () => {
    const endpoint = withCanary({ weight: 1 });
    const waiting = endpoint.submit({ canary: offer });
    endpoint.configure({});
    expect(endpoint.take(endpoint.replica())).toMatchObject({ job_id: waiting, release: 2 });
  });
});

describe("a canary that fails", () => {
  it("gets no more jobs, and says why; the log too", () => {
    const endpoint = withCanary();
    const replica = endpoint.replica();
    let jobs = 0;
    while (results(endpoint)?.state === "running") {
      run(endpoint, replica, { failsOn: 2 });
      jobs += 1;
      expect(jobs).toBeLessThan(200);
    }
    expect(results(endpoint)).toMatchObject({
      reason: expect.stringContaining("5 of 5 jobs failed"),
      canary: { failed: 5 },
    });
    expect(endpoint.rolledBack).toEqual([expect.objectContaining({ release: 2 })]);
    const after = Array.from({ length: 50 }, () => run(endpoint, replica, { failsOn: 2 }));
    expect(new Set(after)).toEqual(new Set([1]));
    expect(endpoint.rolledBack).toHaveLength(1);
  });

  it("stays rolled back when the object wakes anew, and when settings change", () => {
    const endpoint = withCanary({ weight: 1 });
    const replica = endpoint.replica();
    for (let job = 0; job < 5; job += 1) run(endpoint, replica, { failsOn: 2 });
    endpoint.restart();
    expect(results(endpoint)?.state).toBe("rolled_back");
    endpoint.configure({ max_replicas: 3 }, { canary: { ...CANARY, weight: 1 } });
    expect(endpoint.job(endpoint.submit({ canary: offer })).release).toBe(1);
    // Set again, it is another canary.
    endpoint.configure({}, { canary: { ...CANARY, id: 8, weight: 1 } });
    expect(results(endpoint)).toMatchObject({ state: "running", canary: { failed: 0 } });
    expect(endpoint.job(endpoint.submit({ canary: offer })).release).toBe(2);
  });
});

describe("a canary that is slow", () => {
  it("is rolled back once both have run often enough", () => {
    const endpoint = withCanary();
    const replica = endpoint.replica();
    for (let job = 0; job < 200 && results(endpoint)?.state === "running"; job += 1) {
      const id = endpoint.submit({ canary: offer });
      const lease = endpoint.take(replica);
      endpoint.progress(replica, lease, "executing");
      endpoint.pass(endpoint.job(id).release === 2 ? 900 : 300);
      endpoint.complete(replica, lease);
    }
    expect(results(endpoint)?.reason).toMatch(/^Release 2 executes 900 ms on average, the active release 300 ms/);
  });
});

describe("a canary that does well", () => {
  it("goes on, and its counts outlive the object but for the last seconds", () => {
    const endpoint = withCanary({ minJobs: 1_000 });
    const replica = endpoint.replica();
    const drawn = Array.from({ length: 40 }, () => run(endpoint, replica, { ms: 1_000 }));
    const ended = results(endpoint);
    expect(ended?.canary.succeeded).toBe(drawn.filter((release) => release === 2).length);
    expect(ended?.active.succeeded).toBe(drawn.filter((release) => release === 1).length);
    endpoint.restart();
    const kept = results(endpoint);
    const total = (kept?.canary.succeeded ?? 0) + (kept?.active.succeeded ?? 0);
    expect(total).toBeGreaterThanOrEqual(34);
    expect(total).toBeLessThanOrEqual(40);
  });

  it("is not blamed for jobs that somebody canceled", () => {
    const endpoint = withCanary({ weight: 1 });
    for (let job = 0; job < 10; job += 1) {
      const id = endpoint.submit({ canary: offer });
      endpoint.call((core) => core.cancelJob(endpoint.workspaceId, id));
    }
    expect(results(endpoint)).toMatchObject({ state: "running", canary: { succeeded: 0, failed: 0 } });
  });
});
