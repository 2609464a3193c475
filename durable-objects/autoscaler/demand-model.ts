/**
 * What is learned of an endpoint's interactive demand, from when jobs arrive and from how long they take: the rate; how
 * many jobs would run at once if nobody waited, and how long each such level stays unused; what each replica saves in
 * waiting. Times are seconds by the caller's clock.
 */
import { addGap, GAP_BINS, gapsKnown, keepFor, longestGapS } from "./gap-histogram.ts";
import { type Expected, Rhythm } from "./rhythm.ts";
import { ServiceTimes } from "./service-times.ts";
import { LEVELS_MAX, Staffing, WINDOWS_BOOTS } from "./staffing.ts";

/** Before anything is known. */
export const BOOT_S_BEFORE = 30;
const SERVICE_S_BEFORE = 10;
/** Durations of the last jobs, which stand for those of the next. */
export const SERVICES_KEPT = 8;
/** Starts of which the median counts. */
export const BOOTS_KEPT = 8;
/** Weights of the newest duration and saving in their averages, once there are enough of them. */
const SERVICE_WEIGHT = 1 / 32;
const SAVED_WEIGHT = 1 / 30;
/** Before, a saving is one part in so many, and in as many more as gaps are known: a half, a half, a third, a quarter and so on. */
const SAVED_PARTS = 2;
/** Time constants of the averages of the rate, in boots. */
export const RATE_BOOTS = [1, 4, 16] as const;
/** The first jobs are taken to have come within so many boots: from those that came at once no rate can be told. */
const FIRST_BOOTS = 4;
/** Jobs that would run at once, and are followed one by one; more than this many count as this many. */
export const RUNNING_MAX = 192;
/** The wait value may move by so much before how long to keep a level is worked out anew. */
const WAIT_VALUE_STEP = 0.02;
/** Traffic is over for a level that has been unused for so many boots, this long at least, and so many of its longest gaps more. */
const QUIET_S_MIN = 300;
const QUIET_BOOTS = 10;
const QUIET_GAPS = 2;

/** Nothing takes longer than a month: who says so has measured wrong. */
const DURATION_S_MAX = 31 * 86_400;

const ROW = LEVELS_MAX + 1;

export class DemandModel {
  bootS = BOOT_S_BEFORE;
  recentBootS: number[] = [];
  serviceS = SERVICE_S_BEFORE;
  services = 0;
  readonly serviceTimes = new ServiceTimes();
  readonly recentServiceS = new Float64Array(SERVICES_KEPT).fill(SERVICE_S_BEFORE);
  /** Arrivals so far; also which of the recent durations the next one gets. */
  arrivals = 0;
  startedAt = 0;
  readonly rates = new Float64Array(RATE_BOOTS.length);
  rateAt = 0;
  /** When the jobs that would run now would end, ascending, as of the last arrival. */
  ends: number[] = [];
  /** Highest level ever needed. */
  top = 0;
  /** By level: since when it is unused, -Infinity if it never was used; its gaps; waiting it saves each time it is needed. */
  readonly unusedSince = new Float64Array(ROW).fill(Number.NEGATIVE_INFINITY);
  readonly gaps = new Float64Array(ROW * GAP_BINS);
  readonly savedPerNeed = new Float64Array(ROW);
  staffing = new Staffing();
  rhythm = new Rhythm();
  /** What the rhythm lets expect after the latest occasion; undefined before that is worked out. */
  #expected: Expected | null | undefined;
  #expectedStale = true;
  /** By level: how long it is worth keeping unused; negative where that is to be worked out anew. */
  readonly #keepFor = new Float64Array(ROW).fill(-1);
  #keepForWaitValue = Number.NaN;
  /** What depends on all of the above: the gaps', then each window's staircase of the times until when levels are kept. */
  readonly #until = Array.from({ length: 1 + WINDOWS_BOOTS.length }, () => new Float64Array(ROW + 1));
  #untilStale = true;

  booted(bootS: number): void {
    if (!isDuration(bootS)) return;
    this.setBoots([...this.recentBootS.slice(1 - BOOTS_KEPT), Math.max(0.1, bootS)]);
  }

  /** The last starts, seconds, the oldest first. */
  setBoots(recentBootS: readonly number[]): void {
    this.recentBootS = [...recentBootS];
    this.bootS = median(this.recentBootS);
    this.forgetDerived();
  }

  get longestBootS(): number {
    return Math.max(this.bootS, ...this.recentBootS);
  }

  finished(serviceS: number): void {
    if (!isDuration(serviceS)) return;
    const seconds = Math.max(0.01, serviceS);
    this.services += 1;
    this.serviceS += Math.max(SERVICE_WEIGHT, 1 / this.services) * (seconds - this.serviceS);
    this.serviceTimes.add(seconds);
    if (this.services > 1) this.recentServiceS[this.services % SERVICES_KEPT] = seconds;
    else this.#startOver(seconds);
  }

  /**
   * One arrival.
   * @param freeWaitS waits up to here count as none
   * @returns the seconds it is taken to last: one of the recent durations
   */
  arrived(now: number, freeWaitS: number): number {
    if (this.arrivals === 0) this.startedAt = now;
    this.arrivals += 1;
    const serviceS = this.recentServiceS[this.arrivals % SERVICES_KEPT] ?? this.serviceS;
    this.#decayRates(now);
    // The first one starts the clock: from one arrival no rate can be told.
    const counted = this.arrivals === 1 ? 0 : 1;
    for (let index = 0; index < this.rates.length; index++) this.rates[index] = (this.rates[index] ?? 0) + counted;
    this.#endJobs(now);
    const level = Math.min(LEVELS_MAX, this.ends.length + 1);
    this.top = Math.max(this.top, level);
    const { staffing } = this;
    const pausedS = level === 1 ? now - (this.unusedSince[1] ?? 0) : 0;
    if (this.rhythm.arrived(now, level, pausedS, this.bootS, this.#expected ?? null)) this.#expected = undefined;
    if (level > 1 || staffing.coldFreeAt <= now) {
      const saved = this.savedPerNeed[level] ?? 0;
      const weight = Math.max(SAVED_WEIGHT, 1 / (SAVED_PARTS + gapsKnown(this.gaps, level * GAP_BINS)));
      this.savedPerNeed[level] = saved + weight * (Math.max(0, staffing.takeSaved(level)) - saved);
    }
    staffing.arrive(now, serviceS, this.bootS, freeWaitS, level + 1);
    if (this.ends.length < LEVELS_MAX) {
      const since = this.unusedSince[level] ?? Number.NEGATIVE_INFINITY;
      if (since > Number.NEGATIVE_INFINITY) addGap(this.gaps, level * GAP_BINS, now - since);
      this.#keepFor[level] = -1;
    }
    this.#startJob(now + serviceS);
    this.#untilStale = true;
    return serviceS;
  }

  /** Seconds until a replica that has worked for `elapsedS` on an interactive job is free, as far as can be told. */
  busyFor(elapsedS: number): number {
    return this.serviceTimes.restOf(elapsedS, this.serviceS);
  }

  /** Arrivals per second expected next: the mean of a quick, a middling and a slow average. */
  jobsPerS(now: number): number {
    const ageS = Math.max(FIRST_BOOTS * this.bootS, now - this.startedAt);
    let sum = 0;
    for (let index = 0; index < this.rates.length; index++) {
      const tau = (RATE_BOOTS[index] ?? 1) * this.bootS;
      const decayed = (this.rates[index] ?? 0) * Math.exp((this.rateAt - now) / tau);
      sum += decayed / (tau * (1 - Math.exp(-ageS / tau)));
    }
    return sum / this.rates.length;
  }

  /** Works out until when each level is kept, where something has changed since; to be called before what follows. */
  derive(now: number, waitValue: number): void {
    if (!(Math.abs(waitValue / this.#keepForWaitValue - 1) < WAIT_VALUE_STEP)) {
      this.#keepForWaitValue = waitValue;
      this.forgetDerived();
    }
    if (!this.#untilStale) return;
    this.#untilStale = false;
    const [gaps, ...windows] = this.#until;
    if (gaps !== undefined) this.#gapsUntil(gaps, waitValue);
    for (const [index, until] of windows.entries()) {
      this.staffing.worthUntil(index, waitValue, this.bootS, now - this.startedAt, until);
    }
    this.#untilOver(windows);
    for (const until of windows) stairs(until);
    this.#restUntilExpected(now, waitValue);
  }

  forgetDerived(): void {
    this.#keepFor.fill(-1);
    this.#expectedStale = true;
    this.#untilStale = true;
  }

  /** Replicas worth starting now because jobs come by the clock. */
  levelDue(now: number): number {
    const due = this.#due(now);
    return due === null || now < due.from ? 0 : due.level;
  }

  /** Those worth keeping: also for a while after the first of the jobs has come. */
  levelExpected(now: number): number {
    const { held } = this.rhythm;
    return Math.max(this.levelDue(now), now < held.until ? held.level : 0);
  }

  /** When more than so many replicas are to be started because jobs come by the clock; Infinity: never. */
  expectedFrom(replicas: number, now: number): number {
    const due = this.#due(now);
    return due === null || now >= due.from || replicas >= due.level ? Number.POSITIVE_INFINITY : due.from;
  }

  /** Until when a level is kept for jobs that come by the clock; -Infinity where it is not. */
  expectedUntil(level: number, now: number): number {
    const { held } = this.rhythm;
    return Math.max(
      level <= this.levelDue(now) ? (this.#due(now)?.to ?? now) : Number.NEGATIVE_INFINITY,
      level <= held.level && now < held.until ? held.until : Number.NEGATIVE_INFINITY,
    );
  }

  /** The highest level worth keeping at `now` because of its gaps; `until` says when that changes. */
  levelKept(now: number): number {
    return highest(this.#until[0], now);
  }

  /** The highest level whose saved waiting, averaged over a window, is worth a replica. */
  levelStaffed(now: number, windowIndex: number): number {
    return windowIndex < 0 ? 0 : highest(this.#until[1 + windowIndex], now);
  }

  /** Until when a level is kept by its gaps, or by a window's staffing; -Infinity where it is not. */
  keptUntil(level: number): number {
    return this.#until[0]?.[level] ?? Number.NEGATIVE_INFINITY;
  }

  staffedUntil(level: number, windowIndex: number): number {
    return (windowIndex < 0 ? undefined : this.#until[1 + windowIndex]?.[level]) ?? Number.NEGATIVE_INFINITY;
  }

  /** GPU-seconds that it costs when a level is needed and not there: waiting it out, or a boot. */
  #coldCost(level: number, waitValue: number): number {
    const saved = this.savedPerNeed[level] ?? 0;
    if (level === 1) return this.bootS + waitValue * Math.max(saved, this.bootS);
    return Math.min(waitValue * saved, this.bootS + waitValue * Math.min(saved, this.bootS));
  }

  /**
   * A level that has been unused for much longer than it ever was lately is not what it was: what it saved in waiting then
   * says nothing of now. Without this a quarter of an hour of dense traffic keeps its replicas for half an hour after it.
   */
  #untilOver(windows: readonly Float64Array[]): void {
    const quietS = Math.max(QUIET_S_MIN, QUIET_BOOTS * this.bootS);
    for (let level = 1; level <= LEVELS_MAX; level++) {
      const since = this.#unusedFrom(level);
      if (since === Number.NEGATIVE_INFINITY) continue;
      const over = since + quietS + QUIET_GAPS * longestGapS(this.gaps, level * GAP_BINS);
      for (const until of windows) until[level] = Math.min(until[level] ?? 0, over);
    }
  }

  /** When jobs that come by the clock are due, or are still to come; null: they are not. */
  #due(now: number): { readonly from: number; readonly to: number; readonly level: number } | null {
    const { beganAt } = this.rhythm;
    if (this.#expected === null || this.#expected === undefined) return null;
    const { fromS, toS, level } = this.#expected;
    return now < beganAt + toS ? { from: beganAt + fromS, to: beganAt + toS, level } : null;
  }

  /** Where jobs come by the clock, nothing is kept from one occasion to the next but for a pause that belongs to one. */
  #restUntilExpected(now: number, waitValue: number): void {
    const { bootS, gaps } = this;
    const coldCost = (level: number) => this.#coldCost(level, waitValue);
    // What is started for the jobs that are due waits for them, whatever a start has taken meanwhile.
    if (this.#expected === undefined || (this.#expectedStale && this.levelDue(now) === 0)) {
      this.#expectedStale = false;
      const keepS = keepFor(gaps, GAP_BINS, coldCost(1));
      this.#expected = this.rhythm.expected({ bootS, longestBootS: this.longestBootS, waitValue, keepS, coldCost });
    }
    if (this.#expected === null) return;
    const foreseen = { longerThanS: bootS, cost: this.#expected.costS };
    const rest = this.#unusedFrom(1) + keepFor(gaps, GAP_BINS, coldCost(1), foreseen);
    for (const until of this.#until) {
      for (let level = 1; level <= LEVELS_MAX; level++) until[level] = Math.min(until[level] ?? 0, rest);
    }
  }

  /** Since when a level is unused, or when it will be; -Infinity if it never was used. */
  #unusedFrom(level: number): number {
    const running = this.ends.length;
    return level <= running ? (this.ends[running - level] ?? 0) : (this.unusedSince[level] ?? 0);
  }

  #gapsUntil(until: Float64Array, waitValue: number): void {
    for (let level = 1; level <= LEVELS_MAX; level++) {
      const since = this.#unusedFrom(level);
      let keep = 0;
      if (since > Number.NEGATIVE_INFINITY) {
        keep = this.#keepFor[level] ?? -1;
        if (keep < 0) keep = keepFor(this.gaps, level * GAP_BINS, this.#coldCost(level, waitValue));
        this.#keepFor[level] = keep;
      }
      until[level] = since + keep;
    }
    stairs(until);
  }

  /**
   * The first duration known: what was learned with a guessed one is worth less than nothing. It is not learned again from
   * the same arrivals: an endpoint's first burst would keep all its replicas for most of an hour, on no other evidence.
   */
  #startOver(serviceS: number): void {
    this.recentServiceS.fill(serviceS);
    this.staffing = new Staffing();
    this.ends = [];
    this.top = 0;
    this.unusedSince.fill(Number.NEGATIVE_INFINITY);
    this.gaps.fill(0);
    this.savedPerNeed.fill(0);
    this.rhythm = new Rhythm();
    this.#expected = undefined;
    this.forgetDerived();
  }

  #decayRates(now: number): void {
    for (let index = 0; index < this.rates.length; index++) {
      const factor = Math.exp((this.rateAt - now) / ((RATE_BOOTS[index] ?? 1) * this.bootS));
      this.rates[index] = (this.rates[index] ?? 0) * factor;
    }
    this.rateAt = now;
  }

  #endJobs(now: number): void {
    const { ends } = this;
    let ended = 0;
    for (; ended < ends.length; ended++) {
      const end = ends[ended] ?? 0;
      if (end > now) break;
      const level = ends.length - ended;
      if (level <= LEVELS_MAX) this.unusedSince[level] = end;
    }
    if (ended > 0) ends.splice(0, ended);
  }

  #startJob(end: number): void {
    const { ends } = this;
    if (ends.length >= RUNNING_MAX) return;
    let at = ends.length;
    while (at > 0 && (ends[at - 1] ?? 0) > end) at -= 1;
    ends.splice(at, 0, end);
  }
}

/** Whether so many seconds may be learned from. */
export function isDuration(seconds: number): boolean {
  return seconds <= DURATION_S_MAX;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? BOOT_S_BEFORE;
}

/** A level is kept at least as long as any above it. */
function stairs(until: Float64Array): void {
  for (let level = LEVELS_MAX - 1; level >= 1; level--) {
    until[level] = Math.max(until[level] ?? 0, until[level + 1] ?? 0);
  }
}

function highest(until: Float64Array | undefined, now: number): number {
  let level = 0;
  while (level < LEVELS_MAX && (until?.[level + 1] ?? Number.NEGATIVE_INFINITY) > now) level += 1;
  return level;
}
