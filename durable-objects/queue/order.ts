/** Which waiting job goes first: lane, then priority, then age; waiting makes up for priority. */
import type { Lane } from "#contract/job";
import { AGEING_MS_PER_LEVEL } from "#contract/limits";

/** One lease in so many looks at the batch lane first, so that a steady interactive stream cannot starve it. */
export const BATCH_TURN = 10;
/** Only a batch job that has waited this long gets such a turn. */
export const BATCH_PATIENCE_MS = 10 * 60_000;

/**
 * A job's fixed place within its lane, lower first. All waiting jobs age at the same pace, so "one level per minute"
 * needs no rewriting: a job of one level more simply counts as a minute older.
 */
export function rankOf(createdAt: number, priority: number): number {
  return createdAt - priority * AGEING_MS_PER_LEVEL;
}

/**
 * The lanes in the order in which the next lease looks at them.
 * @param counter the number of the lease about to be granted
 * @param batchHeadSince when the first waiting batch job was made, null when none waits
 */
export function lanesInOrder(counter: number, batchHeadSince: number | null, now: number): readonly [Lane, Lane] {
  const patient = batchHeadSince !== null && now - batchHeadSince >= BATCH_PATIENCE_MS;
  return patient && counter % BATCH_TURN === 0 ? ["batch", "interactive"] : ["interactive", "batch"];
}
