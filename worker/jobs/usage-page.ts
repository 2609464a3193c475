/** The usage export over several endpoints: in the order of their ids, each object's rows in the order of its jobs. */
import { type EndpointId, type JobId, ownerKey, type WorkspaceId } from "#contract/ids";
import type { UsageRow } from "#contract/usage";
import type { Env } from "#worker/env";
import { isProblem } from "#worker/http/is-problem";
import { askEndpoint } from "#worker/placement/objects";

/** Where an export goes on: in this endpoint, after this job, or at its start. */
export interface UsagePlace {
  readonly endpointId: EndpointId;
  readonly after: JobId | null;
}

/** One object's rows; all rows of a job are on one page. */
export interface UsageOfOne {
  readonly rows: readonly UsageRow[];
  readonly next: JobId | null;
}

export type AskUsage = (endpointId: EndpointId, after: JobId | null, limit: number) => Promise<UsageOfOne>;

/** Objects asked at once: most have nothing, and a page is full after a few that have. */
const ASKED_AT_ONCE = 8;

/**
 * One page. A job's rows stay together, so that a page may be a little longer than `limit`.
 * @param endpointIds in order, from the place's endpoint on
 */
export async function usagePage(
  endpointIds: readonly EndpointId[],
  place: UsagePlace | undefined,
  limit: number,
  ask: AskUsage,
): Promise<{ rows: UsageRow[]; next: UsagePlace | null }> {
  const rows: UsageRow[] = [];
  for (let at = 0; at < endpointIds.length; at += ASKED_AT_ONCE) {
    const group = endpointIds.slice(at, at + ASKED_AT_ONCE);
    const afterOf = (id: EndpointId) => (place?.endpointId === id ? place.after : null);
    const pages = await Promise.all(group.map(async (id) => ({ id, ...(await ask(id, afterOf(id), limit)) })));
    for (const { id, rows: found, next } of pages) {
      let after = afterOf(id);
      for (const job of byJob(found)) {
        if (rows.length > 0 && rows.length + job.length > limit) return { rows, next: { endpointId: id, after } };
        rows.push(...job);
        after = job[0]?.job_id ?? after;
      }
      if (next !== null) return { rows, next: { endpointId: id, after: next } };
    }
  }
  return { rows, next: null };
}

function byJob(rows: readonly UsageRow[]): UsageRow[][] {
  const jobs: UsageRow[][] = [];
  for (const row of rows) {
    const last = jobs.at(-1);
    if (last?.[0]?.job_id === row.job_id) last.push(row);
    else jobs.push([row]);
  }
  return jobs;
}

/** Asks the endpoints' objects. @param range Unix ms, from inclusive, to exclusive */
export function askObjects(
  env: Env,
  workspaceId: WorkspaceId,
  range: { readonly createdFrom?: number; readonly createdTo?: number },
): AskUsage {
  return async (endpointId, after, limit) => {
    try {
      return await askEndpoint(env, ownerKey(endpointId), "repeatable", (object) =>
        object.usage(workspaceId, { ...range, limit, ...(after === null ? {} : { after }) }),
      );
    } catch (error) {
      // An object that never heard of its endpoint, or has forgotten a deleted one, has no rows.
      if (isProblem(error, "endpoint_not_found")) return { rows: [], next: null };
      throw error;
    }
  };
}
