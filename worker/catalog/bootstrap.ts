/**
 * The first rows of a catalog, as plain SQL: a launcher (Node, tests) runs them against D1 before anybody can call.
 * Nothing here needs the Worker's types.
 */
import type { Scope } from "#contract/access";
import type { JoinTokenId, KeyId, PodId, WorkspaceId } from "#contract/ids";

export interface Statement {
  readonly sql: string;
  readonly params: readonly (string | number | null)[];
}

export interface Bootstrap {
  readonly workspaceId: WorkspaceId;
  readonly workspaceName: string;
  readonly podId: PodId;
  readonly podName: string;
  readonly key: {
    readonly id: KeyId;
    readonly name: string;
    /** sha256 of the secret, 64 lower-case hexadecimal digits. */
    readonly hash: string;
    /** What lists show of it: `pl_…x7Qa`. */
    readonly hint: string;
    readonly scopes: readonly Scope[];
  };
  /** A token for machines started together with the server. */
  readonly joinToken?: { readonly id: JoinTokenId; readonly hash: string; readonly expiresAt: number };
  /** Unix ms. */
  readonly nowMs: number;
}

/** Run them in order, in one batch. Run again with the same ids they change nothing. */
export function bootstrapStatements(bootstrap: Bootstrap): Statement[] {
  const { workspaceId, workspaceName, podId, podName, key, joinToken, nowMs } = bootstrap;
  return [
    {
      sql: "INSERT INTO workspaces (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
      params: [workspaceId, workspaceName, nowMs],
    },
    {
      sql: "INSERT INTO pods (id, workspace_id, name, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
      params: [podId, workspaceId, podName, nowMs],
    },
    {
      sql: "INSERT INTO api_keys (id, workspace_id, name, hash, scopes, hint, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      params: [key.id, workspaceId, key.name, key.hash, JSON.stringify(key.scopes), key.hint, nowMs],
    },
    ...(joinToken === undefined
      ? []
      : [
          {
            sql: "INSERT INTO join_tokens (id, workspace_id, pod_id, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at, revoked_at = NULL",
            params: [joinToken.id, workspaceId, podId, joinToken.hash, nowMs, joinToken.expiresAt],
          },
        ]),
  ];
}
