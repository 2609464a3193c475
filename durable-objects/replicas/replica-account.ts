/** What a replica's time went to, by the server's clock. */
import { isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** `cold`: it has started and was never ready, or starts its ComfyUI anew. `busy`: it has a job on its GPU. */
export type Use = "cold" | "idle" | "busy";

/** ms. */
export type UsedMs = Readonly<Record<Use, number>>;

export interface Account {
  /** Since it was placed. */
  readonly total: UsedMs;
  /** Of that, what the table of days does not have yet; all of it belongs to the UTC day of `at`. */
  readonly today: UsedMs;
  /** Counted until then, Unix ms. */
  readonly at: number;
  /** What its time goes to since then. */
  readonly use: Use;
  /** It has ended, and its days are written. */
  readonly closed: "stopped" | "crashed" | null;
}

/** A day that is over, and what of it was used. */
export interface UsedDay {
  /** Days since 1970, UTC. */
  readonly day: number;
  readonly used: UsedMs;
}

export const NOTHING_USED: UsedMs = { cold: 0, idle: 0, busy: 0 };
export const DAY_MS = 86_400_000;

export function dayOf(at: number): number {
  return Math.floor(at / DAY_MS);
}

/** What of a card's time that was, where so many slots share the card: ms of a whole card. */
export function cardMsOf({ cold, idle, busy }: UsedMs, slotsOnCard: number): number {
  return Math.round((cold + idle + busy) / slotsOnCard);
}

/** The account of a replica that is placed now. */
export function opened(at: number): Account {
  return { total: NOTHING_USED, today: NOTHING_USED, at, use: "cold", closed: null };
}

/** What its time goes to from now on. @param works it has a job on its GPU */
export function useOf(replica: Pick<ReplicaRecord, "state" | "changes">, works: boolean): Use {
  if (isStarting(replica.state)) return "cold";
  if (works) return "busy";
  return replica.changes.some(({ state }) => state === "ready") ? "idle" : "cold";
}

/**
 * The account as of another moment. A moment before `at` takes back what was counted since: the replica was over by then.
 * @returns the days that ended on the way, which the account has no more
 */
export function counted(account: Account, now: number): { account: Account; days: UsedDay[] } {
  const days: UsedDay[] = [];
  let { today, at } = account;
  while (dayOf(at) < dayOf(now)) {
    const midnight = (dayOf(at) + 1) * DAY_MS;
    days.push({ day: dayOf(at), used: plus(today, account.use, midnight - at) });
    today = NOTHING_USED;
    at = midnight;
  }
  const passed = now - at;
  return {
    account: {
      ...account,
      total: plus(account.total, account.use, now - account.at),
      today: plus(today, account.use, passed),
      at: now,
    },
    days,
  };
}

/** The account where it is found out later what the time up to `now` went to: so much of it to jobs. */
export function recounted(account: Account, busyMs: number, now: number): { account: Account; days: UsedDay[] } {
  // Which part of it came first is not known; only at midnight does it matter.
  const passed = Math.max(0, now - account.at);
  const busy = Math.min(passed, Math.max(0, busyMs));
  const first = counted({ ...account, use: "busy" }, account.at + busy);
  const second = counted({ ...first.account, use: "idle" }, now);
  return { account: { ...second.account, use: account.use }, days: [...first.days, ...second.days] };
}

/** How long the stretches cover [from, to] together, ms. */
export function covered(stretches: readonly (readonly [from: number, to: number])[], from: number, to: number): number {
  let sum = 0;
  let until = from;
  for (const [start, end] of stretches.toSorted((a, b) => a[0] - b[0])) {
    const last = Math.min(end, to);
    const first = Math.max(start, until);
    if (last <= first) continue;
    sum += last - first;
    until = last;
  }
  return sum;
}

function plus(used: UsedMs, use: Use, ms: number): UsedMs {
  return ms === 0 ? used : { ...used, [use]: Math.max(0, used[use] + ms) };
}
