/**
 * The first schema of an EndpointObject. Row writes are the bill and the time, so: WITHOUT ROWID tables by text id,
 * partial indexes that hold only what is looked for, and a hot row that is small because inputs live apart.
 */
export const queue = {
  id: 1,
  name: "queue",
  sql: `
CREATE TABLE config (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  endpoint_id TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  pod_id TEXT NOT NULL,
  slug TEXT NOT NULL,
  release INTEGER NOT NULL,
  settings TEXT NOT NULL,
  removed INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1))
) STRICT
--
-- Small numbers that change on their own: the lease counter's reserve, how far outputs have been deleted, the last
-- demand sent and the last one the pod has answered.
CREATE TABLE progress (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  counter_reserved INTEGER NOT NULL DEFAULT 0,
  purged_finished_at INTEGER NOT NULL DEFAULT 0,
  purged_job_id TEXT NOT NULL DEFAULT '',
  demand_version INTEGER NOT NULL DEFAULT 0,
  demand_wanted INTEGER NOT NULL DEFAULT 0,
  demand_needed INTEGER NOT NULL DEFAULT 0,
  demand_drain TEXT NOT NULL DEFAULT '[]',
  demand_raised_at INTEGER NOT NULL DEFAULT 0,
  demand_acknowledged INTEGER NOT NULL DEFAULT 0,
  demand_tries INTEGER NOT NULL DEFAULT 0,
  demand_due_at INTEGER
) STRICT
--
CREATE TABLE jobs (
  id TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
  lane INTEGER NOT NULL CHECK (lane IN (0, 1)),
  priority INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  release INTEGER NOT NULL,
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  attempts_max INTEGER NOT NULL,
  handbacks INTEGER NOT NULL,
  timeout_ms INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  started_at INTEGER,
  available_at INTEGER,
  avoid_node TEXT,
  avoid_until INTEGER,
  lease_id TEXT,
  replica_id TEXT,
  node_id TEXT,
  granted_at INTEGER,
  lease_until INTEGER,
  confirmed INTEGER,
  phase TEXT,
  deadline_at INTEGER,
  executing_at INTEGER,
  finished_at INTEGER,
  service_ms INTEGER,
  error TEXT,
  progress TEXT,
  leases TEXT NOT NULL,
  events TEXT NOT NULL,
  outputs TEXT,
  CHECK (attempt <= attempts_max),
  CHECK ((lease_id IS NOT NULL) = (state = 'running')),
  CHECK ((lease_until IS NOT NULL) = (state = 'running')),
  CHECK ((phase IS NOT NULL) = (state = 'running')),
  CHECK (available_at IS NULL OR state = 'queued'),
  CHECK (avoid_node IS NULL OR state = 'queued'),
  CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'canceled', 'expired'))),
  CHECK ((outputs IS NOT NULL) = (state = 'succeeded')),
  CHECK ((error IS NOT NULL) = (state = 'failed'))
) STRICT, WITHOUT ROWID
--
CREATE INDEX jobs_ready ON jobs (lane, rank, id) WHERE state = 'queued' AND available_at IS NULL
--
CREATE INDEX jobs_delayed ON jobs (available_at, lane, rank, id) WHERE available_at IS NOT NULL
--
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE state = 'queued' AND started_at IS NULL
--
CREATE INDEX jobs_running ON jobs (replica_id) WHERE state = 'running'
--
CREATE INDEX jobs_ended ON jobs (finished_at, id, state) WHERE finished_at IS NOT NULL
--
CREATE INDEX jobs_unsuccessful ON jobs (state, id) WHERE state IN ('failed', 'canceled', 'expired')
--
CREATE TABLE payloads (
  job_id TEXT NOT NULL PRIMARY KEY,
  key_id TEXT NOT NULL,
  inputs TEXT NOT NULL,
  files TEXT NOT NULL,
  tags TEXT NOT NULL,
  idempotency_key TEXT
) STRICT, WITHOUT ROWID
--
CREATE TABLE job_tags (
  tag TEXT NOT NULL,
  job_id TEXT NOT NULL,
  PRIMARY KEY (tag, job_id)
) STRICT, WITHOUT ROWID
--
CREATE TABLE idempotency_keys (
  key TEXT NOT NULL PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  job_id TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE leases (
  id TEXT NOT NULL PRIMARY KEY,
  job_id TEXT NOT NULL,
  token TEXT NOT NULL,
  replica_id TEXT NOT NULL,
  node_id TEXT NOT NULL,
  poll_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  granted_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT CHECK (outcome IN ('completed', 'failed', 'released', 'lost', 'canceled', 'timed_out')),
  phases TEXT NOT NULL,
  boot TEXT NOT NULL,
  CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID
--
CREATE TABLE replicas (
  id TEXT NOT NULL PRIMARY KEY,
  node_id TEXT NOT NULL,
  state TEXT NOT NULL,
  release INTEGER NOT NULL,
  error TEXT,
  draining INTEGER NOT NULL CHECK (draining IN (0, 1)),
  started_at INTEGER NOT NULL,
  changes TEXT NOT NULL,
  phases TEXT NOT NULL
) STRICT, WITHOUT ROWID
`,
};
