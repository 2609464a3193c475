/** Since when a node has had no poll open, written once it has been so for some seconds: an object that is thrown out of memory and woken by its alarm is to know it. */
export const quiet = { id: 12, name: "quiet", sql: "ALTER TABLE nodes ADD COLUMN quiet_at INTEGER" };
