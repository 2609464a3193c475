/** A process that runs seeds for seed-pool.ts, over the product as it is or with a mutant put into it. */
import { MUTANTS } from "./mutants.ts";
import { putIn } from "./put-in-mutant.ts";
import type { FromProcess, ToProcess } from "./seed-pool.ts";

const name = process.argv[2];
if (name !== undefined) {
  const mutant = MUTANTS.find((candidate) => candidate.name === name);
  if (mutant === undefined) throw new Error(`there is no mutant ${name}`);
  putIn(mutant);
}
// Only now: what is imported from here on is the mutant's.
const { SeedRunner } = await import("./run-seeds.ts");
const runner = new SeedRunner();

function tell(message: FromProcess): void {
  process.send?.(message);
}

process.on("message", async (message: ToProcess) => {
  if (message.type === "run") {
    for (const seed of message.seeds) {
      const result = await runner.run(seed, message.operations);
      tell({ type: "result", result });
      if (result.violation !== null && message.stopAtViolation) break;
    }
    tell({ type: "idle" });
  } else {
    tell({ type: "coverage", counts: runner.coverage.counts() });
    process.disconnect();
  }
});
tell({ type: "idle" });
