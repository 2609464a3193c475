/** Which waiting job goes first: lane, then priority, then age; waiting makes up for priority. */
import type { Lane } from "#contract/job";
import { AGEING_MS_PER_LEVEL } from "#contract/limits";

/** One lease in so many looks at the batch lane first, so that a steady interactive stream cannot starve it. */
export const BATCH_TURN = 10;
/** Only a batch job that has waited this long gets such a turn. */
export const BATCH_PATIENCE_MS = 10 * 60_000;
/**
 * The part of all replicas' time that batch jobs get however busy interactive ones keep them. Two replicas of three at
 * work mean a p95 that grows about five times as fast as what is taken from them: so it stays within a tenth of what it was.
 */
const BATCH_SHARE = 0.01;
/** Jobs that take long, on few replicas: one starts at least as often as this. */
export const BATCH_APART_MS_MAX = BATCH_PATIENCE_MS;
/** Before the first job has shown how long one takes. */
const SERVICE_MS_DEFAULT = 10_000;

/**
 * A job's fixed place within its lane, lower first. All waiting jobs age at the same pace, so "one level per minute"
 * needs no rewriting: a job of one level more simply counts as a minute older.
 */
export function rankOf(createdAt: number, priority: number): number {
  return createdAt - priority * AGEING_MS_PER_LEVEL;
}

/**
 * How far apart batch jobs start at least where interactive ones could need the replicas.
 * @param serviceMs of a job, null when nobody knows
 * @param replicas all that there are
 */
export function batchApartMs(serviceMs: number | null, replicas: number): number {
  return Math.min(BATCH_APART_MS_MAX, (serviceMs ?? SERVICE_MS_DEFAULT) / (BATCH_SHARE * Math.max(1, replicas)));
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
