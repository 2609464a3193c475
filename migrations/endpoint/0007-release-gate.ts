/** The deploy gate: where each release has run, what waits for that, and what is told of it. */
export const releaseGate = {
  id: 7,
  name: "release_gate",
  sql: `
-- The type of the card the replica is on; '' for one that has no name, NULL until the pod has said it.
ALTER TABLE replicas ADD COLUMN gpu_type TEXT
--
CREATE TABLE trials (
  release INTEGER NOT NULL,
  -- '' for cards that have no name.
  gpu_type TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('untried', 'building', 'verifying', 'ready', 'failed')),
  -- The poll in whose answer a replica got the errand; NULL while nobody is on it.
  errand TEXT,
  replica_id TEXT,
  error TEXT,
  -- Tries that ended without a result.
  tries INTEGER NOT NULL,
  started_at INTEGER,
  heard_at INTEGER,
  finished_at INTEGER,
  -- The number of the errand's line that is wanted next.
  log_next INTEGER NOT NULL,
  PRIMARY KEY (release, gpu_type)
) STRICT, WITHOUT ROWID
--
CREATE TABLE release_log (
  release INTEGER NOT NULL,
  n INTEGER NOT NULL,
  at INTEGER NOT NULL,
  gpu_type TEXT,
  replica_id TEXT,
  line TEXT NOT NULL,
  PRIMARY KEY (release, n)
) STRICT, WITHOUT ROWID
--
-- The release that takes its place once it is ready; no row: none waits.
CREATE TABLE release_wish (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  release INTEGER NOT NULL,
  -- The release that was active when that was asked for.
  replaces INTEGER NOT NULL,
  cause TEXT NOT NULL CHECK (cause IN ('deploy', 'activate', 'rollback')),
  -- JSON; NULL: it becomes active.
  canary TEXT,
  since INTEGER NOT NULL,
  -- When the catalog is told (again); NULL while the release is not ready.
  due_at INTEGER,
  tries INTEGER NOT NULL
) STRICT
--
-- Releases that have been ready, or were made active before they were.
CREATE TABLE release_marks (
  release INTEGER NOT NULL PRIMARY KEY,
  ready_at INTEGER,
  forced_at INTEGER
) STRICT
`,
};
