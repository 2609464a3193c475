/** Releases of an endpoint: which there are, how they differ, and which one is active. */
import {
  activateRelease,
  createRelease,
  diffReleases,
  getRelease,
  getReleaseLogs,
  listReleases,
  rollbackRelease,
  setCanary,
} from "#contract/api/releases";
import type { Endpoint } from "#contract/endpoint";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { type BuildRow, findBuild } from "#worker/catalog/builds";
import { type EndpointWithRelease, setCanary as setCanaryInCatalog } from "#worker/catalog/endpoints";
import { findReplaced, type ReleaseRow, rolledBackSince, selectReleases } from "#worker/catalog/releases";
import { changeEndpoint } from "#worker/endpoints/change-endpoint";
import { endpointView, releaseView } from "#worker/endpoints/endpoint-view";
import { objectWords, releaseGate } from "#worker/endpoints/object-words";
import { changed, ownRelease, type Placement, placeRelease } from "#worker/endpoints/place-release";
import { releaseLogStream, releaseLogText, untilPlaced } from "#worker/endpoints/release-log";
import type { Env } from "#worker/env";
import { acceptsEvents } from "#worker/http/accept";
import { jsonAnswer } from "#worker/http/answer";
import type { Arrival } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { preferredWait } from "#worker/jobs/prefer";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { releaseDiff } from "#workflow/release-diff";

/** ComfyUI's graphs are flat; this is what an import takes. */
const GRAPH_DEPTH_MAX = 96;

const create = handleOnce(createRelease, async (call) => {
  const { env, principal, params, body, raw } = call;
  const { found, release } = await changeEndpoint(call, principal.workspaceId, params.endpoint, body, raw.document);
  if (release === undefined) throw new Error("the body of a release names nothing to import");
  const row = await ownRelease(env, found.endpoint.id, release.number);
  const view = releaseView(found.endpoint, row, await objectWords(env, found, [row.number]));
  return release.isNew ? view : jsonAnswer(200, view);
});

const list = handle(listReleases, async ({ env, principal, params, query }) => {
  const { workspaceId } = principal;
  const own = await ownEndpoint(env, workspaceId, params.endpoint);
  const { endpoint } = own;
  const place = await readCursor(env.SIGNING_SECRET, "releases", workspaceId, query.cursor, endpoint.id);
  const before = place === undefined ? undefined : Number(place);
  const found = await selectReleases(env.CATALOG, endpoint.id, before, query.limit + 1);
  const data = found.slice(0, query.limit);
  const last = data.at(-1);
  const gate = await releaseGate(
    env,
    own,
    data.map(({ number }) => number),
  );
  return {
    data: data.map((release) => releaseView(endpoint, release, { results: null, gate })),
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
  const view = releaseView(endpoint, release, await objectWords(env, found, [release.number]));
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

const logs = handle(getReleaseLogs, async ({ env, principal, params, headers, request }) => {
  const found = await ownEndpoint(env, principal.workspaceId, params.endpoint);
  const { number: release } = await ownRelease(env, found.endpoint.id, params.number);
  const followed = { env, found, release };
  if (!acceptsEvents(request.headers.get("accept"))) return releaseLogText(followed);
  return releaseLogStream(followed, lineNumber(headers["last-event-id"]));
});

const activate = handle(activateRelease, async (call) => {
  const { force } = call.body;
  const { params, principal, headers } = call;
  const endpoint = await placed(call, principal.workspaceId, params.endpoint, {
    cause: "activate",
    force,
    choose: async () => params.number,
  });
  return answered(call, principal.workspaceId, params.number, endpoint, headers.prefer);
});

const rollback = handleOnce(rollbackRelease, async (call, { at, isRepeated }) => {
  const { from, force } = call.body;
  return placed(call, call.principal.workspaceId, call.params.endpoint, {
    cause: "rollback",
    force,
    choose: async (endpoint) => {
      const { activeRelease } = endpoint;
      // It died after it had done its work: once more would be one release too far.
      const done = isRepeated ? await rolledBackSince(call.env.CATALOG, endpoint.id, at) : undefined;
      if (done !== undefined) return done;
      if (from !== undefined && from !== activeRelease) {
        throw new Problem("release_not_active", `Release ${activeRelease} is active, not ${from}.`);
      }
      const replaced = await findReplaced(call.env.CATALOG, endpoint.id, activeRelease);
      if (replaced !== undefined) return replaced;
      throw new Problem(
        "no_previous_release",
        `No release is known to have been active before release ${activeRelease}; activate one by its number.`,
      );
    },
  });
});

const canary = handle(setCanary, async (call) => {
  const { params, principal, headers } = call;
  const { force, ...set } = call.body;
  const { number } = params;
  if (set.weight === 0) return endedCanary(call, principal.workspaceId, params.endpoint, number);
  const endpoint = await placed(call, principal.workspaceId, params.endpoint, {
    cause: "activate",
    force,
    canary: set,
    choose: async ({ activeRelease }) => {
      if (number !== activeRelease) return number;
      throw new Problem("release_active", `Release ${number} is the active one: every new job runs on it.`);
    },
  });
  return answered(call, principal.workspaceId, number, endpoint, headers.prefer);
});

export const releaseRoutes = [create, list, get, logs, diff, activate, rollback, canary];

/** The release gets its place, and the endpoint is shown as it is then. */
async function placed(call: Arrival, workspaceId: WorkspaceId, name: string, placement: Placement): Promise<Endpoint> {
  return shown(call, await placeRelease(call, workspaceId, name, placement));
}

/**
 * The endpoint as it was asked to be, or as it stands after the time for which the caller prefers to wait.
 * @throws Problem release_failed, release_not_active
 */
async function answered(
  call: Arrival,
  workspaceId: WorkspaceId,
  number: number,
  placed: Endpoint,
  prefer: string | undefined,
): Promise<Response | Endpoint> {
  const wait = preferredWait(prefer);
  if (wait === undefined) return placed;
  const headers = { "preference-applied": `wait=${wait}` };
  if (placed.pending?.release !== number) return jsonAnswer(200, placed, headers);
  await untilPlaced(call.env, await ownEndpoint(call.env, workspaceId, placed.id), number, wait);
  const found = await ownEndpoint(call.env, workspaceId, placed.id);
  const endpoint = await shown(call, found);
  if (endpoint.pending?.release === number) return jsonAnswer(202, endpoint, headers);
  if (endpoint.release.number === number || endpoint.canary?.release === number) {
    return jsonAnswer(200, endpoint, headers);
  }
  const row = await ownRelease(call.env, found.endpoint.id, number);
  const { verification } = releaseView(found.endpoint, row, await objectWords(call.env, found, [number]));
  const failed = verification.find(({ state }) => state === "failed");
  if (failed === undefined) throw new Problem("release_not_active", `Release ${number} is not waited for any more.`);
  const on = failed.gpu_type === null ? "" : ` on ${failed.gpu_type}`;
  throw new Problem(
    "release_failed",
    `Release ${number} cannot run${on}: ${failed.error ?? "its machine says no more"}`,
  );
}

async function shown(call: Arrival, found: EndpointWithRelease): Promise<Endpoint> {
  return endpointView(found, call.url.origin, await objectWords(call.env, found, [found.release.number]));
}

/** Ends the release's canary, also one that waits for its release to be ready. */
async function endedCanary(call: Arrival, workspaceId: WorkspaceId, name: string, number: number): Promise<Endpoint> {
  const { env } = call;
  const found = await changed(call, workspaceId, name, async ({ endpoint }) => {
    await ownRelease(env, endpoint.id, number);
    if (endpoint.canary?.release !== number) return "unchanged";
    return (await setCanaryInCatalog(env.CATALOG, endpoint, null, Date.now())) ? "changed" : "again";
  });
  const pending = (await releaseGate(env, found, []))?.pending;
  if (pending?.release !== number || pending.canary === null) return shown(call, found);
  // To wish for the active release is to wish for nothing else.
  const active = { cause: "activate", force: false, choose: async () => found.endpoint.activeRelease } as const;
  return placed(call, workspaceId, name, active);
}

function lineNumber(header: string | undefined): number {
  if (header === undefined || header === "") return 0;
  if (!/^(?:0|[1-9][0-9]{0,14})$/.test(header)) {
    throw new Problem("malformed_request", "Last-Event-ID must be the number of a line of this release's log.");
  }
  return Number(header);
}

async function buildOf(env: Env, workspaceId: WorkspaceId, { build }: ReleaseRow): Promise<BuildRow | undefined> {
  return build === null ? undefined : findBuild(env.CATALOG, workspaceId, build);
}

function graphOf({ graph }: ReleaseRow): JsonObject {
  const parsed = parseExactJson(graph, { depthMax: GRAPH_DEPTH_MAX });
  if (!isJsonObject(parsed)) throw new Error("a stored graph is no object");
  return parsed;
}
