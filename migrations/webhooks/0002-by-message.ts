/** A message's deliveries: it is forgotten once none of them is pending, whichever is the oldest. */
export const byMessage = {
  id: 2,
  name: "by message",
  sql: `
CREATE INDEX deliveries_by_message ON deliveries (message)
`,
};
