import type { Fleet } from "../fleet.ts";
import { concurrency, nextTick } from "./rival.ts";

/** The average concurrency of each tick of the past, as a system sees it that measures at a fixed pace. */
export class TickedAverage {
  readonly tickS: number;
  readonly #ring: Float64Array;
  #ticks = 0;
  #tickStartS = 0;
  #integral = 0;
  #lastAtS = 0;
  #last = 0;

  /** @param longestS the longest window that will be asked for */
  constructor(tickS: number, longestS: number) {
    this.tickS = tickS;
    this.#ring = new Float64Array(Math.ceil(longestS / tickS));
  }

  /** To be told at every decision. @returns whether a tick has just ended */
  follow(fleet: Fleet): boolean {
    const { nowS } = fleet;
    let hasTicked = false;
    if (nowS - this.#tickStartS >= (this.#ring.length + 1) * this.tickS) {
      // Nothing was measured for longer than is remembered: there was nothing.
      this.#ticks = 0;
      this.#integral = 0;
      this.#tickStartS = nextTick(nowS, this.tickS) - this.tickS;
      this.#lastAtS = nowS;
    }
    while (nowS >= this.#tickStartS + this.tickS) {
      const end = this.#tickStartS + this.tickS;
      this.#integral += this.#last * (end - this.#lastAtS);
      this.#ring[this.#ticks % this.#ring.length] = this.#integral / this.tickS;
      this.#ticks += 1;
      this.#integral = 0;
      this.#lastAtS = end;
      this.#tickStartS = end;
      hasTicked = true;
    }
    this.#integral += this.#last * (nowS - this.#lastAtS);
    this.#lastAtS = nowS;
    this.#last = concurrency(fleet);
    return hasTicked;
  }

  /** Over the last so many seconds, or over what has been measured of them; what is now when nothing has been. */
  over(windowS: number): number {
    const ticks = Math.min(this.#ticks, Math.max(1, Math.round(windowS / this.tickS)), this.#ring.length);
    if (ticks === 0) return this.#last;
    let sum = 0;
    for (let back = 1; back <= ticks; back += 1) sum += this.#ring[(this.#ticks - back) % this.#ring.length] ?? 0;
    return sum / ticks;
  }

  get nextTickS(): number {
    return this.#tickStartS + this.tickS;
  }
}

/** The highest of the values noted within the last so many seconds. */
export class SlidingMaximum {
  readonly #windowS: number;
  /** Values that no later one reaches, highest first, with the times until which they count. */
  #kept: { value: number; untilS: number }[] = [];

  constructor(windowS: number) {
    this.#windowS = windowS;
  }

  /** @returns the highest, this one included */
  note(nowS: number, value: number): number {
    while ((this.#kept.at(-1)?.value ?? Number.POSITIVE_INFINITY) <= value) this.#kept.pop();
    this.#kept.push({ value, untilS: nowS + this.#windowS });
    let gone = 0;
    while ((this.#kept[gone]?.untilS ?? Number.POSITIVE_INFINITY) < nowS) gone += 1;
    if (gone > 0) this.#kept = this.#kept.slice(gone);
    return this.#kept[0]?.value ?? value;
  }
}
