/** Pods as callers see them: which there are, their nodes, and how machines join. */
import { makeSecret } from "#contract/access";
import { createJoinToken, listNodes, listPods } from "#contract/api/pods";
import { JoinTokenId, makeId, type PodId, type WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { iso } from "#durable-objects/endpoint/shown-job";
import { sha256Hex } from "#worker/auth/digest";
import { hasPod, insertJoinToken, selectPods } from "#worker/catalog/pods";
import type { Env } from "#worker/env";
import { randomBytes } from "#worker/http/fresh-id";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { introducePod } from "#worker/placement/introduce-pod";
import { askPod } from "#worker/placement/objects";

async function requirePod(env: Env, workspaceId: WorkspaceId, podId: PodId): Promise<void> {
  if (!(await hasPod(env.CATALOG, workspaceId, podId))) {
    throw new Problem("pod_not_found", "Your workspace has no such pod.");
  }
}

const list = handle(listPods, async ({ env, principal }) => ({
  data: await selectPods(env.CATALOG, principal.workspaceId),
}));

const nodes = handle(listNodes, async ({ env, principal, params }) => {
  await requirePod(env, principal.workspaceId, params.pod);
  await introducePod(env, params.pod, principal.workspaceId);
  const reply = await askPod(env, params.pod, "repeatable", (pod) => pod.listNodes(principal.workspaceId));
  return { data: reply.nodes };
});

const joinToken = handleOnce(createJoinToken, async ({ env, principal, params, body }) => {
  await requirePod(env, principal.workspaceId, params.pod);
  const token = makeSecret("plj", randomBytes);
  const now = Date.now();
  const row = {
    id: makeId(JoinTokenId, "jt", now, randomBytes),
    workspaceId: principal.workspaceId,
    podId: params.pod,
    hash: await sha256Hex(token),
    createdAt: now,
    expiresAt: now + body.expires_in * 1000,
  };
  await insertJoinToken(env.CATALOG, row);
  return { id: row.id, pod_id: row.podId, created_at: iso(now), expires_at: iso(row.expiresAt), token };
});

export const podRoutes = [list, nodes, joinToken];
