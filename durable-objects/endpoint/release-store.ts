import type { NewCanary } from "#contract/canary";
import type { ReplicaId } from "#contract/ids";
import { LOG_LINES_KEPT } from "#contract/limits";
import type { ReleaseState } from "#contract/verification";
import type { Build } from "#durable-objects/replicas/build-change";
import type { Card, Trial } from "#durable-objects/replicas/release-gate";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  storedOrNull,
  text,
  textOrNull,
} from "#durable-objects/sql/database";

/** Why a release becomes the active one, as the catalog notes it. */
export type WishCause = "deploy" | "activate" | "rollback";

/** A release that takes its place once it is ready. Times in Unix ms. */
export interface ReleaseWish {
  readonly release: number;
  /** The release that was active when this was asked for. When another one is, the wish is over. */
  readonly replaces: number;
  readonly cause: WishCause;
  /** It gets a part of the new jobs; null: it becomes active. */
  readonly canary: NewCanary | null;
  readonly since: number;
  /** It is ready: when the catalog is told (again). null: it is not ready yet. */
  readonly dueAt: number | null;
  /** How often the catalog was told in vain. */
  readonly tries: number;
}

export interface ReleaseMarks {
  readonly readyAt: number | null;
  readonly forcedAt: number | null;
}

export interface StoredLogLine {
  readonly n: number;
  readonly at: number;
  readonly card: Card;
  readonly replicaId: ReplicaId | null;
  readonly text: string;
}

const NO_MARKS: ReleaseMarks = { readyAt: null, forcedAt: null };
/** How a card without a name is stored: it is part of a key. */
const NO_NAME = "";
/** So many releases keep their log and what came of their tries; of older ones only whether they were ready. */
const RELEASES_KEPT = 50;

/**
 * What the endpoint knows of its releases, read once and then kept in memory: whether a job's poll may bring an errand is
 * asked for every poll. The rows are what survives a restart.
 */
export class ReleaseStore {
  readonly #db: SqlDatabase;
  #trials: Map<number, Trial[]> | null = null;
  #marks: Map<number, ReleaseMarks> | null = null;
  #wish: ReleaseWish | null | undefined;
  #builds: Map<number, Build> | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#trials = null;
    this.#marks = null;
    this.#wish = undefined;
    this.#builds = null;
  }

  /** The builds of releases that were active, or a canary, since this is noted. */
  get builds(): ReadonlyMap<number, Build> {
    return this.#allBuilds();
  }

  noteBuild(release: number, build: Build): void {
    const builds = this.#allBuilds();
    if (builds.get(release) === build) return;
    builds.set(release, build);
    this.#db.exec("INSERT OR REPLACE INTO release_builds (release, build) VALUES (?, ?)", release, build);
  }

  get wish(): ReleaseWish | null {
    if (this.#wish === undefined) this.#wish = this.#readWish();
    return this.#wish;
  }

  set wish(wish: ReleaseWish | null) {
    this.#wish = wish;
    if (wish === null) {
      this.#db.exec("DELETE FROM release_wish");
      return;
    }
    this.#db.exec(
      `INSERT OR REPLACE INTO release_wish (id, release, replaces, cause, canary, since, due_at, tries)
       VALUES (1, ?, ?, ?, ?, ?, ?, ?)`,
      wish.release,
      wish.replaces,
      wish.cause,
      wish.canary === null ? null : JSON.stringify(wish.canary),
      wish.since,
      wish.dueAt,
      wish.tries,
    );
  }

  marks(release: number): ReleaseMarks {
    return this.#allMarks().get(release) ?? NO_MARKS;
  }

  mark(release: number, change: Partial<ReleaseMarks>): void {
    const marks = { ...this.marks(release), ...change };
    this.#allMarks().set(release, marks);
    this.#db.exec(
      "INSERT OR REPLACE INTO release_marks (release, ready_at, forced_at) VALUES (?, ?, ?)",
      release,
      marks.readyAt,
      marks.forcedAt,
    );
  }

  /** Where the release was tried, in the order of the cards' names. */
  trials(release: number): readonly Trial[] {
    return this.#allTrials().get(release) ?? [];
  }

  /** Those that a replica is on. */
  underWay(): Trial[] {
    return [...this.#allTrials().values()].flat().filter(({ errand }) => errand !== null);
  }

  put(trial: Trial): void {
    const others = this.trials(trial.release).filter(({ card }) => card !== trial.card);
    const all = [...others, trial].sort((a, b) => (a.card ?? NO_NAME).localeCompare(b.card ?? NO_NAME));
    this.#allTrials().set(trial.release, all);
    this.#db.exec(
      `INSERT OR REPLACE INTO trials
         (release, gpu_type, state, errand, replica_id, error, tries, started_at, heard_at, finished_at, log_next)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      trial.release,
      trial.card ?? NO_NAME,
      trial.state,
      trial.errand,
      trial.replicaId,
      trial.error,
      trial.tries,
      trial.startedAt,
      trial.heardAt,
      trial.finishedAt,
      trial.logNext,
    );
    if (others.length === 0) this.#forgetOldest(trial.release);
  }

  /** Adds lines to the release's log and drops the oldest. */
  log(release: number, at: number, card: Card, replicaId: ReplicaId | null, lines: readonly string[]): void {
    if (lines.length === 0) return;
    const [row] = this.#db.exec("SELECT MAX(n) AS last FROM release_log WHERE release = ?", release);
    let n = (row === undefined ? null : integerOrNull(row, "last")) ?? 0;
    for (const line of lines) {
      n += 1;
      this.#db.exec(
        "INSERT INTO release_log (release, n, at, gpu_type, replica_id, line) VALUES (?, ?, ?, ?, ?, ?)",
        release,
        n,
        at,
        card,
        replicaId,
        line,
      );
    }
    this.#db.exec("DELETE FROM release_log WHERE release = ? AND n <= ?", release, n - LOG_LINES_KEPT);
  }

  /** Lines of the release's log after the line `after`, oldest first. */
  logOf(release: number, after: number, limit: number): StoredLogLine[] {
    return this.#db
      .exec("SELECT * FROM release_log WHERE release = ? AND n > ? ORDER BY n LIMIT ?", release, after, limit)
      .map((row) => ({
        n: integer(row, "n"),
        at: integer(row, "at"),
        card: textOrNull(row, "gpu_type"),
        replicaId: textOrNull(row, "replica_id") as ReplicaId | null,
        text: text(row, "line"),
      }));
  }

  #forgetOldest(newest: number): void {
    const all = this.#allTrials();
    if (all.size <= RELEASES_KEPT) return;
    const kept = new Set([newest, this.wish?.release]);
    const oldest = [...all.keys()].filter((release) => !kept.has(release)).sort((a, b) => a - b)[0];
    if (oldest === undefined) return;
    all.delete(oldest);
    this.#db.exec("DELETE FROM trials WHERE release = ?", oldest);
    this.#db.exec("DELETE FROM release_log WHERE release = ?", oldest);
  }

  #allTrials(): Map<number, Trial[]> {
    if (this.#trials !== null) return this.#trials;
    const all = new Map<number, Trial[]>();
    for (const row of this.#db.exec("SELECT * FROM trials ORDER BY release, gpu_type")) {
      const trial = trialOf(row);
      all.set(trial.release, [...(all.get(trial.release) ?? []), trial]);
    }
    this.#trials = all;
    return all;
  }

  #allMarks(): Map<number, ReleaseMarks> {
    this.#marks ??= new Map(
      this.#db
        .exec("SELECT * FROM release_marks")
        .map((row) => [
          integer(row, "release"),
          { readyAt: integerOrNull(row, "ready_at"), forcedAt: integerOrNull(row, "forced_at") },
        ]),
    );
    return this.#marks;
  }

  #allBuilds(): Map<number, Build> {
    this.#builds ??= new Map(
      this.#db
        .exec("SELECT release, build FROM release_builds")
        .map((row) => [integer(row, "release"), textOrNull(row, "build")]),
    );
    return this.#builds;
  }

  #readWish(): ReleaseWish | null {
    const [row] = this.#db.exec("SELECT * FROM release_wish WHERE id = 1");
    if (row === undefined) return null;
    return {
      release: integer(row, "release"),
      replaces: integer(row, "replaces"),
      cause: text(row, "cause") as WishCause,
      canary: storedOrNull<NewCanary>(row, "canary"),
      since: integer(row, "since"),
      dueAt: integerOrNull(row, "due_at"),
      tries: integer(row, "tries"),
    };
  }
}

function trialOf(row: SqlRow): Trial {
  const card = text(row, "gpu_type");
  return {
    release: integer(row, "release"),
    card: card === NO_NAME ? null : card,
    state: text(row, "state") as ReleaseState,
    errand: textOrNull(row, "errand"),
    replicaId: textOrNull(row, "replica_id") as ReplicaId | null,
    error: textOrNull(row, "error"),
    tries: integer(row, "tries"),
    startedAt: integerOrNull(row, "started_at"),
    heardAt: integerOrNull(row, "heard_at"),
    finishedAt: integerOrNull(row, "finished_at"),
    logNext: integer(row, "log_next"),
  };
}
