/** Until when a replica whose node fell silent is known to have lived. */
export const heard = { id: 10, name: "heard", sql: "ALTER TABLE farewells ADD COLUMN heard_at INTEGER" };
