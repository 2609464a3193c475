/** When a waiting job should start, as far as that can be known. */

export interface EtaFacts {
  /** 1 is next. */
  readonly place: number;
  /** Replicas that work or could: ready, and not on their way out. */
  readonly ready: number;
  /** Of those, the ones without work. */
  readonly idle: number;
  /** Replicas on their way to ready. */
  readonly starting: number;
  /** Until the first of those should be, by what starts have taken; null: nobody knows. */
  readonly readyInMs: number | null;
  /** Median of the latest successful runs, ms; null when there is none. */
  readonly serviceMs: number | null;
  /** It cannot start before this many milliseconds from now (a limit, a backoff); null when nobody knows for how long. */
  readonly heldMs: number | null;
}

/**
 * Replicas end their jobs spread over time, so a free one comes every `serviceMs / ready`. Where none is ready, the
 * first that starts takes the first job.
 * @returns whole ms from now; null when nothing is known: no replica is ready or starts, none has finished a job yet,
 *   or somebody must act first
 */
export function etaMs(facts: EtaFacts): number | null {
  if (facts.heldMs === null) return null;
  if (facts.ready === 0) {
    const { starting, readyInMs, place, serviceMs } = facts;
    if (starting === 0 || readyInMs === null) return null;
    const rounds = Math.floor((place - 1) / starting);
    if (rounds > 0 && serviceMs === null) return null;
    return Math.ceil(Math.max(facts.heldMs, readyInMs + rounds * (serviceMs ?? 0)));
  }
  const behind = facts.place - facts.idle;
  if (behind <= 0) return Math.ceil(facts.heldMs);
  if (facts.serviceMs === null) return null;
  return Math.ceil(Math.max(facts.heldMs, (behind * facts.serviceMs) / facts.ready));
}
