/** The thread in which cells of the suite are replayed: one message in for each cell, steps and the cell back. */
import { parentPort } from "node:worker_threads";
import { makeScaler } from "#durable-objects/autoscaler/make-scaler";
import type { SuiteCase } from "#durable-objects/autoscaler/replay/suite-cases";
import { type CellResult, runCell } from "#durable-objects/autoscaler/replay/suite-cell";

export interface CellTask {
  readonly suiteCase: SuiteCase;
  readonly bootS: number;
}

export type ThreadMessage =
  | { readonly type: "step"; readonly what: string }
  | { readonly type: "cell"; readonly cell: CellResult };

const port = parentPort;
if (port === null) throw new Error("suite-thread.ts runs as a worker thread");
port.on("message", ({ suiteCase, bootS }: CellTask) => {
  const say = (message: ThreadMessage) => port.postMessage(message);
  const cell = runCell(suiteCase, bootS, {
    newScaler: () => makeScaler("predictive", null),
    clock: () => performance.now(),
    onStep: (what) => say({ type: "step", what }),
  });
  say({ type: "cell", cell });
});
