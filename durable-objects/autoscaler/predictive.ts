import { WAIT_VALUE_MIN } from "#contract/limits";
import { batchNeed, interactiveBusy } from "./batch-need.ts";
import { PLACED_ONE_BY_ONE_MAX, waitAhead } from "./boot-ahead.ts";
import { type DemandModel, isDuration } from "./demand-model.ts";
import {
  isStartWorth,
  levelUntil,
  outlook,
  replicasKept,
  replicasStarted,
  type Situation,
  startsFrom,
  type Worth,
} from "./plan.ts";
import { PredictiveMemory, readMemory, writeMemory } from "./predictive-memory.ts";
import { NO_MORE_ALLOWED } from "./reasons.ts";
import type {
  Scaler,
  ScalerDecision,
  ScalerEvent,
  ScalerObservation,
  ScalerReplica,
  ScalerSettings,
} from "./scaler.ts";
import { LEVELS_MAX } from "./staffing.ts";
import { earlier, idleMs, latestStartedFirst, longestIdleFirst, SET_BACK_MS_MIN, timedStops } from "./timed-stops.ts";
import { DEFAULT_VARIANT, VARIANTS, type Variant } from "./variants.ts";

/** Replicas that are looked at one by one when a start is considered, the idle ones first; more serve as well, unlooked at. */
const REPLICAS_SEEN_MAX = 512;
/** Shadows' costs of that long ago count a third. */
const SHADOW_MEMORY_S = 48 * 3_600;
/** No other variant is followed before there is so much evidence, and none that is not cheaper by this share and this many starts. */
const EVIDENCE_S_MIN = 2 * 3_600;
const CHEAPER_SHARE = 0.01;
const CHEAPER_STARTS = 10;
/** A p95 target moves the wait value by this much per job, and no further than these. */
const TARGET_GAIN = 0.03;
const MISSED_SHARE = 0.05;
const LEARNED_WAIT_VALUE_MIN = 0.02;
const LEARNED_WAIT_VALUE_MAX = 100;
/** A start of so many durations at most is quick; where those hold a target, the wait value counts so much for starts and for what is kept. */
const QUICK_START_SERVICES = 3;
const STARTED_TIMES = 30;
const KEPT_SHARE = 0.1;
/** While jobs wait and no event comes, a decision is reconsidered this often, in mean durations; and no more often than this. */
const RECONSIDER_SERVICES = 0.5;
const RECONSIDER_MS_MIN = 1_000;
/**
 * A replica whose start takes less than this stays idle for the difference at least. Reckoned by its start alone it would
 * hardly pay to keep, but one that stops after each of a person's calls makes every call wait, and work on its machine.
 */
const SHORT_START_S = 8;

/**
 * Looks one start ahead and keeps what is likely to be needed soon; learns both from the endpoint's own arrivals, and runs
 * several variants of itself in its shadow to follow the one that would have cost least.
 * @see docs/decisions/0030-the-autoscaler.md
 */
export class PredictiveScaler implements Scaler {
  #memory: PredictiveMemory | null;
  readonly #situation: Situation = {
    now: 0,
    busy: 0,
    booting: 0,
    idle: 0,
    idleYoung: 0,
    queued: 0,
    freeInS: new Float64Array(REPLICAS_SEEN_MAX),
    waitedS: new Float64Array(PLACED_ONE_BY_ONE_MAX),
    floor: 0,
    ceiling: 0,
    bootS: 0,
  };

  /** @param saved what `save` gave; anything else is as good as null */
  constructor(saved: string | null) {
    this.#memory = saved === null ? null : readMemory(saved);
  }

  note(event: ScalerEvent): void {
    const memory = this.#remember(event.at);
    const now = secondsOf(memory, event.at);
    memory.at = now;
    switch (event.type) {
      case "arrived":
        if (event.lane === "interactive") arrived(memory, now);
        return;
      case "started":
        if (event.lane === "interactive") learnWaitValue(memory, event.waitedMs / 1000);
        return;
      case "finished":
        if (event.lane === "interactive") memory.model.finished(event.busyMs / 1000);
        else memory.batchServiceS = averaged(memory.batchServiceS, event.busyMs / 1000);
        return;
      case "booted":
        memory.model.booted(event.bootMs / 1000);
        return;
      default:
        throw new Error(`unhandled: ${JSON.stringify(event satisfies never)}`);
    }
  }

  decide(settings: ScalerSettings, observation: ScalerObservation): ScalerDecision {
    const memory = this.#remember(observation.now);
    const ceiling = Math.max(0, settings.ceiling);
    const floor = Math.min(settings.floor, ceiling);
    const worth = ask(memory, settings, floor, ceiling);
    const { model } = memory;
    const now = secondsOf(memory, observation.now);
    const variant = variantFor(memory, settings);
    model.derive(now, worth.waitValue);
    const idle = longestIdleFirst(observation.replicas);
    const at = this.#describe(memory, observation, idle, variant, now, floor, ceiling);
    const replicas = observation.replicas.length;
    const started = replicasStarted(model, variant, at, worth);
    const batch = batchNeed(settings, observation, batchJobsPerReplica(memory, settings));
    const withBatch = batch.replicas === 0 ? 0 : interactiveBusy(observation) + batch.replicas;
    const forBatch = Math.max(0, withBatch - replicas);
    const starts = Math.max(0, Math.min(ceiling - replicas, Math.max(started, forBatch)));
    // One that idles although jobs wait is about to get one of them.
    const inUse = starts > 0 ? replicas : replicas - spareOf(observation);
    const stops = this.#stops(memory, settings, variant, observation, at, Math.max(floor, withBatch, inUse));
    const wanted = replicas - stops.letGo.length + starts;
    const startsAt = startsFrom(model, variant, wanted, at.now);
    return {
      wanted: Math.max(floor, Math.min(ceiling, wanted)),
      letGo: stops.letGo,
      reason: reasonFor(
        model,
        at,
        worth,
        { replicas, started, starts, letGo: stops.letGo.length, batch: forBatch },
        variant,
      ),
      lookAgainAt: [
        stops.dueAt,
        batch.dueAt,
        Number.isFinite(startsAt) ? clockMs(memory, startsAt, observation.now) : null,
        reconsiderAt(model, at, observation, replicas + starts),
      ].reduce(earlier),
    };
  }

  save(): string {
    if (this.#memory === null) return "{}";
    const text = writeMemory(this.#memory);
    this.#memory = readMemory(text) ?? this.#memory;
    return text;
  }

  /**
   * The memory, which begins with the first word. Told late, a moment counts as the latest before it; where the clock was set
   * back, time goes on from there, and the latest moment counts as now.
   */
  #remember(atMs: number): PredictiveMemory {
    this.#memory ??= new PredictiveMemory(atMs);
    const memory = this.#memory;
    const aheadMs = memory.originMs + memory.at * 1000 - atMs;
    if (aheadMs >= SET_BACK_MS_MIN) memory.originMs -= aheadMs;
    return memory;
  }

  #describe(
    memory: PredictiveMemory,
    observation: ScalerObservation,
    idle: readonly ScalerReplica[],
    variant: Variant,
    now: number,
    floor: number,
    ceiling: number,
  ): Situation {
    const at = this.#situation;
    const { model } = memory;
    const { freeInS, waitedS } = at;
    const batchServiceS = memory.batchServiceS ?? model.serviceS;
    at.idle = Math.min(idle.length, freeInS.length);
    const others = freeInS.length - at.idle;
    let seen = 0;
    for (const { state, since, lane } of observation.replicas) {
      if (state !== "busy" || seen === others) continue;
      const elapsedS = Math.max(0, observation.now - since) / 1000;
      // Batch jobs are taken to be of the same kind, only longer or shorter.
      const scale = lane === "batch" ? batchServiceS / model.serviceS : 1;
      freeInS[seen++] = scale * model.busyFor(elapsedS / scale);
    }
    at.busy = seen;
    at.bootS = model.bootS;
    for (const { state, since } of observation.replicas) {
      if (state !== "starting" || seen === others) continue;
      const elapsedS = Math.max(0, observation.now - since) / 1000;
      freeInS[seen++] = elapsedS < model.bootS ? model.bootS - elapsedS : model.bootS / 8;
      at.bootS = Math.max(at.bootS, elapsedS);
    }
    at.booting = seen - at.busy;
    at.idleYoung = idle.filter((one) => idleMs(one, observation.now) < variant.timerS * 1000).length;
    at.now = now;
    at.queued = observation.waitingTotal;
    at.floor = floor;
    at.ceiling = ceiling;
    for (let job = 0; job < Math.min(observation.waiting.length, waitedS.length); job++) {
      waitedS[job] = Math.max(0, (observation.now - (observation.waiting[job] ?? observation.now)) / 1000);
    }
    return at;
  }

  /**
   * Which replicas go, and when the next one may. While one idles, those that start go first: it is there already.
   * @param kept no fewer than this stay in any case
   */
  #stops(
    memory: PredictiveMemory,
    settings: ScalerSettings,
    variant: Variant,
    observation: ScalerObservation,
    at: Situation,
    kept: number,
  ): { readonly letGo: readonly string[]; readonly dueAt: number | null } {
    const replicas = observation.replicas.length;
    if (settings.idleTimeoutMs !== null) return timedStops(observation, settings.idleTimeoutMs, replicas - kept);
    const idle = longestIdleFirst(observation.replicas);
    if (idle.length === 0) return { letGo: [], dueAt: null };
    const worthKeeping = Math.min(at.ceiling, replicasKept(memory.model, variant, at));
    const surplus = Math.max(0, replicas - Math.max(kept, worthKeeping));
    const calledOff = latestStartedFirst(observation.replicas).slice(0, surplus);
    const stayMs = Math.max(0, SHORT_START_S - memory.model.bootS) * 1000;
    const gone = idle.slice(0, surplus - calledOff.length).filter((one) => idleMs(one, observation.now) >= stayMs);
    const letGo = [...calledOff, ...gone].map(({ id }) => id);
    const next = idle[gone.length];
    const left = replicas - letGo.length;
    if (next === undefined || left <= kept) return { letGo, dueAt: null };
    const until = Math.max(
      levelUntil(memory.model, variant, Math.min(LEVELS_MAX, left), at.now),
      Math.min(at.now, secondsOf(memory, next.since)) + Math.max(variant.timerS, stayMs / 1000),
    );
    const dueAt = until > at.now && Number.isFinite(until) ? clockMs(memory, until, observation.now) : null;
    return { letGo, dueAt };
  }
}

/** How many of those that idle or start nobody waits for. */
function spareOf({ replicas, waitingTotal }: ScalerObservation): number {
  return Math.max(0, replicas.filter(({ state }) => state !== "busy").length - waitingTotal);
}

/** One interactive arrival: what was to happen before it happens in the shadows, then they and the model hear of it. */
function arrived(memory: PredictiveMemory, now: number): void {
  const { model, arrivals, shadows, floor, ceiling } = memory;
  const worth = worthOf(memory);
  model.derive(now, worth.waitValue);
  for (const shadow of shadows) {
    shadow.decay(Math.exp((shadow.at - now) / SHADOW_MEMORY_S));
    shadow.advance(now, model, arrivals, worth, floor, ceiling);
  }
  arrivals.add(now, model.arrived(now, worth.freeWaitS));
  model.derive(now, worth.waitValue);
  for (const shadow of shadows) shadow.arrived(model, arrivals, worth, floor, ceiling);
  follow(memory, now, worth.waitValue);
}

/** Follows another variant once that would have been cheaper for long enough. */
function follow(memory: PredictiveMemory, now: number, waitValue: number): void {
  const { shadows, model } = memory;
  if (now - model.startedAt < EVIDENCE_S_MIN) return;
  const costs = shadows.map((shadow) => shadow.cost(waitValue));
  const current = costs[memory.followed] ?? Number.POSITIVE_INFINITY;
  const least = Math.min(...costs);
  if (current - least > CHEAPER_SHARE * current + CHEAPER_STARTS * model.bootS) memory.followed = costs.indexOf(least);
}

/** Takes over what is asked for, for the shadows to live by as well; says what waiting is worth. */
function ask(memory: PredictiveMemory, settings: ScalerSettings, floor: number, ceiling: number): Worth {
  const target = settings.targetP95WaitS;
  if (target === null) memory.learnedWaitValue = null;
  else memory.learnedWaitValue ??= clamp(settings.waitValue, LEARNED_WAIT_VALUE_MIN, LEARNED_WAIT_VALUE_MAX);
  memory.waitValue = memory.learnedWaitValue ?? Math.max(WAIT_VALUE_MIN, settings.waitValue);
  memory.targetS = target;
  // Waits that are far from the target are nobody's concern, nor is one start's where starts take no longer than it.
  memory.freeWaitS = target === null ? 0 : Math.max(target / 2, startsHold(memory) ? memory.model.longestBootS : 0);
  memory.floor = floor;
  memory.ceiling = Math.min(ceiling, LEVELS_MAX);
  return worthOf(memory);
}

/**
 * Where quick starts hold the p95 target, what it takes to hold it are starts, early ones: what was learned goes into
 * them first, and little of it into keeping replicas.
 */
function worthOf(memory: PredictiveMemory): Worth {
  const { waitValue, freeWaitS } = memory;
  if (!startsHold(memory)) return { waitValue, freeWaitS, startWaitValue: waitValue, startFreeWaitS: freeWaitS };
  return {
    waitValue: Math.max(LEARNED_WAIT_VALUE_MIN, KEPT_SHARE * waitValue),
    freeWaitS,
    startWaitValue: STARTED_TIMES * waitValue,
    startFreeWaitS: 0,
  };
}

/** Whether a start is over within the p95 target, and takes no longer than a few jobs do. */
function startsHold({ targetS, model }: PredictiveMemory): boolean {
  return targetS !== null && model.longestBootS <= targetS && model.bootS <= QUICK_START_SERVICES * model.serviceS;
}

/** Every job that misses a p95 target makes waiting dearer, every other one a little cheaper: one in twenty balances. */
function learnWaitValue(memory: PredictiveMemory, waitedS: number): void {
  if (memory.learnedWaitValue === null || memory.targetS === null || !isDuration(waitedS)) return;
  const missed = waitedS > memory.targetS ? 1 : 0;
  const moved = memory.learnedWaitValue * Math.exp(TARGET_GAIN * (missed - MISSED_SHARE));
  memory.learnedWaitValue = clamp(moved, LEARNED_WAIT_VALUE_MIN, LEARNED_WAIT_VALUE_MAX);
}

/**
 * The variant that decides: the one followed, with a timer instead of what was learned where the settings say so. Then
 * nothing is started for what recent traffic needed either: the timer would stop it before its job comes, again and again.
 */
function variantFor(memory: PredictiveMemory, settings: ScalerSettings): Variant {
  const followed = VARIANTS[memory.followed] ?? DEFAULT_VARIANT;
  if (settings.idleTimeoutMs === null) return followed;
  return { ...followed, windowIndex: -1, clock: false, timerS: settings.idleTimeoutMs / 1000 };
}

/** So many batch jobs are done by one replica in the time that they may wait. */
function batchJobsPerReplica(memory: PredictiveMemory, settings: ScalerSettings): number {
  return settings.batchTargetWaitMs / 1000 / (memory.batchServiceS ?? memory.model.serviceS);
}

/** A job that lasts longer than expected is no event, but changes what a start would be worth to those who wait. */
function reconsiderAt(
  model: DemandModel,
  at: Situation,
  observation: ScalerObservation,
  replicas: number,
): number | null {
  if (at.queued === 0 || replicas >= at.ceiling) return null;
  return observation.now + Math.max(RECONSIDER_MS_MIN, Math.ceil(model.serviceS * RECONSIDER_SERVICES * 1000));
}

interface Change {
  readonly replicas: number;
  /** By the policy for interactive jobs, and in all. */
  readonly started: number;
  readonly starts: number;
  readonly letGo: number;
  /** Starts that batch jobs ask for. */
  readonly batch: number;
}

function reasonFor(model: DemandModel, at: Situation, worth: Worth, change: Change, variant: Variant): string {
  const { replicas, starts, letGo } = change;
  if (starts > 0) {
    const start = `a start of ${inSeconds(model.bootS)} (p50)`;
    if (change.batch > change.started) return "batch jobs have waited as long as they may";
    if (replicas + starts <= at.floor) return `the warm floor is ${at.floor}`;
    if (at.queued > 0) {
      const waitS = meanWaitS(model, at, worth);
      if (!Number.isFinite(waitS)) return `${at.queued} waiting and nothing to serve them, ${start}`;
      return `expected wait ${inSeconds(waitS)} is worth more than ${start}`;
    }
    if (variant.clock && model.levelDue(at.now) > replicas) return "jobs come by the clock, and the next are due";
    return `at ${perMinute(model.jobsPerS(at.now))} jobs a minute the waiting this saves is worth a replica`;
  }
  if (letGo > 0) return "not likely enough to be needed again soon";
  if (at.queued > 0) {
    const isBound = replicas >= at.ceiling && isStartWorth(model, variant, at, worth);
    return isBound
      ? `${at.queued} waiting, and ${NO_MORE_ALLOWED}`
      : `${at.queued} waiting will be served sooner than a start would help`;
  }
  if (replicas <= at.floor && replicas > 0) return "the warm floor";
  if (at.idle > 0 && variant.clock && model.levelExpected(at.now) >= replicas)
    return `${at.idle} idle, jobs come by the clock, and the next are due`;
  if (at.idle > 0) return `${at.idle} idle, likely enough to be needed again soon (by ${variant.name})`;
  return replicas === 0 ? "nothing to do" : "enough";
}

/** Seconds that those who wait now will wait from now on, on average, with the replicas there are; Infinity without any. */
function meanWaitS(model: DemandModel, at: Situation, worth: Worth): number {
  const alone = { ...outlook(model, at, worth), jobsPerS: 0, freeWaitS: 0, overlongWeight: 0 };
  return waitAhead(alone, 0) / at.queued;
}

function inSeconds(seconds: number): string {
  return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)} s`;
}

/** To two digits, in full: more would say more than is known. */
function perMinute(jobsPerS: number): string {
  const jobs = jobsPerS * 60;
  return jobs < 0.01 ? "less than 0.01" : `${Number(jobs.toPrecision(2))}`;
}

/** A time of the memory's own in Unix ms: rounded to whole ones it may seem to have come already, a moment before it has. */
function clockMs(memory: PredictiveMemory, seconds: number, nowMs: number): number {
  return Math.max(Math.floor(nowMs) + 1, Math.ceil(memory.originMs + seconds * 1000));
}

/** Seconds of the memory's own time; never before what it was last told. */
function secondsOf(memory: PredictiveMemory, atMs: number): number {
  return Math.max(memory.at, (atMs - memory.originMs) / 1000);
}

function averaged(known: number | null, value: number): number | null {
  if (!isDuration(value)) return known;
  const positive = Math.max(0.01, value);
  return known === null ? positive : known + (positive - known) / 32;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
