/** What ran on a node when it was given up: should it come back with them still running, they are taken up again. */
export const lost = {
  id: 8,
  name: "lost",
  sql: `
CREATE TABLE lost (
  id TEXT NOT NULL PRIMARY KEY,
  endpoint_id TEXT NOT NULL,
  node_id TEXT NOT NULL,
  slot INTEGER NOT NULL,
  placed_at INTEGER NOT NULL,
  ready_at INTEGER
) STRICT, WITHOUT ROWID
`,
};
