/** What really happened over a run: each fault in each state of a job, and each way back from one. */
export class Coverage {
  /** Fault and state, tab between them → times. */
  readonly pairs = new Map<string, number>();
  /** Recovery path → times. */
  readonly paths = new Map<string, number>();

  fault(fault: string, state: string): void {
    add(this.pairs, `${fault}\t${state}`, 1);
  }

  path(path: string): void {
    add(this.paths, path, 1);
  }

  /** Takes up what another run saw. */
  merge(other: CoverageCounts): void {
    for (const [pair, times] of other.pairs) add(this.pairs, pair, times);
    for (const [path, times] of other.paths) add(this.paths, path, times);
  }

  counts(): CoverageCounts {
    return { pairs: [...this.pairs], paths: [...this.paths] };
  }
}

/** Coverage as it travels between processes. */
export interface CoverageCounts {
  readonly pairs: readonly (readonly [string, number])[];
  readonly paths: readonly (readonly [string, number])[];
}

function add(counts: Map<string, number>, key: string, times: number): void {
  counts.set(key, (counts.get(key) ?? 0) + times);
}
