/**
 * The queue of prompts: a binary heap on (number, prompt id), listed in its raw order, because that is the order
 * ComfyUI's `GET /queue` shows and clients have to cope with.
 */
import type { Json, JsonObject } from "#contract/exact-json";

/** A submitted prompt. Over HTTP it is the tuple `[number, id, prompt, extra_data, [output ids]]`. */
export interface QueuedPrompt {
  readonly number: number;
  readonly promptId: string;
  readonly prompt: JsonObject;
  /** Usually an object. 0.3.64 accepts `null` and dies of it later. */
  readonly extraData: Json;
  readonly outputs: readonly string[];
}

/** The tuple clients see. */
export function queueTuple(item: QueuedPrompt): Json[] {
  return [item.number, item.promptId, item.prompt, item.extraData, [...item.outputs]];
}

function before(a: QueuedPrompt, b: QueuedPrompt): boolean {
  return a.number !== b.number ? a.number < b.number : a.promptId < b.promptId;
}

export interface QueueFlags {
  unloadModels: boolean;
  freeMemory: boolean;
}

export class PromptQueue {
  #heap: QueuedPrompt[] = [];
  #running: QueuedPrompt | undefined;
  #flags: QueueFlags = { unloadModels: false, freeMemory: false };
  #wake: (() => void) | undefined;
  readonly #changed: () => void;

  /** @param changed called after every change of the number of remaining prompts; it sends the `status` frames */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get running(): QueuedPrompt | undefined {
    return this.#running;
  }

  /** Waiting prompts in the heap's raw order. */
  get pending(): readonly QueuedPrompt[] {
    return this.#heap;
  }

  get remaining(): number {
    return this.#heap.length + (this.#running === undefined ? 0 : 1);
  }

  put(item: QueuedPrompt): void {
    this.#heap.push(item);
    siftDown(this.#heap, 0, this.#heap.length - 1);
    this.#changed();
    this.#wake?.();
  }

  /** Takes the next prompt and marks it running. */
  take(): QueuedPrompt | undefined {
    const item = pop(this.#heap);
    if (item === undefined) return undefined;
    this.#running = item;
    this.#changed();
    return item;
  }

  /** Ends the running prompt; `record` writes its history before the count changes, as clients rely on. */
  done(record: () => void): void {
    this.#running = undefined;
    record();
    this.#changed();
  }

  clear(): void {
    this.#heap = [];
    this.#changed();
  }

  /** Removes the first waiting prompt with this id. The last one leaves with two changes, as ComfyUI counts them. */
  delete(promptId: Json): boolean {
    const index = this.#heap.findIndex((item) => item.promptId === promptId);
    if (index < 0) return false;
    if (this.#heap.length === 1) this.clear();
    else {
      this.#heap.splice(index, 1);
      for (let at = (this.#heap.length >> 1) - 1; at >= 0; at -= 1) siftUp(this.#heap, at);
    }
    this.#changed();
    return true;
  }

  setFlags(flags: Partial<QueueFlags>): void {
    if (flags.unloadModels === true) this.#flags.unloadModels = true;
    if (flags.freeMemory === true) this.#flags.freeMemory = true;
    this.#wake?.();
  }

  takeFlags(): QueueFlags {
    const flags = this.#flags;
    this.#flags = { unloadModels: false, freeMemory: false };
    return flags;
  }

  /** Resolves when there is something to do: a waiting prompt or a flag. */
  async whenBusy(): Promise<void> {
    if (this.#heap.length > 0 || this.#flags.unloadModels || this.#flags.freeMemory) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

// The three moves of Python's heapq, so that the raw order is the same for the same submissions.

function siftDown(heap: QueuedPrompt[], start: number, from: number): void {
  const item = heap[from];
  if (item === undefined) return;
  let at = from;
  while (at > start) {
    const parentAt = (at - 1) >> 1;
    const parent = heap[parentAt];
    if (parent === undefined || !before(item, parent)) break;
    heap[at] = parent;
    at = parentAt;
  }
  heap[at] = item;
}

function siftUp(heap: QueuedPrompt[], from: number): void {
  const item = heap[from];
  if (item === undefined) return;
  let at = from;
  for (;;) {
    const left = heap[2 * at + 1];
    if (left === undefined) break;
    const right = heap[2 * at + 2];
    const rightIsNext = right !== undefined && !before(left, right);
    heap[at] = rightIsNext ? right : left;
    at = 2 * at + (rightIsNext ? 2 : 1);
  }
  heap[at] = item;
  siftDown(heap, from, at);
}

function pop(heap: QueuedPrompt[]): QueuedPrompt | undefined {
  const last = heap.pop();
  const first = heap[0];
  if (last === undefined || first === undefined) return last;
  heap[0] = last;
  siftUp(heap, 0);
  return first;
}
