/** How far a model is on its way, for everybody who waits for it. */

export interface ModelProgress {
  /**
   * `waiting` for another process that fetches the same model, or for room; `verifying` what has arrived; `ready` when
   * it is there.
   */
  readonly phase: "waiting" | "downloading" | "verifying" | "ready";
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Over the last seconds; 0 before anything came. */
  readonly bytesPerSecond: number;
  /** The host that gives the bytes, never the address; null when none does. */
  readonly source: string | null;
}
export type OnModelProgress = (progress: ModelProgress) => void;

/** Listeners hear of bytes at most this often. */
const TELL_MS = 200;
/** The speed is that of these last ms: longer than a stutter, shorter than a person's patience. */
const WINDOW_MS = 5_000;

export class ProgressMeter {
  readonly #now: () => number;
  readonly #listeners = new Set<OnModelProgress>();
  #progress: ModelProgress;
  #toldAt = Number.NEGATIVE_INFINITY;
  /** Bytes done at times of the window, oldest first. */
  #samples: { readonly at: number; readonly bytes: number }[] = [];

  /** @param now ms of any clock that only goes forward */
  constructor(bytesTotal: number, now: () => number) {
    this.#now = now;
    this.#progress = { phase: "waiting", bytesDone: 0, bytesTotal, bytesPerSecond: 0, source: null };
  }

  get progress(): ModelProgress {
    return this.#progress;
  }

  /** Adds a listener, which hears at once how far it is. @returns takes it away */
  listen(listener: OnModelProgress): () => void {
    this.#listeners.add(listener);
    listener(this.#progress);
    return () => this.#listeners.delete(listener);
  }

  /** Bytes that came, or, negative, that were thrown away. */
  addBytes(bytes: number): void {
    this.setBytes(this.#progress.bytesDone + bytes);
    if (this.#now() - this.#toldAt >= TELL_MS) this.#tell();
  }

  /** What is there already; it does not count as speed. */
  startAt(bytesDone: number): void {
    this.#samples = [];
    this.setBytes(bytesDone);
  }

  enter(phase: ModelProgress["phase"], source: string | null = null): void {
    const bytesDone = phase === "ready" ? this.#progress.bytesTotal : this.#progress.bytesDone;
    this.#progress = { ...this.#progress, phase, source, bytesDone };
    this.#tell();
  }

  setBytes(bytesDone: number): void {
    const at = this.#now();
    // Thrown away bytes begin a new count.
    if (bytesDone < this.#progress.bytesDone) this.#samples = [];
    const last = this.#samples.at(-1);
    if (last === undefined || at - last.at >= TELL_MS) this.#samples.push({ at, bytes: bytesDone });
    while ((this.#samples[1]?.at ?? at) <= at - WINDOW_MS) this.#samples.shift();
    const [first] = this.#samples;
    const passed = first === undefined ? 0 : at - first.at;
    const bytesPerSecond =
      first === undefined || passed <= 0 ? 0 : Math.round(((bytesDone - first.bytes) * 1_000) / passed);
    this.#progress = { ...this.#progress, bytesDone, bytesPerSecond };
  }

  #tell(): void {
    this.#toldAt = this.#now();
    for (const listener of this.#listeners) listener(this.#progress);
  }
}
