/** What a replay was like over time, in parts of equal length. */
import type { Arrivals } from "#durable-objects/autoscaler/replay/arrivals";
import type { ReplayResult } from "#durable-objects/autoscaler/replay/figures";

/** Averages over each part of the horizon; several endpoints add up. */
export interface Series {
  readonly replicas: Float64Array;
  readonly waiting: Float64Array;
}

export class SeriesRecorder {
  readonly #horizonS: number;
  readonly #replicas: Float64Array;
  readonly #waiting: Float64Array;

  constructor(horizonS: number, parts: number) {
    this.#horizonS = horizonS;
    this.#replicas = new Float64Array(parts);
    this.#waiting = new Float64Array(parts);
  }

  /** @param result of a replay that kept its timeline */
  add({ atS }: Arrivals, { timeline, waitsS }: ReplayResult): void {
    for (const [index, [from, replicas]] of timeline.entries()) {
      this.#spread(this.#replicas, from, timeline[index + 1]?.[0] ?? this.#horizonS, replicas);
    }
    for (let job = 0; job < atS.length; job += 1) {
      const from = atS[job] ?? 0;
      this.#spread(this.#waiting, from, from + (waitsS[job] ?? 0), 1);
    }
  }

  series(): Series {
    return { replicas: this.#replicas, waiting: this.#waiting };
  }

  /** Adds a value that holds from one time to another, weighted by the part of each bucket it covers. */
  #spread(sums: Float64Array, fromS: number, toS: number, value: number): void {
    const lengthS = this.#horizonS / sums.length;
    const end = Math.min(toS, this.#horizonS);
    for (let part = Math.floor(fromS / lengthS); part < sums.length && part * lengthS < end; part += 1) {
      const covered = Math.min(end, (part + 1) * lengthS) - Math.max(fromS, part * lengthS);
      sums[part] = (sums[part] ?? 0) + (value * Math.max(0, covered)) / lengthS;
    }
  }
}
