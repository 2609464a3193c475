import { describe, expect, it } from "vitest";
import { MUTANTS, OPERATIONS_OF_A_MUTANT, seedsFor } from "./mutants.ts";
import { changedSource } from "./put-in-mutant.ts";
import { runSeeds } from "./seed-pool.ts";

/** Programs at once. */
const AT_ONCE = 2;

describe("known failures of other systems, put into this one", () => {
  it("are at least twenty, each with its story, and each fits the source as it is", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(20);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
    for (const mutant of MUTANTS) {
      expect(changedSource(mutant)).not.toBe("");
      expect(mutant.url).toMatch(/^https:\/\//);
      expect(mutant.bug.length).toBeGreaterThan(20);
    }
  });

  it("are all found", async () => {
    const waiting = [...MUTANTS];
    const survivors: string[] = [];
    const work = async (): Promise<void> => {
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        const seeds = seedsFor(mutant);
        const sum = await runSeeds({ seeds, operations: OPERATIONS_OF_A_MUTANT, mutant: mutant.name, processes: 1 });
        if (sum.violations.length === 0) survivors.push(mutant.name);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    expect(survivors).toEqual([]);
  });
});
