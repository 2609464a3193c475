/** Where a replica runs, what its time went to, what it wrote, and what became of the days of all of them. */
export const replicaTimes = {
  id: 8,
  name: "replica_times",
  sql: `
-- NULL: the endpoint's only pod.
ALTER TABLE replicas ADD COLUMN pod_id TEXT
--
-- The build it was started for, by digest; '' for none, NULL where nobody knows.
ALTER TABLE replicas ADD COLUMN build TEXT
--
-- One that is placed after this takes its place; NULL: none does.
ALTER TABLE replicas ADD COLUMN replaced_since INTEGER
--
-- The replica whose place it took; NULL: none.
ALTER TABLE replicas ADD COLUMN in_place_of TEXT
--
-- JSON: what its time went to; NULL for one that is older than this table.
ALTER TABLE replicas ADD COLUMN account TEXT
--
CREATE TABLE replica_days (
  -- Days since 1970, UTC.
  day INTEGER NOT NULL,
  pod_id TEXT NOT NULL,
  -- '' for cards that have no name.
  gpu_type TEXT NOT NULL,
  cold_ms INTEGER NOT NULL,
  idle_ms INTEGER NOT NULL,
  busy_ms INTEGER NOT NULL,
  started INTEGER NOT NULL,
  crashed INTEGER NOT NULL,
  PRIMARY KEY (day, pod_id, gpu_type)
) STRICT, WITHOUT ROWID
--
CREATE TABLE replica_logs (
  replica_id TEXT NOT NULL PRIMARY KEY,
  -- The number of the first line.
  first INTEGER NOT NULL,
  -- JSON: [Unix ms, line] of each.
  lines TEXT NOT NULL
) STRICT, WITHOUT ROWID
`,
};
