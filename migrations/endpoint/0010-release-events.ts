/** What webhooks are told of may be a release as well, which no job stands for. */
export const releaseEvents = {
  id: 10,
  name: "release_events",
  sql: `
CREATE TABLE outbox_of_all (
  id INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL,
  type TEXT NOT NULL,
  job_id TEXT CHECK ((job_id IS NOT NULL) = (type LIKE 'job.%')),
  at INTEGER NOT NULL,
  data TEXT NOT NULL,
  -- Of the job's own webhook, when it asked for this event.
  url TEXT
) STRICT
--
INSERT INTO outbox_of_all SELECT id, message_id, type, job_id, at, data, url FROM outbox
--
DROP TABLE outbox
--
ALTER TABLE outbox_of_all RENAME TO outbox
`,
};
