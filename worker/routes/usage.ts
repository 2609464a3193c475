/** What GPUs did, for billing and reports. */
import { listUsage } from "#contract/api/usage";
import { EndpointId, JobId } from "#contract/ids";
import { ENDPOINTS_PER_WORKSPACE_MAX, JOB_RETENTION_DAYS } from "#contract/limits";
import { selectKeptEndpointIds } from "#worker/catalog/endpoints";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handle } from "#worker/http/router";
import { askObjects, type UsagePlace, usagePage } from "#worker/jobs/usage-page";
import { ownEndpointCached } from "#worker/placement/own-endpoint";

const DAY_MS = 86_400_000;
/** Living endpoints, and as many deleted ones whose jobs are still kept. */
const ENDPOINTS_ASKED_MAX = 2 * ENDPOINTS_PER_WORKSPACE_MAX;

const list = handle(listUsage, async ({ env, principal, query }) => {
  const { workspaceId } = principal;
  const only =
    query.endpoint === undefined ? null : (await ownEndpointCached(env, workspaceId, query.endpoint)).endpoint.id;
  const range = {
    ...(query.since === undefined ? {} : { createdFrom: Date.parse(query.since) }),
    ...(query.until === undefined ? {} : { createdTo: Date.parse(query.until) }),
  };
  const filters = JSON.stringify([only, range]);
  const text = await readCursor(env.SIGNING_SECRET, "usage", workspaceId, query.cursor, filters);
  const place = text === undefined ? undefined : placeOfText(text);
  const endpointIds =
    only === null
      ? await selectKeptEndpointIds(
          env.CATALOG,
          workspaceId,
          Date.now() - JOB_RETENTION_DAYS * DAY_MS,
          place?.endpointId,
          ENDPOINTS_ASKED_MAX,
        )
      : [only];
  const { rows, next } = await usagePage(endpointIds, place, query.limit, askObjects(env, workspaceId, range));
  return {
    data: rows,
    next_cursor:
      next === null ? null : await makeCursor(env.SIGNING_SECRET, "usage", workspaceId, textOfPlace(next), filters),
  };
});

export const usageRoutes = [list];

/** As a cursor holds it. */
function textOfPlace({ endpointId, after }: UsagePlace): string {
  return `${endpointId}:${after ?? "start"}`;
}

function placeOfText(text: string): UsagePlace {
  const [endpointId, after] = text.split(":");
  return { endpointId: EndpointId.parse(endpointId), after: after === "start" ? null : JobId.parse(after) };
}
