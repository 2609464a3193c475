import { dayIsOver, dayOf, daysOfValidKeys, type IdempotencyRecord } from "#durable-objects/queue/idempotency";
import { integer, integerOrNull, type SqlDatabase, text } from "#durable-objects/sql/database";

/** Idempotency keys of every operation that takes one: one row each, forgotten when no key of its day is valid. */
export class IdempotencyStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /**
   * The newest use of the key; it may be outlived, which `checkIdempotency` judges.
   * @param scope the operation's id
   */
  find(scope: string, key: string, now: number): IdempotencyRecord | null {
    const days = daysOfValidKeys(now);
    const [row] = this.#db.exec(
      `SELECT fingerprint, result, created_at FROM idempotency
       WHERE day IN (${days.map(() => "?").join(", ")}) AND scope = ? AND key = ? ORDER BY day DESC LIMIT 1`,
      ...days,
      scope,
      key,
    );
    if (row === undefined) return null;
    return {
      scope,
      key,
      fingerprint: text(row, "fingerprint"),
      result: text(row, "result"),
      createdAt: integer(row, "created_at"),
    };
  }

  put(record: IdempotencyRecord): void {
    this.#db.exec(
      "INSERT OR REPLACE INTO idempotency (day, scope, key, fingerprint, result, created_at) VALUES (?, ?, ?, ?, ?, ?)",
      dayOf(record.createdAt),
      record.scope,
      record.key,
      record.fingerprint,
      record.result,
      record.createdAt,
    );
  }

  /** When the oldest keys may go; null when there are none. */
  nextDue(): number | null {
    const [row] = this.#db.exec("SELECT min(day) AS day FROM idempotency");
    const day = row === undefined ? null : integerOrNull(row, "day");
    return day === null ? null : dayIsOver(day);
  }

  /** Forgets keys of days that are over, at most `limit` of them. */
  deleteOver(now: number, limit: number): void {
    this.#db.exec(
      `DELETE FROM idempotency WHERE (day, scope, key) IN
         (SELECT day, scope, key FROM idempotency WHERE day < ? ORDER BY day, scope, key LIMIT ?)`,
      Math.min(...daysOfValidKeys(now)),
      limit,
    );
  }
}
