/** The one place where prompts run, one after the other, sharing a cache and an interrupt flag. */
import { isJsonObject } from "#contract/exact-json";
import type { RunResult } from "./history.ts";
import type { CachePolicy } from "./node-cache.ts";
import { NodeCache } from "./node-cache.ts";
import type { QueuedPrompt } from "./prompt-queue.ts";
import { PromptRun, type RunSettings } from "./prompt-run.ts";
import { PythonError } from "./python-values.ts";

export interface ExecutorSettings extends RunSettings {
  readonly cache: CachePolicy;
}

export class Executor {
  readonly #settings: ExecutorSettings;
  readonly #cache: NodeCache;
  #interrupted = false;
  #clientId: string | undefined;
  #currentNode: string | undefined;

  constructor(settings: ExecutorSettings) {
    this.#settings = settings;
    this.#cache = new NodeCache(settings.cache);
  }

  /** Stops the running prompt at its next step. Without one it does nothing: the next prompt starts afresh. */
  interrupt(): void {
    this.#interrupted = true;
  }

  /** Which node runs now, when it is this client's prompt. */
  currentNode(clientId: string): string | undefined {
    return this.#clientId === clientId ? this.#currentNode : undefined;
  }

  /** Whose prompt ran last; the end marker goes to them. */
  get clientId(): string | undefined {
    return this.#clientId;
  }

  forgetResults(): void {
    this.#cache.clear();
  }

  /**
   * Runs a prompt to its end.
   * @throws whatever went wrong outside a node
   */
  async execute(item: QueuedPrompt): Promise<RunResult> {
    this.#interrupted = false;
    if (!isJsonObject(item.extraData))
      throw new PythonError("TypeError", "argument of type 'NoneType' is not iterable");
    const clientId = item.extraData.client_id;
    this.#clientId = clientId === undefined || clientId === null ? undefined : String(clientId);
    const run = new PromptRun(this.#settings, this.#cache, {
      promptId: item.promptId,
      // Runs write fingerprints into the nodes; the queue and the history show the prompt without them.
      nodes: structuredClone(item.prompt),
      outputs: item.outputs,
      extraData: item.extraData,
      clientId: this.#clientId,
      takeInterrupt: () => {
        const wasInterrupted = this.#interrupted;
        this.#interrupted = false;
        return wasInterrupted;
      },
      nodeStarted: (nodeId) => {
        this.#currentNode = nodeId;
      },
    });
    try {
      return await run.execute();
    } finally {
      this.#currentNode = undefined;
    }
  }
}
