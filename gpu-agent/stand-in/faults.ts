/**
 * The things that go wrong with real ComfyUI servers, on demand: set at start by `--fault-…` flags, and while the
 * server runs by `POST /stand-in/faults`.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

export const CRASH_MOMENTS = ["prompt_start", "mid_node", "after_save"] as const;
export type CrashMoment = (typeof CRASH_MOMENTS)[number];

/** How long a prompt with `__slow__` in one of its texts runs, unless a test says otherwise. */
const SLOW_MARKER_MS = 30_000;

export interface FaultState {
  /** Every node takes this much longer, in ms; progress and interrupts work meanwhile. */
  slow_node_ms: number;
  /** The node of this class or id raises; "" for none. */
  node_exception: string;
  node_exception_type: string;
  node_exception_message: string;
  /** The next so many prompts run out of GPU memory. */
  out_of_memory: number;
  /** The worker dies with the next prompt: it stays "running" for ever and the rest waits. */
  dead_worker: boolean;
  /** WebSockets open and stay silent. */
  silent_socket: boolean;
  /** The process ends with exit code 137 at this moment of the next prompt; "" for never. */
  crash: CrashMoment | "";
  /** Nodes that save files fail with OSError 28. */
  disk_full: boolean;
  /** Model file names that are not there. */
  missing_models: readonly string[];
  /** Finished prompts leave no history. */
  history_loss: boolean;
  /** What `__slow__` costs, in ms. */
  slow_marker_ms: number;
  /** A model file is read for so long, in ms, by the first node that names it since the models were last unloaded. */
  model_load_ms: number;
}

/** What a change asks for beyond the state: done once, at once. */
export interface FaultActions {
  /** Cut every open WebSocket. */
  readonly dropSockets: boolean;
  /** Forget all finished prompts. */
  readonly clearHistory: boolean;
  /** Block the whole event loop for so many ms after answering. */
  readonly hangMs: number;
}

const NO_FAULTS: Readonly<FaultState> = {
  slow_node_ms: 0,
  node_exception: "",
  node_exception_type: "RuntimeError",
  node_exception_message: "a fault was asked for",
  out_of_memory: 0,
  dead_worker: false,
  silent_socket: false,
  crash: "",
  disk_full: false,
  missing_models: [],
  history_loss: false,
  slow_marker_ms: SLOW_MARKER_MS,
  model_load_ms: 0,
};

export class Faults {
  #state: FaultState = { ...NO_FAULTS };
  readonly #loaded = new Set<string>();

  get state(): Readonly<FaultState> {
    return this.#state;
  }

  reset(): void {
    this.#state = { ...NO_FAULTS };
  }

  /**
   * Takes the fields of a JSON object over; fields not named keep their value.
   * @throws TypeError naming the field that is unknown or has a wrong value; then nothing is changed
   */
  change(fields: Json): FaultActions {
    if (!isJsonObject(fields)) throw new TypeError("faults must be a JSON object");
    const { drop_sockets = false, clear_history = false, hang_ms = 0, ...rest } = fields;
    const next: FaultState = { ...this.#state };
    for (const [name, value] of Object.entries(rest)) assign(next, name, value);
    const actions = {
      dropSockets: truth("drop_sockets", drop_sockets),
      clearHistory: truth("clear_history", clear_history),
      hangMs: amount("hang_ms", hang_ms),
    };
    this.#state = next;
    return actions;
  }

  /** Counts one prompt against `out_of_memory`. */
  takeOutOfMemory(): boolean {
    if (this.#state.out_of_memory <= 0) return false;
    this.#state.out_of_memory -= 1;
    return true;
  }

  /** Loads these model files. @returns how many were not loaded before */
  loadModels(names: readonly string[]): number {
    const before = this.#loaded.size;
    for (const name of names) this.#loaded.add(name);
    return this.#loaded.size - before;
  }

  unloadModels(): void {
    this.#loaded.clear();
  }

  asJson(): JsonObject {
    return { ...this.#state, missing_models: [...this.#state.missing_models] };
  }
}

function assign(state: FaultState, name: string, value: Json): void {
  switch (name) {
    case "slow_node_ms":
    case "out_of_memory":
    case "slow_marker_ms":
    case "model_load_ms":
      state[name] = amount(name, value);
      return;
    case "dead_worker":
    case "silent_socket":
    case "disk_full":
    case "history_loss":
      state[name] = truth(name, value);
      return;
    case "node_exception":
    case "node_exception_type":
    case "node_exception_message":
      state[name] = text(name, value);
      return;
    case "crash":
      state.crash = moment(value);
      return;
    case "missing_models":
      if (!Array.isArray(value)) throw new TypeError("missing_models must be a list of names");
      state.missing_models = value.map((item) => text(name, item));
      return;
    default:
      throw new TypeError(`there is no fault named ${name}`);
  }
}

function amount(name: string, value: Json): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    throw new TypeError(`${name} must be a number of at least 0`);
  }
  return value;
}

function truth(name: string, value: Json): boolean {
  if (typeof value !== "boolean") throw new TypeError(`${name} must be true or false`);
  return value;
}

function text(name: string, value: Json): string {
  if (typeof value !== "string") throw new TypeError(`${name} must be text`);
  return value;
}

function moment(value: Json): CrashMoment | "" {
  if (value === "" || value === null) return "";
  const found = CRASH_MOMENTS.find((name) => name === value);
  if (found === undefined) throw new TypeError(`crash must be one of ${CRASH_MOMENTS.join(", ")}`);
  return found;
}
