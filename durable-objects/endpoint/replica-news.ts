import type { ReplicaReport } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import { LOG_LINES_KEPT } from "#contract/limits";
import { isOver } from "#durable-objects/replicas/replica-record";
import { integer, type SqlDatabase, stored } from "#durable-objects/sql/database";

/** A row holds 2 MB, and a hundred replicas share the object's memory. */
const LOG_LENGTH_MAX = 200_000;

export interface LogLine {
  readonly number: number;
  /** When the endpoint heard of it, Unix ms. */
  readonly at: number;
  readonly line: string;
}

interface ReplicaLog {
  /** The number of the first line that is kept. */
  first: number;
  readonly lines: [at: number, line: string][];
  length: number;
  /** The number that was asked for when a report left some out. */
  asked: number | null;
}

/**
 * What replicas say of themselves while they start: what they are at, and their log. Both live in memory, as both change
 * every other second; a log is written when its replica is ready or has ended. What a restart loses, agents send again.
 */
export class ReplicaNews {
  readonly #db: SqlDatabase;
  readonly #doing = new Map<ReplicaId, string>();
  readonly #logs = new Map<ReplicaId, ReplicaLog>();

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  doing(id: ReplicaId): string | null {
    return this.#doing.get(id) ?? null;
  }

  /**
   * Takes note of a report. Lines that came before are known by their numbers; lines that are left out are asked for once.
   * @returns the number of the line that is wanted next
   */
  heard(id: ReplicaId, report: ReplicaReport, now: number): number {
    if (report.doing === undefined) this.#doing.delete(id);
    else this.#doing.set(id, report.doing);
    const log = this.#log(id);
    const next = log.first + log.lines.length;
    if (report.log === undefined) return next;
    const from = report.log_from ?? next;
    if (from > next) {
      if (log.asked !== next && !isOver(report.state)) {
        log.asked = next;
        return next;
      }
      // Lines in between are gone for good: numbers go on, and what was kept before them is not to look like their neighbour.
      const lost = from - next;
      this.#add(log, now, lost === 1 ? "… 1 line is lost" : `… ${lost} lines are lost`);
      log.first = from - log.lines.length;
    }
    for (const line of report.log.slice(Math.max(0, next - from))) this.#add(log, now, line);
    return log.first + log.lines.length;
  }

  /** Lines from a number on, oldest first. */
  lines(id: ReplicaId, from: number): LogLine[] {
    const { first, lines } = this.#log(id);
    const skipped = Math.max(0, from - first);
    return lines.slice(skipped).map(([at, line], index) => ({ number: first + skipped + index, at, line }));
  }

  /** Writes its log, so that it outlives this object's sleep: one row. */
  save(id: ReplicaId): void {
    const log = this.#log(id);
    if (log.lines.length === 0) return;
    this.#db.exec(
      "INSERT OR REPLACE INTO replica_logs (replica_id, first, lines) VALUES (?, ?, ?)",
      id,
      log.first,
      JSON.stringify(log.lines),
    );
  }

  /** It has nothing more to say. */
  ended(id: ReplicaId): void {
    this.#doing.delete(id);
  }

  drop(id: ReplicaId): void {
    this.#doing.delete(id);
    this.#logs.delete(id);
    this.#db.exec("DELETE FROM replica_logs WHERE replica_id = ?", id);
  }

  #log(id: ReplicaId): ReplicaLog {
    const known = this.#logs.get(id);
    if (known !== undefined) return known;
    const [row] = this.#db.exec("SELECT first, lines FROM replica_logs WHERE replica_id = ?", id);
    const lines = row === undefined ? [] : stored<[number, string][]>(row, "lines");
    const first = row === undefined ? 0 : integer(row, "first");
    const log = { first, lines, asked: null, length: lines.reduce((sum, [, line]) => sum + line.length, 0) };
    this.#logs.set(id, log);
    return log;
  }

  #add(log: ReplicaLog, at: number, line: string): void {
    log.lines.push([at, line]);
    log.length += line.length;
    while (log.lines.length > LOG_LINES_KEPT || log.length > LOG_LENGTH_MAX) {
      const dropped = log.lines.shift();
      if (dropped === undefined) return;
      log.length -= dropped[1].length;
      log.first += 1;
    }
  }
}
