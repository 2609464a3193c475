/**
 * What one variant would have done with the endpoint's arrivals, and what that would have cost. Moves on from arrival to
 * arrival; a few numbers per replica, no job is kept twice.
 */
import { PLACED_ONE_BY_ONE_MAX } from "./boot-ahead.ts";
import type { DemandModel } from "./demand-model.ts";
import { levelUntil, replicasKept, replicasStarted, type Situation, startsFrom, type Worth } from "./plan.ts";
import type { RecentArrivals } from "./recent-arrivals.ts";
import { LEVELS_MAX } from "./staffing.ts";
import type { Variant } from "./variants.ts";

/** Scratch space of all shadows: only one of them plans at a time. */
const situation: Situation = {
  now: 0,
  busy: 0,
  booting: 0,
  idle: 0,
  idleYoung: 0,
  queued: 0,
  freeInS: new Float64Array(2 * LEVELS_MAX),
  waitedS: new Float64Array(PLACED_ONE_BY_ONE_MAX),
  floor: 0,
  ceiling: 0,
  bootS: 0,
};

export class ShadowFleet {
  readonly variant: Variant;
  /** When the busy ones end, latest first, and since when they run; when the booting ones are ready; idle since, longest first. */
  busyEnds: number[] = [];
  busySince: number[] = [];
  readyAt: number[] = [];
  idleSince: number[] = [];
  /** Number of the arrival that starts next; those from here on wait. */
  head = 0;
  at = 0;
  /** Decayed sums: replicas over time, and waits. */
  gpuS = 0;
  waitedS = 0;

  constructor(variant: Variant) {
    this.variant = variant;
  }

  cost(waitValue: number): number {
    return this.gpuS + waitValue * this.waitedS;
  }

  /** Lets happen what is due by `to`. */
  advance(
    to: number,
    model: DemandModel,
    arrivals: RecentArrivals,
    worth: Worth,
    floor: number,
    ceiling: number,
  ): void {
    for (;;) {
      const lookAt = this.#nextLook(model);
      const next = Math.min(this.busyEnds.at(-1) ?? to, this.readyAt[0] ?? to, lookAt);
      if (next >= to) break;
      this.#moveTo(Math.max(next, this.at));
      while ((this.busyEnds.at(-1) ?? Number.POSITIVE_INFINITY) <= next) {
        this.busyEnds.pop();
        this.busySince.pop();
        this.idleSince.push(next);
      }
      while ((this.readyAt[0] ?? Number.POSITIVE_INFINITY) <= next) {
        this.readyAt.shift();
        this.idleSince.push(next);
      }
      this.#serve(model, arrivals, worth, floor, ceiling);
    }
    this.#moveTo(to);
  }

  /** An arrival has been added to `arrivals` at `this.at`. */
  arrived(model: DemandModel, arrivals: RecentArrivals, worth: Worth, floor: number, ceiling: number): void {
    this.#serve(model, arrivals, worth, floor, ceiling);
  }

  decay(factor: number): void {
    this.gpuS *= factor;
    this.waitedS *= factor;
  }

  get replicas(): number {
    return this.busyEnds.length + this.readyAt.length + this.idleSince.length;
  }

  #moveTo(to: number): void {
    this.gpuS += (to - this.at) * this.replicas;
    this.at = to;
  }

  /** When an idle replica may go, or another one is worth it, without any event. */
  #nextLook(model: DemandModel): number {
    const { variant, replicas } = this;
    const starts = startsFrom(model, variant, replicas, this.at);
    const longestIdle = this.idleSince[0];
    if (longestIdle === undefined) return starts;
    const timed = variant.timerS > 0 ? longestIdle + variant.timerS : 0;
    const at = Math.max(timed, levelUntil(model, variant, Math.min(LEVELS_MAX, replicas), this.at));
    return Math.min(starts, at > this.at ? at : Number.POSITIVE_INFINITY);
  }

  #serve(model: DemandModel, arrivals: RecentArrivals, worth: Worth, floor: number, ceiling: number): void {
    const { at } = this;
    if (this.head < arrivals.first) {
      this.waitedS += (arrivals.first - this.head) * Math.max(0, arrivals.spanS() - worth.freeWaitS);
      this.head = arrivals.first;
    }
    while (this.head < arrivals.end && this.idleSince.length > 0) {
      this.idleSince.pop();
      this.waitedS += Math.max(0, at - arrivals.at(this.head) - worth.freeWaitS);
      this.#begin(at + arrivals.serviceS(this.head));
      this.head += 1;
    }
    this.#describe(model, arrivals, floor, ceiling);
    const started = replicasStarted(model, this.variant, situation, worth);
    for (let more = 0; more < started; more++) this.readyAt.push(at + model.bootS);
    situation.booting += started;
    const excess = this.replicas - replicasKept(model, this.variant, situation);
    if (excess > 0 && this.idleSince.length > 0) this.idleSince.splice(0, excess);
  }

  #begin(end: number): void {
    const { busyEnds } = this;
    let place = busyEnds.length;
    while (place > 0 && (busyEnds[place - 1] ?? 0) < end) place -= 1;
    busyEnds.splice(place, 0, end);
    this.busySince.splice(place, 0, this.at);
  }

  #describe(model: DemandModel, arrivals: RecentArrivals, floor: number, ceiling: number): void {
    const { at, busyEnds, readyAt, idleSince } = this;
    situation.now = at;
    situation.busy = busyEnds.length;
    situation.booting = readyAt.length;
    situation.idle = idleSince.length;
    situation.queued = arrivals.end - this.head;
    situation.floor = floor;
    situation.ceiling = ceiling;
    situation.bootS = model.bootS;
    situation.idleYoung = 0;
    const { timerS } = this.variant;
    if (timerS > 0) for (const since of idleSince) if (at - since < timerS) situation.idleYoung += 1;
    if (idleSince.length > 0) return;
    const { freeInS, waitedS } = situation;
    for (let index = 0; index < busyEnds.length; index++) {
      freeInS[index] = model.busyFor(at - (this.busySince[index] ?? at));
    }
    for (let index = 0; index < readyAt.length; index++) freeInS[busyEnds.length + index] = (readyAt[index] ?? at) - at;
    const described = Math.min(situation.queued, waitedS.length);
    for (let index = 0; index < described; index++) waitedS[index] = at - arrivals.at(this.head + index);
  }
}
