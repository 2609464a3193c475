/** What webhooks are to be told of, until the workspace's WebhooksObject has taken it. */
export const outbox = {
  id: 5,
  name: "outbox",
  sql: `
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL,
  type TEXT NOT NULL,
  job_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  data TEXT NOT NULL,
  -- Of the job's own webhook, when it asked for this event.
  url TEXT
) STRICT
--
CREATE TABLE interest (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  -- What the workspace subscribes to; NULL until its WebhooksObject has said: then everything is written.
  events TEXT,
  -- 1 once any job of this endpoint had a webhook of its own: until then no job is asked for it.
  job_webhooks INTEGER NOT NULL,
  -- Hand-overs that failed in a row, and when the next one comes.
  tries INTEGER NOT NULL,
  due_at INTEGER
) STRICT
--
INSERT INTO interest (id, version, events, job_webhooks, tries, due_at) VALUES (1, 0, NULL, 0, 0, NULL)
`,
};
