/** The latest poll of each node that changed something, so that an older one that arrives after it is known as such. */
export const pollOrder = {
  id: 6,
  name: "poll-order",
  sql: `
ALTER TABLE nodes ADD COLUMN poll_start INTEGER
--
ALTER TABLE nodes ADD COLUMN poll_seq INTEGER
`,
};
