/**
 * One prompt on its way: what is cached, what runs in which order, and every message about it in the order ComfyUI sends
 * them. A node's failure ends the prompt; anything that goes wrong outside a node ends the worker, as it does there.
 */
import { setImmediate } from "node:timers/promises";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { Clients } from "./clients.ts";
import { ExecutionOrder } from "./execution-order.ts";
import type { Faults } from "./faults.ts";
import type { Generation } from "./generations.ts";
import type { RunResult } from "./history.ts";
import { InterruptedError, NodeError } from "./node.ts";
import { type CachedNode, cacheKeys, type NodeCache } from "./node-cache.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import { NodeContexts } from "./node-context.ts";
import { hasMarker, NodeFaults, OUT_OF_MEMORY } from "./node-faults.ts";
import {
  firstCall,
  type GatheredInputs,
  gatherInputs,
  mergeOutputs,
  mergeUi,
  runCalls,
  shownValue,
} from "./node-runner.ts";
import { Progress } from "./progress.ts";
import { PythonError } from "./python-values.ts";
import { tracebackOf } from "./traceback.ts";

/** What every run of a server shares. */
export interface RunSettings {
  readonly catalog: NodeCatalog;
  readonly clients: Clients;
  readonly faults: Faults;
  readonly generation: Generation;
  /** --preview-method is something else than none. */
  readonly previews: boolean;
  readonly previewSizeMax: number;
  readonly disableMetadata: boolean;
  /** Ends the process as a crash does; it does not come back. */
  crash(): never;
  log(line: string): void;
}

export interface PromptToRun {
  readonly promptId: string;
  /** The run's own copy: fingerprints are written into it. */
  readonly nodes: JsonObject;
  readonly outputs: readonly string[];
  readonly extraData: JsonObject;
  /** Who gets the messages; undefined where everyone gets those that are for everyone. */
  readonly clientId: string | undefined;
  /** True once for every interrupt. */
  takeInterrupt(): boolean;
  nodeStarted(nodeId: string): void;
}

const OUT_OF_MEMORY_TIPS =
  "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have accidentally set the batch_size to a large number.";

type NodeOutcome =
  | { readonly type: "done" }
  | { readonly type: "waits" }
  | { readonly type: "failed"; readonly nodeId: string; readonly error: unknown; readonly inputs: GatheredInputs };

export class PromptRun {
  readonly #settings: RunSettings;
  readonly #cache: NodeCache;
  readonly #prompt: PromptToRun;
  readonly #nodes: JsonObject;
  readonly #progress: Progress;
  readonly #contexts: NodeContexts;
  readonly #faults: NodeFaults;
  readonly #executed: string[] = [];
  readonly #shown = new Map<string, { output: JsonObject; meta: JsonObject }>();
  readonly #messages: [string, JsonObject][] = [];

  constructor(settings: RunSettings, cache: NodeCache, prompt: PromptToRun) {
    this.#settings = settings;
    this.#cache = cache;
    this.#prompt = prompt;
    this.#nodes = prompt.nodes;
    this.#progress = new Progress(prompt.promptId, (frame) =>
      settings.clients.send("progress_state", frame, prompt.clientId),
    );
    this.#contexts = new NodeContexts(settings, prompt, this.#progress);
    this.#faults = new NodeFaults(settings.faults, settings.crash);
  }

  /**
   * Runs the prompt to its end, good or bad.
   * @throws whatever went wrong outside a node
   */
  async execute(): Promise<RunResult> {
    const prompt_id = this.#prompt.promptId;
    this.#announce("execution_start", { prompt_id });
    await this.#faults.crashAt("prompt_start");
    if (this.#faults.workerDies) throw new PythonError("SystemExit", "");

    const keys = await cacheKeys(this.#nodes, this.#settings.catalog);
    // A marker that asks for trouble must reach its node each time.
    for (const [id, node] of Object.entries(this.#nodes)) if (hasMarker(node)) keys.set(id, `${prompt_id} ${id}`);
    this.#cache.begin(this.#nodes, keys);
    const cached = Object.keys(this.#nodes).filter((id) => this.#cache.get(id) !== undefined);
    this.#announce("execution_cached", { nodes: cached, prompt_id });

    const order = new ExecutionOrder(this.#nodes, this.#settings.catalog, (id) => this.#cache.get(id) !== undefined);
    for (const output of this.#prompt.outputs) order.add(output);
    let success = true;
    while (success && !order.isEmpty) {
      const nodeId = order.next();
      const outcome: NodeOutcome = nodeId === undefined ? this.#cycle() : await this.#runNode(nodeId, order);
      if (outcome.type === "failed") {
        success = false;
        this.#announceFailure(outcome);
      } else if (outcome.type === "done" && nodeId !== undefined) order.finish(nodeId);
    }
    if (success) this.#announce("execution_success", { prompt_id });
    return this.#result(success);
  }

  async #runNode(nodeId: string, order: ExecutionOrder): Promise<NodeOutcome> {
    await setImmediate(); // Requests, and with them interrupts, are heard between two nodes.
    const cached = this.#cache.get(nodeId);
    if (cached !== undefined) {
      this.#repeat(nodeId, cached);
      return { type: "done" };
    }
    const node = this.#nodes[nodeId];
    if (!isJsonObject(node)) throw new PythonError("NodeNotFoundError", `Node ${nodeId} not found`);
    const className = String(node.class_type);
    const { catalog } = this.#settings;
    const implementation = catalog.implementation(className);
    if (implementation === undefined) throw new PythonError("KeyError", `'${className}'`);

    this.#progress.start(nodeId);
    const { inputs, missing } = gatherInputs(node, catalog, (id) => this.#cache.get(id));
    this.#prompt.nodeStarted(nodeId);
    this.#toClient("executing", { node: nodeId, display_node: nodeId, prompt_id: this.#prompt.promptId });
    try {
      const wanted = (implementation.lazyInputsNeeded?.(firstCall(inputs)) ?? []).filter((name) => missing.has(name));
      if (wanted.map((name) => order.requireInput(nodeId, name)).includes(true)) return { type: "waits" };
      const context = this.#contexts.contextOf(nodeId);
      await this.#faults.beforeNode(node, context);
      const runs = await runCalls(implementation, inputs, context);
      const ui = mergeUi(runs);
      await this.#faults.afterSaving(ui, catalog.folders);
      const meta = { node_id: nodeId, display_node: nodeId, parent_node: null, real_node_id: nodeId };
      if (ui !== undefined) {
        this.#shown.set(nodeId, { output: ui, meta });
        this.#toClient("executed", {
          node: nodeId,
          display_node: nodeId,
          output: ui,
          prompt_id: this.#prompt.promptId,
        });
      }
      this.#cache.set(nodeId, {
        outputs: mergeOutputs(runs, catalog.outputIsList(className)),
        ...(ui === undefined ? {} : { ui: { meta, output: ui } }),
      });
    } catch (error) {
      return { type: "failed", nodeId, error, inputs };
    }
    this.#progress.finish(nodeId);
    this.#executed.push(nodeId);
    return { type: "done" };
  }

  /** A cached node runs no more, but what it once showed is shown again, old file names included. */
  #repeat(nodeId: string, cached: CachedNode): void {
    if (cached.ui !== undefined) this.#shown.set(nodeId, cached.ui);
    this.#toClient("executed", {
      node: nodeId,
      display_node: nodeId,
      output: cached.ui?.output ?? null,
      prompt_id: this.#prompt.promptId,
    });
    this.#progress.finish(nodeId);
  }

  #cycle(): NodeOutcome {
    const first = Object.keys(this.#nodes)[0] ?? "";
    return {
      type: "failed",
      nodeId: first,
      error: new NodeError("graph.DependencyCycleError", "Dependency cycle detected"),
      inputs: new Map(),
    };
  }

  #announceFailure(outcome: NodeOutcome & { type: "failed" }): void {
    const { nodeId, error, inputs } = outcome;
    const node = this.#nodes[nodeId];
    const place = {
      prompt_id: this.#prompt.promptId,
      node_id: nodeId,
      node_type: isJsonObject(node) ? (node.class_type ?? null) : null,
      executed: [...this.#executed],
    };
    if (error instanceof InterruptedError) {
      this.#settings.log("Processing interrupted");
      this.#announce("execution_interrupted", place, true);
      return;
    }
    const raised = error instanceof Error ? error : new Error(String(error));
    const type = raised instanceof NodeError || raised instanceof PythonError ? raised.type : "RuntimeError";
    this.#settings.log(`!!! Exception during processing !!! ${raised.message}`);
    if (type === OUT_OF_MEMORY) this.#settings.log("Got an OOM, unloading all loaded models.");
    this.#announce("execution_error", {
      ...place,
      exception_message: `${raised.message}\n${type === OUT_OF_MEMORY ? OUT_OF_MEMORY_TIPS : ""}`,
      exception_type: type,
      traceback: tracebackOf(raised),
      current_inputs: Object.fromEntries([...inputs].map(([name, values]) => [name, values.map(shownValue)])),
      current_outputs: Object.keys(this.#nodes),
    });
  }

  /** Keeps a message for the history and tells the client, or everyone where ComfyUI does. */
  #announce(event: string, data: Record<string, Json>, broadcasts = false): void {
    const stamped: JsonObject = { ...data, timestamp: Date.now() };
    this.#messages.push([event, stamped]);
    if (this.#prompt.clientId !== undefined || broadcasts)
      this.#settings.clients.send(event, stamped, this.#prompt.clientId);
  }

  #toClient(event: string, data: object): void {
    if (this.#prompt.clientId !== undefined) this.#settings.clients.send(event, data, this.#prompt.clientId);
  }

  #result(success: boolean): RunResult {
    const shown = new Map(this.#shown);
    if (!this.#settings.generation.historyFromRun) {
      // 0.3.64 lists whatever is cached for the prompt's nodes, whether this run needed it or not.
      for (const id of Object.keys(this.#nodes)) {
        const ui = this.#cache.get(id)?.ui;
        if (ui !== undefined) shown.set(id, ui);
      }
    }
    return {
      outputs: new Map([...shown].map(([id, { output }]) => [id, output])),
      meta: new Map([...shown].map(([id, { meta }]) => [id, meta])),
      success,
      messages: this.#messages,
    };
  }
}
