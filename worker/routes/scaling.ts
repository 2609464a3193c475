/** How many replicas an endpoint has and wants, and keeping some warm by hand. */
import { coolEndpoint, getScaling, warmEndpoint } from "#contract/api/scaling";
import { handle } from "#worker/http/router";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { askTold } from "#worker/placement/told-endpoint";

/** Decisions that are shown after a change by hand. */
const DECISIONS_SHOWN = 10;

const get = handle(getScaling, async ({ env, principal, params, query }) => {
  const { workspaceId } = principal;
  const found = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askTold(env, found, "repeatable", (object) => object.scaling(workspaceId, query.limit));
  return reply.scaling;
});

const warm = handle(warmEndpoint, async ({ env, principal, params, body }) => {
  const { workspaceId } = principal;
  const found = await ownEndpoint(env, workspaceId, params.endpoint);
  const wish = { replicas: body.replicas, forMs: body.for_s * 1_000 };
  const reply = await askTold(env, found, "repeatable", (object) => object.warm(workspaceId, wish, DECISIONS_SHOWN));
  return reply.scaling;
});

const cool = handle(coolEndpoint, async ({ env, principal, params }) => {
  const { workspaceId } = principal;
  const found = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askTold(env, found, "repeatable", (object) => object.warm(workspaceId, null, DECISIONS_SHOWN));
  return reply.scaling;
});

export const scalingRoutes = [get, warm, cool];
