/** How many replicas an endpoint has and wants, and keeping some warm by hand. */
import type * as z from "zod";
import { coolEndpoint, getScaling, warmEndpoint } from "#contract/api/scaling";
import { WARM_S_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
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
  const wish = { replicas: body.replicas, forMs: lengthMs(body, Date.now()) };
  const reply = await askTold(env, found, "repeatable", (object) => object.warm(workspaceId, wish, DECISIONS_SHOWN));
  return reply.scaling;
});

/** How long from now on. @throws Problem invalid_body when it would be over already, or goes on for too long */
function lengthMs({ for_s: forS, until }: z.output<typeof warmEndpoint.body>, now: number): number {
  if (until === undefined) return (forS ?? 0) * 1_000;
  const ms = Date.parse(until) - now;
  if (ms > 0 && ms <= WARM_S_MAX * 1_000) return ms;
  const reason = ms > 0 ? `must be at most ${WARM_S_MAX / 86_400} days away` : "is in the past";
  const detail = `/until: ${reason}; now it is ${new Date(now).toISOString()}`;
  throw new Problem("invalid_body", detail, { errors: [{ path: "/until", reason }] });
}

const cool = handle(coolEndpoint, async ({ env, principal, params }) => {
  const { workspaceId } = principal;
  const found = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askTold(env, found, "repeatable", (object) => object.warm(workspaceId, null, DECISIONS_SHOWN));
  return reply.scaling;
});

export const scalingRoutes = [get, warm, cool];
