/** `npm run simulate:queue`: the queue's core under every fault, seed after seed. See docs/simulation.md. */
import { parseArgs } from "node:util";
import { coverageReport } from "./coverage-report.ts";
import { operationsUnderFaults } from "./pace.ts";
import { type PoolSum, runSeeds, seedsFrom } from "./seed-pool.ts";
import type { SimulationResult } from "./simulation.ts";

const TRACE_LINES = 30;
const BAR_WIDTH = 40;

const { values } = parseArgs({
  options: {
    ops: { type: "string", default: "1000000" },
    seeds: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    mutant: { type: "string" },
    processes: { type: "string" },
    coverage: { type: "boolean", default: false },
  },
});
const ops = wholeNumber("ops", values.ops);
const seeds = wholeNumber("seeds", values.seeds);
const first = wholeNumber("seed", values.seed);
const isTerminal = process.stderr.isTTY;

const sum = await runSeeds({
  seeds: seeds === 1 ? [first] : seedsFrom(first),
  operations: operationsUnderFaults(ops, seeds),
  ...(values.mutant === undefined ? {} : { mutant: values.mutant }),
  // One seed is one process's work.
  ...(seeds === 1 ? { processes: 1 } : {}),
  ...(values.processes === undefined ? {} : { processes: wholeNumber("processes", values.processes) }),
  isEnough: (so) => so.seeds >= seeds && (so.operations >= ops || seeds === 1),
  onResult: (_, so) => showProgress(so),
});
if (isTerminal) process.stderr.write("\r\u001b[K");
for (const result of sum.violations) report(result);
if (values.coverage) process.stdout.write(coverageReport(sum.coverage));
process.stdout.write(`operations=${sum.operations} seeds=${sum.seeds} violations=${sum.violations.length}\n`);
process.exitCode = sum.violations.length > 0 ? 1 : 0;

function showProgress(so: PoolSum): void {
  if (!isTerminal) return;
  const part = Math.min(1, so.operations / ops, so.seeds / seeds);
  const bar = "█".repeat(Math.round(part * BAR_WIDTH)).padEnd(BAR_WIDTH, "░");
  process.stderr.write(`\r${bar} ${Math.floor(part * 100)} %  ${so.operations} operations, ${so.seeds} seeds`);
}

function report({ seed, operations, violation }: SimulationResult): void {
  if (violation === null) return;
  const mutant = values.mutant === undefined ? "" : ` --mutant ${values.mutant}`;
  process.stdout.write(
    [
      ...violation.trace.slice(-TRACE_LINES),
      `seed ${seed} breaks ${violation.invariant} at operation ${operations}: ${violation.message}`,
      `again: npm run simulate:queue -- --seed ${seed} --seeds 1 --ops ${Math.ceil(ops / seeds)}${mutant}`,
      "",
    ].join("\n"),
  );
}

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} takes a whole number`);
  return number;
}
