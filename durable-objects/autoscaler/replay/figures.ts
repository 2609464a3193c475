/** What a replay comes to. */
export interface WaitFigures {
  readonly jobs: number;
  readonly p50S: number;
  readonly p95S: number;
  readonly p99S: number;
  readonly meanS: number;
  readonly totalS: number;
  /** Part of the jobs that were their replica's first and had waited for its boot. */
  readonly coldShare: number;
}

export interface ReplayResult {
  readonly gpuSeconds: number;
  /** Of gpuSeconds, spent booting; and spent running jobs. The rest was idle. */
  readonly bootSeconds: number;
  readonly busySeconds: number;
  readonly launches: number;
  readonly interactive: WaitFigures;
  readonly batch: WaitFigures;
  /** Batch jobs that started after their deadline. */
  readonly batchMissed: number;
  /** Seconds each arrival waited, in the order of the trace. */
  readonly waitsS: Float64Array;
  /** Jobs that the policy never started; their wait runs to the end of the replay. */
  readonly unserved: number;
  /** Of them, batch jobs. */
  readonly batchUnserved: number;
  /** When billing ended: with the horizon, or after it where it goes on until the last replica stops. */
  readonly endS: number;
  readonly peakReplicas: number;
  /** Pairs (second, replicas from then on), where asked for. */
  readonly timeline: readonly (readonly [number, number])[];
}

/** Percentile `share` of ascending values by the nearest rank; 0 when there are none. */
export function percentile(ascending: Float64Array, share: number): number {
  if (ascending.length === 0) return 0;
  const rank = Math.max(1, Math.ceil(share * ascending.length));
  return ascending[rank - 1] ?? 0;
}

/** The waits of some jobs, in seconds. */
export class CountedWaits {
  readonly #waits: Float64Array;
  #jobs = 0;

  /** @param most how many there may be */
  constructor(most: number) {
    this.#waits = new Float64Array(most);
  }

  add(waitS: number): void {
    this.#waits[this.#jobs] = waitS;
    this.#jobs += 1;
  }

  figures(): Omit<WaitFigures, "coldShare"> {
    const ascending = this.#waits.slice(0, this.#jobs).sort();
    const totalS = ascending.reduce((sum, wait) => sum + wait, 0);
    return {
      jobs: this.#jobs,
      p50S: percentile(ascending, 0.5),
      p95S: percentile(ascending, 0.95),
      p99S: percentile(ascending, 0.99),
      meanS: this.#jobs === 0 ? 0 : totalS / this.#jobs,
      totalS,
    };
  }
}
