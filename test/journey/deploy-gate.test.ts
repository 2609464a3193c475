/** The deploy gate with real processes: a release takes another one's place once it has run on the machine, or never. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Endpoint } from "#contract/endpoint";
import { killHard, System } from "#test/journey/system";
import { until } from "#test/until";

const SLUG = "gated";
/** Each colour is another release. */
const workflow = (colour: number, classType = "SaveImage") => ({
  1: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: colour } },
  2: { class_type: classType, inputs: { images: ["1", 0], filename_prefix: SLUG } },
});
const HIDDEN = { inputs: { color: { hidden: true } } };

let system: System;
beforeAll(async () => {
  system = await System.start();
  const settings = { min_replicas: 1, max_replicas: 1 };
  await system.client.endpoints.create({ slug: SLUG, workflow: workflow(1), overrides: HIDDEN, settings });
  await until("release 1 has run on the machine", async () =>
    (await endpoint()).release.state === "ready" ? true : undefined,
  );
});
afterAll(() => system?.stop());

const endpoint = (): Promise<Endpoint> => system.client.endpoints.get(SLUG);

/** Until nothing is waited for any more. */
const settled = (): Promise<Endpoint> =>
  until("nothing waits", async () => {
    const now = await endpoint();
    return now.pending === null ? now : undefined;
  });

async function setFaults(faults: Record<string, unknown>): Promise<void> {
  const { url } = await system.standIn();
  const response = await fetch(`${url}/stand-in/faults`, { method: "POST", body: JSON.stringify(faults) });
  expect(response.ok).toBe(true);
}

/** Deploys a release whose first run takes so long, and waits until a machine is at it. */
async function underWay(colour: number, slowMs: number): Promise<number> {
  await setFaults({ slow_node_ms: slowMs });
  const asked = await system.client.endpoints.patch(SLUG, { workflow: workflow(colour) });
  const release = asked.pending?.release;
  if (release === undefined) throw new Error("it does not wait");
  await until("a machine tries it", async () =>
    (await endpoint()).pending?.state === "verifying" &&
    (await system.client.releases.get(SLUG, release)).verification.some(({ state }) => state === "verifying")
      ? true
      : undefined,
  );
  return release;
}

/** A job runs, on this release. */
async function runsOn(release: number): Promise<void> {
  const job = await system.client.jobs.submit(SLUG, { inputs: {} });
  expect(await system.client.jobs.wait(job.id)).toMatchObject({ state: "succeeded", release });
}

describe("a release that cannot run on the machine", () => {
  it("is never activated, says why, and the endpoint goes on with the old one", async () => {
    const path = join(system.state, "bad.json");
    writeFileSync(path, JSON.stringify(workflow(2, "SharpenEverything")));
    const result = await system.run("deploy", path, "--slug", SLUG, "--json");
    expect(result.code).toBe(1);
    expect(JSON.parse(result.stdout)).toMatchObject({
      ok: false,
      error: { code: "release_failed", message: expect.stringContaining("no node class SharpenEverything") },
    });
    // People saw what the machine said, while it said it.
    expect(result.stderr).toContain("Release 2 cannot run on");
    const now = await endpoint();
    expect([now.release.number, now.newest_release, now.pending]).toEqual([1, 2, null]);
    const release = await system.client.releases.get(SLUG, 2);
    expect(release).toMatchObject({ active: false, state: "failed", forced: false });
    expect(release.verification).toMatchObject([
      { gpu_type: null, state: "failed", error: expect.stringContaining("SharpenEverything") },
    ]);
    const logs = await system.run("releases", "logs", SLUG, "2");
    expect([logs.code, logs.stdout]).toEqual([0, expect.stringContaining("SharpenEverything")]);
    await runsOn(1);
  });

  it("is activated by force, and says so", async () => {
    const forced = await system.client.releases.activate(SLUG, 2, { force: true });
    expect(forced).toMatchObject({ pending: null, release: { number: 2, forced: true, state: "failed" } });
    // Back to what has run is at once.
    const back = await system.client.releases.rollback(SLUG, 2);
    expect(back).toMatchObject({ pending: null, release: { number: 1, state: "ready", forced: false } });
    await runsOn(1);
  });
});

describe("a release that runs on the machine", () => {
  it("is activated by itself, while the command follows it", async () => {
    const path = join(system.state, "good.json");
    writeFileSync(path, JSON.stringify(workflow(3)));
    const result = await system.run("deploy", path, "--slug", SLUG, "--json");
    expect([result.code, result.stderr]).toEqual([0, expect.stringContaining("Release 3 is ready.")]);
    expect(JSON.parse(result.stdout)).toMatchObject({
      data: { endpoint: { release: { number: 3, state: "ready" }, pending: null } },
    });
    await runsOn(3);
    expect((await system.run("releases", "ls", SLUG)).stdout).toContain("failed");
  });

  it("is activated after a kill -9 of the agent in the middle of its first run", async () => {
    const release = await underWay(4, 600_000);
    await killHard(await system.agentPid());
    expect((await endpoint()).release.number).toBe(3);
    expect((await settled()).release).toMatchObject({ number: release, state: "ready" });
    await runsOn(release);
  });

  it("is activated after a kill -9 of the server in the middle of its first run", async () => {
    const release = await underWay(5, 3_000);
    const server = await system.serverPid();
    const runtime = await system.processes("runtime");
    process.kill(server, "SIGKILL");
    for (const pid of runtime) await killHard(pid);
    await until("another server answers", async () => {
      if ((await system.serverPid()) === server) return undefined;
      return (await system.client.health()).status;
    });
    await setFaults({ slow_node_ms: 0 });
    expect((await settled()).release).toMatchObject({ number: release, state: "ready" });
    await runsOn(release);
  });
});
