/**
 * One row for a job's whole life. Each row written is billed and takes its time, so what was spread over three tables is
 * in the job's own row, which is written at every step anyway: its leases as a list, and its payload when that is small.
 *
 * Every index below holds only what is looked for in it, and none has a column that changes while a job stays in it.
 * Jobs that may wait the default time have no entry in `jobs_expiring`: see durable-objects/endpoint/expiry.ts.
 */
export const oneRow = {
  id: 3,
  name: "one-row",
  sql: `
CREATE TABLE jobs_next (
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
  error_code TEXT,
  dead INTEGER NOT NULL CHECK (dead IN (0, 1)),
  retried_as TEXT,
  progress TEXT,
  leases TEXT NOT NULL,
  events TEXT NOT NULL,
  outputs TEXT,
  key_id TEXT NOT NULL,
  batch_id TEXT,
  retry_of TEXT,
  webhook TEXT,
  inputs TEXT,
  files TEXT,
  tags TEXT,
  CHECK (attempt <= attempts_max),
  CHECK ((lease_id IS NOT NULL) = (state = 'running')),
  CHECK ((lease_until IS NOT NULL) = (state = 'running')),
  CHECK ((phase IS NOT NULL) = (state = 'running')),
  CHECK (available_at IS NULL OR state = 'queued'),
  CHECK (avoid_node IS NULL OR state = 'queued'),
  CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'canceled', 'expired'))),
  CHECK ((outputs IS NOT NULL) = (state = 'succeeded')),
  CHECK ((error IS NOT NULL) = (state = 'failed')),
  CHECK ((error_code IS NOT NULL) = (state = 'failed')),
  CHECK (dead = 0 OR state = 'failed'),
  CHECK ((inputs IS NULL) = (files IS NULL) AND (inputs IS NULL) = (tags IS NULL))
) STRICT, WITHOUT ROWID
--
-- A lease's new name is its job's with a number; its record keeps neither, because both follow from where it stands.
INSERT INTO jobs_next
SELECT
  jobs.id, state, lane, priority, rank, release, attempt, attempts_max, handbacks, timeout_ms, created_at, expires_at,
  started_at, available_at, avoid_node, avoid_until,
  CASE WHEN lease_id IS NOT NULL THEN 'lse_' || substr(jobs.id, 5) || '-' || json_array_length(jobs.leases) END,
  replica_id, node_id, granted_at, lease_until, confirmed, phase, deadline_at, executing_at, finished_at, service_ms,
  error, json_extract(error, '$.code'), state = 'failed', NULL, progress,
  (
    SELECT json_group_array(json_object(
      'token', token, 'replicaId', replica_id, 'nodeId', node_id, 'pollId', poll_id, 'attempt', attempt,
      'grantedAt', granted_at, 'endedAt', ended_at, 'outcome', outcome,
      'heard', json(CASE WHEN outcome IN ('completed', 'failed', 'timed_out') THEN 'true' ELSE 'false' END),
      'phases', json(phases), 'boot', json(boot)
    ))
    FROM (
      SELECT leases.* FROM json_each(jobs.leases) AS listed JOIN leases ON leases.id = listed.value ORDER BY listed.key
    )
  ),
  events, outputs, key_id, NULL, NULL, NULL,
  CASE WHEN length(inputs) + length(files) + length(tags) <= 4096 THEN inputs END,
  CASE WHEN length(inputs) + length(files) + length(tags) <= 4096 THEN files END,
  CASE WHEN length(inputs) + length(files) + length(tags) <= 4096 THEN tags END
FROM jobs JOIN payloads ON payloads.job_id = jobs.id
--
CREATE TABLE payloads_next (
  job_id TEXT NOT NULL PRIMARY KEY,
  inputs TEXT NOT NULL,
  files TEXT NOT NULL,
  tags TEXT NOT NULL
) STRICT, WITHOUT ROWID
--
INSERT INTO payloads_next SELECT job_id, inputs, files, tags FROM payloads
WHERE length(inputs) + length(files) + length(tags) > 4096
--
-- One row for each key and no index by age: the day comes first in the key, so that old ones lie together. A key is
-- looked for in the days in which it can still be valid.
CREATE TABLE idempotency (
  day INTEGER NOT NULL,
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  result TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (day, scope, key)
) STRICT, WITHOUT ROWID
--
INSERT INTO idempotency SELECT created_at / 86400000, 'createJob', key, fingerprint, job_id, created_at FROM idempotency_keys
--
DROP TABLE idempotency_keys
--
DROP TABLE payloads
--
DROP TABLE leases
--
DROP TABLE jobs
--
ALTER TABLE jobs_next RENAME TO jobs
--
ALTER TABLE payloads_next RENAME TO payloads
--
CREATE INDEX jobs_ready ON jobs (lane, rank, id) WHERE state = 'queued' AND available_at IS NULL
--
CREATE INDEX jobs_delayed ON jobs (available_at, lane, rank, id) WHERE available_at IS NOT NULL
--
CREATE INDEX jobs_expiring ON jobs (expires_at)
WHERE state = 'queued' AND started_at IS NULL AND expires_at <> created_at + 86400000
--
CREATE INDEX jobs_running ON jobs (replica_id) WHERE state = 'running'
--
CREATE INDEX jobs_ended ON jobs (finished_at, id, state) WHERE finished_at IS NOT NULL
--
CREATE INDEX jobs_unsuccessful ON jobs (state, id) WHERE state IN ('failed', 'canceled', 'expired')
--
CREATE INDEX jobs_dead ON jobs (id) WHERE dead = 1
--
CREATE INDEX jobs_of_batch ON jobs (batch_id, id) WHERE batch_id IS NOT NULL
`,
};
