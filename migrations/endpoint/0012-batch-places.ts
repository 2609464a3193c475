/**
 * The ids of a batch's jobs as a JSON list, in the order of the request: which place a job had is to be known when the
 * records of others are past their retention. Null for batches from before.
 */
export const batchPlaces = {
  id: 12,
  name: "batch places",
  sql: `
ALTER TABLE batches ADD COLUMN jobs TEXT
`,
};
