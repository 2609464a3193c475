/** Four machines with two slots each, on which ComfyUI takes eight seconds to boot: from nothing to many and back. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Replica } from "#contract/replica";
import { WORKFLOWS } from "#test/chaos/workload";
import { type Machines, startMachines } from "#test/journey/machines";
import { until } from "#test/until";

const NODES = 4;
const SLOTS = NODES * 2;
const BOOT_MS = 8_000;
const JOB_MS = 1_000;
const JOBS = 80;
const IDLE_S = 3;
const TEST_MS_MAX = 240_000;
/** What the API tells of a replica's time and what its processes did may differ by so much. */
const SECONDS_APART_MAX = 1;

let machines: Machines;

beforeAll(async () => {
  machines = await startMachines(NODES, [
    ...["--fault-slow-boot-ms", String(BOOT_MS)],
    ...["--fault-slow-marker-ms", String(JOB_MS)],
  ]);
});
afterAll(() => machines?.stop());

interface Spent {
  cold: number;
  idle: number;
  busy: number;
}

/** What the machines' own logs say of each replica that has ended, in seconds. */
async function spentByProcesses(): Promise<Map<string, Spent>> {
  const spent = new Map<string, Spent>();
  for (const { logFile } of machines.agents) {
    const lines = (await readFile(logFile, "utf8")).split("\n").filter((line) => line.startsWith("{"));
    const events = lines.map((line) => JSON.parse(line) as Record<string, string>);
    for (const id of new Set(events.flatMap(({ replicaId }) => replicaId ?? []))) {
      const own = events.filter(({ replicaId }) => replicaId === id);
      const at = (event: Record<string, string> | undefined): number => Date.parse(event?.time ?? "") / 1_000;
      const states = own.filter(({ event }) => event === "replica_state");
      const begun = at(states[0]);
      const ready = at(states.find(({ state }) => state === "ready"));
      const ended = at(states.findLast(({ state }) => state === "stopped"));
      const stretches = own
        .filter(({ event }) => event === "job_started")
        .map((job) => ({
          from: at(job),
          to: at(own.find(({ event, leaseId }) => event === "job_ended" && leaseId === job.leaseId)),
        }));
      const busy = lengthOf(stretches);
      spent.set(id, { cold: ready - begun, idle: ended - ready - busy, busy });
    }
  }
  return spent;
}

describe("an endpoint on four machines", () => {
  it(
    "grows from nothing with its queue, shrinks to nothing after it, and accounts for every second",
    async () => {
      const { client } = machines;
      const settings = { max_replicas: SLOTS, idle_timeout_s: IDLE_S, wait_value: 100 };
      const endpoint = await client.endpoints.create({ slug: "scale", workflow: WORKFLOWS.plain, settings });
      expect(await client.replicas.list("scale")).toEqual([]);

      const batch = await client.batches.submit("scale", {
        inputs: Array.from({ length: JOBS }, (_, color) => ({ color, prompt: `fox ${color} __slow__` })),
        lane: "interactive",
      });
      let most = 0;
      await until(
        "all jobs have ended",
        async () => {
          const replicas = await client.replicas.list("scale");
          most = Math.max(most, replicas.filter(({ state }) => state === "ready" || state === "busy").length);
          const { counts } = await client.batches.get(batch.id);
          return counts.succeeded + counts.failed === JOBS ? counts : undefined;
        },
        TEST_MS_MAX,
      );
      expect((await client.batches.get(batch.id)).counts).toMatchObject({ succeeded: JOBS });
      expect(most).toBeGreaterThan(SLOTS / 2);
      expect(most).toBeLessThanOrEqual(SLOTS);

      await until("all replicas have stopped", async () =>
        (await client.replicas.list("scale")).length === 0 ? true : undefined,
      );
      const nodes = await client.nodes.list(machines.podId);
      expect(nodes.flatMap(({ slots }) => slots.map(({ replica_id }) => replica_id))).toEqual(
        Array.from({ length: SLOTS }, () => null),
      );

      const told = new Map(
        (await client.replicas.list("scale", "ended")).map((replica) => [replica.id as string, replica]),
      );
      const done = await spentByProcesses();
      expect([...told.keys()].toSorted()).toEqual([...done.keys()].toSorted());
      const apart = [...done].flatMap(([id, spent]) => difference(id, spent, told.get(id)));
      expect(apart).toEqual([]);

      // What the days tell is what the replicas tell.
      const days = await client.replicas.seconds("scale");
      for (const phase of ["cold", "idle", "busy"] as const) {
        const sum = [...told.values()].reduce((total, { seconds }) => total + seconds[phase], 0);
        const ofDays = days.reduce((total, { seconds }) => total + seconds[phase], 0);
        expect(Math.abs(sum - ofDays), phase).toBeLessThan(0.1);
      }
      expect(days.reduce((total, { started }) => total + started, 0)).toBe(told.size);

      // Why it had as many as it had is told as well.
      const decisions = (await client.scaling.get(endpoint.slug)).decisions;
      expect(decisions.length).toBeGreaterThan(1);
      expect(decisions[0]).toMatchObject({ to: 0 });
      for (const { reason } of decisions) expect(reason).toMatch(/[0-9]/);
    },
    TEST_MS_MAX,
  );
});

/** Of all stretches together: while one job's files are on their way the next one runs already. */
function lengthOf(stretches: readonly { readonly from: number; readonly to: number }[]): number {
  let length = 0;
  let until = 0;
  for (const { from, to } of stretches.toSorted((one, other) => one.from - other.from)) {
    length += Math.max(0, to - Math.max(from, until));
    until = Math.max(until, to);
  }
  return length;
}

/** Where the API and the processes tell of different times. */
function difference(id: string, spent: Spent, replica: Replica | undefined): string[] {
  if (replica === undefined) return [`${id} is not told of`];
  return (["cold", "idle", "busy"] as const).flatMap((phase) =>
    Math.abs(replica.seconds[phase] - spent[phase]) <= SECONDS_APART_MAX
      ? []
      : [`${id} ${phase}: told ${replica.seconds[phase]}, done ${spent[phase]}: ${JSON.stringify(replica.states)}`],
  );
}
