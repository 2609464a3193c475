import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JobStreamEvent } from "#client/job-events";
import type { Job } from "#contract/job";
import { killHard, System } from "#test/journey/system";
import { until } from "#test/until";

let system: System;

beforeAll(async () => {
  system = await System.start();
  await system.deploy("model-free", { settings: { idle_timeout_s: 600 } });
});
afterAll(() => system?.stop());

const setFaults = async (faults: Record<string, unknown>): Promise<void> => {
  const { url } = await system.standIn();
  const response = await fetch(`${url}/stand-in/faults`, { method: "POST", body: JSON.stringify(faults) });
  expect(response.ok).toBe(true);
};

/**
 * Warms a replica, makes every node of the stand-in slow, and waits until one job executes and another waits behind it.
 * @param slowMs where the kill ends the run anyway, longer than any test
 */
async function oneRunsOneWaits(
  seed: number,
  slowMs: number,
): Promise<{ running: Job; waiting: Job; events: Promise<JobStreamEvent[]> }> {
  const warm = await system.client.jobs.submit("model-free", { inputs: { width: 64, color: seed } });
  expect((await system.client.jobs.wait(warm.id)).state).toBe("succeeded");
  await setFaults({ slow_node_ms: slowMs });
  const running = await system.client.jobs.submit("model-free", { inputs: { width: 72, color: seed } });
  await until("the job executes", async () =>
    (await system.client.jobs.get(running.id)).phase === "executing" ? true : undefined,
  );
  const waiting = await system.client.jobs.submit("model-free", { inputs: { width: 88, color: seed } });
  const events = eventsOf(running.id);
  // Nobody listens when a test fails before it asks for them.
  events.catch(() => {});
  return { running, waiting, events };
}

async function eventsOf(id: string): Promise<JobStreamEvent[]> {
  const all: JobStreamEvent[] = [];
  for await (const event of system.client.jobs.events(id)) all.push(event);
  return all;
}

/** The job succeeded once: one terminal event, and outputs that can be downloaded whole. */
async function expectSucceededOnce(id: string, attempts?: number): Promise<Job> {
  const job = await system.client.jobs.wait(id, { timeoutMs: 100_000 });
  expect(job).toMatchObject({ state: "succeeded", error: null });
  if (attempts !== undefined) expect(job.attempt).toBe(attempts);
  const terminal = (await eventsOf(id)).filter(({ type }) =>
    ["succeeded", "failed", "canceled", "expired"].includes(type),
  );
  expect(terminal).toHaveLength(1);
  for (const output of job.outputs) {
    const bytes = await system.client.outputs.bytes({ job: id, output });
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(output.sha256);
  }
  return job;
}

describe("a kill -9", () => {
  it("of ComfyUI in the middle of a job costs one attempt and no job", async () => {
    const { running, waiting, events } = await oneRunsOneWaits(1, 600_000);
    await killHard((await system.standIn()).pid);
    await expectSucceededOnce(running.id, 2);
    await expectSucceededOnce(waiting.id, 1);
    expect((await events).map(({ type }) => type)).toContain("retrying");
  });

  it("of the agent in the middle of a job costs one attempt and no job", async () => {
    const { running, waiting } = await oneRunsOneWaits(2, 600_000);
    await killHard(await system.agentPid());
    await expectSucceededOnce(running.id, 2);
    await expectSucceededOnce(waiting.id);
  });

  it("of the whole server, Node and workerd, costs nothing: the job goes on and the queued one waits", async () => {
    const { running, waiting, events } = await oneRunsOneWaits(3, 3_000);
    const server = await system.serverPid();
    const before = await system.processes("runtime");
    process.kill(server, "SIGKILL");
    for (const pid of before) await killHard(pid);
    await until("another server answers", async () => {
      if ((await system.serverPid()) === server) return undefined;
      return (await system.client.health()).status;
    });
    await setFaults({ slow_node_ms: 0 });
    await expectSucceededOnce(running.id, 1);
    await expectSucceededOnce(waiting.id);
    // The watcher's connection broke with the server; it came back and missed nothing.
    const numbers = (await events).flatMap(({ seq }) => (seq === null ? [] : [seq]));
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  });

  it("of workerd alone is mended while callers only see retries", async () => {
    const jobs: Job[] = [];
    for (let number = 0; number < 10; number += 1) {
      if (number === 4) for (const pid of await system.processes("runtime")) process.kill(pid, "SIGKILL");
      jobs.push(await system.client.jobs.submit("model-free", { inputs: { width: 64 + number } }));
    }
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(10);
    for (const { id } of jobs) await expectSucceededOnce(id);
  });

  it("of `pilotlight dev` itself leaves nothing running, and the next start goes on", async () => {
    const before = await system.client.jobs.page({ limit: 100 });
    await system.end("SIGKILL");
    await until("its children have ended", async () => {
      const left = (
        await Promise.all((["server", "runtime", "agent"] as const).map((role) => system.processes(role)))
      ).flat();
      return left.length === 0 ? true : undefined;
    });
    system = await System.start({ state: system.state, port: new URL(system.url).port });
    const after = await system.client.jobs.page({ limit: 100 });
    expect(after.data.map(({ id, state }) => [id, state])).toEqual(before.data.map(({ id, state }) => [id, state]));
    const job = await system.client.jobs.submit("model-free", { inputs: { width: 64 } });
    await expectSucceededOnce(job.id, 1);
  });
});
