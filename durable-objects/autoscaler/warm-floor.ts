/** How many replicas are to be warm now: the settings' floor, the weekly schedule, and what was asked for by hand. */
import type { WarmWindow } from "#contract/endpoint";

/** Replicas kept by hand, until a moment in Unix ms. */
export interface Hold {
  readonly replicas: number;
  readonly until: number;
}

export interface FloorInput {
  readonly minReplicas: number;
  readonly schedule: readonly WarmWindow[];
  readonly hold: Hold | null;
}

export interface Floor {
  readonly replicas: number;
  /** When it may be another one without anybody's doing; null: never. */
  readonly until: number | null;
  /** What it is by, in words. */
  readonly by: "min_replicas" | "schedule" | "hand";
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** A week, and a day for a clock that is put forward or back. */
const LOOK_AHEAD_MS = 8 * DAY_MS;
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;

/** The floor at a moment. @param now Unix ms */
export function floorAt({ minReplicas, schedule, hold }: FloorInput, now: number): Floor {
  let floor: Floor = { replicas: minReplicas, until: null, by: "min_replicas" };
  const changes: number[] = [];
  for (const window of schedule) {
    const state = windowAt(window, now);
    if (state.until !== null) changes.push(state.until);
    if (state.isOpen && window.replicas > floor.replicas) {
      floor = { replicas: window.replicas, until: null, by: "schedule" };
    }
  }
  if (hold !== null && hold.until > now) {
    changes.push(hold.until);
    if (hold.replicas > floor.replicas) floor = { replicas: hold.replicas, until: null, by: "hand" };
  }
  return { ...floor, until: changes.length === 0 ? null : Math.min(...changes) };
}

/** Whether the zone's name is known. */
export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether a window is open, and when that will be otherwise.
 *
 * A window is open while the zone's own clock shows a time within it: where the clock is put forward over its beginning,
 * it opens at that moment; where it is put back, the hour that comes twice is in it twice.
 */
function windowAt(window: WarmWindow, now: number): { readonly isOpen: boolean; readonly until: number | null } {
  const stretches = offsetsOf(window.time_zone, now);
  const first = stretches[0];
  if (first === undefined) return { isOpen: false, until: null };
  const isOpen = isWithin(window, now + first.offsetMs);
  for (const { from, to, offsetMs } of stretches) {
    for (const at of moments(window, from, to, offsetMs)) {
      if (at > now && isWithin(window, at + offsetMs) !== isOpen) return { isOpen, until: at };
    }
  }
  return { isOpen, until: null };
}

/** The beginning of the stretch and every moment in it at which the clock shows one of the window's ends, in order. */
function moments(window: WarmWindow, from: number, to: number, offsetMs: number): number[] {
  const found = [from];
  for (let day = startOfDay(from + offsetMs); day < to + offsetMs; day += DAY_MS) {
    for (const minute of [minuteOf(window.from), minuteOf(window.to)]) {
      const at = day + minute * MINUTE_MS - offsetMs;
      if (at > from && at < to) found.push(at);
    }
  }
  return found.sort((a, b) => a - b);
}

/** @param local what the zone's clock shows, as if it were UTC, in Unix ms */
function isWithin(window: WarmWindow, local: number): boolean {
  const from = minuteOf(window.from);
  const to = minuteOf(window.to);
  const day = startOfDay(local);
  const minute = (local - day) / MINUTE_MS;
  const begins = (at: number): boolean => window.days.some((name) => name === WEEKDAYS[new Date(at).getUTCDay()]);
  if (from < to) return begins(day) && minute >= from && minute < to;
  // It goes on past midnight, or for a whole day.
  return (begins(day) && minute >= from) || (begins(day - DAY_MS) && minute < to);
}

function startOfDay(local: number): number {
  return Math.floor(local / DAY_MS) * DAY_MS;
}

function minuteOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3, 5));
}

/** A time in which a zone's clock is so much ahead of UTC. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly offsetMs: number;
}

/** The zone's offsets from now until LOOK_AHEAD_MS later: one, or two where its clock is changed meanwhile. */
function offsetsOf(timeZone: string, now: number): Stretch[] {
  const zone = zoneOf(timeZone);
  const end = now + LOOK_AHEAD_MS;
  const stretches: Stretch[] = [];
  let from = now;
  for (let at = now; at < end; at = Math.min(end, at + DAY_MS)) {
    const next = Math.min(end, at + DAY_MS);
    const offsetMs = offsetAt(zone, at);
    if (offsetAt(zone, next) === offsetMs) continue;
    const jump = jumpBetween(zone, at, next);
    stretches.push({ from, to: jump, offsetMs });
    from = jump;
  }
  stretches.push({ from, to: end, offsetMs: offsetAt(zone, end) });
  return stretches;
}

/** The minute from which on the zone's offset is that of `to`. */
function jumpBetween(zone: Intl.DateTimeFormat, from: number, to: number): number {
  const before = offsetAt(zone, from);
  let low = Math.floor(from / MINUTE_MS);
  let high = Math.ceil(to / MINUTE_MS);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetAt(zone, middle * MINUTE_MS) === before) low = middle;
    else high = middle;
  }
  return high * MINUTE_MS;
}

/** How far the zone's clock is ahead of UTC, ms. */
function offsetAt(zone: Intl.DateTimeFormat, at: number): number {
  const parts = new Map(zone.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  const part = (name: Intl.DateTimeFormatPartTypes): number => parts.get(name) ?? 0;
  const local = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return local - Math.floor(at / 1_000) * 1_000;
}

function zoneOf(timeZone: string): Intl.DateTimeFormat {
  const known = zones.get(timeZone);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat("en-US", {
    timeZone,
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
    hourCycle: "h23",
  });
  if (zones.size >= ZONES_KEPT) zones.clear();
  zones.set(timeZone, made);
  return made;
}

/** Formatters cost far more to make than to use, and say the same in every object. */
const zones = new Map<string, Intl.DateTimeFormat>();
const ZONES_KEPT = 100;
