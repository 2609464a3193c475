/** Releases of an endpoint: which there are, how they differ, and which one is active. */
import {
  activateRelease,
  createRelease,
  diffReleases,
  getRelease,
  listReleases,
  rollbackRelease,
  setCanary,
} from "#contract/api/releases";
import type { Endpoint } from "#contract/endpoint";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import type { EndpointId, WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { type BuildRow, findBuild } from "#worker/catalog/builds";
import {
  activateRelease as activateInCatalog,
  type EndpointRow,
  type EndpointWithRelease,
  findRelease,
  setCanary as setCanaryInCatalog,
} from "#worker/catalog/endpoints";
import { type ActivationCause, findReplaced, type ReleaseRow, selectReleases } from "#worker/catalog/releases";
import { canaryResults } from "#worker/endpoints/canary-results";
import { changeEndpoint } from "#worker/endpoints/change-endpoint";
import { endpointView, releaseView } from "#worker/endpoints/endpoint-view";
import type { Env } from "#worker/env";
import { jsonAnswer } from "#worker/http/answer";
import type { Arrival } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { tellObject } from "#worker/placement/apply-config";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { releaseDiff } from "#workflow/release-diff";

/** How often a change is tried again when another one came between reading and writing. */
const ROUNDS_MAX = 5;
/** ComfyUI's graphs are flat; this is what an import takes. */
const GRAPH_DEPTH_MAX = 96;

const create = handleOnce(createRelease, async (call) => {
  const { env, principal, params, body, raw } = call;
  const { found, release } = await changeEndpoint(call, principal.workspaceId, params.endpoint, body, raw.document);
  if (release === undefined) throw new Error("the body of a release names nothing to import");
  const row = await ownRelease(env, found.endpoint.id, release.number);
  const view = releaseView(found.endpoint, row, await canaryResults(env, found));
  return release.isNew ? view : jsonAnswer(200, view);
});

const list = handle(listReleases, async ({ env, principal, params, query }) => {
  const { workspaceId } = principal;
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const place = await readCursor(env.SIGNING_SECRET, "releases", workspaceId, query.cursor, endpoint.id);
  const before = place === undefined ? undefined : Number(place);
  const found = await selectReleases(env.CATALOG, endpoint.id, before, query.limit + 1);
  const data = found.slice(0, query.limit);
  const last = data.at(-1);
  return {
    data: data.map((release) => releaseView(endpoint, release)),
    next_cursor:
      found.length > query.limit && last !== undefined
        ? await makeCursor(env.SIGNING_SECRET, "releases", workspaceId, String(last.number), endpoint.id)
        : null,
  };
});

const get = handle(getRelease, async ({ env, principal, params, query }) => {
  const found = await ownEndpoint(env, principal.workspaceId, params.endpoint);
  const { endpoint } = found;
  const release = await ownRelease(env, endpoint.id, params.number);
  const view = releaseView(endpoint, release, await canaryResults(env, found));
  return query.graph === "true" ? { ...view, graph: graphOf(release) } : view;
});

const diff = handle(diffReleases, async ({ env, principal, params, query }) => {
  const { endpoint } = await ownEndpoint(env, principal.workspaceId, params.endpoint);
  const from = await ownRelease(env, endpoint.id, query.from ?? endpoint.activeRelease);
  const to = await ownRelease(env, endpoint.id, params.number);
  const [before, after] = await Promise.all([from, to].map((one) => buildOf(env, principal.workspaceId, one)));
  return releaseDiff(
    { ...from, graph: graphOf(from), build: before ?? null },
    { ...to, graph: graphOf(to), build: after ?? null },
  );
});

const activate = handle(activateRelease, async (call) => {
  const { workspaceId } = call.principal;
  return activated(call, workspaceId, call.params.endpoint, "activate", async () => call.params.number);
});

const rollback = handleOnce(rollbackRelease, async (call) => {
  const { from } = call.body;
  return activated(call, call.principal.workspaceId, call.params.endpoint, "rollback", async (endpoint) => {
    const { activeRelease } = endpoint;
    if (from !== undefined && from !== activeRelease) {
      throw new Problem("release_not_active", `Release ${activeRelease} is active, not ${from}.`);
    }
    const replaced = await findReplaced(call.env.CATALOG, endpoint.id, activeRelease);
    if (replaced !== undefined) return replaced;
    throw new Problem(
      "no_previous_release",
      `No release is known to have been active before release ${activeRelease}; activate one by its number.`,
    );
  });
});

const canary = handle(setCanary, async (call) => {
  const { env, body, params } = call;
  return changed(call, call.principal.workspaceId, params.endpoint, async ({ endpoint }) => {
    const { number } = params;
    await ownRelease(env, endpoint.id, number);
    if (body.weight === 0) {
      if (endpoint.canary?.release !== number) return "unchanged";
      return (await setCanaryInCatalog(env.CATALOG, endpoint, null, Date.now())) ? "changed" : "again";
    }
    if (number === endpoint.activeRelease) {
      throw new Problem("release_active", `Release ${number} is the active one: every new job runs on it.`);
    }
    const set = { ...body, release: number };
    return (await setCanaryInCatalog(env.CATALOG, endpoint, set, Date.now())) ? "changed" : "again";
  });
});

export const releaseRoutes = [create, list, get, diff, activate, rollback, canary];

/**
 * Makes the chosen release the active one, whatever others change meanwhile.
 * @param choose the release's number; asked again when the endpoint has changed since it was read
 */
async function activated(
  call: Arrival,
  workspaceId: WorkspaceId,
  name: string,
  cause: ActivationCause,
  choose: (endpoint: EndpointRow) => Promise<number>,
): Promise<Endpoint> {
  const { env } = call;
  return changed(call, workspaceId, name, async ({ endpoint }) => {
    const number = await choose(endpoint);
    if (number === endpoint.activeRelease) return "unchanged";
    const release = await ownRelease(env, endpoint.id, number);
    return (await activateInCatalog(env.CATALOG, endpoint, release, cause, Date.now())) ? "changed" : "again";
  });
}

/**
 * Changes an endpoint, again when somebody else did so meanwhile, and tells its object.
 * @returns the endpoint as it is then
 */
async function changed(
  call: Arrival,
  workspaceId: WorkspaceId,
  name: string,
  change: (found: EndpointWithRelease) => Promise<"changed" | "unchanged" | "again">,
): Promise<Endpoint> {
  const { env } = call;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const found = await ownEndpoint(env, workspaceId, name);
    const outcome = await change(found);
    if (outcome === "again") continue;
    if (outcome === "changed") await tellObject(call, workspaceId, found.endpoint.id);
    const after = outcome === "changed" ? await ownEndpoint(env, workspaceId, found.endpoint.id) : found;
    return endpointView(after, call.url.origin, await canaryResults(env, after));
  }
  throw new Problem("unavailable", "The endpoint is being changed by others at the same time; try again.");
}

async function ownRelease(env: Env, endpointId: EndpointId, number: number): Promise<ReleaseRow> {
  const found = await findRelease(env.CATALOG, endpointId, number);
  if (found === undefined) throw new Problem("release_not_found", `The endpoint has no release ${number}.`);
  return found.release;
}

async function buildOf(env: Env, workspaceId: WorkspaceId, { build }: ReleaseRow): Promise<BuildRow | undefined> {
  return build === null ? undefined : findBuild(env.CATALOG, workspaceId, build);
}

function graphOf({ graph }: ReleaseRow): JsonObject {
  const parsed = parseExactJson(graph, { depthMax: GRAPH_DEPTH_MAX });
  if (!isJsonObject(parsed)) throw new Error("a stored graph is no object");
  return parsed;
}
