/** A workspace's subscriptions, what is to be delivered, and every try. */
export const webhooks = {
  id: 1,
  name: "webhooks",
  sql: `
CREATE TABLE workspace (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  workspace_id TEXT NOT NULL,
  -- Grows when what anybody subscribes to changes.
  interest_version INTEGER NOT NULL
) STRICT
--
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('http', 'listen')),
  url TEXT CHECK ((url IS NULL) = (kind = 'listen')),
  events TEXT NOT NULL,
  endpoint_id TEXT,
  description TEXT,
  disabled_reason TEXT,
  disabled_at INTEGER CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
  -- When a listening command last asked, to the minute.
  asked_at INTEGER CHECK ((asked_at IS NULL) = (kind = 'http')),
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE secrets (
  source TEXT NOT NULL,
  number INTEGER NOT NULL,
  sealed TEXT NOT NULL,
  hint TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (source, number)
) STRICT, WITHOUT ROWID
--
-- Endpoints that are told of the interest.
CREATE TABLE endpoints (
  endpoint_id TEXT PRIMARY KEY,
  tries INTEGER NOT NULL,
  tell_at INTEGER
) STRICT, WITHOUT ROWID
--
CREATE INDEX endpoints_to_tell ON endpoints (tell_at) WHERE tell_at IS NOT NULL
--
-- Destinations that have failed since their last success.
CREATE TABLE destinations (
  destination TEXT PRIMARY KEY,
  failures INTEGER NOT NULL,
  failing_since INTEGER,
  closed_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE TABLE messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT NOT NULL UNIQUE,
  event TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT
--
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY,
  source TEXT NOT NULL,
  destination TEXT NOT NULL,
  message INTEGER NOT NULL,
  event TEXT NOT NULL,
  job_id TEXT,
  url TEXT,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'discarded')),
  -- Failed tries of the schedule that runs now; the log has all of them.
  tried INTEGER NOT NULL,
  tries TEXT NOT NULL,
  next_try_at INTEGER CHECK ((next_try_at IS NULL) = (state <> 'pending')),
  ended_at INTEGER CHECK ((ended_at IS NULL) = (state = 'pending')),
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE INDEX deliveries_pending ON deliveries (destination, next_try_at) WHERE state = 'pending'
--
CREATE INDEX deliveries_by_source ON deliveries (source, id)
--
CREATE INDEX deliveries_by_job ON deliveries (job_id, id) WHERE job_id IS NOT NULL
--
-- Tries that have begun and whose outcome is not written yet.
CREATE TABLE trying (
  delivery_id TEXT PRIMARY KEY,
  started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
`,
};
