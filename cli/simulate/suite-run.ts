/** The whole suite, spread over threads. */
import { Worker } from "node:worker_threads";
import type { CellTask, ThreadMessage } from "#cli/simulate/suite-thread";
import type { SuiteCase } from "#durable-objects/autoscaler/replay/suite-cases";
import { BOOTS_S, type CellResult, stepsOfCell } from "#durable-objects/autoscaler/replay/suite-cell";

export interface SuiteRunOptions {
  readonly threads: number;
  readonly signal: AbortSignal;
  /** @param fraction of all steps, 0 to 1 */
  readonly onProgress: (fraction: number, what: string) => void;
}

/**
 * Replays every case under every start time. Threads, even if it is one, keep the terminal alive meanwhile.
 * @returns the cells in the order of the cases, of each case in the order of the start times
 * @throws what the signal was aborted with
 */
export async function runSuite(cases: readonly SuiteCase[], options: SuiteRunOptions): Promise<CellResult[]> {
  const tasks = cases.flatMap((suiteCase) => BOOTS_S.map((bootS): CellTask => ({ suiteCase, bootS })));
  const results: (CellResult | undefined)[] = tasks.map(() => undefined);
  // The longest ones go first, so that no thread is left alone with one at the end.
  const order = [...tasks.keys()].sort((one, other) => weight(tasks[other]) - weight(tasks[one]));
  const steps = tasks.reduce((sum, { bootS }) => sum + stepsOfCell(bootS), 0);
  let done = 0;
  const onStep = (task: CellTask, what: string) => {
    done += 1;
    options.onProgress(done / steps, `${task.suiteCase.name}, starts of ${task.bootS} s: ${what}`);
  };
  const thread = async (): Promise<void> => {
    const worker = new Worker(new URL("./suite-thread.ts", import.meta.url));
    const stop = () => void worker.terminate();
    options.signal.addEventListener("abort", stop, { once: true });
    try {
      for (let index = order.shift(); index !== undefined; index = order.shift()) {
        const task = tasks[index];
        options.signal.throwIfAborted();
        if (task !== undefined) results[index] = await cellOf(worker, task, (what) => onStep(task, what));
      }
    } catch (error) {
      options.signal.throwIfAborted();
      throw error;
    } finally {
      options.signal.removeEventListener("abort", stop);
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.threads, tasks.length) }, thread));
  return results.filter((result) => result !== undefined);
}

function cellOf(worker: Worker, task: CellTask, onStep: (what: string) => void): Promise<CellResult> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: ThreadMessage): void => {
      if (message.type === "step") onStep(message.what);
      else settle(() => resolve(message.cell));
    };
    const onError = (error: unknown): void => settle(() => reject(error));
    const onExit = (code: number): void => {
      settle(() => reject(new Error(`a thread of the suite ended with ${code}`)));
    };
    const settle = (end: () => void): void => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      end();
    };
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    worker.postMessage(task);
  });
}

function weight(task: CellTask | undefined): number {
  return (task?.suiteCase.endpoints ?? []).reduce((sum, { atS }) => sum + atS.length, 0);
}
