import type { JobId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { madeAt } from "#durable-objects/endpoint/job-ids";
import { laneName, laneNumber } from "#durable-objects/endpoint/job-rows";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { LaneHead } from "#durable-objects/queue/lane-head";
import { compareKeys, type Key } from "#durable-objects/queue/queue-index";
import { integer, type SqlDatabase, text } from "#durable-objects/sql/database";

const READY = "FROM jobs INDEXED BY jobs_ready WHERE state = 'queued' AND available_at IS NULL";

/** The ready jobs of one release in one lane. */
export interface WaitingRelease {
  readonly release: number;
  readonly lane: Lane;
  readonly jobs: number;
}

interface Known {
  readonly release: number;
  readonly lane: Lane;
  readonly head: LaneHead;
  jobs: number;
}

/**
 * The ready jobs apart by release, for endpoints whose releases need several builds: a replica that has one of them finds
 * its jobs behind any number of others. Read from storage once, when it is first asked for, then kept up.
 */
export class WaitingReleases {
  readonly #db: SqlDatabase;
  #known: Map<string, Known> | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#known = null;
  }

  /** Those that have any. */
  all(): readonly WaitingRelease[] {
    return [...this.#load().values()];
  }

  /** The first ready jobs of these releases in a lane, in order. @param limit below HEAD_KEYS */
  first(lane: Lane, releases: ReadonlySet<number>, limit: number): JobId[] {
    return [...this.#load().values()]
      .filter((known) => known.lane === lane && releases.has(known.release))
      .flatMap(({ head }) => firstOf(head, limit))
      .sort(compareKeys)
      .slice(0, limit)
      .map(({ id }) => id as JobId);
  }

  /**
   * When the oldest of the next ready jobs of a release came to its lane, Unix ms: one of a low priority may stand behind
   * so many others that it is not looked at. null when none waits.
   * @param looked at so many, below HEAD_KEYS
   */
  oldestSeen({ release, lane }: Pick<WaitingRelease, "release" | "lane">, looked: number): number | null {
    const head = this.#load().get(nameOf(release, lane))?.head;
    const keys = head === undefined ? [] : firstOf(head, looked);
    return keys.length === 0 ? null : Math.min(...keys.map(({ id, rank }) => Math.max(madeAt(id as JobId), rank)));
  }

  /** The job's row says that it is ready. */
  entered(job: QueuedJob): void {
    if (this.#known === null) return;
    const { release, lane } = job;
    const known = this.#known.get(nameOf(release, lane)) ?? this.#place(this.#known, release, lane);
    known.jobs += 1;
    known.head.add(job);
  }

  /** The job's row says so no longer, or says that it waits elsewhere. */
  left(job: QueuedJob): void {
    const name = nameOf(job.release, job.lane);
    const known = this.#known?.get(name);
    if (known === undefined) return;
    known.jobs -= 1;
    known.head.remove(job);
    if (known.jobs === 0) this.#known?.delete(name);
  }

  #load(): Map<string, Known> {
    if (this.#known !== null) return this.#known;
    const all = new Map<string, Known>();
    for (const row of this.#db.exec(`SELECT lane, release, count(*) AS jobs ${READY} GROUP BY lane, release`)) {
      this.#place(all, integer(row, "release"), laneName(integer(row, "lane"))).jobs = integer(row, "jobs");
    }
    this.#known = all;
    return all;
  }

  #place(all: Map<string, Known>, release: number, lane: Lane): Known {
    const first = (limit: number): readonly Key[] =>
      this.#db
        .exec(
          `SELECT rank, id ${READY} AND lane = ? AND release = ? ORDER BY rank, id LIMIT ?`,
          laneNumber(lane),
          release,
          limit,
        )
        .map((row) => ({ rank: integer(row, "rank"), id: text(row, "id") }));
    const known = { release, lane, head: new LaneHead(first), jobs: 0 };
    all.set(nameOf(release, lane), known);
    return known;
  }
}

function nameOf(release: number, lane: Lane): string {
  return `${lane} ${release}`;
}

function firstOf(head: LaneHead, limit: number): Key[] {
  return Array.from({ length: limit }, (_, place) => head.at(limit - 1 - place))
    .filter((key) => key !== null)
    .reverse();
}
