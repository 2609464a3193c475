import type { JobId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { madeAt, numberOf } from "#durable-objects/endpoint/job-ids";
import { LANES, laneNumber } from "#durable-objects/endpoint/job-rows";
import { WaitingReleases } from "#durable-objects/endpoint/waiting-releases";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { UNJOINED_RANK_MIN } from "#durable-objects/queue/joining";
import { HEAD_KEYS, LaneHead } from "#durable-objects/queue/lane-head";
import { PlaceList } from "#durable-objects/queue/place-list";
import { type Key, type LaneReader, QueueIndex } from "#durable-objects/queue/queue-index";
import { integer, integerOrNull, type SqlDatabase, type SqlRow, text, textOrNull } from "#durable-objects/sql/database";

const READY = "FROM jobs INDEXED BY jobs_ready WHERE state = 'queued' AND available_at IS NULL AND lane = ?";
const FIRST: Key = { rank: Number.MIN_SAFE_INTEGER, id: "" };
const LAST: Key = { rank: Number.MAX_SAFE_INTEGER, id: "" };

/** The ready jobs of a lane as storage has them. */
class StoredLane implements LaneReader {
  readonly #db: SqlDatabase;
  readonly #lane: number;

  constructor(db: SqlDatabase, lane: Lane) {
    this.#db = db;
    this.#lane = laneNumber(lane);
  }

  first(limit: number): Key[] {
    return this.#db
      .exec(`SELECT rank, id ${READY} ORDER BY rank, id LIMIT ?`, this.#lane, limit)
      .map((row) => ({ rank: integer(row, "rank"), id: text(row, "id") }));
  }

  nth(from: Key | null, offset: number): Key | null {
    const { rank, id } = from ?? FIRST;
    const [row] = this.#db.exec(
      `SELECT rank, id ${READY} AND (rank, id) >= (?, ?) ORDER BY rank, id LIMIT 1 OFFSET ?`,
      this.#lane,
      rank,
      id,
      offset,
    );
    return row === undefined ? null : { rank: integer(row, "rank"), id: text(row, "id") };
  }

  count(from: Key | null, to: Key | null): number {
    return integer(this.#between("count(*)", from, to), "value");
  }

  leastId(from: Key | null, to: Key | null): string | null {
    return textOrNull(this.#between("min(id)", from, to), "value");
  }

  #between(what: string, from: Key | null, to: Key | null): SqlRow {
    const first = from ?? FIRST;
    const last = to ?? LAST;
    const [row] = this.#db.exec(
      `SELECT ${what} AS value ${READY} AND (rank, id) >= (?, ?) AND (rank, id) < (?, ?)`,
      this.#lane,
      first.rank,
      first.id,
      last.rank,
      last.id,
    );
    if (row === undefined) throw new Error("an aggregate has no row");
    return row;
  }
}

interface WaitingLane {
  readonly ready: QueueIndex;
  /** Where the next of the ready ones stand. */
  readonly head: LaneHead;
  readonly delayed: PlaceList;
}

/**
 * How many jobs wait, where each of them stands and which is the oldest, at the same cost for ten as for a million. Read
 * from storage once, when it is first asked for, then kept up by `entered` and `left`.
 */
export class WaitingJobs {
  readonly #db: SqlDatabase;
  /** The ready ones by release. */
  readonly releases: WaitingReleases;
  #lanes: Readonly<Record<Lane, WaitingLane>> | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
    this.releases = new WaitingReleases(db);
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#lanes = null;
    this.releases.forget();
  }

  /** Must be called before a change is written, so that what is read from storage does not hold it already. */
  load(): Readonly<Record<Lane, WaitingLane>> {
    if (this.#lanes !== null) return this.#lanes;
    const [interactive, batch] = LANES.map((lane) => {
      const stored = new StoredLane(this.#db, lane);
      return {
        ready: new QueueIndex(stored),
        head: new LaneHead((limit) => stored.first(limit)),
        delayed: new PlaceList(),
      };
    });
    if (interactive === undefined || batch === undefined) throw new Error("there are two lanes");
    for (const row of this.#db.exec("SELECT lane, rank, id FROM jobs WHERE available_at IS NOT NULL")) {
      const lane = integer(row, "lane") === laneNumber("batch") ? batch : interactive;
      lane.delayed.add({ rank: integer(row, "rank"), id: text(row, "id") });
    }
    this.#lanes = { interactive, batch };
    return this.#lanes;
  }

  /** The job's row says that it waits. */
  entered(job: QueuedJob): void {
    const lane = this.load()[job.lane];
    if (job.availableAt !== null) lane.delayed.add(job);
    else {
      lane.ready.add(job);
      lane.head.add(job);
      this.releases.entered(job);
    }
  }

  /** The job's row says so no longer, or says that it waits elsewhere. */
  left(job: QueuedJob): void {
    const lane = this.load()[job.lane];
    if (job.availableAt !== null) lane.delayed.remove(job);
    else {
      lane.ready.remove(job);
      lane.head.remove(job);
      this.releases.left(job);
    }
  }

  /** The ready job of a lane that so many others come before. @param place small */
  ready(lane: Lane, place: number): JobId | null {
    const key = this.load()[lane].head.at(place);
    return key === null ? null : (key.id as JobId);
  }

  /** Ready jobs that come right behind that one, as far as they are known without reading. */
  readyAfter(lane: Lane, place: number, limit: number): JobId[] {
    return this.load()
      [lane].head.after(place, limit)
      .map(({ id }) => id as JobId);
  }

  /**
   * When the next of the ready jobs of a lane came to it, oldest first, as far as their places are in memory. A batch job that
   * joined the interactive ones has the rank of one that was made then.
   * @param limit at most HEAD_KEYS are known
   */
  arrivals(lane: Lane, limit: number): number[] {
    const { head } = this.load()[lane];
    const first = head.at(0);
    if (first === null) return [];
    const keys = [first, ...head.after(0, limit - 1)];
    return keys.map(({ id, rank }) => Math.max(madeAt(id as JobId), rank)).sort((a, b) => a - b);
  }

  /** Ready batch jobs that have joined the interactive ones and wait ahead in their lane, as far as they are in memory. */
  joined(): number {
    const { head } = this.load().batch;
    const first = head.at(0);
    if (first === null || first.rank >= UNJOINED_RANK_MIN) return 0;
    return 1 + head.after(0, HEAD_KEYS - 1).filter(({ rank }) => rank < UNJOINED_RANK_MIN).length;
  }

  /**
   * When the oldest of the next ready jobs of a lane came, for those who may be a little wrong: one of a low priority may
   * stand behind so many others that it is not looked at. One that has joined the interactive jobs and is still in the
   * batch lane has waited for longer than any may. null when none waits.
   */
  oldestSeen(lane: Lane): number | null {
    if (lane === "batch" && this.joined() > 0) return 0;
    return this.arrivals(lane, HEAD_KEYS)[0] ?? null;
  }

  queued(lane: Lane): number {
    const { ready, delayed } = this.load()[lane];
    return ready.total + delayed.size;
  }

  /** Those in their backoff. */
  delayed(): number {
    const { interactive, batch } = this.load();
    return interactive.delayed.size + batch.delayed.size;
  }

  /** Place over both lanes, 1 is next. */
  position(job: QueuedJob): number {
    const lane = this.load()[job.lane];
    const before = job.lane === "batch" ? this.queued("interactive") : 0;
    return 1 + before + lane.ready.ahead(job, job.availableAt === null) + lane.delayed.ahead(job);
  }

  /** When the oldest of all that wait was made. */
  oldestCreatedAt(): number | null {
    const lanes = Object.values(this.load());
    const ids = lanes.flatMap(({ ready, delayed }) => [ready.leastId(), delayed.leastId()]).filter((id) => id !== null);
    const [oldest] = ids.sort();
    if (oldest === undefined) return null;
    const [row] = this.#db.exec("SELECT created_at FROM jobs WHERE number = ?", numberOf(oldest as JobId));
    return row === undefined ? null : integerOrNull(row, "created_at");
  }
}
