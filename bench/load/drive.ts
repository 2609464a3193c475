/** Load: so many submits on so many connections, so many replicas that take and complete. */
import { type BenchReplica, type Intake, nextJob, type Submitter } from "#bench/subject";

/** Opens connections, runs the work and closes them. */
export async function withSubmitters<T>(
  intake: Intake,
  connections: number,
  work: (submitters: readonly Submitter[]) => Promise<T>,
): Promise<T> {
  const submitters = await Promise.all(Array.from({ length: connections }, () => intake.submitter()));
  try {
    return await work(submitters);
  } finally {
    for (const submitter of submitters) submitter.close();
  }
}

/** Submits so many jobs, as fast as the connections take them. */
export async function submitAll(submitters: readonly Submitter[], jobs: number): Promise<void> {
  let left = jobs;
  await Promise.all(
    submitters.map(async (submitter) => {
      while (left > 0) {
        left -= 1;
        await submitter.submit(nextJob());
      }
    }),
  );
}

/**
 * Replicas at work: each takes a lease and completes it, again and again, while the crew is on. Off, each finishes what it
 * holds. A poll that waits goes on waiting either way, so a crew is turned off only while there are more jobs than it does.
 */
export class Crew<Work> {
  readonly #takesNext: boolean;
  #isOn = false;
  #turnedOn: PromiseWithResolvers<void> = Promise.withResolvers();
  #taken = 0;
  #done = 0;
  #waiting: { readonly reached: () => boolean; readonly resolve: () => void }[] = [];
  #failure: PromiseWithResolvers<never> = Promise.withResolvers();

  /** @param takesNext whether a complete asks for the next lease; without, a replica polls anew for each job */
  constructor(replicas: readonly BenchReplica<Work>[], takesNext: boolean) {
    this.#takesNext = takesNext;
    this.#failure.promise.catch(() => undefined);
    for (const replica of replicas) this.#run(replica).catch((error: unknown) => this.#failure.reject(error));
  }

  get taken(): number {
    return this.#taken;
  }

  get done(): number {
    return this.#done;
  }

  on(): void {
    this.#isOn = true;
    this.#turnedOn.resolve();
  }

  off(): void {
    this.#isOn = false;
    this.#turnedOn = Promise.withResolvers();
  }

  /** Resolves in the moment that the replicas hold, or held, so many leases since the start. @throws what failed */
  untilTaken(count: number): Promise<void> {
    return this.#until(() => this.#taken >= count);
  }

  /** Resolves in the moment that so many jobs were completed since the start. @throws what failed */
  untilDone(count: number): Promise<void> {
    return this.#until(() => this.#done >= count);
  }

  /** Resolves when no replica holds a lease. */
  untilIdle(): Promise<void> {
    return this.#until(() => this.#done === this.#taken);
  }

  /** Has so many jobs done, and then no more. @returns how long that took, ms @throws what failed */
  async take(jobs: number): Promise<number> {
    const startedAt = performance.now();
    this.on();
    await this.untilDone(this.#done + jobs);
    const ms = performance.now() - startedAt;
    this.off();
    await this.untilIdle();
    return ms;
  }

  async #run(replica: BenchReplica<Work>): Promise<void> {
    for (;;) {
      if (!this.#isOn) await this.#turnedOn.promise;
      let work: Work | null = await replica.take();
      while (work !== null) {
        this.#taken += 1;
        this.#news();
        const next: Work | null = await replica.complete(work, this.#takesNext && this.#isOn);
        work = next;
        this.#done += 1;
        this.#news();
      }
    }
  }

  #news(): void {
    const reached = this.#waiting.filter((one) => one.reached());
    if (reached.length === 0) return;
    this.#waiting = this.#waiting.filter((one) => !reached.includes(one));
    for (const { resolve } of reached) resolve();
  }

  #until(reached: () => boolean): Promise<void> {
    if (reached()) return Promise.resolve();
    const done = new Promise<void>((resolve) => this.#waiting.push({ reached, resolve }));
    return Promise.race([done, this.#failure.promise]);
  }
}
