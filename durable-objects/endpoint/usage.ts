import type { EndpointId, JobId } from "#contract/ids";
import { type Refusal, refusal } from "#contract/problems";
import type { UsageRow } from "#contract/usage";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { firstIdAt } from "#durable-objects/endpoint/job-ids";
import type { StoredJob } from "#durable-objects/endpoint/job-store";

/** Rows one call looks at. */
const ROWS_LOOKED_AT = 2_000;

export interface UsagePage {
  readonly after?: JobId;
  readonly createdFrom?: number;
  readonly createdTo?: number;
  readonly limit: number;
}

/** Ended attempts under which an agent spoke, in the order of their jobs; all rows of a job are on one page. */
export function usage(
  state: EndpointState,
  page: UsagePage,
): { ok: true; rows: UsageRow[]; next: JobId | null } | Refusal {
  if (state.config === null) return refusal("endpoint_not_found", "There is no such endpoint.");
  const { endpointId } = state.config;
  const bounds = {
    ...(page.createdFrom === undefined ? {} : { from: firstIdAt(page.createdFrom) }),
    ...(page.createdTo === undefined ? {} : { below: firstIdAt(page.createdTo) }),
  };
  const look = state.queries.leased(bounds, page.after ?? null, ROWS_LOOKED_AT);
  const rows: UsageRow[] = [];
  let last: JobId | null = null;
  for (const id of look.ids) {
    // A job that would go beyond the limit begins the next page, unless it is too much for any page.
    const found = state.jobs.find(id);
    const own = found === null ? [] : rowsOf(endpointId, found);
    if (last !== null && rows.length > 0 && rows.length + own.length > page.limit)
      return { ok: true, rows, next: last };
    rows.push(...own);
    last = id;
  }
  return { ok: true, rows, next: look.next };
}

function rowsOf(endpointId: EndpointId, { job, payload }: StoredJob): UsageRow[] {
  return job.leases.flatMap(({ id, heard, outcome, endedAt, attempt, replicaId, nodeId, grantedAt, beganAt }) =>
    !heard || endedAt === null || outcome === null
      ? []
      : [
          {
            lease_id: id,
            job_id: job.id,
            endpoint_id: endpointId,
            key_id: payload.keyId,
            release: job.release,
            lane: job.lane,
            tags: [...payload.tags],
            attempt,
            replica_id: replicaId,
            node_id: nodeId,
            started_at: new Date(beganAt ?? grantedAt).toISOString(),
            ended_at: new Date(endedAt).toISOString(),
            ms: Math.max(0, endedAt - (beganAt ?? grantedAt)),
            outcome,
          },
        ],
  );
}
