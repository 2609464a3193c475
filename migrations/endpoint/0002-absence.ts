/** When the object last woke and gave its leases time, so that waking again and again does not keep a dead one alive. */
export const absence = {
  id: 2,
  name: "absence",
  sql: "ALTER TABLE progress ADD COLUMN woke_at INTEGER NOT NULL DEFAULT 0",
};
