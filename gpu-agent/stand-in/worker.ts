/**
 * The one worker of a server: takes prompts from the queue, one at a time, until something breaks it. A broken worker
 * is not replaced: the server goes on answering, the prompt stays "running" for ever, and nothing says so but the log.
 */
import type { Clients } from "./clients.ts";
import type { Executions } from "./executions.ts";
import type { Executor } from "./executor.ts";
import type { Faults } from "./faults.ts";
import type { History } from "./history.ts";
import type { PromptQueue } from "./prompt-queue.ts";
import { PythonError } from "./python-values.ts";

export interface WorkerParts {
  readonly queue: PromptQueue;
  readonly history: History;
  readonly executor: Executor;
  readonly executions: Executions;
  readonly clients: Clients;
  readonly faults: Faults;
  log(line: string): void;
}

/** Works until the worker dies; the promise resolves then, and never before. */
export async function work(parts: WorkerParts): Promise<void> {
  try {
    for (;;) {
      await parts.queue.whenBusy();
      await workOnce(parts);
    }
  } catch (error) {
    const raised = error instanceof Error ? error : new Error(String(error));
    const type = raised instanceof PythonError ? raised.type : raised.name;
    // Python ends a thread silently when it leaves by SystemExit.
    if (type === "SystemExit") return;
    parts.log(`Exception in thread Thread-1 (prompt_worker):\n${raised.stack ?? ""}\n${type}: ${raised.message}`);
  }
}

async function workOnce(parts: WorkerParts): Promise<void> {
  const { queue, history, executor, executions, clients, faults, log } = parts;
  const item = queue.take();
  if (item !== undefined) {
    const startedAt = performance.now();
    const result = await executor.execute(item);
    executions.add({ prompt_id: item.promptId, started_at: startedAt, ended_at: performance.now() });
    queue.done(() => {
      if (!faults.state.history_loss) history.add(item, result);
    });
    const { clientId } = executor;
    if (clientId !== undefined) clients.send("executing", { node: null, prompt_id: item.promptId }, clientId);
    log(`Prompt executed in ${((performance.now() - startedAt) / 1000).toFixed(2)} seconds`);
  }
  const { freeMemory, unloadModels } = queue.takeFlags();
  if (freeMemory) executor.forgetResults();
  if (unloadModels) faults.unloadModels();
}
