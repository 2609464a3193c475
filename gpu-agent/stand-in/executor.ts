/**
 * Runs one prompt: what is cached, what runs in which order, and every message about it in the order ComfyUI sends
 * them. A node's failure ends the prompt; anything that goes wrong outside a node ends the worker, as it does there.
 */
import { rm } from "node:fs/promises";
import path from "node:path";
import { setImmediate, setTimeout as wait } from "node:timers/promises";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { BINARY_EVENT, type Clients } from "./clients.ts";
import { ExecutionOrder } from "./execution-order.ts";
import type { CrashMoment, Faults } from "./faults.ts";
import type { Generation } from "./generations.ts";
import type { RunResult } from "./history.ts";
import { type ImageBatch, InterruptedError, type NodeContext, NodeError } from "./node.ts";
import { type CachedNode, type CachePolicy, cacheKeys, NodeCache } from "./node-cache.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import {
  firstCall,
  type GatheredInputs,
  gatherInputs,
  mergeOutputs,
  mergeUi,
  runCalls,
  savedFiles,
  shownValue,
} from "./node-runner.ts";
import { previewJpeg, previewPayload, previewWithMetadataPayload } from "./previews.ts";
import { Progress } from "./progress.ts";
import type { QueuedPrompt } from "./prompt-queue.ts";
import { pythonJson } from "./python-json.ts";
import { PythonError } from "./python-values.ts";
import { tracebackOf } from "./traceback.ts";

export interface ExecutorSettings {
  readonly catalog: NodeCatalog;
  readonly clients: Clients;
  readonly faults: Faults;
  readonly generation: Generation;
  readonly cache: CachePolicy;
  /** --preview-method is something else than none. */
  readonly previews: boolean;
  readonly previewSizeMax: number;
  readonly disableMetadata: boolean;
  /** Ends the process as a crash does; it does not come back. */
  crash(): never;
  log(line: string): void;
}

const OUT_OF_MEMORY = "torch.OutOfMemoryError";
const OUT_OF_MEMORY_TIPS =
  "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have accidentally set the batch_size to a large number.";
/** Between two progress frames of a prompt that was asked to be slow. */
const SLOW_STEP_MS = 500;

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
    const nodes = structuredClone(item.prompt);
    const run = new PromptRun(this.#settings, this.#cache, item, nodes, item.extraData, {
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

interface RunHooks {
  readonly clientId: string | undefined;
  takeInterrupt(): boolean;
  nodeStarted(nodeId: string): void;
}

type NodeOutcome =
  | { readonly type: "done" }
  | { readonly type: "waits" }
  | { readonly type: "failed"; readonly nodeId: string; readonly error: unknown; readonly inputs: GatheredInputs };

class PromptRun {
  readonly #settings: ExecutorSettings;
  readonly #cache: NodeCache;
  readonly #item: QueuedPrompt;
  readonly #nodes: JsonObject;
  readonly #extraData: JsonObject;
  readonly #hooks: RunHooks;
  readonly #progress: Progress;
  readonly #executed: string[] = [];
  readonly #shown = new Map<string, { output: JsonObject; meta: JsonObject }>();
  readonly #messages: [string, JsonObject][] = [];
  #metadata: Readonly<Record<string, string>> | undefined;
  #slowMarkerMs: number;
  #isOutOfMemory: boolean;

  constructor(
    settings: ExecutorSettings,
    cache: NodeCache,
    item: QueuedPrompt,
    nodes: JsonObject,
    extraData: JsonObject,
    hooks: RunHooks,
  ) {
    this.#settings = settings;
    this.#cache = cache;
    this.#item = item;
    this.#nodes = nodes;
    this.#extraData = extraData;
    this.#hooks = hooks;
    this.#slowMarkerMs = settings.faults.state.slow_marker_ms;
    this.#isOutOfMemory = settings.faults.takeOutOfMemory();
    this.#progress = new Progress(item.promptId, (frame) =>
      settings.clients.send("progress_state", frame, hooks.clientId),
    );
  }

  async execute(): Promise<RunResult> {
    const prompt_id = this.#item.promptId;
    this.#announce("execution_start", { prompt_id });
    await this.#crashIf("prompt_start");
    if (this.#settings.faults.state.dead_worker) throw new PythonError("SystemExit", "");

    const keys = await cacheKeys(this.#nodes, this.#settings.catalog);
    // A marker that asks for trouble must reach its node each time.
    for (const [id, node] of Object.entries(this.#nodes)) if (hasMarker(node)) keys.set(id, `${prompt_id} ${id}`);
    this.#cache.begin(this.#nodes, keys);
    const cached = Object.keys(this.#nodes).filter((id) => this.#cache.get(id) !== undefined);
    this.#announce("execution_cached", { nodes: cached, prompt_id });

    const order = new ExecutionOrder(this.#nodes, this.#settings.catalog, (id) => this.#cache.get(id) !== undefined);
    for (const output of this.#item.outputs) order.add(output);
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
    this.#hooks.nodeStarted(nodeId);
    this.#toClient("executing", { node: nodeId, display_node: nodeId, prompt_id: this.#item.promptId });
    try {
      const wanted = (implementation.lazyInputsNeeded?.(firstCall(inputs)) ?? []).filter((name) => missing.has(name));
      if (wanted.some((name) => order.requireInput(nodeId, name))) return { type: "waits" };
      const context = this.#contextOf(nodeId);
      await this.#applyFaults(nodeId, className, node, context);
      const runs = await runCalls(implementation, inputs, context);
      const ui = mergeUi(runs);
      await this.#faultsAfterSaving(ui);
      const meta = { node_id: nodeId, display_node: nodeId, parent_node: null, real_node_id: nodeId };
      if (ui !== undefined) {
        this.#shown.set(nodeId, { output: ui, meta });
        this.#toClient("executed", { node: nodeId, display_node: nodeId, output: ui, prompt_id: this.#item.promptId });
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
      prompt_id: this.#item.promptId,
    });
    this.#progress.finish(nodeId);
  }

  #contextOf(nodeId: string): NodeContext {
    const checkInterrupt = (): void => {
      if (this.#hooks.takeInterrupt()) throw new InterruptedError();
    };
    const metadata = (): Readonly<Record<string, string>> => this.#savedMetadata();
    return {
      nodeId,
      promptId: this.#item.promptId,
      folders: this.#settings.catalog.folders,
      get metadata() {
        return metadata();
      },
      checkInterrupt,
      progress: async (value, max, preview) => {
        await setImmediate();
        checkInterrupt();
        await this.#sendProgress(nodeId, value, max, preview);
      },
      sendText: (text) => {
        const id = Buffer.from(nodeId);
        const length = Buffer.alloc(4);
        length.writeUInt32BE(id.length);
        this.#settings.clients.sendBinary(BINARY_EVENT.text, Buffer.concat([length, id, Buffer.from(text)]), undefined);
      },
      sleep: async (ms) => {
        const until = performance.now() + ms;
        for (let left = ms; left > 0; left = until - performance.now()) {
          checkInterrupt();
          await wait(Math.min(left, 20));
        }
        checkInterrupt();
      },
    };
  }

  async #sendProgress(nodeId: string, value: number, max: number, preview: ImageBatch | undefined): Promise<void> {
    const { clients } = this.#settings;
    const { clientId } = this.#hooks;
    const jpeg =
      preview !== undefined && this.#showsPreviews()
        ? await previewJpeg(preview, this.#settings.previewSizeMax)
        : undefined;
    const prompt_id = this.#item.promptId;
    const withMetadata = clients.supports(clientId, "supports_preview_metadata");
    this.#progress.update(nodeId, value, max);
    if (jpeg !== undefined && withMetadata) {
      const ids = { node_id: nodeId, prompt_id, display_node_id: nodeId, parent_node_id: null, real_node_id: nodeId };
      clients.sendBinary(BINARY_EVENT.previewWithMetadata, previewWithMetadataPayload(jpeg, ids), clientId);
    }
    clients.send("progress", { value, max, prompt_id, node: nodeId }, clientId);
    if (jpeg !== undefined && !withMetadata) clients.sendBinary(BINARY_EVENT.preview, previewPayload(jpeg), clientId);
  }

  #showsPreviews(): boolean {
    const asked = this.#settings.generation.previewMethodPerPrompt ? this.#extraData.preview_method : undefined;
    if (typeof asked !== "string" || asked === "default") return this.#settings.previews;
    return asked !== "none";
  }

  /** Built on first use: most prompts are big, and few nodes write them down. */
  #savedMetadata(): Readonly<Record<string, string>> {
    if (this.#settings.disableMetadata) return {};
    if (this.#metadata === undefined) {
      const info = this.#extraData.extra_pnginfo;
      this.#metadata = {
        prompt: pythonJson(this.#nodes),
        ...Object.fromEntries(
          Object.entries(isJsonObject(info) ? info : {}).map(([key, value]) => [key, pythonJson(value)]),
        ),
      };
    }
    return this.#metadata;
  }

  async #applyFaults(nodeId: string, className: string, node: JsonObject, context: NodeContext): Promise<void> {
    const { state } = this.#settings.faults;
    await this.#crashIf("mid_node");
    if (this.#isOutOfMemory) {
      this.#isOutOfMemory = false;
      throw new NodeError(OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 2.00 GiB.");
    }
    if (state.node_exception !== "" && [nodeId, className].includes(state.node_exception)) {
      throw new NodeError(state.node_exception_type, state.node_exception_message);
    }
    if (state.slow_node_ms > 0) await context.sleep(state.slow_node_ms);
    const texts = Object.values(isJsonObject(node.inputs) ? node.inputs : {});
    if (texts.some((text) => typeof text === "string" && text.includes("__slow__"))) await this.#beSlow(context);
    if (texts.some((text) => typeof text === "string" && text.includes("__fail__"))) {
      throw new NodeError("RuntimeError", "the prompt asked for a failure with __fail__");
    }
  }

  /** A prompt is slow once, however many of its nodes hold the marker. */
  async #beSlow(context: NodeContext): Promise<void> {
    const ms = this.#slowMarkerMs;
    this.#slowMarkerMs = 0;
    const steps = Math.ceil(ms / SLOW_STEP_MS);
    for (let step = 1; step <= steps; step += 1) {
      await context.sleep(Math.min(SLOW_STEP_MS, ms - (step - 1) * SLOW_STEP_MS));
      await context.progress(step, steps);
    }
  }

  async #faultsAfterSaving(ui: JsonObject | undefined): Promise<void> {
    const files = savedFiles(ui);
    if (files.length === 0) return;
    await this.#crashIf("after_save");
    if (!this.#settings.faults.state.disk_full) return;
    const { folders } = this.#settings.catalog;
    for (const { filename, subfolder, type } of files) {
      const folder = type === "temp" ? folders.temp : folders.output;
      await rm(path.join(folder, subfolder, filename), { force: true });
    }
    throw new NodeError("OSError", "[Errno 28] No space left on device");
  }

  async #crashIf(moment: CrashMoment): Promise<void> {
    if (this.#settings.faults.state.crash !== moment) return;
    await wait(5); // What was already said is on its way.
    this.#settings.crash();
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
      prompt_id: this.#item.promptId,
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
    if (this.#hooks.clientId !== undefined || broadcasts)
      this.#settings.clients.send(event, stamped, this.#hooks.clientId);
  }

  #toClient(event: string, data: object): void {
    if (this.#hooks.clientId !== undefined) this.#settings.clients.send(event, data, this.#hooks.clientId);
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

function hasMarker(node: Json): boolean {
  if (!isJsonObject(node) || !isJsonObject(node.inputs)) return false;
  return Object.values(node.inputs).some((value) => typeof value === "string" && /__(slow|fail)__/.test(value));
}
