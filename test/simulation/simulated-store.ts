import type { Simulation } from "./simulation.ts";
import { promise } from "./violation.ts";

export interface StoredObject {
  readonly size: number;
  readonly sha256: string;
}

export type PutAnswer = "stored" | "conflict" | "failed";

/** R2 as the Worker uses it: create-only puts, heads, deletes. */
export class SimulatedStore {
  readonly objects = new Map<string, StoredObject>();
  /** Outputs of succeeded jobs: nothing may change or delete them before their retention is over. */
  readonly #promised = new Map<string, StoredObject>();
  readonly #world: Simulation;

  constructor(world: Simulation) {
    this.#world = world;
  }

  /** Stores under a name that is free; the same bytes again are fine. Answers late when it is slow. */
  put(key: string, object: StoredObject, answer: (answer: PutAnswer) => void): void {
    const { agenda, dice, faults } = this.#world;
    const about = this.#world.oracle.jobOfKey(key);
    let ms = dice.around(this.#world.swarm.uploadMs);
    if (dice.chance(faults.putSlow)) {
      this.#world.hit("put slow", about);
      ms += dice.int(1_000, 60_000);
    }
    agenda.in(ms, () => {
      if (dice.chance(faults.putFails)) {
        this.#world.hit("put fails", about);
        // Nobody knows whether it failed before or after the bytes were there.
        if (dice.chance(0.5)) this.#write(key, object);
        answer("failed");
      } else if (dice.chance(faults.putLost)) {
        this.#world.hit("put lost", about);
        answer("stored");
      } else answer(this.#write(key, object) ? "stored" : "conflict");
    });
  }

  #write(key: string, object: StoredObject): boolean {
    const before = this.objects.get(key);
    if (before === undefined) this.objects.set(key, object);
    return before === undefined || (before.size === object.size && before.sha256 === object.sha256);
  }

  /** What the Worker's check of a manifest needs of an R2 bucket. */
  readonly bucket = {
    head: async (key: string) => {
      const object = this.objects.get(key);
      if (object === undefined) return null;
      return { key, size: object.size, checksums: { toJSON: () => ({ sha256: object.sha256 }) } };
    },
  };

  /** A job has succeeded with this output. */
  promise(key: string, object: StoredObject): void {
    const there = this.objects.get(key);
    promise("I6", there !== undefined, () => `a job succeeded without its output ${key}`);
    promise(
      "I6",
      there.size === object.size && there.sha256 === object.sha256,
      () => `a job succeeded and its output ${key} has other bytes`,
    );
    this.#promised.set(key, object);
  }

  /** Deletes what a job left behind, because its retention is over. */
  delete(keys: readonly string[]): void {
    for (const key of keys) {
      this.objects.delete(key);
      this.#promised.delete(key);
    }
  }

  keysUnder(prefix: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix));
  }

  /** Everything promised is still there. */
  check(): void {
    for (const [key, object] of this.#promised) {
      const there = this.objects.get(key);
      promise(
        "I6",
        there !== undefined && there.sha256 === object.sha256,
        () => `the output ${key} is no longer there`,
      );
    }
  }
}
