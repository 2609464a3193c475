/**
 * Batch jobs that have joined the interactive ones, by deadline: the only ones whose rank is later than their making. See
 * durable-objects/endpoint/expiry.ts, which would have to read the whole lane for them.
 */
export const joined = {
  id: 11,
  name: "joined",
  sql: `
CREATE INDEX jobs_joined ON jobs (expires_at) WHERE state = 'queued' AND started_at IS NULL AND rank > created_at
`,
};
