/** Which waiting job goes first: lane, then priority, then age; waiting makes up for priority. */
import type { Lane } from "#contract/job";
import { AGEING_MS_PER_LEVEL } from "#contract/limits";

/** A batch job that has waited this long goes before interactive ones, once none of its lane has begun for as long. */
export const BATCH_PATIENCE_MS = 10 * 60_000;
/** So many of them have gone ahead of it by then: else it waits for a replica at all, as they do. */
export const BATCH_TURN = 10;

/**
 * A job's fixed place within its lane, lower first. All waiting jobs age at the same pace, so "one level per minute"
 * needs no rewriting: a job of one level more simply counts as a minute older.
 */
export function rankOf(createdAt: number, priority: number): number {
  return createdAt - priority * AGEING_MS_PER_LEVEL;
}

/** The batch lane as far as the order of the lanes depends on it. */
export interface BatchTurn {
  /** When the first waiting batch job was made, null when none waits. */
  readonly headSince: number | null;
  /** When one last began; null: nobody knows. */
  readonly startedAt: number | null;
  /** Interactive jobs that have begun since then. */
  readonly overtaken: number;
  /** Whether one runs. */
  readonly isRunning: boolean;
}

/** The lanes in the order in which the next lease looks at them: a batch job has a turn on replicas that never idle, too. */
export function lanesInOrder(
  { headSince, startedAt, overtaken, isRunning }: BatchTurn,
  now: number,
): readonly [Lane, Lane] {
  const since = headSince === null ? now : Math.max(headSince, startedAt ?? headSince);
  const hasTurn = !isRunning && overtaken >= BATCH_TURN && now - since >= BATCH_PATIENCE_MS;
  return hasTurn ? ["batch", "interactive"] : ["interactive", "batch"];
}
