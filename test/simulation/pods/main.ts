/** `npm run simulate:pods`: a pod's core among machines that die, lie and come back, seed after seed. See docs/simulation.md. */
import { parseArgs } from "node:util";
import { OPERATIONS_PER_SEED, runPodSeeds } from "./run-pod-seeds.ts";

const TRACE_LINES = 30;

const { values } = parseArgs({
  options: {
    ops: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    seeds: { type: "string" },
    coverage: { type: "boolean", default: false },
  },
});
const operations = wholeNumber("ops", values.ops);
const seeds =
  values.seeds === undefined
    ? Math.max(1, Math.ceil(operations / OPERATIONS_PER_SEED))
    : wholeNumber("seeds", values.seeds);

const sum = runPodSeeds({
  first: wholeNumber("seed", values.seed),
  seeds,
  operations,
  onResult: (so) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${so.operations} operations, ${so.seeds} seeds`);
  },
});
if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
for (const { seed, violation, operations: done } of sum.violations) {
  process.stdout.write(`${violation?.trace.slice(-TRACE_LINES).join("\n")}\n`);
  process.stdout.write(`seed ${seed} breaks ${violation?.message} at operation ${done}\n`);
  process.stdout.write(
    `again: npm run simulate:pods -- --seed ${seed} --seeds 1 --ops ${Math.ceil(operations / seeds)}\n\n`,
  );
}
if (values.coverage) for (const [what, times] of [...sum.hits].toSorted()) process.stdout.write(`${times} × ${what}\n`);
process.stdout.write(`operations=${sum.operations} seeds=${sum.seeds} violations=${sum.violations.length}\n`);
process.exitCode = sum.violations.length > 0 ? 1 : 0;

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} takes a whole number`);
  return number;
}
