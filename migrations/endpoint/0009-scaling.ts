/**
 * What the scaler has learned and decided, and a demand for each pod. The demand that was in the single row becomes that
 * of the one pod there was.
 */
export const scaling = {
  id: 9,
  name: "scaling",
  sql: `
-- JSON list of pods and the lanes each serves, the preferred one first; null: pod_id, for both lanes.
ALTER TABLE config ADD COLUMN pods TEXT
--
-- JSON: what the active release needs on a machine; null: nothing.
ALTER TABLE config ADD COLUMN needs TEXT
--
CREATE TABLE demands (
  pod_id TEXT NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL,
  wanted INTEGER NOT NULL CHECK (wanted >= 0),
  needed INTEGER NOT NULL CHECK (needed >= 0),
  drain TEXT NOT NULL,
  trials TEXT NOT NULL,
  raised_at INTEGER NOT NULL,
  acknowledged INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  due_at INTEGER,
  shortage TEXT,
  floor INTEGER NOT NULL,
  idle_timeout_ms INTEGER
) STRICT, WITHOUT ROWID
--
INSERT INTO demands
  SELECT config.pod_id, demand_version, demand_wanted, demand_needed, demand_drain, '[]', demand_raised_at,
    demand_acknowledged, demand_tries, demand_due_at, demand_shortage, 0, NULL
  FROM config, progress WHERE config.id = 1 AND progress.id = 1
--
ALTER TABLE progress DROP COLUMN demand_version
--
ALTER TABLE progress DROP COLUMN demand_wanted
--
ALTER TABLE progress DROP COLUMN demand_needed
--
ALTER TABLE progress DROP COLUMN demand_drain
--
ALTER TABLE progress DROP COLUMN demand_raised_at
--
ALTER TABLE progress DROP COLUMN demand_acknowledged
--
ALTER TABLE progress DROP COLUMN demand_tries
--
ALTER TABLE progress DROP COLUMN demand_due_at
--
ALTER TABLE progress DROP COLUMN demand_shortage
--
-- Replicas kept warm by hand, and until when; null: none.
ALTER TABLE progress ADD COLUMN warm_replicas INTEGER
--
ALTER TABLE progress ADD COLUMN warm_until INTEGER
--
-- What was learned of the demand, for each group of pods that share lanes.
CREATE TABLE scalers (
  pool TEXT NOT NULL PRIMARY KEY CHECK (pool IN ('all', 'interactive', 'batch')),
  policy TEXT NOT NULL,
  memory TEXT NOT NULL,
  figures TEXT NOT NULL,
  saved_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE scaling_decisions (
  number INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  replicas_from INTEGER NOT NULL,
  replicas_to INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT
`,
};
