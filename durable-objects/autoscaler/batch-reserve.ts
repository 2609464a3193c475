/**
 * How many replicas batch jobs leave alone, because interactive ones may need them at once. A job is not taken off a
 * replica, so an idle one that a batch job takes is lost for as long as that job lasts.
 */

/** How quickly older traffic counts less. */
const HALF_LIFE_MS = 10 * 60_000;
/** Without an interactive job for this long, nobody is expected any more. */
const QUIET_MS = 10 * 60_000;
/** So many of 100 interactive jobs find a replica although batch jobs took what was left: a p95 does not see the rest. */
const COVERED = 0.98;
/** The same where replicas are scarce and batch jobs have waited for too long. */
const COVERED_WHEN_SCARCE = 0.95;
/** More interactive jobs at once than this count as this many: their replicas are busy anyway. */
const LEVELS = 64;
/** The weights are written anew when the latest has grown by this factor. */
const REBASE = 1e9;

export interface ReserveMemory {
  /** How often an interactive job was the n-th at once, decayed; the first is n = 1. */
  readonly weights: readonly number[];
  readonly at: number;
}

/** What interactive traffic has needed lately. */
export class BatchReserve {
  #weights: number[];
  /** The weight of an arrival at `#base` is 1, of a later one more. */
  #base: number;
  #lastAt: number;

  constructor(memory: ReserveMemory | null) {
    this.#weights = Array.from({ length: LEVELS }, (_, level) => memory?.weights[level] ?? 0);
    this.#base = memory?.at ?? 0;
    this.#lastAt = memory?.at ?? Number.NEGATIVE_INFINITY;
  }

  /** An interactive job has come. @param atOnce interactive jobs that wait or run, this one included */
  arrived(at: number, atOnce: number): void {
    let weight = 2 ** ((at - this.#base) / HALF_LIFE_MS);
    if (weight > REBASE) {
      this.#weights = this.#weights.map((known) => known / weight);
      this.#base = at;
      weight = 1;
    }
    const level = Math.max(1, Math.min(LEVELS, atOnce)) - 1;
    this.#weights[level] = (this.#weights[level] ?? 0) + weight;
    this.#lastAt = at;
  }

  /**
   * Replicas that interactive traffic may need at once; 0 when there has been none lately.
   * @param isScarce batch jobs have waited for too long, and no more replicas can be had: a little less
   */
  level(now: number, isScarce = false): number {
    if (now - this.#lastAt >= QUIET_MS) return 0;
    const covered = isScarce ? COVERED_WHEN_SCARCE : COVERED;
    const total = this.#weights.reduce((sum, weight) => sum + weight, 0);
    let seen = 0;
    for (let level = 0; level < LEVELS; level += 1) {
      seen += this.#weights[level] ?? 0;
      if (seen >= total * covered) return level + 1;
    }
    return LEVELS;
  }

  /** When nothing is kept free any more unless another interactive job comes; null when nothing is. */
  quietAt(now: number): number | null {
    const at = this.#lastAt + QUIET_MS;
    return at > now ? at : null;
  }

  save(): ReserveMemory {
    if (this.#lastAt === Number.NEGATIVE_INFINITY) return { weights: [], at: 0 };
    const unit = 2 ** ((this.#lastAt - this.#base) / HALF_LIFE_MS);
    const last = this.#weights.findLastIndex((weight) => weight > 0);
    return { weights: this.#weights.slice(0, last + 1).map((weight) => rounded(weight / unit)), at: this.#lastAt };
  }
}

function rounded(weight: number): number {
  return Number(weight.toPrecision(4));
}

export interface ReserveFacts {
  /** See {@link BatchReserve.level}. */
  readonly level: number;
  /** Interactive jobs at work. */
  readonly interactiveBusy: number;
  /** The most replicas there may be, or can be had: no more than there are, where no pod has room. */
  readonly most: number;
  /** Batch jobs have waited for too long, and no more replicas can be had. */
  readonly isScarce: boolean;
}

/**
 * Idle replicas that batch jobs leave free now. Where there can be a single one, nothing is kept from them: they would
 * wait for as long as there is any interactive traffic at all. For the same reason, those that have waited for too long
 * get one replica whenever no interactive job is at work, though a burst as large as the last one would need all.
 */
export function keptFree({ level, interactiveBusy, most, isScarce }: ReserveFacts): number {
  if (most <= 1) return 0;
  if (isScarce && interactiveBusy === 0) return Math.min(level, most - 1);
  return Math.max(0, level - interactiveBusy);
}
