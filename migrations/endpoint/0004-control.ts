/**
 * What operators do with a queue: pause it, bound its spending, submit and change jobs by the hundred.
 *
 * The two indexes hold only jobs that wait for another try, so that a job's ordinary life writes no row more.
 */
export const control = {
  id: 4,
  name: "control",
  sql: `
ALTER TABLE progress ADD COLUMN paused_at INTEGER
--
ALTER TABLE progress ADD COLUMN pause_reason TEXT
--
ALTER TABLE progress ADD COLUMN refuse_new INTEGER NOT NULL DEFAULT 0 CHECK (refuse_new IN (0, 1))
--
-- GPU time of the attempts that ended on the day, days since 1970 in UTC; null while the endpoint has no budget.
ALTER TABLE progress ADD COLUMN spent_day INTEGER
--
ALTER TABLE progress ADD COLUMN spent_ms INTEGER NOT NULL DEFAULT 0
--
-- What the pod last said of replicas it could not give.
ALTER TABLE progress ADD COLUMN demand_shortage TEXT
--
CREATE TABLE batches (
  id TEXT NOT NULL PRIMARY KEY,
  total INTEGER NOT NULL CHECK (total > 0),
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE operations (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('cancel', 'retry', 'redrive', 'purge')),
  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'canceled')),
  key_id TEXT NOT NULL,
  criteria TEXT NOT NULL,
  jobs TEXT,
  first_job TEXT NOT NULL,
  fence TEXT NOT NULL,
  cursor TEXT NOT NULL,
  looked_at INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  skipped INTEGER NOT NULL,
  created_jobs TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  finished_at INTEGER,
  CHECK ((finished_at IS NULL) = (state = 'running'))
) STRICT, WITHOUT ROWID
--
CREATE INDEX operations_running ON operations (id) WHERE state = 'running'
--
CREATE INDEX operations_finished ON operations (finished_at) WHERE finished_at IS NOT NULL
--
CREATE INDEX jobs_retrying ON jobs (id) WHERE state = 'queued' AND leases <> '[]'
--
CREATE INDEX jobs_delayed_in_order ON jobs (lane, rank, id) WHERE available_at IS NOT NULL
`,
};
