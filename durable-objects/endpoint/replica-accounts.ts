import type { PodId, ReplicaId } from "#contract/ids";
import {
  type Account,
  cardMsOf,
  counted,
  covered,
  DAY_MS,
  dayOf,
  NOTHING_USED,
  opened,
  recounted,
  type UsedDay,
  type UsedMs,
  useOf,
} from "#durable-objects/replicas/replica-account";
import { isOver, isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import { integer, type SqlDatabase, stored, text } from "#durable-objects/sql/database";

/** Between two writes of what a working replica's time went to; what a restart loses of it is found in its jobs. */
const SAVED_EVERY_MS = 60_000;
/** Jobs that are looked through for that: as many as one replica may end within SAVED_EVERY_MS, a hundred times. */
const JOBS_READ = 5_000;
/** Days are kept for longer than a year, so that one can be compared with the one before. */
export const REPLICA_DAYS_KEPT = 400;

/** What the replicas of a pod and a type of card did on a day. */
export interface ReplicaDay {
  readonly day: number;
  readonly podId: PodId;
  /** '': it has no name. */
  readonly gpuType: string;
  readonly used: UsedMs;
  /** ms of whole cards: a replica that shares a card counts for its part of it. */
  readonly cardMs: number;
  readonly started: number;
  readonly crashed: number;
}

interface LeaseTimes {
  readonly replicaId: ReplicaId;
  readonly grantedAt: number;
  readonly beganAt: number | null;
  readonly endedAt: number | null;
}

/**
 * What the time of each replica goes to. Counted in memory, because it turns with every job, and written with the
 * replica's row; the days that are over, and those of replicas that are over, are rows of their own.
 */
export class ReplicaAccounts {
  readonly #db: SqlDatabase;
  readonly #works: (id: ReplicaId) => boolean;
  readonly #accounts = new Map<ReplicaId, Account>();
  /** Days that are over and not written yet. */
  readonly #pending = new Map<ReplicaId, readonly UsedDay[]>();
  /** When each was last written. */
  readonly #savedAt = new Map<ReplicaId, number>();

  /** @param works whether a replica has a job on its GPU */
  constructor(db: SqlDatabase, works: (id: ReplicaId) => boolean) {
    this.#db = db;
    this.#works = works;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#accounts.clear();
    this.#pending.clear();
    this.#savedAt.clear();
  }

  drop(id: ReplicaId): void {
    this.#accounts.delete(id);
    this.#pending.delete(id);
    this.#savedAt.delete(id);
  }

  /** Takes up what a replica's row says, and finds out what came since. @param json null: the row is older than accounts */
  takeUp(replica: ReplicaRecord, json: string | null, now: number): void {
    if (this.#accounts.has(replica.id)) return;
    const known = json === null ? opened(replica.startedAt) : (JSON.parse(json) as Account);
    // What has ended before there were accounts is in no day's row, and stays so.
    const account = json === null && isOver(replica.state) ? { ...known, closed: "stopped" as const } : known;
    if (account.closed !== null || isStarting(replica.state) || now <= account.at) {
      this.#accounts.set(replica.id, account);
      return;
    }
    const busyMs = covered(this.#stretches(replica.id, account.at, now), account.at, now);
    const after = recounted(account, busyMs, now);
    // Written with its row and not before: what is read here may not be part of a commit.
    if (after.days.length > 0) this.#pending.set(replica.id, after.days);
    this.#accounts.set(replica.id, { ...after.account, use: useOf(replica, this.#works(replica.id)) });
  }

  /**
   * The replica stands so from now on. @returns its account as it is to be written with its row
   */
  put(replica: ReplicaRecord, now: number): string {
    const known = this.#accounts.get(replica.id) ?? opened(replica.startedAt);
    for (const { day, used } of this.#pending.get(replica.id) ?? []) this.#add(replica, day, used, 0, 0);
    this.#pending.delete(replica.id);
    const account = isOver(replica.state) ? this.#closed(replica, known, now) : this.#counted(replica, known, now);
    this.#accounts.set(replica.id, account);
    this.#savedAt.set(replica.id, now);
    return JSON.stringify(account);
  }

  /** Its jobs have changed. @returns whether its row should be written now */
  turned(replica: ReplicaRecord, now: number): boolean {
    const known = this.#accounts.get(replica.id);
    if (known === undefined || known.closed !== null) return false;
    const use = useOf(replica, this.#works(replica.id));
    if (use === known.use) return false;
    if (dayOf(known.at) !== dayOf(now) || now - (this.#savedAt.get(replica.id) ?? 0) >= SAVED_EVERY_MS) return true;
    this.#accounts.set(replica.id, { ...counted(known, now).account, use });
    return false;
  }

  /** It was taken for ended and was not: what it did meanwhile is found in its jobs. Its row is to be written next. */
  reopen(replica: ReplicaRecord, now: number): void {
    const known = this.#accounts.get(replica.id);
    if (known === undefined || known.closed === null) return;
    // When it ends, it is counted as started again.
    this.#add(replica, dayOf(replica.startedAt), NOTHING_USED, -1, 0);
    const open = { ...known, closed: null };
    const after = isStarting(replica.state)
      ? counted({ ...open, use: "cold" }, now)
      : recounted(open, covered(this.#stretches(replica.id, known.at, now), known.at, now), now);
    this.#pending.set(replica.id, [...(this.#pending.get(replica.id) ?? []), ...after.days]);
    this.#accounts.set(replica.id, { ...after.account, use: useOf(replica, this.#works(replica.id)) });
  }

  /** Since it was placed, ms. */
  used(replica: ReplicaRecord, now: number): UsedMs {
    const account = this.#accounts.get(replica.id);
    if (account === undefined) return NOTHING_USED;
    return account.closed === null ? counted(account, now).account.total : account.total;
  }

  /**
   * What replicas did on each day, by day, pod and type of card: those that are over, and those that are not until now.
   * @param from first day @param to last day
   */
  days(replicas: readonly ReplicaRecord[], from: number, to: number, now: number): ReplicaDay[] {
    const rows = this.#db
      .exec(
        "SELECT * FROM replica_days WHERE day >= ? AND day <= ? ORDER BY day, pod_id, gpu_type",
        from,
        Math.min(to, dayOf(now)),
      )
      .map(
        (row): ReplicaDay => ({
          day: integer(row, "day"),
          podId: text(row, "pod_id") as PodId,
          gpuType: text(row, "gpu_type"),
          used: { cold: integer(row, "cold_ms"), idle: integer(row, "idle_ms"), busy: integer(row, "busy_ms") },
          cardMs: integer(row, "card_ms"),
          started: integer(row, "started"),
          crashed: integer(row, "crashed"),
        }),
      );
    const living = replicas.flatMap((replica) => {
      const account = this.#accounts.get(replica.id);
      if (account === undefined || account.closed !== null) return [];
      const { podId } = replica;
      const gpuType = replica.gpuType ?? "";
      const live = counted(account, now);
      const days = [
        ...(this.#pending.get(replica.id) ?? []),
        ...live.days,
        { day: dayOf(now), used: live.account.today },
      ];
      return [
        { day: dayOf(replica.startedAt), podId, gpuType, used: NOTHING_USED, cardMs: 0, started: 1, crashed: 0 },
        ...days.map(({ day, used }) => {
          const cardMs = cardMsOf(used, replica.slotsOnCard);
          return { day, podId, gpuType, used, cardMs, started: 0, crashed: 0 };
        }),
      ];
    });
    return summed([...rows, ...living.filter(({ day }) => day >= from && day <= to)]);
  }

  #counted(replica: ReplicaRecord, known: Account, now: number): Account {
    const { account, days } = counted(known, now);
    for (const { day, used } of days) this.#add(replica, day, used, 0, 0);
    return { ...account, use: useOf(replica, this.#works(replica.id)) };
  }

  /** Its days are written once. One that was said to have stopped may turn out to have crashed. */
  #closed(replica: ReplicaRecord, known: Account, now: number): Account {
    const crashed = replica.state === "crashed";
    const endedAt = Math.max(replica.startedAt, Math.min(now, replica.changes.at(-1)?.at ?? now));
    if (known.closed !== null) {
      if (known.closed === "crashed" || !crashed) return known;
      this.#add(replica, dayOf(known.at), NOTHING_USED, 0, 1);
      return { ...known, closed: "crashed" };
    }
    const { account, days } = counted(known, endedAt);
    for (const { day, used } of days) this.#add(replica, day, used, 0, 0);
    this.#add(replica, dayOf(account.at), account.today, 0, crashed ? 1 : 0);
    this.#add(replica, dayOf(replica.startedAt), NOTHING_USED, 1, 0);
    this.#db.exec("DELETE FROM replica_days WHERE day < ?", dayOf(now - REPLICA_DAYS_KEPT * DAY_MS));
    return { ...account, today: NOTHING_USED, closed: crashed ? "crashed" : "stopped" };
  }

  #add(replica: ReplicaRecord, day: number, used: UsedMs, started: number, crashed: number): void {
    this.#db.exec(
      `INSERT INTO replica_days (day, pod_id, gpu_type, cold_ms, idle_ms, busy_ms, card_ms, started, crashed)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (day, pod_id, gpu_type) DO UPDATE SET
         cold_ms = cold_ms + excluded.cold_ms, idle_ms = idle_ms + excluded.idle_ms,
         busy_ms = busy_ms + excluded.busy_ms, card_ms = card_ms + excluded.card_ms, started = started + excluded.started,
         crashed = crashed + excluded.crashed`,
      day,
      replica.podId,
      replica.gpuType ?? "",
      used.cold,
      used.idle,
      used.busy,
      cardMsOf(used, replica.slotsOnCard),
      started,
      crashed,
    );
  }

  /** When jobs were on the replica since then, as their leases say. */
  #stretches(id: ReplicaId, since: number, now: number): (readonly [number, number])[] {
    const rows = this.#db.exec(
      `SELECT leases FROM jobs WHERE state = 'running' AND replica_id = ?
       UNION ALL SELECT leases FROM (
         SELECT leases FROM jobs INDEXED BY jobs_ended WHERE finished_at IS NOT NULL AND finished_at > ? LIMIT ?
       )`,
      id,
      since,
      JOBS_READ,
    );
    return rows
      .flatMap((row) => stored<LeaseTimes[]>(row, "leases"))
      .filter(({ replicaId, beganAt }) => replicaId === id && beganAt !== null)
      .map(({ beganAt, grantedAt, endedAt }) => [beganAt ?? grantedAt, endedAt ?? now] as const);
  }
}

/** One entry for each day, pod and type of card, in that order. */
function summed(days: readonly ReplicaDay[]): ReplicaDay[] {
  const byKey = new Map<string, ReplicaDay>();
  for (const each of days) {
    const key = JSON.stringify([String(each.day).padStart(8, "0"), each.podId, each.gpuType]);
    const known = byKey.get(key);
    byKey.set(
      key,
      known === undefined
        ? each
        : {
            ...known,
            used: {
              cold: known.used.cold + each.used.cold,
              idle: known.used.idle + each.used.idle,
              busy: known.used.busy + each.used.busy,
            },
            cardMs: known.cardMs + each.cardMs,
            started: known.started + each.started,
            crashed: known.crashed + each.crashed,
          },
    );
  }
  return [...byKey].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, day]) => day);
}
