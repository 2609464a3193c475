/** When the object last woke and gave its nodes time, so that waking again and again does not keep a dead one online. */
export const absence = {
  id: 2,
  name: "absence",
  sql: "ALTER TABLE pod ADD COLUMN woke_at INTEGER NOT NULL DEFAULT 0",
};
