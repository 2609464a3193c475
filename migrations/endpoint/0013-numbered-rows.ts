const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";

/** What the digits of `id` at these places, from 1, make as a number. */
function worth(places: readonly number[]): string {
  return places
    .map((place) => `(instr('${DIGITS}', substr(id, ${place}, 1)) - 1)`)
    .reduce((sum, digit) => `(${sum} * 32 + ${digit})`);
}

/** `numberOf` in durable-objects/endpoint/job-ids.ts, as it was when this was written. */
const NUMBER = `((${worth([5, 6, 7, 8, 9, 10, 11, 12, 13])} - 1735689600000) * 8192 + ${worth([28, 29, 30])} % 8192)`;

/**
 * A job's row has an integer key, which its id tells. A table by text key keeps no row of more than 1,002 bytes on its page: the
 * rest had a page of 4 kB for itself, so that a finished job took 4.7 kB and each of its writes a page more.
 *
 * Indexes by the order of arrival name no column for it: the key stands behind the columns of each index anyway.
 */
export const numberedRows = {
  id: 13,
  name: "numbered rows",
  sql: `
CREATE TABLE jobs_next (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
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
) STRICT
--
INSERT INTO jobs_next
SELECT
  ${NUMBER}, id, state, lane, priority, rank, release, attempt, attempts_max, handbacks, timeout_ms, created_at,
  expires_at, started_at, available_at, avoid_node, avoid_until, lease_id, replica_id, node_id, granted_at, lease_until,
  confirmed, phase, deadline_at, executing_at, finished_at, service_ms, error, error_code, dead, retried_as, progress,
  leases, events, outputs, key_id, batch_id, retry_of, webhook, inputs, files, tags
FROM jobs ORDER BY id
--
CREATE TABLE payloads_next (
  job INTEGER PRIMARY KEY,
  inputs TEXT NOT NULL,
  files TEXT NOT NULL,
  tags TEXT NOT NULL
) STRICT
--
INSERT INTO payloads_next
SELECT number, payloads.inputs, payloads.files, payloads.tags
FROM payloads JOIN (SELECT id, ${NUMBER} AS number FROM jobs) AS numbered ON numbered.id = payloads.job_id
--
CREATE TABLE job_tags_next (
  tag TEXT NOT NULL,
  job INTEGER NOT NULL,
  PRIMARY KEY (tag, job)
) STRICT, WITHOUT ROWID
--
INSERT INTO job_tags_next
SELECT tag, number FROM job_tags JOIN (SELECT id, ${NUMBER} AS number FROM jobs) AS numbered ON numbered.id = job_tags.job_id
--
DROP TABLE job_tags
--
DROP TABLE payloads
--
DROP TABLE jobs
--
ALTER TABLE jobs_next RENAME TO jobs
--
ALTER TABLE payloads_next RENAME TO payloads
--
ALTER TABLE job_tags_next RENAME TO job_tags
--
CREATE INDEX jobs_ready ON jobs (lane, rank, id) WHERE state = 'queued' AND available_at IS NULL
--
CREATE INDEX jobs_delayed ON jobs (available_at, lane, rank, id) WHERE available_at IS NOT NULL
--
CREATE INDEX jobs_delayed_in_order ON jobs (lane, rank, id) WHERE available_at IS NOT NULL
--
CREATE INDEX jobs_expiring ON jobs (expires_at)
WHERE state = 'queued' AND started_at IS NULL AND expires_at <> created_at + 86400000
--
CREATE INDEX jobs_joined ON jobs (expires_at) WHERE state = 'queued' AND started_at IS NULL AND rank > created_at
--
CREATE INDEX jobs_running ON jobs (replica_id) WHERE state = 'running'
--
CREATE INDEX jobs_ended ON jobs (finished_at, id, state) WHERE finished_at IS NOT NULL
--
CREATE INDEX jobs_unsuccessful ON jobs (state) WHERE state IN ('failed', 'canceled', 'expired')
--
CREATE INDEX jobs_dead ON jobs (dead) WHERE dead = 1
--
CREATE INDEX jobs_retrying ON jobs (state) WHERE state = 'queued' AND leases <> '[]'
--
CREATE INDEX jobs_of_batch ON jobs (batch_id) WHERE batch_id IS NOT NULL
`,
};
