import { type JobId, ownerKey } from "#contract/ids";
import { JobIds, madeAt, numberOf } from "#durable-objects/endpoint/job-ids";
import type { SqlDatabase } from "#durable-objects/sql/database";
import { randomBytes } from "./objects.ts";

/** Copies that one statement makes. */
const CHUNK = 10_000;
/** Between their ids and those of others. */
const APART_MS = 1_000;

/**
 * Puts waiting jobs like one that there is straight into the table, at most once before it and once behind it.
 * @param later how much later than it they came, ms; negative: earlier
 */
export function putCopies(db: SqlDatabase, like: JobId, jobs: number, later: number): void {
  const at = madeAt(like) + later + (later < 0 ? -APART_MS : APART_MS);
  const ids = new JobIds(ownerKey(like), { now: () => at, randomBytes }, null);
  for (let left = jobs; left > 0; left -= CHUNK) {
    const some = Array.from({ length: Math.min(left, CHUNK) }, () => ids.next(at)).map((id) => [numberOf(id), id]);
    db.exec(
      `INSERT INTO jobs (number, id, state, lane, priority, rank, release, attempt, attempts_max, handbacks, timeout_ms,
         created_at, expires_at, dead, leases, events, key_id, inputs, files, tags)
       SELECT value ->> 0, value ->> 1, 'queued', lane, priority, rank + ?1, release, 0, attempts_max, 0, timeout_ms,
         created_at + ?1, expires_at + ?1, 0, '[]', events, key_id, inputs, files, tags
       FROM json_each(?2) CROSS JOIN (SELECT * FROM jobs WHERE number = ?3)`,
      later,
      JSON.stringify(some),
      numberOf(like),
    );
  }
}
