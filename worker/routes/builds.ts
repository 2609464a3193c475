/** Builds: registered by what they are, looked up by their digest. */
import { createBuild, deleteBuild, getBuild, getStandalone, listBuilds } from "#contract/api/builds";
import { buildDigest, type SmokeTest } from "#contract/build";
import { BUILDS_PER_WORKSPACE_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import {
  type BuildRow,
  buildSummary,
  buildView,
  countBuilds,
  deleteUnusedBuild,
  findBuild,
  putBuild,
  releasesWithBuild,
  selectBuilds,
} from "#worker/catalog/builds";
import { findRelease } from "#worker/catalog/endpoints";
import { jsonAnswer } from "#worker/http/answer";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { inputsJsonSchema } from "#workflow/json-schema";

/** Pages are read whole, manifests and all: a page of the largest ones has to fit into a Worker's memory. */
const PAGE_MAX = 20;

const create = handleOnce(createBuild, async ({ env, principal, body: manifest }) => {
  const { workspaceId } = principal;
  const digest = await buildDigest(manifest);
  const known = await findBuild(env.CATALOG, workspaceId, digest);
  if (known === undefined && (await countBuilds(env.CATALOG, workspaceId)) >= BUILDS_PER_WORKSPACE_MAX) {
    throw new Problem("build_limit", `A workspace may have ${BUILDS_PER_WORKSPACE_MAX} builds.`);
  }
  const row = { digest, manifest, createdAt: known?.createdAt ?? Date.now() };
  await putBuild(env.CATALOG, workspaceId, row);
  return jsonAnswer(known === undefined ? 201 : 200, buildView(row));
});

const list = handle(listBuilds, async ({ env, principal, query }) => {
  const { workspaceId } = principal;
  const limit = Math.min(query.limit, PAGE_MAX);
  const after = placeOf(await readCursor(env.SIGNING_SECRET, "builds", workspaceId, query.cursor));
  const found = await selectBuilds(env.CATALOG, workspaceId, after, limit + 1);
  const page = found.slice(0, limit);
  const last = page.at(-1);
  return {
    data: page.map(buildSummary),
    next_cursor:
      found.length > limit && last !== undefined
        ? await makeCursor(env.SIGNING_SECRET, "builds", workspaceId, `${last.createdAt}:${last.digest}`)
        : null,
  };
});

const get = handle(getBuild, async ({ env, principal, params }) => {
  const build = await findBuild(env.CATALOG, principal.workspaceId, params.digest);
  if (build === undefined) throw new Problem("build_not_found", "Your workspace has no such build.");
  return buildView(build);
});

const remove = handle(deleteBuild, async ({ env, principal: { workspaceId }, params: { digest } }) => {
  if (await deleteUnusedBuild(env.CATALOG, workspaceId, digest)) return undefined;
  const users = await releasesWithBuild(env.CATALOG, workspaceId, digest);
  if (users.length === 0) throw new Problem("build_not_found", "Your workspace has no such build.");
  const named = users.map(({ slug, number }) => `${slug} ${number}`).join(", ");
  throw new Problem("build_in_use", `Releases need it: ${named}. They go with their endpoint.`);
});

const standalone = handle(getStandalone, async ({ env, principal, params }) => {
  const { workspaceId } = principal;
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const found = await findRelease(env.CATALOG, endpoint.id, params.number);
  if (found === undefined) throw new Problem("release_not_found", `The endpoint has no release ${params.number}.`);
  const { release } = found;
  const build = release.build === null ? undefined : await findBuild(env.CATALOG, workspaceId, release.build);
  if (build === undefined) {
    throw new Problem(
      "build_not_found",
      "The release names no build: it runs on what its machines' owners have installed. Deploy it with a build first.",
    );
  }
  return {
    build: build.manifest,
    workflow: release.graph,
    schema: inputsJsonSchema(release.inputs),
    objectInfo: release.objectInfo,
    smokeTest: release.smokeTest ?? GRAPH_AS_IT_IS,
  };
});

/** A release that asks for nothing in particular: something has to come of its graph. */
const GRAPH_AS_IT_IS: SmokeTest = { inputs: {}, outputs: [] };

export const buildRoutes = [create, list, get, remove, standalone];

function placeOf(place: string | undefined): Pick<BuildRow, "createdAt" | "digest"> | undefined {
  const [createdAt, digest] = place?.split(":") ?? [];
  return createdAt === undefined || digest === undefined ? undefined : { createdAt: Number(createdAt), digest };
}
