import type { DaySpend } from "#durable-objects/queue/daily-budget";
import { integer, integerOrNull, type SqlDatabase, textOrNull } from "#durable-objects/sql/database";

/** The queue starts nothing. */
export interface Pause {
  readonly since: number;
  readonly reason: string | null;
  /** New jobs are refused instead of waiting. */
  readonly refuseNew: boolean;
}

/** What operators have switched, and what is accounted for them: columns of the endpoint's single row. */
export class ControlStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  readPause(): Pause | null {
    const [row] = this.#db.exec("SELECT paused_at, pause_reason, refuse_new FROM progress WHERE id = 1");
    const since = row === undefined ? null : integerOrNull(row, "paused_at");
    if (row === undefined || since === null) return null;
    return { since, reason: textOrNull(row, "pause_reason"), refuseNew: integer(row, "refuse_new") === 1 };
  }

  putPause(pause: Pause | null): void {
    this.#db.exec(
      "UPDATE progress SET paused_at = ?, pause_reason = ?, refuse_new = ? WHERE id = 1",
      pause?.since ?? null,
      pause?.reason ?? null,
      pause?.refuseNew ? 1 : 0,
    );
  }

  /** null when no account is kept. */
  readSpend(): DaySpend | null {
    const [row] = this.#db.exec("SELECT spent_day, spent_ms FROM progress WHERE id = 1");
    const day = row === undefined ? null : integerOrNull(row, "spent_day");
    return row === undefined || day === null ? null : { day, ms: integer(row, "spent_ms") };
  }

  putSpend(spend: DaySpend | null): void {
    this.#db.exec("UPDATE progress SET spent_day = ?, spent_ms = ? WHERE id = 1", spend?.day ?? null, spend?.ms ?? 0);
  }
}
