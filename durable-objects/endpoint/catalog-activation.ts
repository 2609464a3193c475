/**
 * The catalog's side of an activation that waited: the object makes it, because nobody else is there when the release is
 * ready. One batch, which D1 does whole or not at all; told twice, it changes nothing the second time.
 */
import * as z from "zod";
import { NewCanary } from "#contract/canary";
import type { EndpointId } from "#contract/ids";
import type { CanaryConfig } from "#durable-objects/endpoint/canary";
import type { ReleaseWish } from "#durable-objects/endpoint/release-store";

/** So many activations of an endpoint are remembered, as worker/catalog/releases.ts has it. */
const ACTIVATIONS_KEPT = 100;
/** The endpoint as it was when the wish was made: whoever changed the active release since has the last word. */
const STILL = "id = ? AND active_release = ? AND deleted_at IS NULL";

/** What the catalog holds afterwards. */
export interface HeldRelease {
  readonly release: number;
  readonly canary: CanaryConfig | undefined;
}

const Row = z.object({ active_release: z.int(), canary: z.string().nullable() });
const StoredCanary = z.object({ ...NewCanary.shape, release: z.int(), id: z.int() });

/**
 * Makes the wished release the active one, or gives it its canary, where the release that it replaces still is the active
 * one.
 * @returns what holds then, whoever brought it about; null when there is no such endpoint any more
 * @throws when D1 does not answer: nothing is known then, and the same call again finds out
 */
export async function tellActivation(
  database: D1Database,
  endpointId: EndpointId,
  wish: ReleaseWish,
  at: number,
): Promise<HeldRelease | null> {
  const changes =
    wish.canary === null ? activation(database, endpointId, wish, at) : canary(database, endpointId, wish, at);
  const look = database
    .prepare("SELECT active_release, canary FROM endpoints WHERE id = ? AND deleted_at IS NULL")
    .bind(endpointId);
  const answers = await database.batch([...changes, look]);
  const [found] = answers.at(-1)?.results ?? [];
  if (found === undefined) return null;
  const row = Row.parse(found);
  return { release: row.active_release, canary: row.canary === null ? undefined : canaryOf(row.canary) };
}

/** The note comes first: it looks at what the update changes. */
function activation(
  database: D1Database,
  endpointId: EndpointId,
  { release, replaces, cause }: ReleaseWish,
  at: number,
): D1PreparedStatement[] {
  return [
    database
      .prepare(
        `INSERT INTO activations (endpoint_id, version, release, replaced, cause, at)
         SELECT id, version + 1, ?, active_release, ?, ? FROM endpoints WHERE ${STILL}`,
      )
      .bind(release, cause, at, endpointId, replaces),
    database
      .prepare(
        `DELETE FROM activations WHERE endpoint_id = ?1 AND version NOT IN
           (SELECT version FROM activations WHERE endpoint_id = ?1 ORDER BY version DESC LIMIT ${ACTIVATIONS_KEPT})`,
      )
      .bind(endpointId),
    database
      .prepare(
        `UPDATE endpoints SET active_release = ?, canary = NULL, updated_at = ?, version = version + 1,
           overrides = (SELECT overrides FROM releases WHERE endpoint_id = endpoints.id AND number = ?)
         WHERE ${STILL}`,
      )
      .bind(release, at, release, endpointId, replaces),
  ];
}

function canary(database: D1Database, endpointId: EndpointId, wish: ReleaseWish, at: number): D1PreparedStatement[] {
  const text = JSON.stringify({ ...wish.canary, release: wish.release, since: wish.since });
  return [
    database
      .prepare(
        // Told twice, the canary that is there already goes on, with its counts.
        `UPDATE endpoints SET canary = json_set(?, '$.id', version + 1), updated_at = ?, version = version + 1
         WHERE ${STILL} AND (canary IS NULL OR json_extract(canary, '$.since') <> ?)`,
      )
      .bind(text, at, endpointId, wish.replaces, wish.since),
  ];
}

/** As worker/placement/apply-config.ts tells it. */
function canaryOf(stored: string): CanaryConfig {
  const { id, release, weight, max_error_rate_increase, max_latency_ratio, min_jobs } = StoredCanary.parse(
    JSON.parse(stored),
  );
  return {
    id,
    release,
    weight,
    maxErrorRateIncrease: max_error_rate_increase,
    maxLatencyRatio: max_latency_ratio,
    minJobs: min_jobs,
  };
}
