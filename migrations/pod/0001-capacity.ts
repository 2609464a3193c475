/** The first schema of a PodObject. Capacity in use is counted from these rows, never kept beside them. */
export const capacity = {
  id: 1,
  name: "capacity",
  sql: `
CREATE TABLE pod (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  pod_id TEXT NOT NULL,
  workspace_id TEXT NOT NULL
) STRICT
--
CREATE TABLE nodes (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  agent_version TEXT NOT NULL,
  comfyui TEXT NOT NULL,
  gpus TEXT NOT NULL,
  slots INTEGER NOT NULL CHECK (slots > 0),
  draining INTEGER NOT NULL CHECK (draining IN (0, 1)),
  online INTEGER NOT NULL CHECK (online IN (0, 1)),
  joined_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE replicas (
  id TEXT NOT NULL PRIMARY KEY,
  endpoint_id TEXT NOT NULL,
  node_id TEXT NOT NULL,
  slot INTEGER NOT NULL,
  state TEXT NOT NULL,
  draining INTEGER NOT NULL CHECK (draining IN (0, 1)),
  reported INTEGER NOT NULL CHECK (reported IN (0, 1)),
  placed_at INTEGER NOT NULL,
  ready_at INTEGER
) STRICT, WITHOUT ROWID
--
CREATE UNIQUE INDEX replicas_by_slot ON replicas (node_id, slot)
--
CREATE TABLE demands (
  endpoint_id TEXT NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL,
  wanted INTEGER NOT NULL,
  needed INTEGER NOT NULL,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE histories (
  endpoint_id TEXT NOT NULL,
  node_id TEXT NOT NULL,
  last_ready_at INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  backoff_until INTEGER NOT NULL,
  PRIMARY KEY (endpoint_id, node_id)
) STRICT, WITHOUT ROWID
--
CREATE TABLE farewells (
  replica_id TEXT NOT NULL PRIMARY KEY,
  endpoint_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  tries INTEGER NOT NULL,
  due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
`,
};
