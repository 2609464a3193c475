/** A machine whose network is away for so long that it is given up, with real processes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WORKFLOWS } from "#test/chaos/workload";
import { until } from "#test/until";
import { type Machines, startMachines } from "./machines.ts";

/** The silence until it is given up, and what it takes a loaded machine to start twice and to come back. */
const TEST_MS_MAX = 240_000;
const SLUG = "cut-off";

let machines: Machines;
beforeAll(async () => {
  machines = await startMachines(1, ["--fault-slow-boot-ms", "3000", "--fault-slow-marker-ms", "3000"]);
}, TEST_MS_MAX);
afterAll(() => machines?.stop());

describe("a machine that was cut off and given up", () => {
  it(
    "comes back with its replicas as they are: the same ones, none started anew, all their seconds counted",
    async () => {
      const { client, podId, agents } = machines;
      const [agent] = agents;
      if (agent === undefined) throw new Error("There is no machine");
      const settings = { min_replicas: 2, max_replicas: 2, idle_timeout_s: 3_600 };
      await client.endpoints.create({ slug: SLUG, workflow: WORKFLOWS.plain, settings });
      const ready = () =>
        until("both replicas are ready", async () => {
          const found = (await client.replicas.list(SLUG)).filter(({ state }) => state === "ready");
          return found.length === 2 ? found.toSorted((a, b) => (a.id < b.id ? -1 : 1)) : undefined;
        });
      const before = await ready();
      const processes = agent.livingComfys();
      expect(processes).toHaveLength(2);

      const isOnline = async () => (await client.nodes.list(podId)).some(({ online }) => online);
      agent.proxy.stall();
      await until("it is given up", async () => ((await isOnline()) ? undefined : true));
      await until("its replicas are not shown", async () =>
        (await client.replicas.list(SLUG)).length === 0 ? true : undefined,
      );
      const job = await client.jobs.submit(SLUG, { inputs: { color: 7, prompt: "while it is away" } });
      agent.proxy.flow();

      expect(await client.jobs.wait(job.id)).toMatchObject({ state: "succeeded", attempt: 1 });
      const after = await ready();
      expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id));
      expect(agent.livingComfys()).toEqual(processes);
      const ids = new Set(before.map(({ id }) => id));
      const all = await client.replicas.list(SLUG, "all");
      expect(all.filter(({ id }) => !ids.has(id))).toEqual([]);
      // From the start until now without a gap, and without a second cold start.
      for (const [index, { id, seconds, started_at }] of after.entries()) {
        const { cold, idle, busy } = seconds;
        expect([id, cold]).toEqual([id, before[index]?.seconds.cold]);
        expect(Math.abs((Date.now() - Date.parse(started_at)) / 1_000 - cold - idle - busy)).toBeLessThan(5);
      }
    },
    TEST_MS_MAX,
  );
});
