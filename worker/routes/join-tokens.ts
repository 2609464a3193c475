/** Join tokens: secrets with which machines join a pod. */
import { makeSecret } from "#contract/access";
import { createJoinToken, listJoinTokens, revokeJoinToken } from "#contract/api/pods";
import { JoinTokenId, makeId } from "#contract/ids";
import { JOIN_TOKENS_PER_POD_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { iso } from "#durable-objects/endpoint/shown-job";
import { sha256Hex } from "#worker/auth/digest";
import {
  countLivingJoinTokens,
  insertJoinToken,
  revokeJoinTokenRow,
  selectJoinTokens,
  sweepJoinTokens,
} from "#worker/catalog/join-tokens";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { ownPod } from "#worker/routes/pods";

const create = handleOnce(createJoinToken, async (call, { at: now, randomBytes }) => {
  const { env, principal, params, body, waitUntil } = call;
  const pod = await ownPod(env, principal.workspaceId, params.pod);
  if ((await countLivingJoinTokens(env.CATALOG, pod.id, now)) >= JOIN_TOKENS_PER_POD_MAX) {
    throw new Problem(
      "join_token_limit",
      `A pod may have ${JOIN_TOKENS_PER_POD_MAX} tokens that are neither over nor revoked; revoke some.`,
    );
  }
  const token = makeSecret("plj", randomBytes);
  const row = {
    id: makeId(JoinTokenId, "jt", now, randomBytes),
    workspaceId: principal.workspaceId,
    podId: pod.id,
    name: body.name,
    hash: await sha256Hex(token),
    createdAt: now,
    expiresAt: now + body.expires_in * 1000,
    usesMax: body.uses_max,
  };
  await insertJoinToken(env.CATALOG, row);
  waitUntil(sweepJoinTokens(env.CATALOG, pod.id, now));
  return {
    id: row.id,
    pod_id: row.podId,
    name: row.name,
    created_at: iso(now),
    expires_at: iso(row.expiresAt),
    uses_max: row.usesMax,
    uses: 0,
    revoked_at: null,
    token,
  };
});

const list = handle(listJoinTokens, async ({ env, principal, params, query }) => {
  const { workspaceId } = principal;
  const pod = await ownPod(env, workspaceId, params.pod);
  const before = await readCursor(env.SIGNING_SECRET, "join-tokens", workspaceId, query.cursor, pod.id);
  const found = await selectJoinTokens(env.CATALOG, workspaceId, pod.id, before, query.limit + 1);
  const data = found.slice(0, query.limit);
  const last = data.at(-1);
  return {
    data,
    next_cursor:
      found.length > query.limit && last !== undefined
        ? await makeCursor(env.SIGNING_SECRET, "join-tokens", workspaceId, last.id, pod.id)
        : null,
  };
});

const revoke = handle(revokeJoinToken, async ({ env, principal: { workspaceId }, params }) => {
  const pod = await ownPod(env, workspaceId, params.pod);
  if (!(await revokeJoinTokenRow(env.CATALOG, workspaceId, pod.id, params.token, Date.now()))) {
    throw new Problem("join_token_not_found", "The pod has no such join token.");
  }
  return undefined;
});

export const joinTokenRoutes = [create, list, revoke];
