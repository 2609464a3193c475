/** Since when an endpoint has fewer replicas than it wants, so that a restart does not make its wait look shorter. */
export const lacking = { id: 11, name: "lacking", sql: "ALTER TABLE demands ADD COLUMN lacking_since INTEGER" };
