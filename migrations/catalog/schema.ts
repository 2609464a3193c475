/**
 * The D1 catalog as it is now; the numbered .sql files beside this are how it got here (`npx drizzle-kit generate`).
 * Times are Unix ms. JSON columns hold exact JSON text, because inputs may have whole numbers beyond 2^53.
 */
import { sql } from "drizzle-orm";
import { check, foreignKey, index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";

/** Tenants. Everything below belongs to one, and every lookup names it. */
export const workspaces = sqliteTable("workspaces", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  createdAt: integer("created_at").notNull(),
});

/** API keys: only the SHA-256 of the secret is kept. */
export const apiKeys = sqliteTable(
  "api_keys",
  {
    id: text("id").primaryKey(),
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    name: text("name").notNull(),
    hash: text("hash").notNull(),
    /** JSON list of scopes. */
    scopes: text("scopes").notNull(),
    /** First and last characters of the secret, to tell keys apart. */
    hint: text("hint").notNull(),
    createdAt: integer("created_at").notNull(),
    expiresAt: integer("expires_at"),
    revokedAt: integer("revoked_at"),
  },
  (table) => [uniqueIndex("api_keys_hash").on(table.hash), index("api_keys_workspace").on(table.workspaceId, table.id)],
);

export const pods = sqliteTable(
  "pods",
  {
    id: text("id").primaryKey(),
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    name: text("name").notNull(),
    createdAt: integer("created_at").notNull(),
    /** JSON text of PodSettings; what is not in it has its default. */
    settings: text("settings").notNull().default("{}"),
    /** Null: never changed. */
    updatedAt: integer("updated_at"),
    /** Grows with each change, of the workspace's own GPU types too. */
    version: integer("version").notNull().default(1),
    /** The version its PodObject has confirmed; below `version`, it must be told again. */
    appliedVersion: integer("applied_version").notNull().default(0),
    /** A deleted pod stays, because deleted endpoints name it. */
    deletedAt: integer("deleted_at"),
  },
  (table) => [
    index("pods_workspace").on(table.workspaceId, table.id),
    uniqueIndex("pods_name").on(table.workspaceId, table.name).where(sql`deleted_at IS NULL`),
  ],
);

/** Types of card that a workspace has changed or added: what is not in `settings` is as in the shipped table. */
export const gpuTypes = sqliteTable(
  "gpu_types",
  {
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    name: text("name").notNull(),
    /** JSON text. */
    settings: text("settings").notNull(),
    updatedAt: integer("updated_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.workspaceId, table.name] })],
);

/** Secrets with which machines join a pod. */
export const joinTokens = sqliteTable(
  "join_tokens",
  {
    id: text("id").primaryKey(),
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    podId: text("pod_id")
      .notNull()
      .references(() => pods.id),
    hash: text("hash").notNull(),
    createdAt: integer("created_at").notNull(),
    expiresAt: integer("expires_at").notNull(),
    name: text("name").notNull().default(""),
    /** Machines that may join with it; null: any number. How many have, its rows in `joins` say. */
    usesMax: integer("uses_max"),
    revokedAt: integer("revoked_at"),
  },
  (table) => [uniqueIndex("join_tokens_hash").on(table.hash), index("join_tokens_pod").on(table.podId, table.id)],
);

/** Machines that joined with a token. The row comes first, so that of two machines with a token for one, one joins. */
export const joins = sqliteTable(
  "joins",
  {
    tokenId: text("token_id")
      .notNull()
      .references(() => joinTokens.id, { onDelete: "cascade" }),
    /** Drawn by the machine: a join of which the answer got lost is repeated under the same one. Of a removed node: none. */
    joinId: text("join_id").notNull(),
    /** The node it becomes: made with the row, so that the pod can tell a repeated join from another machine's. */
    nodeId: text("node_id").notNull(),
    at: integer("at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.tokenId, table.joinId] })],
);

export const endpoints = sqliteTable(
  "endpoints",
  {
    id: text("id").primaryKey(),
    /** The owner key inside the ids of its jobs, replicas and leases: names its EndpointObject. */
    key: text("key").notNull(),
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    /** The first of `pods`. */
    podId: text("pod_id")
      .notNull()
      .references(() => pods.id),
    /** JSON list of the pods it runs on and the lanes each serves, the preferred one first; null: `podId`, for both lanes. */
    pods: text("pods"),
    slug: text("slug").notNull(),
    name: text("name").notNull(),
    settings: text("settings").notNull(),
    /** What the next import applies: those given last, or those of the release that was activated since. */
    overrides: text("overrides").notNull(),
    activeRelease: integer("active_release").notNull(),
    /** The highest number a release of it has; the next one gets the number after it. */
    newestRelease: integer("newest_release").notNull().default(1),
    /** The release that gets a part of the new jobs, and its bounds, as JSON; null when there is none. */
    canary: text("canary"),
    /** Grows with each change, the deletion included. */
    version: integer("version").notNull(),
    /** The version its EndpointObject has confirmed; below `version`, it must be told again. */
    appliedVersion: integer("applied_version").notNull(),
    createdAt: integer("created_at").notNull(),
    updatedAt: integer("updated_at").notNull(),
    /** A deleted endpoint stays, so that its jobs can still be read. */
    deletedAt: integer("deleted_at"),
  },
  (table) => [
    uniqueIndex("endpoints_key").on(table.key),
    uniqueIndex("endpoints_slug").on(table.workspaceId, table.slug).where(sql`deleted_at IS NULL`),
  ],
);

export const releases = sqliteTable(
  "releases",
  {
    endpointId: text("endpoint_id")
      .notNull()
      .references(() => endpoints.id),
    number: integer("number").notNull(),
    digest: text("digest").notNull(),
    graph: text("graph").notNull(),
    inputs: text("inputs").notNull(),
    outputs: text("outputs").notNull(),
    classes: text("classes").notNull(),
    warnings: text("warnings").notNull(),
    /** The part of /object_info the graph needs, for a later import with other overrides; null when none was given. */
    objectInfo: text("object_info"),
    /** The operator's changes that it was imported with. */
    overrides: text("overrides").notNull().default("{}"),
    /** Digest of its build; null: it runs on what its machines' owners have installed. */
    build: text("build"),
    /** JSON text: what has to run on each machine before it gets jobs; null: nothing in particular. */
    smokeTest: text("smoke_test"),
    createdAt: integer("created_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.endpointId, table.number] })],
);

/** What each release was imported from, in parts that fit into a row; releases of before this table have none. */
export const releaseSources = sqliteTable(
  "release_sources",
  {
    endpointId: text("endpoint_id").notNull(),
    number: integer("number").notNull(),
    part: integer("part").notNull(),
    /** `text`, or `deflate` for base64 of the deflated text. */
    encoding: text("encoding", { enum: ["text", "deflate"] }).notNull(),
    content: text("content").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.endpointId, table.number, table.part] }),
    foreignKey({ columns: [table.endpointId, table.number], foreignColumns: [releases.endpointId, releases.number] }),
    check("release_sources_encoding", sql`encoding IN ('text', 'deflate')`),
  ],
);

/** Builds by digest: what releases need on a machine. */
export const builds = sqliteTable(
  "builds",
  {
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    digest: text("digest").notNull(),
    /** JSON text; the sources in it are those named last. */
    manifest: text("manifest").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.workspaceId, table.digest] }),
    index("builds_by_age").on(table.workspaceId, table.createdAt),
  ],
);

/** Which release was active from when on, the last ones of each endpoint: what a rollback goes back by. */
export const activations = sqliteTable(
  "activations",
  {
    endpointId: text("endpoint_id")
      .notNull()
      .references(() => endpoints.id),
    /** The endpoint's version that this activation made. */
    version: integer("version").notNull(),
    release: integer("release").notNull(),
    /** The release that was active before; null for the first. */
    replaced: integer("replaced"),
    /** `deploy`, `activate` or `rollback`. */
    cause: text("cause").notNull(),
    at: integer("at").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.endpointId, table.version] }),
    check("activations_cause", sql`cause IN ('deploy', 'activate', 'rollback')`),
  ],
);

/** Input files in R2, one row for the same bytes in a workspace. */
export const files = sqliteTable(
  "files",
  {
    id: text("id").primaryKey(),
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    sha256: text("sha256").notNull(),
    filename: text("filename").notNull(),
    contentType: text("content_type").notNull(),
    size: integer("size").notNull(),
    /** Where R2 has it. */
    key: text("key").notNull(),
    createdAt: integer("created_at").notNull(),
    expiresAt: integer("expires_at").notNull(),
  },
  (table) => [
    uniqueIndex("files_sha256").on(table.workspaceId, table.sha256),
    index("files_expiry").on(table.workspaceId, table.expiresAt),
  ],
);

/**
 * Creating calls that carried an Idempotency-Key: one row for each key from the call's start. `answer` is sealed, because
 * it may hold a secret that is shown once.
 */
export const idempotencyKeys = sqliteTable(
  "idempotency_keys",
  {
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id),
    /** Method and path: the same key may be used for different things. */
    operation: text("operation").notNull(),
    key: text("key").notNull(),
    /** SHA-256 of the body's bytes. */
    fingerprint: text("fingerprint").notNull(),
    /** Drawn by the call that runs, so that one which was taken over changes nothing any more. */
    claim: text("claim").notNull(),
    /** Of the first runner, kept by those that take over: from it come the names and secrets of what the call makes. */
    seed: text("seed").notNull().default(""),
    begunAt: integer("begun_at").notNull().default(0),
    /** Null while the call runs. */
    status: integer("status"),
    answer: text("answer"),
    createdAt: integer("created_at").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.workspaceId, table.operation, table.key] }),
    index("idempotency_keys_age").on(table.createdAt),
    check("idempotency_keys_answered", sql`(status IS NULL) = (answer IS NULL)`),
  ],
);
