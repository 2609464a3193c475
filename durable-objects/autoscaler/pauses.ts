/**
 * How long interactive traffic pauses: when, in a pause, nobody is to be expected for as long as a batch job takes. That
 * is so beyond the pauses that there have been, and also between short ones and long ones: who sends a burst each minute
 * sends none in between.
 */
import { DecayedCounts } from "#durable-objects/autoscaler/decayed-counts";

/** How quickly older pauses count less: they are fewer than jobs, and are remembered for longer. */
const HALF_LIFE_MS = 30 * 60_000;
/** Longer than that is no pause any more: nobody is expected after it. */
export const QUIET_MS = 10 * 60_000;
/** So many of 100 pauses end when somebody is expected. */
const COVERED = 0.99;
/** Half octaves from a quarter of a second; the last one reaches beyond QUIET_MS. */
const LENGTHS = 24;
const SHORTEST_MS = 250;
/** A pause could as well have been so many half octaves longer or shorter. */
const SPREAD = 1;
/** Before so many are known, any that is shorter than the longest one may come. */
const KNOWN_MIN = 20;
/** Nobody waits for less than this: who sends several jobs does so within moments, and each look is an alarm. */
const WAIT_MS_MIN = 1_000;

/**
 * Idle replicas are held at all costs for as long as so many batch jobs take on average. Who needs all replicas near their
 * limit hardly pauses for so long; and callers that wait for their batch jobs before they send more make pauses that would
 * teach to hold ever longer.
 */
const HELD_JOBS_MAX = 10;

/** Somebody is expected that long after the last job, ms. */
interface Expected {
  readonly from: number;
  readonly to: number;
}

export class Pauses {
  readonly #counts: DecayedCounts;
  #lastAt: number | null;
  /** The longest one that ended so lately that batch jobs which began in it may still be at work. */
  #felt = { ms: 0, endedAt: Number.NEGATIVE_INFINITY };
  #expected: readonly Expected[] | null = null;

  /** @param saved what `save` said, @param lastAt when the last job had come, null: none had */
  constructor(saved: readonly number[], lastAt: number | null) {
    this.#counts = new DecayedCounts(LENGTHS, HALF_LIFE_MS, saved, lastAt ?? 0);
    this.#lastAt = lastAt;
  }

  /**
   * An interactive job has come. All jobs of a burst find what was taken in the pause before it, as long as that is not
   * given back: so each counts for that pause, as well as for the moment since the one before it.
   * @param holdMs how long a batch job holds a replica
   */
  ended(at: number, holdMs: number): void {
    const ms = this.#lastAt === null ? QUIET_MS : Math.max(0, at - this.#lastAt);
    this.#lastAt = at;
    this.#expected = null;
    if (ms >= QUIET_MS) return;
    if (ms >= this.#felt.ms || at - this.#felt.endedAt > holdMs) this.#felt = { ms, endedAt: at };
    else this.#counts.add(lengthOf(ms), at);
    this.#counts.add(lengthOf(this.#felt.ms), at);
  }

  /**
   * How many batch jobs may begin in the present pause: one when nobody is expected any more, and twice as many each time
   * that as long has passed again; none while somebody is expected before they end.
   */
  lent(now: number, holdMs: number): number {
    return this.#lentAfter(this.#since(now), holdMs);
  }

  /**
   * Whether idle replicas have been held, in the present pause, for as long as they are at all costs.
   * @param meanHoldMs how long a batch job holds a replica on average: one long job must not have a fleet held for minutes
   */
  isHeldOut(now: number, holdMs: number, meanHoldMs: number): boolean {
    const at = this.#heldOutAfter(holdMs, meanHoldMs);
    return at !== null && this.#since(now) >= at;
  }

  /**
   * When one of these lets batch jobs have more, unless an interactive job comes: the alarm must ring.
   * @returns null: not before QUIET_MS are over
   */
  moreAt(now: number, holdMs: number, meanHoldMs: number): number | null {
    const since = this.#since(now);
    if (this.#lastAt === null) return null;
    const begins = [WAIT_MS_MIN, ...this.#expectedTimes().map(({ to }) => Math.max(WAIT_MS_MIN, to))];
    const begun = begins.findLast((begin) => begin <= since) ?? WAIT_MS_MIN;
    const grows = (Math.floor(since / begun) + 1) * begun;
    const lent = this.#lentAfter(since, holdMs);
    const heldOut = this.#heldOutAfter(holdMs, meanHoldMs);
    const after = [grows, heldOut ?? 0, ...begins]
      .filter((ms) => ms > since)
      .toSorted((a, b) => a - b)
      .find((ms) => ms === heldOut || this.#lentAfter(ms, holdMs) > (ms === grows ? lent : 0));
    return after === undefined ? null : this.#lastAt + after;
  }

  save(): number[] {
    return this.#lastAt === null ? [] : this.#counts.save(this.#lastAt);
  }

  #since(now: number): number {
    return this.#lastAt === null ? 0 : Math.max(0, now - this.#lastAt);
  }

  #lentAfter(since: number, holdMs: number): number {
    let begin = WAIT_MS_MIN;
    const expected = this.#expectedTimes();
    if (expected.length === 0) return 0;
    for (const { from, to } of expected) {
      if (since >= to) begin = Math.max(begin, to);
      else if (since + holdMs > from) return 0;
    }
    const times = Math.floor(since / begin);
    return times === 0 ? 0 : 2 ** (times - 1);
  }

  /** So long after the last job idle replicas have been held for HELD_JOBS_MAX batch jobs; null: not within QUIET_MS. */
  #heldOutAfter(holdMs: number, meanHoldMs: number): number | null {
    const limit = Math.max(WAIT_MS_MIN, HELD_JOBS_MAX * meanHoldMs);
    const expected = this.#expectedTimes();
    let held = 0;
    let before = 0;
    for (const { from, to } of expected.length === 0 ? [{ from: 0, to: QUIET_MS }] : expected) {
      const begin = Math.max(before, from - holdMs);
      const at = begin + limit - held;
      if (at <= Math.min(to, QUIET_MS)) return at;
      held += to - begin;
      before = to;
    }
    return null;
  }

  /** When somebody is expected, in order and apart; none where no pause is known. */
  #expectedTimes(): readonly Expected[] {
    this.#expected ??= this.#lastAt === null ? [] : expectedOf(this.#counts.weights(this.#lastAt));
    return this.#expected;
  }
}

function lengthOf(ms: number): number {
  return ms <= SHORTEST_MS ? 0 : Math.min(LENGTHS - 1, Math.ceil(2 * Math.log2(ms / SHORTEST_MS)));
}

/** Where a length ends, ms. */
function endOf(length: number): number {
  return length < 0 ? 0 : Math.ceil(SHORTEST_MS * 2 ** (length / 2));
}

/** The most frequent lengths that together cover what must be covered. */
function expectedOf(weights: readonly number[]): Expected[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const usual = new Set<number>();
  let covered = 0;
  for (const [length, weight] of [...weights.entries()].toSorted(([, a], [, b]) => b - a)) {
    if (covered >= total * COVERED) break;
    covered += weight;
    usual.add(length);
  }
  const times: Expected[] = [];
  for (const length of [...usual].toSorted((a, b) => a - b)) {
    const from = total < KNOWN_MIN ? 0 : endOf(length - 1 - SPREAD);
    const to = endOf(length + SPREAD);
    const before = times.at(-1);
    if (before === undefined || from > before.to) times.push({ from, to });
    else times[times.length - 1] = { from: before.from, to };
  }
  return times;
}
