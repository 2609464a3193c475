import type { HistoryStore } from "#durable-objects/endpoint/history-store";
import { firstIdAt } from "#durable-objects/endpoint/job-ids";
import type { EndedJob } from "#durable-objects/queue/job-record";
import { EventRates, ServiceTimes } from "#durable-objects/queue/rates";
import type { World } from "#durable-objects/sql/database";

/** What happened before this object woke is counted as far back as anybody asks for. */
const ARRIVALS_READ_MS = 60_000;
const ENDS_READ_MS = 3_600_000;
const SERVICES_READ = 100;

/**
 * How many jobs came and ended lately, and how long they ran. Each is read from the tables when it is first asked for, and
 * kept with every change from then on.
 */
export class JobTallies {
  readonly #history: HistoryStore;
  readonly #world: World;
  #rates: EventRates | null = null;
  #services: ServiceTimes | null = null;
  #dead: number | null = null;

  constructor(history: HistoryStore, world: World) {
    this.#history = history;
    this.#world = world;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#rates = null;
    this.#services = null;
    this.#dead = null;
  }

  /** What came and ended lately; what was before this object woke is read from storage once. */
  get rates(): EventRates {
    if (this.#rates !== null) return this.#rates;
    const rates = new EventRates();
    const now = this.#world.now();
    const earliest = firstIdAt(now - ARRIVALS_READ_MS);
    for (const { at, count } of this.#history.arrivedSince(earliest)) rates.arrived(at, count);
    for (const { state, at, count } of this.#history.endedSince(now - ENDS_READ_MS)) rates.finished(state, at, count);
    this.#rates = rates;
    return rates;
  }

  /** How long the latest successful runs took. */
  get services(): ServiceTimes {
    this.#services ??= new ServiceTimes(this.#history.lastServiceMs(SERVICES_READ).reverse());
    return this.#services;
  }

  /** How many dead letters there are. */
  get dead(): number {
    this.#dead ??= this.#history.countDead();
    return this.#dead;
  }

  arrived(at: number): void {
    this.#rates?.arrived(at);
  }

  /** @param job as it is written already */
  ended(job: EndedJob): void {
    this.#rates?.finished(job.state, job.finishedAt);
    if (job.state === "succeeded") this.#services?.add(job.serviceMs);
    else if (job.dead) this.deadLeft(-1);
  }

  /** So many failed jobs have left the dead-letter list (or, below 0, come back to it). */
  deadLeft(count: number): void {
    if (this.#dead !== null) this.#dead -= count;
  }
}
