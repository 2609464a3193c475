/**
 * How many replicas batch jobs leave alone, because interactive ones may need them at once. A job is not taken off a
 * replica, so an idle one that a batch job takes is lost for as long as that job lasts.
 */
import { DecayedCounts } from "#durable-objects/autoscaler/decayed-counts";
import { Pauses, QUIET_MS } from "#durable-objects/autoscaler/pauses";

/** How quickly older traffic counts less. */
const HALF_LIFE_MS = 10 * 60_000;
/** So many of 100 interactive jobs find a replica although batch jobs took what was left: a p95 does not see the rest. */
const COVERED = 0.98;
/** The same where replicas are scarce and batch jobs have waited for too long. */
const COVERED_WHEN_SCARCE = 0.95;
/** More interactive jobs at once than this count as this many: their replicas are busy anyway. */
const LEVELS = 64;
/** So much counts a batch job that took less time than those before it. */
const SHORTER_WEIGHT = 0.05;
/** Before the first batch job has shown how long one takes. */
const HOLD_MS_DEFAULT = 10_000;
/** The newest batch job in the average of all, once there are enough of them. */
const MEAN_WEIGHT = 0.05;

export interface ReserveMemory {
  /** How often an interactive job was the n-th at once, decayed; the first is n = 1. */
  readonly weights: readonly number[];
  readonly at: number;
  /** What {@link Pauses} saved; rows of an earlier time do not say, nor the next one. */
  readonly pauses?: readonly number[];
  readonly holdMs?: number | null;
  /** How long batch jobs took on average, and of how many that is; missing in rows of an earlier time. */
  readonly mean?: readonly [ms: number, jobs: number];
}

/** What interactive traffic has needed lately. */
export class BatchReserve {
  readonly #levels: DecayedCounts;
  readonly #pauses: Pauses;
  #lastAt: number;
  #holdMs: number | null;
  #mean: { readonly ms: number; readonly jobs: number };

  constructor(memory: ReserveMemory | null) {
    const lastAt = memory === null || memory.weights.length === 0 ? null : memory.at;
    this.#levels = new DecayedCounts(LEVELS, HALF_LIFE_MS, memory?.weights ?? [], lastAt ?? 0);
    this.#pauses = new Pauses(memory?.pauses ?? [], lastAt);
    this.#lastAt = lastAt ?? Number.NEGATIVE_INFINITY;
    this.#holdMs = memory?.holdMs ?? null;
    const [ms, jobs] = memory?.mean ?? [this.holdMs, this.#holdMs === null ? 0 : 1];
    this.#mean = { ms, jobs };
  }

  /** How long batch jobs hold a replica, ms: as long as the longest of the latest ones. */
  get holdMs(): number {
    return this.#holdMs ?? HOLD_MS_DEFAULT;
  }

  /** How long they do on average, ms: what many of them cost, which a single long one hardly changes. */
  get meanHoldMs(): number {
    return this.#mean.ms;
  }

  /** An interactive job has come. @param atOnce interactive jobs that wait or run, this one included */
  arrived(at: number, atOnce: number): void {
    this.#levels.add(Math.max(1, Math.min(LEVELS, atOnce)) - 1, at);
    this.#pauses.ended(at, this.holdMs);
    this.#lastAt = at;
  }

  /** A batch job has held a replica for so long. */
  batchEnded(busyMs: number): void {
    const known = this.#holdMs ?? 0;
    this.#holdMs = Math.round(busyMs >= known ? busyMs : known + (busyMs - known) * SHORTER_WEIGHT);
    const { ms, jobs } = this.#mean;
    const weight = Math.max(MEAN_WEIGHT, 1 / (jobs + 1));
    this.#mean = { ms: Math.round(ms + (busyMs - ms) * weight), jobs: Math.min(1 / MEAN_WEIGHT, jobs + 1) };
  }

  /**
   * Replicas that interactive traffic may need at once; 0 when there has been none lately.
   * @param isScarce batch jobs have waited for too long, and no more replicas can be had: a little less
   */
  level(now: number, isScarce = false): number {
    if (now - this.#lastAt >= QUIET_MS) return 0;
    const weights = this.#levels.weights(this.#lastAt);
    const wanted = weights.reduce((sum, weight) => sum + weight, 0) * (isScarce ? COVERED_WHEN_SCARCE : COVERED);
    let seen = 0;
    for (const [index, weight] of weights.entries()) {
      seen += weight;
      if (seen >= wanted) return index + 1;
    }
    return LEVELS;
  }

  /** How many of those replicas batch jobs may have all the same, in the present pause; see {@link Pauses.lent}. */
  lent(now: number): number {
    return this.#pauses.lent(now, this.holdMs);
  }

  /** Whether not all of them are kept any more, though somebody is expected; see {@link Pauses.isHeldOut}. */
  isHeldOut(now: number): boolean {
    return this.#pauses.isHeldOut(now, this.holdMs, this.meanHoldMs);
  }

  /** When fewer are kept, or nothing is kept free any more, unless another interactive job comes; null when nothing is. */
  lentMoreAt(now: number): number | null {
    const quietAt = this.quietAt(now);
    return quietAt === null
      ? null
      : Math.min(quietAt, this.#pauses.moreAt(now, this.holdMs, this.meanHoldMs) ?? quietAt);
  }

  /** When nothing is kept free any more unless another interactive job comes; null when nothing is. */
  quietAt(now: number): number | null {
    const at = this.#lastAt + QUIET_MS;
    return at > now ? at : null;
  }

  save(): ReserveMemory {
    const at = this.#lastAt;
    const known = { holdMs: this.#holdMs, mean: [this.#mean.ms, this.#mean.jobs] as const };
    if (at === Number.NEGATIVE_INFINITY) return { weights: [], at: 0, pauses: [], ...known };
    return { weights: this.#levels.save(at), at, pauses: this.#pauses.save(), ...known };
  }
}

export interface ReserveFacts {
  /** See {@link BatchReserve.level}. */
  readonly level: number;
  /** See {@link BatchReserve.lent}. */
  readonly lent: number;
  /** {@link BatchReserve.isHeldOut}, and no more replicas can be had: else batch jobs get some of their own. */
  readonly isHeldOut: boolean;
  /** Interactive jobs at work. */
  readonly interactiveBusy: number;
  /** Replicas that take interactive jobs, at work or not. */
  readonly ready: number;
  /** The most replicas there may be, or can be had: no more than there are, where no pod has room. */
  readonly most: number;
  /** Batch jobs have waited for too long, no more replicas can be had, and their share of the time is not used up. */
  readonly isOwed: boolean;
}

/**
 * Idle replicas that batch jobs leave free now. Where there can be a single one, nothing is kept from them: they would
 * wait for as long as there is any interactive traffic at all. For the same reason, those that have waited for too long
 * get the next idle one now and then, though a burst as large as the last one would need all.
 */
export function keptFree({ level, lent, isHeldOut, interactiveBusy, ready, most, isOwed }: ReserveFacts): number {
  if (most <= 1 || isOwed) return 0;
  // A fleet that idles whole beside a backlog is what nobody pays for.
  const kept = Math.min(level, isHeldOut ? Math.max(1, ready - 1) : ready);
  return Math.max(0, kept - lent - interactiveBusy);
}
