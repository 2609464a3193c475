/** Keys, who am I, health. */
import { makeSecret } from "#contract/access";
import { createKey, getHealth, getMe, listKeys, revokeKey } from "#contract/api/access";
import { KeyId, makeId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { iso } from "#durable-objects/endpoint/shown-job";
import { sha256Hex } from "#worker/auth/digest";
import { insertKey, revokeKeyRow, selectKeys } from "#worker/catalog/keys";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import packageJson from "../../package.json" with { type: "json" };

const me = handle(getMe, async ({ principal }) => ({
  workspace_id: principal.workspaceId,
  workspace: principal.workspace,
  key_id: principal.keyId,
  scopes: principal.scopes,
}));

const create = handleOnce(createKey, async ({ env, principal, body }, { at: now, randomBytes }) => {
  const secret = makeSecret("pl", randomBytes);
  const row = {
    id: makeId(KeyId, "key", now, randomBytes),
    workspaceId: principal.workspaceId,
    name: body.name,
    hash: await sha256Hex(secret),
    scopes: [...new Set(body.scopes)],
    hint: `${secret.slice(0, 3)}…${secret.slice(-4)}`,
    createdAt: now,
    expiresAt: body.expires_in === undefined ? null : now + body.expires_in * 1000,
  };
  await insertKey(env.CATALOG, row);
  return {
    id: row.id,
    name: row.name,
    scopes: row.scopes,
    hint: row.hint,
    created_at: iso(now),
    expires_at: row.expiresAt === null ? null : iso(row.expiresAt),
    revoked_at: null,
    key: secret,
  };
});

const list = handle(listKeys, async ({ env, principal, query }) => {
  const { workspaceId } = principal;
  const before = await readCursor(env.SIGNING_SECRET, "keys", workspaceId, query.cursor);
  const keys = await selectKeys(env.CATALOG, workspaceId, before, query.limit + 1);
  const data = keys.slice(0, query.limit);
  const last = data.at(-1);
  return {
    data,
    next_cursor:
      keys.length > query.limit && last !== undefined
        ? await makeCursor(env.SIGNING_SECRET, "keys", workspaceId, last.id)
        : null,
  };
});

const revoke = handle(revokeKey, async ({ env, principal, params }) => {
  if (!(await revokeKeyRow(env.CATALOG, principal.workspaceId, params.key, Date.now()))) {
    throw new Problem("key_not_found", "Your workspace has no such key.");
  }
  return undefined;
});

const health = handle(getHealth, async ({ env }) => {
  await env.CATALOG.prepare("SELECT 1").first();
  return { status: "ok", version: packageJson.version };
});

export const accessRoutes = [me, create, list, revoke, health];
