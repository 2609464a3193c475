/** What a node of the stand-in is: the contract between the executor and the node implementations. */
import type { JsonObject } from "#contract/exact-json";

/** Float32 pixels 0..1 in batch, row, column, channel order; `channels` is 3 or 4. ComfyUI's IMAGE. */
export interface ImageBatch {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly data: Float32Array;
}

/** Float32 0..1 in batch, row, column order. ComfyUI's MASK. */
export interface MaskBatch {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}

/** Absolute folders of this server. */
export interface Folders {
  readonly input: string;
  readonly output: string;
  readonly temp: string;
  readonly models: string;
}

/** What a running node may do besides computing. */
export interface NodeContext {
  readonly nodeId: string;
  readonly promptId: string;
  readonly folders: Folders;
  /** Text written into saved files: the API prompt and extra_pnginfo, already serialised; empty with --disable-metadata. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Throws InterruptedError when the prompt was interrupted; long loops call it between steps. */
  checkInterrupt(): void;
  /** One step of a sampler: sends progress (and a preview picture where previews are on), honours interrupts. */
  progress(value: number, max: number, preview?: ImageBatch): Promise<void>;
  /** Binary event 3: text shown on the node. */
  sendText(text: string): void;
  /** Waits, ending early with InterruptedError. */
  sleep(ms: number): Promise<void>;
}

export interface NodeRun {
  /** One value per output slot. */
  readonly outputs: readonly unknown[];
  /** What `executed` and the history show, such as `{images: [{filename, subfolder, type}]}`. */
  readonly ui?: JsonObject;
}

/** Inputs with links resolved to the linked node's outputs. Hidden inputs are left out. */
export type NodeInputs = Readonly<Record<string, unknown>>;

export interface NodeImplementation {
  run(inputs: NodeInputs, context: NodeContext): NodeRun | Promise<NodeRun>;
  /** ComfyUI's VALIDATE_INPUTS: names that skip the range and list checks, and the check that replaces them. */
  readonly validate?: {
    readonly names: readonly string[];
    check(inputs: NodeInputs, folders: Folders): true | string | Promise<true | string>;
  };
  /** ComfyUI's IS_CHANGED / fingerprint_inputs: joins the cache key. NaN means never cached. */
  fingerprint?(inputs: NodeInputs, folders: Folders): string | number | Promise<string | number>;
  /** Optional inputs that are evaluated only when asked for (lazy). */
  readonly lazy?: readonly string[];
  /** ComfyUI's check_lazy_status: which lazy inputs are needed, given the inputs that are there. */
  lazyInputsNeeded?(inputs: NodeInputs): readonly string[];
}

/** The exception a node raises; `type` is Python's name for it, as clients see it in `exception_type`. */
export class NodeError extends Error {
  readonly type: string;
  constructor(type: string, message: string) {
    super(message);
    this.name = "NodeError";
    this.type = type;
  }
}

/** Raised inside a node when its prompt was interrupted. */
export class InterruptedError extends Error {
  constructor() {
    super("interrupted");
    this.name = "InterruptedError";
  }
}
