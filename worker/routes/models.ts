/** The workspace's models: uploading in parts, importing, looking, deleting. */
import {
  beginModel,
  completeModel,
  deleteModel,
  getModel,
  importModel,
  listModels,
  putModelPart,
} from "#contract/api/models";
import { ModelId, type WorkspaceId } from "#contract/ids";
import { parseModelSource } from "#contract/model-source";
import { Problem } from "#contract/problems";
import { guardUrl } from "#contract/public-url";
import { endpointsWithModel } from "#worker/catalog/builds";
import type { Env } from "#worker/env";
import { emptyAnswer, jsonAnswer } from "#worker/http/answer";
import type { Arrival } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { statedHash } from "#worker/http/stated-hash";
import { storeModelPart } from "#worker/models/store-part";
import { askModels } from "#worker/placement/objects";

const list = handle(listModels, async ({ env, principal: { workspaceId }, query }) => {
  const { cursor, limit, type, status } = query;
  const listed = JSON.stringify([type ?? null, status ?? null]);
  const place = await readCursor(env.SIGNING_SECRET, "models", workspaceId, cursor, listed);
  const page = {
    limit,
    ...(type === undefined ? {} : { type }),
    ...(status === undefined ? {} : { status }),
    ...(place === undefined ? {} : { before: ModelId.parse(place) }),
  };
  const { models, next } = await askModels(env, workspaceId, "repeatable", (object) => object.list(workspaceId, page));
  const next_cursor = next === null ? null : await makeCursor(env.SIGNING_SECRET, "models", workspaceId, next, listed);
  return { data: models, next_cursor };
});

// The hash names the model, so that beginning twice is beginning once, with an Idempotency-Key and without.
const begin = handleOnce(beginModel, async ({ env, principal: { workspaceId }, body }) => {
  const { model, created } = await askModels(env, workspaceId, "repeatable", (object) =>
    object.begin(workspaceId, body),
  );
  return jsonAnswer(created ? 201 : 200, model);
});

const importFrom = handleOnce(importModel, async (call) => {
  const { env, body } = call;
  const { workspaceId } = call.principal;
  requireUsable(call, body.source);
  const { model, created } = await askModels(env, workspaceId, "repeatable", (object) =>
    object.importFrom(workspaceId, body),
  );
  return jsonAnswer(created ? 202 : 200, model);
});

const get = handle(getModel, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askModels(env, workspaceId, "repeatable", (object) => object.get(workspaceId, params.model));
  return reply.model;
});

const putPart = handle(putModelPart, async ({ env, principal: { workspaceId }, params, request }) => {
  const sha256 = statedHash(request);
  const { target } = await askModels(env, workspaceId, "repeatable", (object) =>
    object.partTarget(workspaceId, params.model, params.part),
  );
  const etag = await storeModelPart(env.STORE, target, params.part, request, sha256);
  const part = { attempt: target.attempt, number: params.part, etag, size: target.size };
  await askModels(env, workspaceId, "repeatable", (object) => object.partStored(workspaceId, params.model, part));
  return emptyAnswer();
});

const complete = handle(completeModel, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askModels(env, workspaceId, "repeatable", (object) => object.complete(workspaceId, params.model));
  return reply.model;
});

const remove = handle(deleteModel, async ({ env, principal: { workspaceId }, params, query }) => {
  if (query.force !== "true") await refuseInUse(env, workspaceId, params.model);
  await askModels(env, workspaceId, "once", (object) => object.remove(workspaceId, params.model));
  return undefined;
});

export const modelRoutes = [list, begin, importFrom, get, putPart, complete, remove];

/** @throws Problem model_in_use, model_not_found */
async function refuseInUse(env: Env, workspaceId: WorkspaceId, name: string): Promise<void> {
  const { model } = await askModels(env, workspaceId, "repeatable", (object) => object.get(workspaceId, name));
  if (model.status !== "ready" || model.sha256 === null) return;
  const slugs = await endpointsWithModel(env.CATALOG, workspaceId, model.sha256);
  if (slugs.length === 0) return;
  throw new Problem(
    "model_in_use",
    `Machines of ${slugs.join(", ")} may still have to fetch it. Deploy those with another build first, or send force=true.`,
  );
}

/**
 * An address is judged when it is given, so that whoever gave it hears of it, and again at each step of its fetching.
 * @throws Problem invalid_url when nothing may be fetched there
 */
function requireUsable({ env, url: { host } }: Arrival, source: string): void {
  const origin = parseModelSource(source);
  if (origin?.kind !== "https") return;
  const guarded = guardUrl(origin.url, { allowLoopback: env.ALLOW_LOOPBACK_URLS === "true", ownHosts: [host] });
  if (guarded.ok) return;
  const { reason } = guarded;
  throw new Problem("invalid_url", `/source: ${reason}`, { errors: [{ path: "/source", reason }] });
}
