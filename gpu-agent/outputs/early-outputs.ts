/**
 * Outputs that go up while ComfyUI still writes the prompt's history, or is asked for it. The socket has named them; the
 * history decides which of them count. What it does not name is litter under a lease's own key, as a lost attempt's is.
 */
import type { JsonObject } from "#contract/exact-json";
import { OUTPUTS_PER_JOB_MAX } from "#contract/limits";
import type { OutputSpec } from "#contract/workflow";
import type { FileReference } from "../comfy/comfy-http.ts";
import { collectOutputs } from "./collect-outputs.ts";
import { type OutputSource, type ReadyFile, readyFile } from "./output-files.ts";

/** As many as are sent at once: more would only wait. */
const FILES_MAX = 4;

export interface EarlyOutput {
  readonly file: ReadyFile;
  /** The number under which it went up. */
  readonly index: number;
  /** Otherwise it has to be sent again, under the same number: nobody knows how far it came. */
  readonly isStored: boolean;
}

export interface EarlyOptions {
  readonly source: OutputSource;
  /** Stores a file under a number of the lease. */
  readonly store: (index: number, filename: string, file: ReadyFile, signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

export class EarlyOutputs {
  readonly #options: EarlyOptions;
  readonly #over = new AbortController();
  readonly #outputs = new Map<string, Promise<EarlyOutput | null>>();
  readonly #reading: Promise<ReadyFile>[] = [];
  /** Each file's number, which it keeps, whoever sends it. */
  readonly #numbers = new Map<string, number>();

  constructor(options: EarlyOptions) {
    this.#options = options;
    const { signal } = options;
    // Not `AbortSignal.any`: it takes longer than all the rest of a job's beginning.
    const end = () => this.#over.abort(signal.reason);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true, signal: this.#over.signal });
  }

  /** Numbers below this one have been used. */
  get begun(): number {
    return this.#numbers.size;
  }

  /** The number under which the file went up, or was to; null: it has none. */
  numberOf(file: FileReference): number | null {
    return this.#numbers.get(keyOf(file)) ?? null;
  }

  /**
   * No node writes any more. What was sent before is not sent again.
   * @param shown node id → what it showed, as far as the socket told
   * @returns resolves when all that is being sent has been read. Never rejects
   */
  async send(shown: JsonObject, specs: readonly OutputSpec[]): Promise<void> {
    const found = collectOutputs(shown, {}, specs);
    // Every number may be needed.
    if (found.length > OUTPUTS_PER_JOB_MAX - FILES_MAX) return;
    for (const each of found) {
      if (each.type !== "file" || this.begun >= FILES_MAX || this.numberOf(each.file) !== null) continue;
      const index = this.begun;
      const reading = readyFile(this.#options.source, each.file, this.#over.signal);
      // Whatever goes wrong is met again, and told, when the file is really wanted.
      const sent = this.#sendOne(index, each.file, reading).catch(() => null);
      this.#outputs.set(keyOf(each.file), sent);
      this.#reading.push(reading);
      this.#numbers.set(keyOf(each.file), index);
    }
    await Promise.allSettled(this.#reading);
  }

  async #sendOne(index: number, reference: FileReference, reading: Promise<ReadyFile>): Promise<EarlyOutput> {
    const file = await reading;
    const isStored = await this.#options.store(index, reference.filename, file, this.#over.signal).then(
      () => true,
      () => false,
    );
    return { file, index, isStored };
  }

  /** The output, if it was sent; its file is the caller's to discard from now on. Null: nothing is known of it. */
  async take(file: FileReference): Promise<EarlyOutput | null> {
    const key = keyOf(file);
    const sent = this.#outputs.get(key);
    this.#outputs.delete(key);
    return (await sent) ?? null;
  }

  /** Drops what nobody took, also what is still on its way. */
  async discard(): Promise<void> {
    this.#over.abort(new Error("the output is not wanted"));
    const left = [...this.#outputs.values()];
    this.#outputs.clear();
    for (const sent of left) await (await sent)?.file.discard();
  }
}

function keyOf({ filename, subfolder, type }: FileReference): string {
  return JSON.stringify([type, subfolder, filename]);
}
