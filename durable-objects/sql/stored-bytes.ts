import type { SqlDatabase } from "#durable-objects/sql/database";

/** How full an object's storage is: `short` makes it forget what it may before its time, `full` makes it take nothing new. */
export type Fill = "ample" | "short" | "full";

/** Shares of the whole at which that begins. Short of the end there is room for what is to be finished: leases, ends, retries. */
const SHORT_SHARE = 0.8;
const FULL_SHARE = 0.9;
/** Once it is short, so much is freed that it does not become short again with the next few jobs. */
const AMPLE_SHARE = 0.75;
/** Looking takes two small statements, and in this time an object takes in less than a hundredth of what it can store. */
const LOOK_AGAIN_MS = 1_000;

/** What an object stores of what it can. Beyond that every write fails, also those that end a job, so it never comes to that. */
export class StoredBytes {
  readonly #db: Pick<SqlDatabase, "bytesStored" | "bytesMax">;
  #bytes = 0;
  #fill: Fill = "ample";
  #lookedAt: number | null = null;

  constructor(db: Pick<SqlDatabase, "bytesStored" | "bytesMax">) {
    this.#db = db;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get bytesMax(): number {
    return this.#db.bytesMax;
  }

  /** As it was found within the last second. @param now Unix ms */
  fill(now: number): Fill {
    const age = this.#lookedAt === null ? null : now - this.#lookedAt;
    return age !== null && age >= 0 && age < LOOK_AGAIN_MS ? this.#fill : this.look(now);
  }

  /** As it is now. */
  look(now: number): Fill {
    this.#lookedAt = now;
    this.#bytes = this.#db.bytesStored();
    const share = this.#bytes / this.#db.bytesMax;
    const isShort = share >= (this.#fill === "ample" ? SHORT_SHARE : AMPLE_SHARE);
    this.#fill = share >= FULL_SHARE ? "full" : isShort ? "short" : "ample";
    return this.#fill;
  }
}
