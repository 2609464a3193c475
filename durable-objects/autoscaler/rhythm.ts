/**
 * Jobs that come by the clock: a check every ten minutes, a report every hour. What replicas do between two of them is to
 * stop, and to be ready again a moment before the next.
 */

/** Occasions from which a rhythm is told, and the fewest that tell one. */
export const OCCASIONS_KEPT = 8;
const OCCASIONS_MIN = 4;
/** What comes by the clock comes within so much of its period, and this share of its occasions do: chance rarely has it so. */
const SPAN_SHARE_MAX = 0.1;
const MOST = 0.75;
/** Whoever was always due within a span may come so much of it earlier or later, and this many seconds at least. */
const SLACK_SHARE = 0.25;
const SLACK_S = 0.5;
/** One occasion is taken to come unforeseen: beside those that are known, and so many before them that came in time. */
const UNFORESEEN = 1;
export const IN_TIME_MAX = 128;
/** A start ahead of the clock must cost less than so much of what waiting or staying costs: few occasions prove little. */
const CHEAPER = 0.9;

/** Jobs that came after a pause of more than a start, until the next such pause. */
export interface Occasion {
  /** Seconds from its beginning to that of the next one, and how many of them nothing ran before that. */
  readonly periodS: number;
  readonly pauseS: number;
  /** Most jobs at once, and how many seconds after its beginning that was. */
  readonly peak: number;
  readonly peakAfterS: number;
}

/** What is to be expected after an occasion, by seconds from its beginning. */
export interface Expected {
  /** From here on a start is worth it, up to here what was started is worth keeping. */
  readonly fromS: number;
  readonly toS: number;
  /** Replicas that are worth it, and for how long after the first job all of them are. */
  readonly level: number;
  readonly growsS: number;
  /** GPU-seconds that the first of them is expected to cost from one occasion to the next. */
  readonly costS: number;
}

export interface Prices {
  readonly bootS: number;
  /** How long the slowest of the last starts took. */
  readonly longestBootS: number;
  /** GPU-seconds that a second of waiting is worth. */
  readonly waitValue: number;
  /** How long the first replica would be kept without any rhythm, seconds. */
  readonly keepS: number;
  /** GPU-seconds that it costs when a level is needed and not there. */
  coldCost(level: number): number;
}

export class Rhythm {
  /** When the latest occasion began; -Infinity before the first. */
  beganAt = Number.NEGATIVE_INFINITY;
  /** Most jobs at once in it so far, and since when. */
  peak = 0;
  peakAt = 0;
  /** So many replicas stay until then: the latest occasion began when it was expected, and may grow to its usual peak. */
  held = { level: 0, until: 0 };
  /** How many in a row, up to the latest, came within the span of those before them. */
  inTime = 0;
  /** Those before the latest, the oldest first. */
  occasions: readonly Occasion[] = [];

  /**
   * A job has come.
   * @param level jobs that run at once with it, if nobody waits
   * @param pausedS how long nothing had run before it; 0 where something did
   * @param expected what was expected after the latest occasion
   * @returns whether an occasion began with it
   */
  arrived(now: number, level: number, pausedS: number, bootS: number, expected: Expected | null): boolean {
    const isFirst = this.beganAt === Number.NEGATIVE_INFINITY;
    const begins = isFirst || pausedS > bootS;
    if (begins) {
      if (!isFirst) this.#ended(now, pausedS, expected);
      this.beganAt = now;
    }
    if (begins || level > this.peak) {
      this.peak = level;
      this.peakAt = now;
    }
    return begins;
  }

  /** @returns null where there is no rhythm, or it would not pay */
  expected(prices: Prices): Expected | null {
    const { occasions } = this;
    if (occasions.length < OCCASIONS_MIN) return null;
    const growsS = SLACK_S + growsWithin(occasions);
    let best: Expected | null = null;
    let leastS = CHEAPER * costWithout(occasions, prices);
    for (const { fromS, toS } of spansOf(periodsOf(occasions))) {
      const startS = fromS - prices.longestBootS;
      const costS = this.#costAhead(startS, toS, prices);
      if (startS <= 0 || costS >= leastS) continue;
      leastS = costS;
      best = { fromS: startS, toS, level: 1, growsS, costS };
    }
    return best === null ? null : { ...best, level: levelOf(occasions, best, prices) };
  }

  /** The latest occasion is over, since another one begins. */
  #ended(now: number, pauseS: number, expected: Expected | null): void {
    const { beganAt, peak } = this;
    const periodS = now - beganAt;
    const known = periodsOf(this.occasions);
    const [soonest, latest] = [known[0] ?? Number.POSITIVE_INFINITY, known.at(-1) ?? 0];
    const slackS = slackOf(latest - soonest);
    const isInTime = periodS >= soonest - slackS && periodS <= latest + slackS;
    this.inTime = isInTime ? Math.min(IN_TIME_MAX, this.inTime + 1) : 0;
    const isExpected = expected !== null && periodS >= expected.fromS && periodS <= expected.toS;
    // What a first job needs it has, and keeps by its own gaps.
    const growsS = expected === null || expected.level === 1 ? 0 : expected.growsS;
    this.held = isExpected
      ? { level: expected.level, until: Math.max(beganAt + expected.toS, now + growsS) }
      : { level: 0, until: now };
    const occasion = { periodS, pauseS, peak, peakAfterS: this.peakAt - beganAt };
    this.occasions = [...this.occasions.slice(1 - OCCASIONS_KEPT), occasion];
  }

  /** GPU-seconds per occasion with a replica that is started at `fromS` and kept until `toS`. */
  #costAhead(fromS: number, toS: number, { bootS, waitValue, coldCost }: Prices): number {
    const cold = coldCost(1);
    let sum = 0;
    for (const { periodS } of this.occasions) {
      if (periodS < fromS) sum += cold;
      else if (periodS > toS) sum += toS - fromS + cold;
      else sum += Math.max(bootS, periodS - fromS) + waitValue * Math.max(0, fromS + bootS - periodS);
    }
    const unforeseen = UNFORESEEN / (this.occasions.length + this.inTime + UNFORESEEN);
    return (1 - unforeseen) * (sum / this.occasions.length) + unforeseen * (toS - fromS + cold);
  }
}

/** GPU-seconds per occasion with a replica that is kept for as long as its gaps say, or else started when it is needed. */
function costWithout(occasions: readonly Occasion[], { keepS, coldCost }: Prices): number {
  const cold = coldCost(1);
  let sum = 0;
  for (const { pauseS } of occasions) sum += pauseS <= keepS ? pauseS : keepS + cold;
  return sum / occasions.length;
}

/** One more replica while doing without it, as often as it was needed, would cost more than to have it ready. */
function levelOf(occasions: readonly Occasion[], { fromS, toS, growsS }: Expected, { coldCost }: Prices): number {
  for (let level = 1; ; level++) {
    const needed = occasions.filter(({ peak }) => peak > level).length / (occasions.length + UNFORESEEN);
    if (needed * coldCost(level + 1) <= toS - fromS + growsS) return level;
  }
}

/** Seconds within which most occasions had as many jobs at once as ever: a single one that went on for hours says little. */
function growsWithin(occasions: readonly Occasion[]): number {
  const ascending = occasions.map(({ peakAfterS }) => peakAfterS).toSorted((a, b) => a - b);
  return ascending[Math.ceil(MOST * ascending.length) - 1] ?? 0;
}

/** In which most of the periods lie, with some slack, as far as that is by the clock. */
function spansOf(periods: readonly number[]): { readonly fromS: number; readonly toS: number }[] {
  const most = Math.ceil(MOST * periods.length);
  return periods.flatMap((soonest, first) =>
    periods
      .slice(first + most - 1)
      .filter((latest) => latest - soonest <= SPAN_SHARE_MAX * soonest)
      .map((latest) => ({ fromS: soonest - slackOf(latest - soonest), toS: latest + slackOf(latest - soonest) })),
  );
}

function slackOf(spanS: number): number {
  return SLACK_S + SLACK_SHARE * spanS;
}

function periodsOf(occasions: readonly Occasion[]): number[] {
  return occasions.map(({ periodS }) => periodS).toSorted((a, b) => a - b);
}
