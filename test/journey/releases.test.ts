/** Activating back and forth while jobs wait and run: none fails, and each is made by the release that it names. */
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Job } from "#contract/job";
import { until } from "#test/until";
import { System } from "./system.ts";

/** PILOTLIGHT_RELEASE_JOBS=500 does as many as one may want to see; the test itself is to be quick. */
const JOBS = Number(process.env.PILOTLIGHT_RELEASE_JOBS ?? 60);
/** Of a canary that is rolled back after three failures: with a weight of a half, more are not drawn for it. */
const CANARY_JOBS_MAX = 60;
const SLUG = "one-colour";
/** The colour that each release's graph has; no input sets it. */
const COLOURS: Readonly<Record<number, readonly [red: number, green: number, blue: number]>> = {
  1: [255, 0, 0],
  2: [0, 0, 255],
};
const workflow = (colour: number) => ({
  1: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: colour } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: SLUG } },
});

let system: System;
beforeAll(async () => {
  system = await System.start();
  const overrides = { inputs: { color: { hidden: true } } };
  const settings = { min_replicas: 1, max_replicas: 1 };
  await system.client.endpoints.create({ slug: SLUG, workflow: workflow(0xff0000), overrides, settings });
  const made = await system.client.endpoints.patch(SLUG, { workflow: workflow(0x0000ff), activate: false });
  expect([made.release.number, made.newest_release]).toEqual([1, 2]);
  // Once both have run on the machine, activating them is at once, as it is between any two that have.
  await until("release 1 has run", async () =>
    (await system.client.endpoints.get(SLUG)).release.state === "ready" ? true : undefined,
  );
  await system.client.releases.activate(SLUG, 2);
  await until("release 2 has run, and is active", async () =>
    (await system.client.endpoints.get(SLUG)).release.number === 2 ? true : undefined,
  );
});
afterAll(async () => {
  await system?.stop();
});

it("fails no job, and every job's picture is that of the release its record names", async () => {
  const { client } = system;
  // The first ones wait behind a pause, so that they are queued on both releases before anything runs.
  await client.queues.pause(SLUG);
  const ids: string[] = [];
  const submit = async (count: number) => {
    const jobs = await Promise.all(Array.from({ length: count }, () => client.jobs.submit(SLUG, { inputs: {} })));
    ids.push(...jobs.map(({ id }) => id));
    return jobs;
  };
  const early: Job[] = [];
  for (const number of [1, 2, 1]) {
    expect((await client.releases.activate(SLUG, number)).release.number).toBe(number);
    const jobs = await submit(5);
    // The process that took the activation uses the new release at once.
    expect(new Set(jobs.map(({ release }) => release))).toEqual(new Set([number]));
    early.push(...jobs);
  }
  await client.queues.resume(SLUG);
  let active = 1;
  while (ids.length < JOBS) {
    active = active === 1 ? 2 : 1;
    const changing = active === 2 ? client.releases.activate(SLUG, 2) : client.releases.rollback(SLUG, 2);
    const [changed] = await Promise.all([changing, submit(5)]);
    expect(changed.release.number).toBe(active);
  }

  const ended = await Promise.all(ids.map((id) => client.jobs.wait(id)));
  expect(ended.filter(({ state }) => state !== "succeeded")).toEqual([]);
  expect(new Set(ended.map(({ release }) => release))).toEqual(new Set([1, 2]));
  // A job that waited while others were activated has kept its release.
  expect(ended.slice(0, early.length).map(({ release }) => release)).toEqual(early.map(({ release }) => release));
  for (const job of ended) {
    const [output] = job.outputs;
    if (output === undefined) throw new Error(`${job.id} has no output`);
    const bytes = await client.outputs.bytes({ job: job.id, output });
    const { data } = await sharp(bytes).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    expect([...data.subarray(0, 3)]).toEqual(COLOURS[job.release]);
  }
});

it("rolls a canary back that fails, and every later job runs on the active release", async () => {
  const { client } = system;
  await client.releases.activate(SLUG, 1);
  // It reads a picture that is nowhere, which only shows where it runs.
  const broken = {
    1: { class_type: "LoadImage", inputs: { image: "nowhere.png" } },
    2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: SLUG } },
  };
  const overrides = { inputs: { image: { hidden: true } } };
  const made = await client.endpoints.patch(SLUG, { workflow: broken, overrides, activate: false });
  // It cannot run once: only force gives it any jobs.
  await client.releases.canary(SLUG, made.newest_release, { weight: 0.5, min_jobs: 3, force: true });
  const run = async (count: number) => {
    const jobs = await Promise.all(Array.from({ length: count }, () => client.jobs.submit(SLUG, { inputs: {} })));
    return Promise.all(jobs.map(({ id }) => client.jobs.wait(id)));
  };
  const tried: Job[] = [];
  const state = async () => (await client.endpoints.get(SLUG)).canary?.results?.state;
  while ((await state()) === "running") {
    expect(tried.length).toBeLessThan(CANARY_JOBS_MAX);
    tried.push(...(await run(6)));
  }
  // Failures are the canary's alone, and its jobs all failed.
  for (const job of tried)
    expect([job.release, job.state]).toEqual(job.release === 1 ? [1, "succeeded"] : [3, "failed"]);
  const { canary } = await client.endpoints.get(SLUG);
  expect(canary?.results?.reason).toMatch(/jobs failed on release 3/);
  const after = await run(12);
  expect(after.map(({ release, state: ended }) => [release, ended])).toEqual(after.map(() => [1, "succeeded"]));
});
