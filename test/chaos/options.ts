/** What a chaos run is asked for: `npm run chaos -- --jobs 1000 --seed 7 --kills-workerd 20 …`. */
import { parseArgs } from "node:util";

export interface ChaosOptions {
  readonly jobs: number;
  readonly seed: number;
  readonly agents: number;
  readonly faults: FaultCounts;
  /** The server's disk is full for a while. Needs a mount of its own. */
  readonly fullDisk: boolean;
  /** The run's folder, with all logs and the evidence, stays. */
  readonly keep: boolean;
}

export interface FaultCounts {
  /** kill -9 of the runtime that holds the queue. */
  readonly workerd: number;
  /** kill -9 of an agent that has a job in hand. */
  readonly agent: number;
  /** kill -9 of a ComfyUI stand-in in the middle of a job. */
  readonly standIn: number;
  /** An agent stopped for longer than its lease, in the moment in which it reports success. */
  readonly zombie: number;
  /** Connections cut or stalled. */
  readonly cut: number;
}

/** The full bar, for this many jobs; fewer jobs meet fewer faults. */
const FULL_JOBS = 1_000;
export const FULL_BAR: FaultCounts = { workerd: 20, agent: 15, standIn: 15, zombie: 20, cut: 10 };
const AGENTS = 4;

export const USAGE = `Usage: npm run chaos -- [options]

  --jobs N            jobs to submit (${FULL_JOBS})
  --seed S            draws the same jobs and faults again (a new one, printed)
  --kills-workerd N   kill -9 of the server's runtime  (${FULL_BAR.workerd} for ${FULL_JOBS} jobs, fewer for fewer)
  --kills-agent N     kill -9 of an agent with a job   (${FULL_BAR.agent})
  --kills-stand-in N  kill -9 of ComfyUI in a job      (${FULL_BAR.standIn})
  --zombies N         agents stopped past their lease  (${FULL_BAR.zombie})
  --cuts N            connections cut or stalled       (${FULL_BAR.cut})
  --no-full-disk      leave the server its disk
  --keep              keep the run's folder
`;

export class ChaosUsageError extends Error {}

/** @throws ChaosUsageError with a sentence */
export function readOptions(argv: readonly string[], freshSeed: () => number): ChaosOptions {
  const string = { type: "string" } as const;
  const boolean = { type: "boolean" } as const;
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        jobs: string,
        seed: string,
        "kills-workerd": string,
        "kills-agent": string,
        "kills-stand-in": string,
        zombies: string,
        cuts: string,
        "no-full-disk": boolean,
        keep: boolean,
      },
    }));
  } catch (error) {
    throw new ChaosUsageError(error instanceof Error ? error.message : String(error));
  }
  const number = (name: string, otherwise: number): number => {
    const text = values[name];
    if (text === undefined) return otherwise;
    if (typeof text !== "string" || !/^[0-9]{1,9}$/.test(text)) {
      throw new ChaosUsageError(`--${name} is a whole number, not ${text}`);
    }
    return Number(text);
  };
  const jobs = number("jobs", FULL_JOBS);
  if (jobs === 0) throw new ChaosUsageError("--jobs is at least 1");
  return {
    jobs,
    seed: number("seed", freshSeed()),
    agents: AGENTS,
    faults: {
      workerd: number("kills-workerd", scaled(FULL_BAR.workerd, jobs)),
      agent: number("kills-agent", scaled(FULL_BAR.agent, jobs)),
      standIn: number("kills-stand-in", scaled(FULL_BAR.standIn, jobs)),
      zombie: number("zombies", scaled(FULL_BAR.zombie, jobs)),
      cut: number("cuts", scaled(FULL_BAR.cut, jobs)),
    },
    fullDisk: values["no-full-disk"] !== true,
    keep: values.keep === true,
  };
}

/** At least one of each, and never more than the full bar. */
function scaled(full: number, jobs: number): number {
  return Math.max(1, Math.min(full, Math.round((full * jobs) / FULL_JOBS)));
}
