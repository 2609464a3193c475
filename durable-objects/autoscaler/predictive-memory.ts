/** All that the predictive policy remembers of one endpoint, and the same as text. */
import * as z from "zod";
import { BOOTS_KEPT, DemandModel, RUNNING_MAX, SERVICES_KEPT } from "./demand-model.ts";
import { GAP_BINS } from "./gap-histogram.ts";
import {
  packAgo,
  packNumbers,
  packQuantities,
  packRisingTimes,
  packRun,
  packTimes,
  type TimeGrid,
  unpackAgo,
  unpackNumbers,
  unpackQuantities,
  unpackRisingTimes,
  unpackRun,
  unpackTimes,
} from "./packed-numbers.ts";
import { fromFormBefore } from "./predictive-memory-before.ts";
import { RecentArrivals } from "./recent-arrivals.ts";
import { IN_TIME_MAX, OCCASIONS_KEPT, type Rhythm } from "./rhythm.ts";
import { SERVICE_BINS } from "./service-times.ts";
import { ShadowFleet } from "./shadow-fleet.ts";
import { LEVELS_MAX, rowOf, type Staffing, WINDOWS_BOOTS } from "./staffing.ts";
import { VARIANTS } from "./variants.ts";

/** Another form than this and the one before is not read: what was learned is learned again. */
const FORM = 2;
/** Arrivals that are written down for the shadows' queues; a shadow that is further behind gives up on the older ones. */
const ARRIVALS_WRITTEN_MAX = 128;
/** Times are kept to a twentieth of a second, more coarsely where jobs or starts take minutes. */
const UNIT_S = 0.05;
const RISING_STEPS_MAX = 4_000;
/** Of the costs of shadows, which differ by little. */
const COST_DIGITS = 9;

export class PredictiveMemory {
  /** Second 0 of all times here, in Unix ms. */
  originMs: number;
  /** When it was last told anything. */
  at = 0;
  readonly model: DemandModel;
  readonly arrivals: RecentArrivals;
  readonly shadows: readonly ShadowFleet[];
  /** Index into VARIANTS of the one that decides. */
  followed = 0;
  /** The wait value that a p95 target has led to; null before there was one. */
  learnedWaitValue: number | null = null;
  /** The p95 target last asked for, seconds. */
  targetS: number | null = null;
  batchServiceS: number | null = null;
  /** What was last asked for: shadows live by it. */
  waitValue = 10;
  freeWaitS = 0;
  floor = 0;
  ceiling = 1;

  constructor(originMs: number, model = new DemandModel(), arrivals = new RecentArrivals(), shadows = newShadows()) {
    this.originMs = originMs;
    this.model = model;
    this.arrivals = arrivals;
    this.shadows = shadows;
  }
}

function newShadows(): ShadowFleet[] {
  return VARIANTS.map((variant) => new ShadowFleet(variant));
}

/** By what a variant does: costs of others are not its own. */
const VARIANTS_WRITTEN = VARIANTS.map(
  ({ gaps, windowIndex, timerS, caution }) => `${gaps ? "g" : ""}${windowIndex}/${timerS}/${caution}`,
).join();

const finite = z.number();
const nonNegative = finite.min(0);
const level = z.int().min(0).max(LEVELS_MAX);
const times = z.string().max(3 * LEVELS_MAX);
const Written = z.object({
  form: z.literal(FORM),
  variants: z.literal(VARIANTS_WRITTEN),
  originMs: finite,
  at: nonNegative,
  unit: finite.positive(),
  followed: z
    .int()
    .min(0)
    .max(VARIANTS.length - 1),
  learnedWaitValue: finite.positive().nullable(),
  /** Missing in what was written before it was kept; asked for again at the next decision. */
  targetS: finite.positive().nullable().default(null),
  batchServiceS: finite.positive().nullable(),
  asked: z.tuple([finite.positive(), nonNegative, nonNegative, nonNegative]),
  boots: z.array(finite.positive()).max(BOOTS_KEPT),
  services: z.tuple([nonNegative, finite.positive(), z.array(finite.positive()).length(SERVICES_KEPT)]),
  /** Missing in what was written before there was such a thing. */
  serviceTimes: z.tuple([z.int().min(0).max(SERVICE_BINS), z.string()]).default([0, ""]),
  counts: z.tuple([z.int().min(0), nonNegative, z.int().min(0).max(LEVELS_MAX), z.int().min(1).max(LEVELS_MAX)]),
  rates: z.array(nonNegative).length(3),
  rateAt: finite,
  ends: z.string().max(3 * RUNNING_MAX),
  unusedSince: z.string(),
  gaps: z.string(),
  savedPerNeed: z.string(),
  untaken: z.string(),
  freeAt: z.string(),
  coldFreeAt: finite,
  /** Missing in what was written before there was such a thing. */
  rhythm: z
    .object({
      beganAt: finite.nullable(),
      peak: z.tuple([level, finite]),
      held: z.tuple([level, finite]),
      inTime: z.int().min(0).max(IN_TIME_MAX),
      periods: z.array(nonNegative).max(OCCASIONS_KEPT),
      peaks: z.array(level).max(OCCASIONS_KEPT),
      /** Of each occasion its pause, then of each when its peak was. */
      times: z.string(),
    })
    .default({ beganAt: null, peak: [0, 0], held: [0, 0], inTime: 0, periods: [], peaks: [], times: "" }),
  /** By window, then by number of replicas. */
  sums: z.string(),
  staffedAt: finite,
  arrivals: z.tuple([z.int().min(0), z.string(), z.string()]),
  shadowsAt: finite,
  /** Of each one when the busy ones end, for how long they are busy, when others are ready, since when they idle; head and costs. */
  shadows: z
    .array(z.tuple([times, z.string(), times, times, z.int().min(0), nonNegative, nonNegative]))
    .length(VARIANTS.length),
});
type Written = z.infer<typeof Written>;

/**
 * As text of below 16 kB, whatever was learned: each part has a bound, of which those of levels' gaps (64 of 62 characters),
 * of when replicas are free (4,224) and of the shadows (9 of 64 replicas, 5 each) are most. Rounds: whoever goes on after saving reads
 * what was written, to go on as a restart would.
 */
export function writeMemory(memory: PredictiveMemory): string {
  const { model, arrivals } = memory;
  const { staffing } = model;
  const unit = unitFor(model);
  const grid: TimeGrid = { base: memory.at, unit };
  const levels = staffing.levels;
  const upTo = (row: Float64Array, count: number) => Array.from(row.subarray(0, count + 1));
  const windows = WINDOWS_BOOTS.map((_, window) => window * (LEVELS_MAX + 1));
  const written: Written = {
    form: FORM,
    variants: VARIANTS_WRITTEN,
    originMs: memory.originMs,
    at: memory.at,
    unit,
    followed: memory.followed,
    learnedWaitValue: memory.learnedWaitValue,
    targetS: memory.targetS,
    batchServiceS: memory.batchServiceS,
    asked: [memory.waitValue, memory.freeWaitS, memory.floor, memory.ceiling],
    boots: model.recentBootS,
    services: [model.services, short(model.serviceS), Array.from(model.recentServiceS, (value) => short(value))],
    serviceTimes: packBins(model.serviceTimes.counts),
    counts: [model.arrivals, model.startedAt, model.top, levels],
    rates: Array.from(model.rates, (value) => short(value)),
    rateAt: model.rateAt,
    ends: packRisingTimes(model.ends, grid),
    unusedSince: packAgo(upTo(model.unusedSince, model.top).slice(1), memory.at),
    gaps: Array.from({ length: model.top }, (_, index) => packRun(gapsOf(model, index + 1))).join(""),
    savedPerNeed: packQuantities(upTo(model.savedPerNeed, model.top)),
    untaken: packNumbers(upTo(staffing.untaken, levels).slice(1)),
    freeAt: Array.from({ length: levels }, (_, index) => packRow(staffing, index + 1, grid)).join(""),
    coldFreeAt: cents(staffing.coldFreeAt),
    rhythm: writeRhythm(model.rhythm),
    sums: windows.map((from) => packNumbers(upTo(staffing.sums.subarray(from), levels))).join(""),
    staffedAt: staffing.at,
    arrivals: packArrivals(arrivals, grid),
    shadowsAt: memory.shadows[0]?.at ?? 0,
    shadows: memory.shadows.map((shadow) => [
      packTimes(shadow.busyEnds, grid),
      packQuantities(shadow.busyEnds.map((end, index) => end - (shadow.busySince[index] ?? end))),
      packTimes(shadow.readyAt, grid),
      packTimes(shadow.idleSince, grid),
      shadow.head,
      short(shadow.gpuS, COST_DIGITS),
      short(shadow.waitedS, COST_DIGITS),
    ]),
  };
  return JSON.stringify(written);
}

/** @returns null when the text is nothing that writeMemory wrote, now or in its form before */
export function readMemory(text: string): PredictiveMemory | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  const before = fromFormBefore(json);
  const parsed = Written.safeParse(before === null ? json : { ...before, form: FORM, variants: VARIANTS_WRITTEN });
  return parsed.success ? fromWritten(parsed.data) : null;
}

function fromWritten(written: Written): PredictiveMemory | null {
  const grid: TimeGrid = { base: written.at, unit: written.unit };
  const model = readModel(written, grid);
  const arrivals = readArrivals(written.arrivals, grid);
  const shadows = written.shadows.map((shadow, index) =>
    readShadow(shadow, index, grid, Math.min(written.at, written.shadowsAt)),
  );
  for (const shadow of shadows)
    if (shadow !== null && arrivals !== null) shadow.head = Math.min(shadow.head, arrivals.end);
  if (model === null || arrivals === null || shadows.some((shadow) => shadow === null)) return null;
  const memory = new PredictiveMemory(
    written.originMs,
    model,
    arrivals,
    shadows.filter((shadow) => shadow !== null),
  );
  memory.at = written.at;
  memory.followed = written.followed;
  memory.learnedWaitValue = written.learnedWaitValue;
  memory.targetS = written.targetS;
  memory.batchServiceS = written.batchServiceS;
  const [waitValue, freeWaitS, floor, ceiling] = written.asked;
  Object.assign(memory, { waitValue, freeWaitS, floor, ceiling: Math.min(LEVELS_MAX, ceiling) });
  return memory;
}

function readModel(written: Written, grid: TimeGrid): DemandModel | null {
  const model = new DemandModel();
  const { staffing } = model;
  const [services, serviceS, recentServiceS] = written.services;
  const [arrivals, startedAt, top, levels] = written.counts;
  const ends = unpackRisingTimes(written.ends, grid);
  const savedPerNeed = unpackQuantities(written.savedPerNeed);
  const unusedSince = unpackAgo(written.unusedSince, written.at);
  const untaken = unpackNumbers(written.untaken);
  const sums = unpackNumbers(written.sums);
  if (ends === undefined || savedPerNeed?.length !== top + 1) return null;
  if (unusedSince?.length !== top || untaken?.length !== levels) return null;
  if (sums?.length !== WINDOWS_BOOTS.length * (levels + 1)) return null;
  model.setBoots(written.boots);
  model.services = services;
  model.serviceS = serviceS;
  model.recentServiceS.set(recentServiceS);
  model.arrivals = arrivals;
  // Nothing that was learned is from later than it was written: from there averages would grow without bound.
  model.startedAt = Math.min(written.at, startedAt);
  model.top = top;
  model.rates.set(written.rates);
  model.rateAt = Math.min(written.at, written.rateAt);
  model.ends = ends;
  model.savedPerNeed.set(savedPerNeed);
  model.unusedSince.set(unusedSince, 1);
  if (!readGaps(model, written.gaps)) return null;
  if (!readBins(written.serviceTimes, model.serviceTimes.counts)) return null;
  staffing.levels = levels;
  staffing.at = Math.min(written.at, written.staffedAt);
  staffing.coldFreeAt = written.coldFreeAt;
  staffing.untaken.set(untaken, 1);
  if (!readRhythm(written, model.rhythm)) return null;
  for (let window = 0; window < WINDOWS_BOOTS.length; window++) {
    staffing.sums.set(sums.slice(window * (levels + 1), (window + 1) * (levels + 1)), window * (LEVELS_MAX + 1));
  }
  return readRows(staffing, written.freeAt, grid) ? model : null;
}

function writeRhythm({ beganAt, peak, peakAt, held, inTime, occasions }: Rhythm): Written["rhythm"] {
  return {
    beganAt: Number.isFinite(beganAt) ? cents(beganAt) : null,
    peak: [peak, cents(peakAt)],
    held: [held.level, cents(held.until)],
    inTime,
    periods: occasions.map((one) => cents(one.periodS)),
    peaks: occasions.map((one) => one.peak),
    times: packQuantities([...occasions.map((one) => one.pauseS), ...occasions.map((one) => one.peakAfterS)]),
  };
}

/** @returns whether that is what writeRhythm gave */
function readRhythm({ at, rhythm: written }: Written, rhythm: Rhythm): boolean {
  const { periods, peaks } = written;
  const times = unpackQuantities(written.times);
  if (peaks.length !== periods.length || times?.length !== 2 * periods.length) return false;
  rhythm.beganAt = Math.min(at, written.beganAt ?? Number.NEGATIVE_INFINITY);
  [rhythm.peak, rhythm.peakAt] = written.peak;
  rhythm.held = { level: written.held[0], until: written.held[1] };
  rhythm.inTime = written.inTime;
  rhythm.occasions = periods.map((periodS, index) => ({
    periodS,
    pauseS: times[index] ?? 0,
    peak: peaks[index] ?? 0,
    peakAfterS: times[periods.length + index] ?? 0,
  }));
  return true;
}

/** A row's first time takes three characters, its others two each. */
function packRow(staffing: Staffing, k: number, grid: TimeGrid): string {
  const row = Array.from(staffing.freeAt.subarray(rowOf(k), rowOf(k) + k), (at) => Math.max(at, grid.base));
  return packRisingTimes(row, grid);
}

function readRows(staffing: Staffing, text: string, grid: TimeGrid): boolean {
  let at = 0;
  for (let k = 1; k <= staffing.levels; k++) {
    const width = 3 + 2 * (k - 1);
    const row = unpackRisingTimes(text.slice(at, at + width), grid);
    if (row?.length !== k) return false;
    staffing.freeAt.set(row, rowOf(k));
    at += width;
  }
  return at === text.length;
}

/** The first bin that is not empty, and the counts from there to the last one. */
function packBins(bins: Float64Array): [number, string] {
  const counts = Array.from(bins);
  const first = counts.findIndex((count) => count > 0);
  const last = counts.findLastIndex((count) => count > 0);
  return first < 0 ? [0, ""] : [first, packQuantities(counts.slice(first, last + 1))];
}

/** @returns whether that is what packBins gave for so many bins */
function readBins([first, text]: readonly [number, string], bins: Float64Array): boolean {
  const counts = unpackQuantities(text);
  if (counts === undefined || first + counts.length > bins.length) return false;
  bins.set(counts, first);
  return true;
}

/** @returns whether those are the gaps of each level up to the highest one */
function readGaps(model: DemandModel, text: string): boolean {
  let at = 0;
  for (let level = 1; level <= model.top; level++) {
    const run = unpackRun(text, at);
    const bins = gapsOf(model, level);
    // Where their number is odd, the last one stands for none.
    if (run === undefined || run.first + run.counts.length > bins.length + 1) return false;
    bins.set(run.counts.slice(0, bins.length - run.first), run.first);
    at = run.to;
  }
  return at === text.length;
}

function gapsOf(model: DemandModel, level: number): Float64Array {
  return model.gaps.subarray(level * GAP_BINS, (level + 1) * GAP_BINS);
}

function packArrivals(arrivals: RecentArrivals, grid: TimeGrid): [number, string, string] {
  const first = Math.max(arrivals.first, arrivals.end - ARRIVALS_WRITTEN_MAX);
  const numbers = Array.from({ length: arrivals.end - first }, (_, index) => first + index);
  return [
    first,
    packTimes(
      numbers.map((number) => arrivals.at(number)),
      grid,
    ),
    packQuantities(numbers.map((number) => arrivals.serviceS(number))),
  ];
}

function readArrivals([first, times, services]: Written["arrivals"], grid: TimeGrid): RecentArrivals | null {
  const at = unpackTimes(times, grid);
  const serviceS = unpackQuantities(services);
  if (at === undefined || serviceS?.length !== at.length || at.length > ARRIVALS_WRITTEN_MAX) return null;
  const arrivals = new RecentArrivals();
  arrivals.first = first;
  arrivals.end = first;
  for (const [index, time] of at.entries()) arrivals.add(time, serviceS[index] ?? 0);
  return arrivals;
}

function readShadow(
  written: Written["shadows"][number],
  index: number,
  grid: TimeGrid,
  at: number,
): ShadowFleet | null {
  const variant = VARIANTS[index];
  const [ends, busy, ready, idle, head, gpuS, waitedS] = written;
  const [busyEnds, readyAt, idleSince] = [ends, ready, idle].map((text) => unpackTimes(text, grid));
  const busyS = unpackQuantities(busy);
  if (variant === undefined || busyEnds === undefined || busyS?.length !== busyEnds.length) return null;
  if (readyAt === undefined || idleSince === undefined) return null;
  if (busyEnds.length + readyAt.length + idleSince.length > LEVELS_MAX) return null;
  const busySince = busyEnds.map((end, busyIndex) => end - (busyS[busyIndex] ?? 0));
  const shadow = new ShadowFleet(variant);
  Object.assign(shadow, { busyEnds, busySince, readyAt, idleSince, head, gpuS, waitedS, at });
  return shadow;
}

function unitFor({ serviceS, bootS }: DemandModel): number {
  const spanS = 4 * serviceS + 3 * bootS;
  return UNIT_S * 2 ** Math.max(0, Math.ceil(Math.log2(spanS / (UNIT_S * RISING_STEPS_MAX))));
}

function short(value: number, digits = 6): number {
  return Number(value.toPrecision(digits));
}

function cents(seconds: number): number {
  return Math.round(seconds * 100) / 100;
}
