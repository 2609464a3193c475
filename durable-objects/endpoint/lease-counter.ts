import type { ConfigStore } from "#durable-objects/endpoint/config-store";

/** Lease counters are taken from storage in blocks of this many: one row written for so many leases. */
const COUNTER_BLOCK = 100;

/** Numbers the leases; only grows, also across restarts and undone turns. */
export class LeaseCounter {
  readonly #configs: ConfigStore;
  #known: { next: number; reserved: number } | null = null;

  constructor(configs: ConfigStore) {
    this.#configs = configs;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#known = null;
  }

  /** The number that the next lease will get. */
  peek(): number {
    return this.#read().next;
  }

  /** The number of the next lease. */
  take(): number {
    const counter = this.#read();
    const taken = counter.next;
    if (taken > counter.reserved) {
      counter.reserved = taken + COUNTER_BLOCK - 1;
      this.#configs.reserveCounters(counter.reserved);
    }
    counter.next = taken + 1;
    return taken;
  }

  #read(): { next: number; reserved: number } {
    if (this.#known === null) {
      const reserved = this.#configs.readCounterReserve();
      this.#known = { next: reserved + 1, reserved };
    }
    return this.#known;
  }
}
