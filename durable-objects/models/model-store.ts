import type { ModelId, WorkspaceId } from "#contract/ids";
import type { ModelFormat, ModelPlace, ModelStatus } from "#contract/model";
import type { ModelPage } from "#durable-objects/models/rpc";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  stored,
  text,
  textOrNull,
} from "#durable-objects/sql/database";

/** A model as stored; migrations/models says what each field means. */
export interface ModelRecord {
  readonly id: ModelId;
  readonly sha256: string | null;
  readonly size: number | null;
  readonly format: ModelFormat | null;
  readonly status: ModelStatus;
  readonly reason: string | null;
  readonly allowUnsafe: boolean;
  readonly places: readonly ModelPlace[];
  readonly sources: readonly string[];
  readonly attempt: number;
  readonly key: string;
  readonly uploadId: string | null;
  readonly partBytes: number;
  readonly source: string | null;
  readonly validator: string | null;
  readonly ranged: boolean | null;
  readonly tries: number;
  readonly notice: string | null;
  readonly dueAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface PartRecord {
  readonly number: number;
  readonly etag: string;
  readonly size: number;
}

export interface LitterRecord {
  readonly key: string;
  /** Null: the object itself; else an upload in parts that was never joined. */
  readonly uploadId: string | null;
}

/** One method per statement. */
export class ModelStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  workspace(): WorkspaceId | null {
    const [row] = this.#db.exec("SELECT workspace_id FROM workspace WHERE id = 1");
    return row === undefined ? null : (text(row, "workspace_id") as WorkspaceId);
  }

  putWorkspace(workspaceId: WorkspaceId): void {
    this.#db.exec("INSERT INTO workspace (id, workspace_id) VALUES (1, ?)", workspaceId);
  }

  // --- models ------------------------------------------------------------------------------------------------------

  get(id: string): ModelRecord | null {
    return this.#one("SELECT * FROM models WHERE id = ?", id);
  }

  byHash(sha256: string): ModelRecord | null {
    return this.#one("SELECT * FROM models WHERE sha256 = ?", sha256);
  }

  /** The model that an import of this id has become. */
  byAlias(id: string): ModelRecord | null {
    return this.#one("SELECT m.* FROM aliases a JOIN models m ON m.id = a.model_id WHERE a.id = ?", id);
  }

  /** An import from there that runs, whatever its hash will be. */
  importingFrom(source: string): ModelRecord | null {
    return this.#one("SELECT * FROM models WHERE due_at IS NOT NULL AND source = ? LIMIT 1", source);
  }

  /** A page, newest first, and one more when there is one. */
  page({ type, status, before, limit }: ModelPage): ModelRecord[] {
    const conditions = [
      ...(before === undefined ? [] : [{ sql: "id < ?", value: before }]),
      ...(status === undefined ? [] : [{ sql: "status = ?", value: status }]),
      ...(type === undefined
        ? []
        : [{ sql: "EXISTS (SELECT 1 FROM json_each(places) AS p WHERE p.value ->> '$.type' = ?)", value: type }]),
    ];
    const where = conditions.length === 0 ? "" : `WHERE ${conditions.map(({ sql }) => sql).join(" AND ")}`;
    return this.#db
      .exec(
        `SELECT * FROM models ${where} ORDER BY id DESC LIMIT ?`,
        ...conditions.map(({ value }) => value),
        limit + 1,
      )
      .map(modelOf);
  }

  /** What is due, the longest waiting first. */
  due(now: number, limit: number): ModelRecord[] {
    return this.#db.exec("SELECT * FROM models WHERE due_at <= ? ORDER BY due_at, id LIMIT ?", now, limit).map(modelOf);
  }

  /** Whether anything is on its way that needs no caller. */
  isBusy(): boolean {
    const sql = "SELECT 1 AS found FROM models WHERE due_at IS NOT NULL AND status <> 'uploading' LIMIT 1";
    return this.#db.exec(sql).length > 0;
  }

  nextDueAt(): number | null {
    const [row] = this.#db.exec(
      `SELECT min(at) AS at FROM (
         SELECT min(due_at) AS at FROM models WHERE due_at IS NOT NULL
         UNION ALL SELECT min(due_at) AS at FROM litter)`,
    );
    return row === undefined ? null : integerOrNull(row, "at");
  }

  /** What the workspace stores or has been promised room for; what failed holds none. @param except not counted */
  totals(except: ModelId | null): { readonly models: number; readonly bytes: number } {
    const [row] = this.#db.exec(
      `SELECT count(*) AS models, coalesce(sum(size) FILTER (WHERE status <> 'failed'), 0) AS bytes
       FROM models WHERE id <> ?`,
      except ?? "",
    );
    return row === undefined
      ? { models: 0, bytes: 0 }
      : { models: integer(row, "models"), bytes: integer(row, "bytes") };
  }

  put(model: ModelRecord): void {
    this.#db.exec(
      `INSERT OR REPLACE INTO models
         (id, sha256, size, format, status, reason, allow_unsafe, places, sources, attempt, object_key, upload_id,
          part_bytes, source, validator, ranged, tries, notice, due_at, created_at, updated_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      model.id,
      model.sha256,
      model.size,
      model.format,
      model.status,
      model.reason,
      model.allowUnsafe ? 1 : 0,
      JSON.stringify(model.places),
      JSON.stringify(model.sources),
      model.attempt,
      model.key,
      model.uploadId,
      model.partBytes,
      model.source,
      model.validator,
      model.ranged === null ? null : model.ranged ? 1 : 0,
      model.tries,
      model.notice,
      model.dueAt,
      model.createdAt,
      model.updatedAt,
    );
  }

  remove(id: ModelId): void {
    this.#db.exec("DELETE FROM models WHERE id = ?", id);
    this.#db.exec("DELETE FROM aliases WHERE model_id = ?", id);
    this.forgetParts(id);
  }

  /** The model of `from`, and all that led to it, is now `to`. */
  alias(from: ModelId, to: ModelId): void {
    this.#db.exec("UPDATE aliases SET model_id = ? WHERE model_id = ?", to, from);
    this.#db.exec("INSERT OR REPLACE INTO aliases (id, model_id) VALUES (?, ?)", from, to);
  }

  // --- parts -------------------------------------------------------------------------------------------------------

  parts(id: ModelId): PartRecord[] {
    return this.#db
      .exec("SELECT number, etag, size FROM parts WHERE model_id = ? ORDER BY number", id)
      .map((row) => ({ number: integer(row, "number"), etag: text(row, "etag"), size: integer(row, "size") }));
  }

  storedBytes(id: ModelId): number {
    const [row] = this.#db.exec("SELECT coalesce(sum(size), 0) AS bytes FROM parts WHERE model_id = ?", id);
    return row === undefined ? 0 : integer(row, "bytes");
  }

  putPart(id: ModelId, part: PartRecord): void {
    const sql = "INSERT OR REPLACE INTO parts (model_id, number, etag, size) VALUES (?, ?, ?, ?)";
    this.#db.exec(sql, id, part.number, part.etag, part.size);
  }

  forgetPart(id: ModelId, number: number): void {
    this.#db.exec("DELETE FROM parts WHERE model_id = ? AND number = ?", id, number);
  }

  forgetParts(id: ModelId): void {
    this.#db.exec("DELETE FROM parts WHERE model_id = ?", id);
  }

  // --- litter ------------------------------------------------------------------------------------------------------

  addLitter({ key, uploadId }: LitterRecord, dueAt: number): void {
    const sql = "INSERT OR REPLACE INTO litter (object_key, upload_id, due_at) VALUES (?, ?, ?)";
    this.#db.exec(sql, key, uploadId ?? "", dueAt);
  }

  litter(now: number, limit: number): LitterRecord[] {
    return this.#db
      .exec("SELECT object_key, upload_id FROM litter WHERE due_at <= ? ORDER BY due_at LIMIT ?", now, limit)
      .map((row) => {
        const uploadId = text(row, "upload_id");
        return { key: text(row, "object_key"), uploadId: uploadId === "" ? null : uploadId };
      });
  }

  removeLitter({ key, uploadId }: LitterRecord): void {
    this.#db.exec("DELETE FROM litter WHERE object_key = ? AND upload_id = ?", key, uploadId ?? "");
  }

  #one(sql: string, value: string): ModelRecord | null {
    const [row] = this.#db.exec(sql, value);
    return row === undefined ? null : modelOf(row);
  }
}

function modelOf(row: SqlRow): ModelRecord {
  const ranged = integerOrNull(row, "ranged");
  return {
    id: text(row, "id") as ModelId,
    sha256: textOrNull(row, "sha256"),
    size: integerOrNull(row, "size"),
    format: textOrNull(row, "format") as ModelFormat | null,
    status: text(row, "status") as ModelStatus,
    reason: textOrNull(row, "reason"),
    allowUnsafe: integer(row, "allow_unsafe") === 1,
    places: stored<ModelPlace[]>(row, "places"),
    sources: stored<string[]>(row, "sources"),
    attempt: integer(row, "attempt"),
    key: text(row, "object_key"),
    uploadId: textOrNull(row, "upload_id"),
    partBytes: integer(row, "part_bytes"),
    source: textOrNull(row, "source"),
    validator: textOrNull(row, "validator"),
    ranged: ranged === null ? null : ranged === 1,
    tries: integer(row, "tries"),
    notice: textOrNull(row, "notice"),
    dueAt: integerOrNull(row, "due_at"),
    createdAt: integer(row, "created_at"),
    updatedAt: integer(row, "updated_at"),
  };
}
