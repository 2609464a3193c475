/** Faults as the nodes of one prompt meet them, and the markers with which a prompt asks for trouble itself. */
import { rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { CrashMoment, Faults } from "./faults.ts";
import { inputsOf } from "./links.ts";
import { type Folders, type NodeContext, NodeError } from "./node.ts";
import { savedFiles } from "./node-runner.ts";

/** What torch calls it. */
export const OUT_OF_MEMORY = "torch.OutOfMemoryError";
/** Between two progress frames of a prompt that was asked to be slow. */
const SLOW_STEP_MS = 500;
const MODEL_FILE = /\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$/i;
/** Time for what was already said to leave the process before it dies. */
const CRASH_DELAY_MS = 5;

export class NodeFaults {
  readonly #faults: Faults;
  readonly #crash: () => never;
  #slowMarkerMs: number;
  #isOutOfMemory: boolean;

  constructor(faults: Faults, crash: () => never) {
    this.#faults = faults;
    this.#crash = crash;
    this.#slowMarkerMs = faults.state.slow_marker_ms;
    this.#isOutOfMemory = faults.takeOutOfMemory();
  }

  get workerDies(): boolean {
    return this.#faults.state.dead_worker;
  }

  /** @throws NodeError or InterruptedError, as the node itself would */
  async beforeNode(node: JsonObject, context: NodeContext): Promise<void> {
    const { state } = this.#faults;
    await this.crashAt("mid_node");
    if (this.#isOutOfMemory) {
      this.#isOutOfMemory = false;
      throw new NodeError(OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 2.00 GiB.");
    }
    if (state.node_exception !== "" && [context.nodeId, node.class_type].includes(state.node_exception)) {
      throw new NodeError(state.node_exception_type, state.node_exception_message);
    }
    const loads = this.#faults.loadModels(modelFilesOf(node));
    if (state.model_load_ms > 0) await context.sleep(state.model_load_ms * loads);
    if (state.slow_node_ms > 0) await context.sleep(state.slow_node_ms);
    if (hasText(node, "__slow__")) await this.#beSlow(context);
    if (hasText(node, "__fail__")) throw new NodeError("RuntimeError", "the prompt asked for a failure with __fail__");
  }

  /** @throws NodeError for a disk that is full; then the node's files are gone again */
  async afterSaving(ui: JsonObject | undefined, folders: Folders): Promise<void> {
    const files = savedFiles(ui);
    if (files.length === 0) return;
    await this.crashAt("after_save");
    if (!this.#faults.state.disk_full) return;
    for (const { filename, subfolder, type } of files) {
      const folder = type === "temp" ? folders.temp : folders.output;
      await rm(path.join(folder, subfolder, filename), { force: true });
    }
    throw new NodeError("OSError", "[Errno 28] No space left on device");
  }

  async crashAt(moment: CrashMoment): Promise<void> {
    if (this.#faults.state.crash !== moment) return;
    await wait(CRASH_DELAY_MS);
    this.#crash();
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
}

/** True for a node that asks to be slow or to fail; such a node runs each time, cached or not. */
export function hasMarker(node: Json): boolean {
  return isJsonObject(node) && (hasText(node, "__slow__") || hasText(node, "__fail__"));
}

/** The model files that a node names. */
function modelFilesOf(node: JsonObject): string[] {
  return Object.values(inputsOf(node)).filter(
    (value) => typeof value === "string" && MODEL_FILE.test(value),
  ) as string[];
}

function hasText(node: JsonObject, marker: string): boolean {
  return Object.values(inputsOf(node)).some((value) => typeof value === "string" && value.includes(marker));
}
