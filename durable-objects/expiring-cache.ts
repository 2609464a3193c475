/**
 * Remembers looked-up rows in this isolate. Values only, never promises: a promise belongs to the request that made it
 * and may not be awaited by another one.
 */
export class ExpiringCache<Value> {
  readonly #entries = new Map<string, { readonly value: Value; readonly until: number }>();
  readonly #ttlMs: number;
  readonly #entriesMax: number;

  constructor(ttlMs: number, entriesMax: number) {
    this.#ttlMs = ttlMs;
    this.#entriesMax = entriesMax;
  }

  /** @param nowMs Unix ms */
  get(key: string, nowMs: number): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.until > nowMs) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key: string, value: Value, nowMs: number): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, until: nowMs + this.#ttlMs });
    if (this.#entries.size <= this.#entriesMax) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  /** Drops what fits, such as every key of one id. */
  deleteWhere(fits: (value: Value) => boolean): void {
    for (const [key, entry] of this.#entries) if (fits(entry.value)) this.#entries.delete(key);
  }
}
