/** Whether a replica's end was concluded from silence, or said by its node. */
export const silence = {
  id: 3,
  name: "silence",
  sql: "ALTER TABLE farewells ADD COLUMN silent INTEGER NOT NULL DEFAULT 0 CHECK (silent IN (0, 1))",
};
