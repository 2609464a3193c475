/** A pod whose every slot works off batch jobs: who calls interactively does not stand behind them, nor does a new endpoint. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Job } from "#contract/job";
import { WORKFLOWS } from "#test/chaos/workload";
import { type Machines, startMachines } from "#test/journey/machines";
import { until } from "#test/until";

const NODES = 2;
const SLOTS = NODES * 2;
const BACKLOG = 300;
/** A new endpoint's turn comes after a minute, and the backlog is not worked off by then. */
const JOB_MS = 1_800;
const CALLS = 4;
/** The turn alone takes a minute. */
const TEST_MS_MAX = 240_000;

let machines: Machines;

beforeAll(async () => {
  machines = await startMachines(NODES, ["--fault-slow-marker-ms", String(JOB_MS)]);
});
afterAll(() => machines?.stop());

const slow = (color: number) => ({ color, prompt: `fox ${color} __slow__` });
const workingFor = async (slug: string): Promise<number> =>
  (await machines.client.replicas.list(slug)).filter(({ state }) => state === "ready" || state === "busy").length;

/** Submits jobs to the interactive lane and waits for their end. */
async function call(slug: string): Promise<Job[]> {
  const jobs: Job[] = [];
  for (let color = 0; color < CALLS; color += 1)
    jobs.push(await machines.client.jobs.submit(slug, { inputs: slow(color) }));
  return await Promise.all(jobs.map(({ id }) => machines.client.jobs.wait(id)));
}

describe("a full pod with a long batch lane", () => {
  it(
    "starts interactive jobs before the batch jobs that were there, and gives a new endpoint its warm replica",
    async () => {
      const { client } = machines;
      // Batch jobs may ask for replicas of their own at once.
      const settings = { max_replicas: SLOTS, batch_target_wait_s: 0, wait_value: 100 };
      await client.endpoints.create({ slug: "bulk", workflow: WORKFLOWS.plain, settings });
      const batch = await client.batches.submit("bulk", {
        inputs: Array.from({ length: BACKLOG }, (_, at) => slow(at)),
      });
      const doneOfBatch = async (): Promise<number> => (await client.batches.get(batch.id)).counts.succeeded;
      await until("the batch has taken the whole pod", async () =>
        (await workingFor("bulk")) === SLOTS ? true : undefined,
      );

      await client.endpoints.create({
        slug: "live",
        workflow: WORKFLOWS.plain,
        settings: { min_replicas: 1, max_replicas: 1 },
      });
      const called = await call("bulk");
      expect(called.map(({ state }) => state)).toEqual(called.map(() => "succeeded"));
      const firstCall = called.map(({ created_at }) => created_at).sort()[0] ?? "";
      const lastStart =
        called
          .map(({ started_at }) => started_at ?? "")
          .sort()
          .at(-1) ?? "";
      const batchJobs: Job[] = [];
      for await (const job of client.jobs.list({ batch: batch.id })) batchJobs.push(job);
      expect(batchJobs).toHaveLength(BACKLOG);
      const startedBetween = batchJobs.filter(
        ({ started_at }) => started_at !== null && started_at > firstCall && started_at < lastStart,
      );
      // What each replica already held as its next job, perhaps one more while the last call is held behind another one,
      // and no more of the hundreds that were there first.
      expect(startedBetween.length).toBeLessThanOrEqual(2 * SLOTS);

      await until(
        "the new endpoint has its warm replica",
        async () => ((await workingFor("live")) === 1 ? true : undefined),
        TEST_MS_MAX,
      );
      expect((await client.batches.get(batch.id)).counts.queued, "the pod is still wanted").toBeGreaterThan(0);
      const before = await doneOfBatch();
      const answered = await call("live");
      expect(answered.map(({ state }) => state)).toEqual(answered.map(() => "succeeded"));

      // It has kept it, and the others go on beside it.
      await until("the batch goes on", async () => ((await doneOfBatch()) > before ? true : undefined));
      expect(await workingFor("live")).toBe(1);
      const nodes = await client.nodes.list(machines.podId);
      const taken = nodes.flatMap(({ slots }) => slots.flatMap(({ replica_id }) => replica_id ?? []));
      expect(taken).toHaveLength(SLOTS);
    },
    TEST_MS_MAX,
  );
});
