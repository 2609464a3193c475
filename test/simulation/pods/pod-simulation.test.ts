import { describe, expect, it } from "vitest";
import type { SimulatedDatabase } from "../simulated-database.ts";
import { PodSimulation } from "./pod-simulation.ts";
import { OPERATIONS_PER_SEED, runPodSeeds } from "./run-pod-seeds.ts";

/** `npm run simulate:pods` does a million; here it is so many that every fault meets every phase of a replica. */
const OPERATIONS = Number(process.env.PILOTLIGHT_SIMULATED_POD_OPERATIONS ?? 60_000);
/** From here on worlds come soon in which machines lie in each way there is. */
const FIRST_SEED = 20;
const PHASES = ["placed", "preparing", "booting", "loading", "ready", "draining"];
const MET = [
  ...["agent died", "network cut", "object restarted"].flatMap((what) => PHASES.map((at) => `${what}, replica ${at}`)),
  ...["died here", "came back", "offers", "never given", "cards changed"].map((why) => `quarantine: ${why}`),
  ...["alarm lost", "message doubled", "message late", "message lost", "operator", "replica crashed", "turn undone"],
];

describe("a pod among machines that die, lie and come back", () => {
  it(`counts right, leaks no slot and uses none twice through ${OPERATIONS} operations`, () => {
    const seeds = Math.ceil(OPERATIONS / OPERATIONS_PER_SEED);
    const sum = runPodSeeds({ first: FIRST_SEED, seeds, operations: OPERATIONS });
    expect(sum.violations.map(({ seed, violation }) => `seed ${seed}: ${violation?.message}`)).toEqual([]);
    expect(sum.operations).toBeGreaterThanOrEqual(OPERATIONS);
    // A run that met nothing proves nothing.
    if (OPERATIONS >= 60_000) expect(MET.filter((what) => !sum.hits.has(what))).toEqual([]);
  });

  it("is the same each time a seed is run", () => {
    const run = () => new PodSimulation(5, 500).run();
    expect(run()).toEqual(run());
    expect(run().digest).not.toBe(new PodSimulation(6, 500).run().digest);
  });
});

describe("the checker", () => {
  /** What the first of the seeds says in which it could be broken. */
  function broken(meddle: (database: SimulatedDatabase, row: { id: string }) => void): string | undefined {
    for (let seed = 1; seed < 20; seed += 1) {
      let isDone = false;
      const { violation } = new PodSimulation(seed, 500, {
        meddle: (world, database) => {
          const [row] = database.look("SELECT id FROM replicas WHERE draining = 0 AND state = 'ready'");
          if (isDone || row === undefined || world.operations < 100) return;
          isDone = true;
          meddle(database, { id: String(row.id) });
        },
      }).run();
      if (isDone) return violation?.message;
    }
    throw new Error("no seed got so far");
  }

  it("sees a replica that is lost without a word", () => {
    const said = broken((database, { id }) => void database.look("DELETE FROM replicas WHERE id = ?", id));
    expect(said).toContain("ended without a farewell");
  });

  it("sees one that moves", () => {
    const said = broken((database, { id }) => void database.look("UPDATE replicas SET slot = 999 WHERE id = ?", id));
    expect(said).toContain("moved");
  });

  it("sees one of which nobody hears the end", () => {
    const said = broken((database, { id }) => {
      const [row] = database.look("SELECT endpoint_id FROM replicas WHERE id = ?", id);
      const values = [id, String(row?.endpoint_id), "gone", Number.MAX_SAFE_INTEGER];
      database.look(
        "INSERT INTO farewells (replica_id, endpoint_id, reason, silent, tries, due_at) VALUES (?, ?, ?, 0, 0, ?)",
        ...values,
      );
      database.look("DELETE FROM replicas WHERE id = ?", id);
    });
    expect(said).toMatch(/have not heard of an end|has not heard/);
  });

  it("sees one that waits, and is not said to", () => {
    const said = broken((database) => {
      database.look("CREATE TRIGGER deaf BEFORE UPDATE OF lacking_since ON demands BEGIN SELECT RAISE(IGNORE); END");
    });
    expect(said).toMatch(/has \d+ of \d+, waits since/);
  });

  it("sees a slot that nothing holds and nobody gets", () => {
    const said = broken((database) => {
      database.look("CREATE TRIGGER leak BEFORE INSERT ON replicas BEGIN SELECT RAISE(IGNORE); END");
    });
    expect(said).toContain("a slot is free");
  });
});
