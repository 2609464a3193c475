/** What finished prompts left behind, in memory and in the order they ended, as `GET /history` shows it. */
import type { Json, JsonObject } from "#contract/exact-json";
import { type QueuedPrompt, queueTuple } from "./prompt-queue.ts";

/** ComfyUI forgets the oldest entry beyond this many. */
export const HISTORY_ENTRIES_MAX = 10_000;

export interface RunResult {
  readonly outputs: ReadonlyMap<string, JsonObject>;
  readonly meta: ReadonlyMap<string, JsonObject>;
  readonly success: boolean;
  /** `[event, data]` pairs: execution_start, execution_cached, and how it ended. */
  readonly messages: readonly (readonly [string, JsonObject])[];
}

export interface HistoryEntry {
  readonly prompt: Json[];
  readonly outputs: ReadonlyMap<string, JsonObject>;
  readonly status: {
    readonly status_str: "success" | "error";
    readonly completed: boolean;
    readonly messages: readonly (readonly [string, JsonObject])[];
  };
  readonly meta: ReadonlyMap<string, JsonObject>;
}

export const SECRET_EXTRA_DATA = ["auth_token_comfy_org", "api_key_comfy_org"] as const;

export class History {
  readonly #entries = new Map<string, HistoryEntry>();

  /** Keeps a finished prompt. A second prompt with the same id takes the first one's place. */
  add(item: QueuedPrompt, result: RunResult): void {
    if (this.#entries.size > HISTORY_ENTRIES_MAX) {
      const oldest = this.#entries.keys().next();
      if (oldest.done !== true) this.#entries.delete(oldest.value);
    }
    const prompt = queueTuple(item);
    prompt[3] = withoutSecrets(item.extraData);
    this.#entries.set(item.promptId, {
      prompt,
      outputs: result.outputs,
      status: {
        status_str: result.success ? "success" : "error",
        completed: result.success,
        messages: result.messages,
      },
      meta: result.meta,
    });
  }

  get(promptId: string): HistoryEntry | undefined {
    return this.#entries.get(promptId);
  }

  all(): ReadonlyMap<string, HistoryEntry> {
    return this.#entries;
  }

  /** A window in insertion order; with `maxItems` and no offset, the newest ones. Negative numbers mean what they mean to ComfyUI. */
  list(maxItems: number | undefined, offset = -1): Map<string, HistoryEntry> {
    const start = offset < 0 && maxItems !== undefined ? this.#entries.size - maxItems : offset;
    const listed = new Map<string, HistoryEntry>();
    let index = 0;
    for (const [promptId, entry] of this.#entries) {
      if (index >= start) {
        listed.set(promptId, entry);
        if (maxItems !== undefined && listed.size >= maxItems) break;
      }
      index += 1;
    }
    return listed;
  }

  delete(promptId: Json): void {
    if (typeof promptId === "string") this.#entries.delete(promptId);
  }

  clear(): void {
    this.#entries.clear();
  }
}

function withoutSecrets(extraData: Json): Json {
  if (typeof extraData !== "object" || extraData === null || Array.isArray(extraData)) return extraData;
  const kept: JsonObject = Object.assign(Object.create(null), extraData);
  for (const name of SECRET_EXTRA_DATA) delete kept[name];
  return kept;
}
