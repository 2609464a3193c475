import { type ChildProcess, fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Coverage, type CoverageCounts } from "./coverage.ts";
import type { SimulationResult } from "./simulation.ts";

export type ToProcess =
  | {
      readonly type: "run";
      readonly seeds: readonly number[];
      readonly operations: number;
      readonly stopAtViolation: boolean;
    }
  | { readonly type: "end" };
export type FromProcess =
  | { readonly type: "idle" }
  | { readonly type: "result"; readonly result: SimulationResult }
  | { readonly type: "coverage"; readonly counts: CoverageCounts };

export interface PoolOptions {
  /** Seeds in the order in which they run; may be endless. */
  readonly seeds: Iterable<number>;
  /** Of one seed, under faults. */
  readonly operations: number;
  readonly mutant?: string;
  readonly processes?: number;
  /** Asked after each seed: whether it is enough. */
  readonly isEnough?: (sum: PoolSum) => boolean;
  readonly onResult?: (result: SimulationResult, sum: PoolSum) => void;
}

export interface PoolSum {
  operations: number;
  seeds: number;
  simulatedMs: number;
  readonly violations: SimulationResult[];
  readonly coverage: Coverage;
}

/** Seeds that one message hands to a process: enough to keep it busy, few enough to share the last ones. */
const PORTION = 5;

/** Runs seeds over several processes until they are used up, it is enough, or a promise is broken. */
export async function runSeeds(options: PoolOptions): Promise<PoolSum> {
  const { operations, isEnough = () => false, onResult = () => undefined } = options;
  const sum: PoolSum = { operations: 0, seeds: 0, simulatedMs: 0, violations: [], coverage: new Coverage() };
  const seeds = options.seeds[Symbol.iterator]();
  let done = false;

  const take = (): number[] => {
    const portion: number[] = [];
    while (!done && portion.length < PORTION) {
      const next = seeds.next();
      if (next.done === true) done = true;
      else portion.push(next.value);
    }
    return portion;
  };

  const serve = (child: ChildProcess): Promise<void> =>
    new Promise((resolve, reject) => {
      const send = (message: ToProcess): void => void child.send(message);
      child.on("message", (message: FromProcess) => {
        if (message.type === "coverage") sum.coverage.merge(message.counts);
        else if (message.type === "result") {
          const { result } = message;
          sum.operations += result.operations;
          sum.seeds += 1;
          sum.simulatedMs += result.simulatedMs;
          if (result.violation !== null) {
            sum.violations.push(result);
            done = true;
          }
          if (isEnough(sum)) done = true;
          onResult(result, sum);
        } else {
          const portion = take();
          if (portion.length === 0) send({ type: "end" });
          else send({ type: "run", seeds: portion, operations, stopAtViolation: true });
        }
      });
      child.on("error", reject);
      child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`a simulation ended with code ${code}`))));
    });

  const count = options.processes ?? availableParallelism();
  const children = Array.from({ length: count }, () =>
    fork(
      fileURLToPath(new URL("./seed-process.ts", import.meta.url)),
      options.mutant === undefined ? [] : [options.mutant],
      {
        execArgv: ["--disable-warning=ExperimentalWarning"],
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      },
    ),
  );
  try {
    await Promise.all(children.map(serve));
  } finally {
    for (const child of children) if (child.exitCode === null) child.kill();
  }
  return sum;
}

/** Every seed from one on. */
export function* seedsFrom(first: number): Generator<number> {
  for (let seed = first; ; seed += 1) yield seed;
}
