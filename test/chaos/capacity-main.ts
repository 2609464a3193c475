/** `npm run chaos:capacity`: every fault at each phase, or those named: `-- --only agent:busy,server:booting`. */
import { parseArgs } from "node:util";
import { type CapacityCase, FAULTS, PHASES, RIGHT_MS_MAX, runCapacity } from "./capacity.ts";

const USAGE = `npm run chaos:capacity -- [--only <fault>:<phase>,…] [--quiet]

  faults: ${FAULTS.join(", ")}
  phases: ${PHASES.join(", ")}
  --quiet: nobody looks until the time is nearly over, so the server has to find out by itself
`;

const ALL: readonly CapacityCase[] = FAULTS.flatMap((fault) => PHASES.map((phase) => ({ fault, phase })));

function chosen(only: string | undefined): readonly CapacityCase[] | null {
  if (only === undefined) return ALL;
  const cases = only.split(",").map((name) => ALL.find(({ fault, phase }) => `${fault}:${phase}` === name));
  return cases.every((each) => each !== undefined) ? cases : null;
}

async function main(args: string[]): Promise<number> {
  const options = { only: { type: "string" }, quiet: { type: "boolean", default: false } } as const;
  let cases: readonly CapacityCase[] | null = null;
  let isQuiet = false;
  try {
    const { values } = parseArgs({ args, options });
    cases = chosen(values.only);
    isQuiet = values.quiet;
  } catch {
    // What is not understood is answered with the usage.
  }
  if (cases === null) {
    process.stderr.write(USAGE);
    return 2;
  }
  const outcomes = await runCapacity(cases, (line) => process.stderr.write(`${line}\n`), isQuiet);
  const late = outcomes.filter(({ rightAfterMs }) => rightAfterMs > RIGHT_MS_MAX).length;
  const wrong = outcomes.reduce((sum, outcome) => sum + outcome.wrong.length, 0);
  const slowest = Math.max(...outcomes.map(({ rightAfterMs }) => rightAfterMs));
  console.log(`cases=${outcomes.length} late=${late} wrong=${wrong} slowest_ms=${Math.round(slowest)}`);
  return late === 0 && wrong === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
