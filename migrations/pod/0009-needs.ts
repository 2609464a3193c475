/** What an endpoint needs its replicas for. Of a demand from before that nobody knows, so it counts as the weightiest. */
export const needs = {
  id: 9,
  name: "needs",
  sql: `
ALTER TABLE demands ADD COLUMN warm INTEGER NOT NULL DEFAULT 0
--
ALTER TABLE demands ADD COLUMN calls INTEGER NOT NULL DEFAULT 1 CHECK (calls IN (0, 1))
`,
};
