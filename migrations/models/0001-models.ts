/** A workspace's models, the parts of those that are on their way, and what is to be removed from the store. */
export const models = {
  id: 1,
  name: "models",
  sql: `
CREATE TABLE workspace (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  workspace_id TEXT NOT NULL
) STRICT
--
CREATE TABLE models (
  id TEXT PRIMARY KEY,
  -- What it hashes to, or what it is said to; null while nobody has said.
  sha256 TEXT,
  size INTEGER,
  format TEXT CHECK (format IS NOT NULL OR status <> 'ready'),
  status TEXT NOT NULL CHECK (status IN ('uploading', 'importing', 'verifying', 'ready', 'failed')),
  reason TEXT CHECK ((reason IS NULL) = (status <> 'failed')),
  allow_unsafe INTEGER NOT NULL,
  places TEXT NOT NULL,
  sources TEXT NOT NULL,
  -- Grows with each new beginning, so that what an earlier one still does changes nothing; a part of the object's key.
  attempt INTEGER NOT NULL,
  object_key TEXT NOT NULL,
  -- R2's name of the upload in parts; null before it is begun and after it is joined.
  upload_id TEXT,
  part_bytes INTEGER NOT NULL,
  -- Where an import fetches from, with its query; null for uploads and once it is over.
  source TEXT CHECK ((source IS NOT NULL) = (status = 'importing')),
  -- What names this version of the file at its server (an ETag or a date); null when it says nothing of the kind.
  validator TEXT,
  -- Whether its server sends ranges; null until it was asked.
  ranged INTEGER,
  -- Failures one after the other, and what the last one was.
  tries INTEGER NOT NULL,
  notice TEXT,
  -- When there is something to do for it, Unix ms.
  due_at INTEGER CHECK ((due_at IS NULL) = (status IN ('ready', 'failed'))),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (status NOT IN ('verifying', 'ready') OR (size IS NOT NULL AND upload_id IS NULL)),
  CHECK (status <> 'ready' OR sha256 IS NOT NULL)
) STRICT, WITHOUT ROWID
--
CREATE UNIQUE INDEX models_by_sha256 ON models (sha256) WHERE sha256 IS NOT NULL
--
CREATE INDEX models_due ON models (due_at) WHERE due_at IS NOT NULL
--
CREATE TABLE parts (
  model_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  etag TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (model_id, number)
) STRICT, WITHOUT ROWID
--
-- Ids of imports whose bytes turned out to be another model's.
CREATE TABLE aliases (
  id TEXT PRIMARY KEY,
  model_id TEXT NOT NULL
) STRICT, WITHOUT ROWID
--
CREATE INDEX aliases_by_model ON aliases (model_id)
--
-- Objects of the store, and uploads in parts, that nothing needs any more.
CREATE TABLE litter (
  object_key TEXT NOT NULL,
  -- Empty: the object itself.
  upload_id TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  PRIMARY KEY (object_key, upload_id)
) STRICT, WITHOUT ROWID
`,
};
