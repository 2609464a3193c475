/** Where each node is, and where each endpoint's replicas may run: a JSON list of region names, empty for anywhere. */
export const regions = {
  id: 4,
  name: "regions",
  sql: `
ALTER TABLE nodes ADD COLUMN region TEXT
--
ALTER TABLE demands ADD COLUMN regions TEXT NOT NULL DEFAULT '[]'
`,
};
