/** Endpoints: made from a workflow, changed, deleted, described. */
import {
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  getEndpointSchema,
  listEndpoints,
  patchEndpoint,
} from "#contract/api/endpoints";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { EndpointId, makeId, ownerKey } from "#contract/ids";
import { ENDPOINTS_PER_WORKSPACE_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { isUniqueViolation } from "#worker/catalog/database";
import {
  countEndpoints,
  type EndpointRow,
  findEndpoint,
  insertEndpoint,
  markApplied,
  markEndpointDeleted,
  preferredPod,
  selectEndpoints,
} from "#worker/catalog/endpoints";
import { changeEndpoint } from "#worker/endpoints/change-endpoint";
import { knownBuild } from "#worker/endpoints/chosen-build";
import { chosenPods } from "#worker/endpoints/chosen-pods";
import { endpointView } from "#worker/endpoints/endpoint-view";
import { importedRelease } from "#worker/endpoints/import-release";
import { objectWords } from "#worker/endpoints/object-words";
import { changedSettings } from "#worker/endpoints/settings";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { tellObject } from "#worker/placement/apply-config";
import { askEndpoint } from "#worker/placement/objects";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { inputsJsonSchema, outputsJsonSchema } from "#workflow/json-schema";

const create = handleOnce(createEndpoint, async (call, { at: now, randomBytes }) => {
  const { env, principal, body } = call;
  const { workspaceId } = principal;
  const id = makeId(EndpointId, "ep", now, randomBytes);
  const settings = changedSettings(DEFAULT_SETTINGS, body.settings);
  const pods = await chosenPods(env, workspaceId, body);
  const known = await findEndpoint(env.CATALOG, workspaceId, body.slug);
  if (known?.endpoint.id === id) {
    await tellObject(call, workspaceId, id);
    return endpointView(known, call.url.origin, await objectWords(env, known, [known.release.number]));
  }
  if (known !== undefined) throw slugTaken(body.slug);
  if ((await countEndpoints(env.CATALOG, workspaceId)) >= ENDPOINTS_PER_WORKSPACE_MAX) {
    throw new Problem("endpoint_limit", `A workspace may have ${ENDPOINTS_PER_WORKSPACE_MAX} endpoints.`);
  }
  const overrides = body.overrides ?? {};
  const build = await knownBuild(env, workspaceId, body.build ?? null);
  const plan = { endpointId: id, number: 1, createdAt: now, build, smokeTest: body.smoke_test ?? null };
  const release = await importedRelease(call.raw.document, overrides, plan);
  const endpoint: EndpointRow = {
    id,
    key: ownerKey(id),
    workspaceId,
    podId: preferredPod(pods),
    pods,
    slug: body.slug,
    name: body.name ?? body.slug,
    settings,
    overrides,
    activeRelease: release.row.number,
    newestRelease: release.row.number,
    canary: null,
    version: 1,
    appliedVersion: 0,
    createdAt: now,
    updatedAt: now,
    deletedAt: null,
  };
  try {
    await insertEndpoint(env.CATALOG, endpoint, release);
  } catch (error) {
    if (isUniqueViolation(error)) throw slugTaken(body.slug);
    throw error;
  }
  await tellObject(call, workspaceId, id);
  const made = { endpoint, release: release.row };
  return endpointView(made, call.url.origin, await objectWords(env, made, [release.row.number]));
});

const patch = handle(patchEndpoint, async (call) => {
  const { env, principal, params, body, raw } = call;
  const { found } = await changeEndpoint(call, principal.workspaceId, params.endpoint, body, raw.document);
  return endpointView(found, call.url.origin, await objectWords(env, found, [found.release.number]));
});

const list = handle(listEndpoints, async ({ env, principal, query, url }) => {
  const { workspaceId } = principal;
  const after = await readCursor(env.SIGNING_SECRET, "endpoints", workspaceId, query.cursor);
  const found = await selectEndpoints(env.CATALOG, workspaceId, after, query.limit + 1);
  const page = found.slice(0, query.limit);
  const last = page.at(-1);
  return {
    data: page.map((one) => endpointView(one, url.origin)),
    next_cursor:
      found.length > query.limit && last !== undefined
        ? await makeCursor(env.SIGNING_SECRET, "endpoints", workspaceId, last.endpoint.slug)
        : null,
  };
});

const get = handle(getEndpoint, async ({ env, principal, params, url }) => {
  const found = await ownEndpoint(env, principal.workspaceId, params.endpoint);
  return endpointView(found, url.origin, await objectWords(env, found, [found.release.number]));
});

const remove = handle(deleteEndpoint, async ({ env, principal, params }) => {
  const { workspaceId } = principal;
  const deleted = await markEndpointDeleted(env.CATALOG, workspaceId, params.endpoint, Date.now());
  if (deleted === undefined) throw new Problem("endpoint_not_found", "Your workspace has no such endpoint.");
  // When the object does not answer, the caller gets 503 and the same call again finishes the work.
  await askEndpoint(env, deleted.key, "repeatable", (endpoint) => endpoint.remove(workspaceId));
  await markApplied(env.CATALOG, deleted.id, deleted.version);
  return undefined;
});

const schema = handle(getEndpointSchema, async ({ env, principal, params }) => {
  const { endpoint, release } = await ownEndpoint(env, principal.workspaceId, params.endpoint);
  return {
    endpoint: endpoint.slug,
    release: release.number,
    inputs: inputsJsonSchema(release.inputs),
    outputs: outputsJsonSchema(release.outputs),
  };
});

export const endpointRoutes = [create, list, get, patch, remove, schema];

function slugTaken(slug: string): Problem {
  return new Problem(
    "slug_taken",
    `There is already an endpoint called "${slug}"; change that one, or take another name.`,
  );
}
