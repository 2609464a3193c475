/** A release that gets a part of the new jobs, and what has come of it. */
export const canary = {
  id: 6,
  name: "canary",
  sql: `
ALTER TABLE config ADD COLUMN canary TEXT
--
CREATE TABLE canary (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  -- Which one: each that is set has another number.
  canary_id INTEGER NOT NULL,
  -- Counts of ended jobs, as JSON.
  canary TEXT NOT NULL,
  active TEXT NOT NULL,
  ended_at INTEGER,
  reason TEXT,
  CHECK ((ended_at IS NULL) = (reason IS NULL))
) STRICT
`,
};
