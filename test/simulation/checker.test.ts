/** The checker itself must not be blind: each promise, broken behind the object's back, is called by its name. */
import { describe, expect, it } from "vitest";
import { MUTANTS, OPERATIONS_OF_A_MUTANT, seedsFor } from "./mutants.ts";
import { SeedRunner } from "./run-seeds.ts";
import { runSeeds } from "./seed-pool.ts";
import type { Simulation } from "./simulation.ts";

interface Corruption {
  readonly invariant: string;
  readonly what: string;
  /** @returns whether there was anything to corrupt yet */
  readonly corrupt: (world: Simulation) => boolean;
}

/** Changes one job's row. @returns whether there was one */
function change(world: Simulation, set: string, where: string): boolean {
  const changed = world.database.look(
    `UPDATE jobs SET ${set} WHERE id = (SELECT id FROM jobs WHERE ${where} ORDER BY id DESC LIMIT 1) RETURNING id`,
  );
  return changed.length > 0;
}

const CORRUPTIONS: readonly Corruption[] = [
  {
    invariant: "I1",
    what: "a waiting job vanishes",
    corrupt: (world) => world.database.look("DELETE FROM jobs WHERE state = 'queued' RETURNING id").length > 0,
  },
  {
    invariant: "I2",
    what: "a key is forgotten while it is kept",
    corrupt: (world) => world.database.look("DELETE FROM idempotency RETURNING key").length > 0,
  },
  {
    invariant: "I3",
    what: "the counter of tokens goes back",
    corrupt: (world) => {
      if (world.oracle.counterMax < 5) return false;
      world.database.look("UPDATE progress SET counter_reserved = 0");
      world.object.deploy();
      return true;
    },
  },
  {
    invariant: "I4",
    what: "a lease is somebody else's before it is over",
    corrupt: (world) =>
      change(world, `leases = replace(leases, '"nodeId":"node', '"nodeId":"other')`, "state = 'running'"),
  },
  {
    invariant: "I5",
    what: "the end of a job changes",
    corrupt: (world) => change(world, "finished_at = finished_at + 1", "finished_at IS NOT NULL"),
  },
  {
    invariant: "I6",
    what: "an output of a succeeded job is gone",
    corrupt: (world) => {
      const [row] = world.database.look("SELECT outputs FROM jobs WHERE outputs LIKE '%key%' LIMIT 1");
      if (row === undefined) return false;
      const [output] = JSON.parse(String(row.outputs)) as { key: string }[];
      return output !== undefined && world.store.objects.delete(output.key);
    },
  },
  {
    invariant: "I7",
    what: "a living lease runs out early",
    corrupt: (world) => {
      const set = `lease_until = ${world.object.now - 1_000}`;
      const changed = change(world, set, "state = 'running' AND confirmed = 1");
      if (changed) world.object.deploy();
      return changed;
    },
  },
  {
    invariant: "I8",
    what: "a job is canceled by nobody",
    corrupt: (world) =>
      change(
        world,
        `state = 'canceled', finished_at = ${world.object.now}, available_at = NULL, avoid_node = NULL,
         events = json_insert(events, '$[#]', json_object('seq', json_array_length(events) + 1, 'type', 'canceled', 'at', ${world.object.now}, 'data', '{}'))`,
        "state = 'queued'",
      ),
  },
  {
    invariant: "I9",
    what: "an ended lease is billed anew",
    corrupt: (world) =>
      change(
        world,
        "leases = json_set(leases, '$[0].endedAt', 1)",
        "state = 'queued' AND json_array_length(leases) > 0",
      ),
  },
  {
    invariant: "I10",
    what: "a job loses the count of its attempts' bound",
    corrupt: (world) => change(world, "attempts_max = attempts_max + 10", "state IN ('queued', 'running')"),
  },
  {
    invariant: "I11",
    what: "a dead letter is dismissed uncounted",
    corrupt: (world) => change(world, "dead = 0", "dead = 1"),
  },
  {
    invariant: "I12",
    what: "a job's place changes",
    corrupt: (world) => change(world, "rank = rank - 100000", "state = 'queued'"),
  },
  {
    invariant: "I14",
    what: "one end is told under two names",
    corrupt: (world) => {
      const [row] = world.database.look("SELECT id, state FROM jobs WHERE finished_at IS NOT NULL LIMIT 1");
      if (row === undefined || !world.swarm.interest.some((event) => event === `job.${String(row.state)}`))
        return false;
      const event = {
        type: `job.${String(row.state)}` as "job.succeeded",
        endpointId: world.endpointId,
        jobId: String(row.id) as never,
        at: 1,
        data: "{}",
        url: null,
      };
      world.webhooks.accept([{ ...event, messageId: "msg_once" }]);
      world.webhooks.accept([{ ...event, messageId: "msg_twice" }]);
      return true;
    },
  },
  {
    invariant: "I15",
    what: "half of a change is there",
    corrupt: (world) => {
      const [id] = world.oracle.living.keys();
      if (id === undefined) return false;
      world.database.look("UPDATE jobs SET timeout_ms = timeout_ms + 1 WHERE id = ?", id);
      world.oracle.undone({ type: "demand" });
      return true;
    },
  },
  {
    invariant: "I18",
    what: "a deadline comes nearer than the alarm",
    corrupt: (world) =>
      change(
        world,
        `expires_at = ${world.object.now + 5}`,
        "state = 'queued' AND started_at IS NULL AND available_at IS NULL",
      ),
  },
  {
    invariant: "I19",
    what: "an event is missing from a job's story",
    corrupt: (world) => change(world, "events = json_remove(events, '$[0]')", "state IN ('queued', 'running')"),
  },
  {
    invariant: "L1",
    what: "the pod never starts anything",
    corrupt: (world) => {
      world.pod.goOnStrike();
      return true;
    },
  },
  {
    invariant: "L4",
    what: "an event is lost on its way",
    corrupt: (world) => world.database.look("DELETE FROM outbox WHERE type LIKE 'job.%ed' RETURNING id").length > 0,
  },
];

/** Promises that take a mistake in the code to break. */
const BROKEN_BY: readonly (readonly [invariant: string, mutant: string])[] = [
  ["I13", "poll-id-forgotten"],
  ["L2", "waiter-forgotten"],
  ["L3", "last-attempt-stuck"],
  ["L5", "outbox-loop"],
  ["L6", "alarm-no-rearm"],
];

describe("the checker", () => {
  const runner = new SeedRunner();
  it.each(CORRUPTIONS)("calls $invariant when $what", async ({ invariant, corrupt }) => {
    const found: string[] = [];
    for (let seed = 1; seed <= 120 && !found.includes(invariant); seed += 1) {
      let done = false;
      const { violation } = await runner.run(seed, 300, (world) => {
        if (!done && world.object.operations > 60) done = corrupt(world);
      });
      if (violation !== null) found.push(violation.invariant);
    }
    expect(found).toContain(invariant);
  });

  it.each(BROKEN_BY)("calls %s when the product has the mistake %s", async (invariant, mutant) => {
    const known = MUTANTS.find(({ name }) => name === mutant);
    const seeds = known === undefined ? [] : seedsFor(known);
    const sum = await runSeeds({ seeds, operations: OPERATIONS_OF_A_MUTANT, mutant, processes: 1 });
    expect(sum.violations.map(({ violation }) => violation?.invariant)).toContain(invariant);
  });
});
