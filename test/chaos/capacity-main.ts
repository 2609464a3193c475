/** `npm run chaos:capacity`: every fault at each phase, or those named: `-- --only agent:busy,server:booting`. */
import { type CapacityCase, FAULTS, PHASES, RIGHT_MS_MAX, runCapacity } from "./capacity.ts";

const USAGE = `npm run chaos:capacity -- [--only <fault>:<phase>,…]

  faults: ${FAULTS.join(", ")}
  phases: ${PHASES.join(", ")}
`;

const ALL: readonly CapacityCase[] = FAULTS.flatMap((fault) => PHASES.map((phase) => ({ fault, phase })));

function chosen(argv: readonly string[]): readonly CapacityCase[] | null {
  if (argv.length === 0) return ALL;
  const [flag, names, ...more] = argv;
  if (flag !== "--only" || names === undefined || more.length > 0) return null;
  const cases = names.split(",").map((name) => ALL.find(({ fault, phase }) => `${fault}:${phase}` === name));
  return cases.every((each) => each !== undefined) ? cases : null;
}

async function main(argv: readonly string[]): Promise<number> {
  const cases = chosen(argv);
  if (cases === null) {
    process.stderr.write(USAGE);
    return 2;
  }
  const outcomes = await runCapacity(cases, (line) => process.stderr.write(`${line}\n`));
  const late = outcomes.filter(({ rightAfterMs }) => rightAfterMs > RIGHT_MS_MAX).length;
  const wrong = outcomes.reduce((sum, outcome) => sum + outcome.wrong.length, 0);
  const slowest = Math.max(...outcomes.map(({ rightAfterMs }) => rightAfterMs));
  console.log(`cases=${outcomes.length} late=${late} wrong=${wrong} slowest_ms=${Math.round(slowest)}`);
  return late === 0 && wrong === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
