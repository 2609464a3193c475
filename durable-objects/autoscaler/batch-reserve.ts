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
/**
 * The part of all replicas' time that batch jobs get however busy interactive ones keep them. Two replicas of three at
 * work mean a p95 that grows several times as fast as what is taken from them: so it stays within a tenth of what it was.
 */
const BATCH_SHARE = 0.01;
/** Jobs that take long, on few replicas: one starts at least as often as this. */
export const BATCH_APART_MS_MAX = 10 * 60_000;
/** Interactive jobs that batch jobs may delay for longer than is usual, of all of them: a p95 does not see them. */
const DELAYED_SHARE = 0.03;
/** So many at once. */
const DELAYS_MAX = 2;
/** What nobody notices beside the longest twentieth of the waits that batch jobs have nothing to do with. */
const USUAL = 1.1;
/** Waits that are known, and how many of them say what is usual. */
const WAITS_KEPT = 200;
const WAITS_MIN = 20;
const LONGEST_USUAL = 0.95;

export interface ReserveMemory {
  /** How often an interactive job was the n-th at once, decayed; the first is n = 1. */
  readonly weights: readonly number[];
  readonly at: number;
  /** What {@link Pauses} saved; rows of an earlier time do not say, nor the next one. */
  readonly pauses?: readonly number[];
  readonly holdMs?: number | null;
  /** How long batch jobs took on average, and of how many that is; missing in rows of an earlier time. */
  readonly mean?: readonly [ms: number, jobs: number];
  /** Interactive jobs that may still be delayed, and the latest waits, ms; missing in rows of an earlier time. */
  readonly delays?: number;
  readonly waits?: readonly number[];
}

/** What interactive traffic has needed lately. */
export class BatchReserve {
  readonly #levels: DecayedCounts;
  readonly #pauses: Pauses;
  #lastAt: number;
  #holdMs: number | null;
  #mean: { readonly ms: number; readonly jobs: number };
  /** Interactive jobs that batch jobs may still delay for longer than is usual; below 0: too many were. */
  #delays: number;
  /** How long interactive jobs waited that no batch job delayed, ms, the latest last. */
  #waits: readonly number[];
  /** When those came that a batch job delays and that have not begun. */
  #delayed: readonly number[] = [];

  constructor(memory: ReserveMemory | null) {
    const lastAt = memory === null || memory.weights.length === 0 ? null : memory.at;
    this.#levels = new DecayedCounts(LEVELS, HALF_LIFE_MS, memory?.weights ?? [], lastAt ?? 0);
    this.#pauses = new Pauses(memory?.pauses ?? [], lastAt);
    this.#lastAt = lastAt ?? Number.NEGATIVE_INFINITY;
    this.#holdMs = memory?.holdMs ?? null;
    const [ms, jobs] = memory?.mean ?? [this.holdMs, this.#holdMs === null ? 0 : 1];
    this.#mean = { ms, jobs };
    this.#delays = memory?.delays ?? 0;
    this.#waits = memory?.waits ?? [];
  }

  /** How long batch jobs hold a replica, ms: as long as the longest of the latest ones. */
  get holdMs(): number {
    return this.#holdMs ?? HOLD_MS_DEFAULT;
  }

  /** How long they do on average, ms: what many of them cost, which a single long one hardly changes. */
  get meanHoldMs(): number {
    return this.#mean.ms;
  }

  /**
   * An interactive job has come.
   * @param atOnce interactive jobs that wait or run, this one included
   * @param isDelayed it would have a replica at once, if none were at a batch job
   */
  arrived(at: number, atOnce: number, isDelayed = false): void {
    if (isDelayed) this.#delayed = [...this.#delayed, at].slice(-LEVELS);
    this.#levels.add(Math.max(1, Math.min(LEVELS, atOnce)) - 1, at);
    this.#pauses.ended(at, this.holdMs);
    this.#lastAt = at;
  }

  /** An interactive job begins. Who starts machines for it makes its callers wait anyway: what matters is what is beyond that. */
  started(at: number, waitedMs: number): void {
    this.#delays = Math.min(DELAYS_MAX, this.#delays + DELAYED_SHARE);
    const place = this.#delayed.indexOf(at - waitedMs);
    if (place < 0) {
      this.#waits = [...this.#waits, Math.round(waitedMs)].slice(-WAITS_KEPT);
      return;
    }
    this.#delayed = this.#delayed.toSpliced(place, 1);
    if (waitedMs > USUAL * this.#usualMs()) this.#delays -= 1;
  }

  /** Whether batch jobs may take all that idles: next to nobody has waited for them for longer than is usual. */
  get mayDelay(): boolean {
    return this.#delays >= 1;
  }

  #usualMs(): number {
    if (this.#waits.length < WAITS_MIN) return 0;
    return this.#waits.toSorted((a, b) => a - b)[Math.floor(LONGEST_USUAL * this.#waits.length)] ?? 0;
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
    const known = {
      holdMs: this.#holdMs,
      mean: [this.#mean.ms, this.#mean.jobs] as const,
      delays: Number(this.#delays.toFixed(2)),
      waits: this.#waits,
    };
    if (at === Number.NEGATIVE_INFINITY) return { weights: [], at: 0, pauses: [], ...known };
    return { weights: this.#levels.save(at), at, pauses: this.#pauses.save(), ...known };
  }
}

/** An endpoint's replicas and batch jobs, where both lanes share them. Times in Unix ms. */
export interface SharedFleet {
  /** Interactive jobs at work, and batch jobs. */
  readonly interactiveBusy: number;
  readonly batchBusy: number;
  /** Replicas that take interactive jobs, at work or not. */
  readonly ready: number;
  /** All replicas, those included that start. */
  readonly capacity: number;
  /** The most there may be, or can be had: no more than there are, where no pod has room. */
  readonly most: number;
  /** When the oldest batch job will have waited for too long; null: none waits. */
  readonly dueAt: number | null;
  /** When a batch job last began; null: nobody knows. */
  readonly startedAt: number | null;
}

/** Idle replicas that batch jobs leave free now. */
export interface Kept {
  readonly replicas: number;
  /** When they leave fewer by time alone; null: they do not. Worked out when it is asked, which no lease waits for. */
  readonly fewerAt: () => number | null;
}

const NOTHING_KEPT: Kept = { replicas: 0, fewerAt: () => null };

export function keptNow(reserve: BatchReserve, fleet: SharedFleet, now: number): Kept {
  const { interactiveBusy, batchBusy, ready, capacity, most, dueAt, startedAt } = fleet;
  const isOverdue = dueAt !== null && dueAt <= now;
  const isScarce = isOverdue && capacity >= most;
  // Where there can be more, one replica is worth having for overdue batch jobs: whichever idles first.
  const hasItsOwn = batchBusy > 0 || !isOverdue || isScarce;
  if (!hasItsOwn || (capacity < most && reserve.mayDelay)) return NOTHING_KEPT;
  const owedAt = startedAt === null ? now : startedAt + batchApartMs(reserve.meanHoldMs, capacity);
  const replicas = keptFree({
    level: reserve.level(now, isScarce),
    lent: reserve.lent(now),
    isHeldOut: capacity >= most && reserve.isHeldOut(now),
    interactiveBusy,
    ready,
    most,
    isOwed: isScarce && owedAt <= now,
  });
  const fewerAt = (): number | null => {
    const moments = [reserve.lentMoreAt(now), isScarce && owedAt > now ? owedAt : null].filter((at) => at !== null);
    return moments.length === 0 ? null : Math.min(...moments);
  };
  return { replicas, fewerAt };
}

/**
 * How far apart batch jobs start at least where interactive ones could need the replicas.
 * @param batchMs of a batch job
 * @param replicas all that there are
 */
export function batchApartMs(batchMs: number, replicas: number): number {
  return Math.min(BATCH_APART_MS_MAX, Math.ceil(batchMs / (BATCH_SHARE * Math.max(1, replicas))));
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
