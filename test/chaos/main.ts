/**
 * Chaos with real processes: `npm run chaos -- --jobs 1000`. Progress goes to stderr; the last line of stdout is the
 * count of everything, and the exit code is 0 only when nothing was lost, doubled or wrong.
 */
import { randomInt } from "node:crypto";
import { countViolations } from "./check.ts";
import { type ChaosOptions, ChaosUsageError, readOptions, USAGE } from "./options.ts";
import { type ChaosProgress, type ChaosResult, runChaos } from "./run-chaos.ts";
import { insideNamespaces } from "./small-disk.ts";

/** An agent's job is somebody else's within this, in 99 of 100 cases. */
const AGENT_RECOVERY_MS_MAX = 45_000;
/** The server answers again within this, each time. */
const WORKERD_RECOVERY_MS_MAX = 5_000;
const BAR_WIDTH = 30;
/** Where nobody watches, the progress is a line at this pace. */
const LINE_MS = 10_000;
/** Violations that are named in full. */
const SHOWN_MAX = 50;

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(USAGE);
    return 0;
  }
  let options: ChaosOptions;
  try {
    options = readOptions(argv, () => randomInt(2 ** 31));
  } catch (error) {
    if (!(error instanceof ChaosUsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    return 2;
  }
  if (options.fullDisk) {
    const code = await insideNamespaces([import.meta.filename, ...argv]);
    if (code !== null) return code;
  }
  const startedAt = performance.now();
  say(`seed ${options.seed}`);
  const result = await runChaos(options, { report: say, progress: show });
  for (const { kind, detail } of result.violations.slice(0, SHOWN_MAX)) say(`${kind}: ${detail}`);
  if (result.violations.length > SHOWN_MAX) say(`… and ${result.violations.length - SHOWN_MAX} more`);
  if (options.keep) say(`kept in ${result.folder}`);
  const trouble = shortfalls(options, result);
  for (const line of trouble) say(line);
  console.log(measures(result, performance.now() - startedAt));
  console.log(summary(result));
  return result.violations.length === 0 && trouble.length === 0 ? 0 : 1;
}

const isWatched = process.stderr.isTTY === true;
let nextLineAt = 0;

function say(line: string): void {
  process.stderr.write(isWatched ? `\r\u001b[K${line}\n` : `${line}\n`);
}

function show({ ended, jobs, done }: ChaosProgress): void {
  if (!isWatched && performance.now() < nextLineAt) return;
  nextLineAt = performance.now() + LINE_MS;
  const filled = Math.round((ended / jobs) * BAR_WIDTH);
  const bar = `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}`;
  const kills = done.workerd + done.agent + done.standIn;
  const line = `${bar} ${ended}/${jobs} jobs, ${kills} kills, ${done.zombie} zombies, ${done.cut} cuts`;
  process.stderr.write(isWatched ? `\r\u001b[K${line}` : `${line}\n`);
}

/** What was asked for and did not happen, and what took too long. */
function shortfalls(options: ChaosOptions, { faults }: ChaosResult): string[] {
  const lines: string[] = [];
  for (const [name, wanted] of Object.entries(options.faults)) {
    const done = faults.done[name as keyof typeof faults.done];
    if (done < wanted) lines.push(`only ${done} of ${wanted} faults of the kind ${name} found something to hit`);
  }
  if (faults.turnedAway === 0) lines.push("the full disk turned no submit away");
  for (const id of faults.stuck) lines.push(`${id} was not given out again after a fault`);
  const agent = quantile(faults.agentRecoveryMs, 0.99);
  if (agent > AGENT_RECOVERY_MS_MAX)
    lines.push(`a dead agent's job waited ${agent} ms (p99), more than ${AGENT_RECOVERY_MS_MAX}`);
  const workerd = quantile(faults.workerdRecoveryMs, 1);
  if (workerd > WORKERD_RECOVERY_MS_MAX)
    lines.push(`the server was away for ${workerd} ms, more than ${WORKERD_RECOVERY_MS_MAX}`);
  return lines;
}

/** What was measured, in one line; what there was none of is left out. */
function measures({ faults, jobs }: ChaosResult, ms: number): string {
  const { agentRecoveryMs: agent, bothRecoveryMs: both, workerdRecoveryMs: workerd, lateCompletes: late } = faults;
  const refused = late.filter(({ status }) => status === 409).length;
  const lines: readonly (readonly [isThere: boolean, line: string])[] = [
    [true, `${jobs} jobs in ${Math.round(ms / 1_000)} s`],
    [
      agent.length > 0,
      `a dead agent's job had its next lease after ${quantile(agent, 0.5)} ms (p50), ${quantile(agent, 0.99)} ms (p99)`,
    ],
    [both.length > 0, `where the server was killed meanwhile, after ${quantile(both, 0.99)} ms (p99)`],
    [
      workerd.length > 0,
      `a killed server answered after ${quantile(workerd, 0.5)} ms (p50), ${quantile(workerd, 1)} ms (longest)`,
    ],
    [late.length > 0, `late successes refused: ${refused} of ${late.length}`],
    [faults.turnedAway !== null, `submits turned away by a full disk: ${faults.turnedAway}`],
  ];
  return lines.flatMap(([isThere, line]) => (isThere ? [line] : [])).join("; ");
}

/** @param share 0.5 for the median, 1 for the largest; 0 when there are none */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0);
}

function summary({ jobs, counts, faults, violations }: ChaosResult): string {
  const { done } = faults;
  const fields = {
    jobs,
    ...counts,
    kills: done.workerd + done.agent + done.standIn,
    zombies: done.zombie,
    cuts: done.cut,
    ...countViolations(violations),
  };
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}

process.exit(await main(process.argv.slice(2)));
