/**
 * A pod's settings, what nodes have on their disks and how far they are trusted, what endpoints need on a machine, and
 * what each endpoint was told last. Inventories are large and rarely read, so they lie apart from the nodes.
 */
export const trust = {
  id: 7,
  name: "trust",
  sql: `
ALTER TABLE pod ADD COLUMN settings TEXT
--
ALTER TABLE pod ADD COLUMN settings_version INTEGER NOT NULL DEFAULT 0
--
ALTER TABLE pod ADD COLUMN removed INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1))
--
ALTER TABLE nodes ADD COLUMN slots_per_gpu INTEGER NOT NULL DEFAULT 1 CHECK (slots_per_gpu > 0)
--
ALTER TABLE nodes ADD COLUMN cordoned INTEGER NOT NULL DEFAULT 0 CHECK (cordoned IN (0, 1))
--
ALTER TABLE nodes ADD COLUMN drain_asked INTEGER NOT NULL DEFAULT 0 CHECK (drain_asked IN (0, 1))
--
ALTER TABLE nodes ADD COLUMN trust TEXT
--
CREATE TABLE inventories (
  node_id TEXT NOT NULL PRIMARY KEY,
  inventory TEXT NOT NULL
) STRICT, WITHOUT ROWID
--
ALTER TABLE demands ADD COLUMN build TEXT
--
ALTER TABLE demands ADD COLUMN models TEXT NOT NULL DEFAULT '[]'
--
ALTER TABLE demands ADD COLUMN trials TEXT NOT NULL DEFAULT '[]'
--
ALTER TABLE demands ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0
--
ALTER TABLE demands ADD COLUMN told TEXT
`,
};
