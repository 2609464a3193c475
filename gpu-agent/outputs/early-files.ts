/**
 * Files that are fetched while ComfyUI still writes the prompt's history, or is asked for it. The socket has named them;
 * what the history does not name is dropped again.
 */
import type { JsonObject } from "#contract/exact-json";
import type { OutputSpec } from "#contract/workflow";
import type { FileReference } from "../comfy/comfy-http.ts";
import { collectOutputs } from "./collect-outputs.ts";
import { type OutputSource, type ReadyFile, readyFile } from "./output-files.ts";

/** As many as are sent at once: more would only wait. */
const FILES_MAX = 4;

export class EarlyFiles {
  readonly #source: OutputSource;
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  readonly #files = new Map<string, Promise<ReadyFile | null>>();
  #fetched = 0;

  constructor(source: OutputSource, signal: AbortSignal) {
    this.#source = source;
    this.#signal = AbortSignal.any([signal, this.#over.signal]);
  }

  /**
   * No node writes any more. Never throws; what was fetched before is not fetched again.
   * @param shown node id → what it showed, as far as the socket told
   */
  fetch(shown: JsonObject, specs: readonly OutputSpec[]): void {
    // On this machine's disk they are as good as fetched.
    if (this.#source.folders !== null) return;
    for (const found of collectOutputs(shown, {}, specs)) {
      if (this.#fetched >= FILES_MAX) return;
      if (found.type !== "file" || this.#files.has(keyOf(found.file))) continue;
      this.#fetched += 1;
      // Whatever goes wrong is met again, and told, when the file is really wanted.
      const fetched = readyFile(this.#source, found.file, this.#signal).catch(() => null);
      this.#files.set(keyOf(found.file), fetched);
    }
  }

  /** The file, if it was fetched; it is the caller's to discard from now on. Null: fetch it. */
  async take(file: FileReference): Promise<ReadyFile | null> {
    const key = keyOf(file);
    const fetched = this.#files.get(key);
    this.#files.delete(key);
    return (await fetched) ?? null;
  }

  /** Drops what nobody took, also what is still on its way. */
  async discard(): Promise<void> {
    this.#over.abort(new Error("the file is not wanted"));
    const left = [...this.#files.values()];
    this.#files.clear();
    for (const fetched of left) await (await fetched)?.discard();
  }
}

function keyOf({ filename, subfolder, type }: FileReference): string {
  return JSON.stringify([type, subfolder, filename]);
}
