/** What a replay was like over time, in parts of equal length. */
import type { Arrivals } from "#durable-objects/autoscaler/replay/arrivals";
import type { ReplayResult } from "#durable-objects/autoscaler/replay/figures";

/** The most there were at once in each part, all endpoints together. */
export interface Series {
  /** When the last part ends: when billing did. */
  readonly endS: number;
  readonly replicas: Float64Array;
  readonly waiting: Float64Array;
}

export class SeriesRecorder {
  readonly #replicas = new Changes();
  readonly #waiting = new Changes();
  #endS = 0;

  /** @param result of a replay that kept its timeline */
  add({ atS }: Arrivals, { timeline, waitsS, endS }: ReplayResult): void {
    this.#endS = Math.max(this.#endS, endS);
    let before = 0;
    for (const [at, replicas] of timeline) {
      this.#replicas.note(at, replicas - before);
      before = replicas;
    }
    this.#replicas.note(endS, -before);
    for (let job = 0; job < atS.length; job += 1) {
      const [at, wait] = [atS[job] ?? 0, waitsS[job] ?? 0];
      if (wait === 0) continue;
      this.#waiting.note(at, 1);
      this.#waiting.note(at + wait, -1);
    }
  }

  series(parts: number): Series {
    const endS = this.#endS;
    return { endS, replicas: this.#replicas.peaks(endS, parts), waiting: this.#waiting.peaks(endS, parts) };
  }
}

/** When a number went up and down, in any order. */
class Changes {
  readonly #ups: number[] = [];
  readonly #downs: number[] = [];

  note(atS: number, change: number): void {
    const times = change > 0 ? this.#ups : this.#downs;
    for (let left = Math.abs(change); left > 0; left -= 1) times.push(atS);
  }

  /** The highest that the number is in each part; what goes as another comes is not there beside it. */
  peaks(endS: number, parts: number): Float64Array {
    const ups = Float64Array.from(this.#ups).sort();
    const downs = Float64Array.from(this.#downs).sort();
    const peaks = new Float64Array(parts);
    let [up, down] = [0, 0];
    for (let part = 0; part < parts; part += 1) {
      const untilS = (endS * (part + 1)) / parts;
      let most = up - down;
      for (;;) {
        const upAt = ups[up] ?? Number.POSITIVE_INFINITY;
        const downAt = downs[down] ?? Number.POSITIVE_INFINITY;
        if (downAt <= upAt && downAt <= untilS) down += 1;
        else if (upAt < untilS) up += 1;
        else break;
        most = Math.max(most, up - down);
      }
      peaks[part] = most;
    }
    return peaks;
  }
}
