/** What ended the last replica of an endpoint that crashed on a node, so that a restart does not forget why it waits. */
export const lastError = {
  id: 5,
  name: "last-error",
  sql: `
ALTER TABLE histories ADD COLUMN crashed_at INTEGER NOT NULL DEFAULT 0
--
ALTER TABLE histories ADD COLUMN last_error TEXT
`,
};
