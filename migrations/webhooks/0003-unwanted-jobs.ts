/** Jobs of whose own URL the receiver said that it wants no more messages. */
export const unwantedJobs = {
  id: 3,
  name: "unwanted jobs",
  sql: `
CREATE TABLE unwanted_jobs (
  job_id TEXT PRIMARY KEY,
  url TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID
`,
};
