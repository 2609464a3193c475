/** Whose replicas make room when every slot that somebody may use is taken. */
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";

/**
 * An endpoint that had a replica for this long, or for longer where its start took long, gives it to one that has had none
 * for as long, or has had too few for as long and has at least two less.
 */
export const FAIR_TURN_MS = 60_000;
/** A turn lasts so many times as long as the replica took to start: of a slot that changes hands a fifth goes to starts. */
const TURN_PER_START = 4;
/** And no longer than this. One that has not got ready by then goes likewise. */
const TURN_MS_MAX = 10 * 60_000;
/** A replica that would only be kept warm has such a turn, beside work for which there is no other replica, after so many of its. */
const TURNS_PER_IDLE_TURN = 10;

/** What an endpoint needs a replica for, the weightiest first: interactive jobs, its own warm floor, batch jobs. */
export type Need = "calls" | "warmth" | "batch";

/** @param warm replicas of its own warm floor @param calls interactive jobs wait for a replica, or run */
export function needOf({ warm, calls }: { readonly warm: number; readonly calls: boolean }): Need {
  if (calls) return "calls";
  return warm > 0 ? "warmth" : "batch";
}

/** The turn of a replica on its slot. One that starts is let start: ended before it works, it would have cost for nothing. */
export interface Turn {
  /** Since when it works, or was placed. */
  readonly since: number;
  /** How long it has the slot for itself, ms. */
  readonly turnMs: number;
}

export function turnOf({ placedAt, readyAt }: { readonly placedAt: number; readonly readyAt: number | null }): Turn {
  if (readyAt === null) return { since: placedAt, turnMs: TURN_MS_MAX };
  const worth = TURN_PER_START * (readyAt - placedAt);
  return { since: readyAt, turnMs: Math.min(TURN_MS_MAX, Math.max(FAIR_TURN_MS, worth)) };
}

/** The moments at which somebody may take its slot, Unix ms. */
export function turnEnds({ since, turnMs }: Turn): readonly number[] {
  return [since + turnMs, since + TURNS_PER_IDLE_TURN * turnMs];
}

/** An endpoint that needs, or wants, more replicas than it has. */
export interface Claim {
  readonly endpointId: EndpointId;
  /** Whether it could start a replica once that one is gone. */
  readonly isHelpedBy: (holder: Holder) => boolean;
  /** Replicas it has that are not on their way out. */
  readonly have: number;
  /** Replicas that it needs beyond those. */
  readonly missing: number;
  /** Replicas that it wants beyond those: `missing`, and what it would use as well. */
  readonly lacking: number;
  /** Since when it waits, Unix ms. */
  readonly since: number;
  /** What for, if it has none. */
  readonly need: Need;
  /** Since when every slot has been taken while it had too few, Unix ms. */
  readonly shortSince: number;
}

/** A replica on a slot. */
export interface Holder extends Turn {
  readonly id: ReplicaId;
  readonly endpointId: EndpointId;
  readonly nodeId: NodeId;
  readonly draining: boolean;
  /** What its endpoint needs replicas for. */
  readonly need: Need;
  /** Replicas of its endpoint's own warm floor. */
  readonly warm: number;
}

export interface Reclaim {
  /** Replicas that their endpoints may not need: ask for them. */
  readonly ask: readonly Holder[];
  /** Replicas to ask for if they do batch jobs: they are not needed, and others would use them as well. */
  readonly share: readonly Holder[];
  /** Replicas that must go, after the job in hand. */
  readonly over: readonly Holder[];
}

/**
 * Slots that are being emptied already count as found, each for one claim that may use it. For the rest, replicas beyond
 * what their endpoint needs are asked for, those of the endpoint with the most to spare first; and turns end. In the end
 * those who would use more have as many as the others, give or take one.
 * @param spare how many replicas each endpoint has beyond what it needs
 */
export function reclaim(
  claims: readonly Claim[],
  holders: readonly Holder[],
  spare: ReadonlyMap<EndpointId, number>,
  now: number,
): Reclaim {
  const emptying = holders.filter(({ draining }) => draining);
  const working = holders.filter(({ draining }) => !draining);
  const left = new Map(spare);
  const ask = new Set<Holder>();
  const waiting: Waiting[] = [];
  for (const claim of claims.toSorted((a, b) => Number(starves(b)) - Number(starves(a)) || a.since - b.since)) {
    let found = 0;
    for (const [at, holder] of [...emptying.entries()].reverse()) {
      if (found >= claim.missing || !claim.isHelpedBy(holder)) continue;
      emptying.splice(at, 1);
      found += 1;
    }
    waiting.push({ ...claim, found });
    for (; found < claim.missing; found += 1) {
      const next = spareOf(working, claim, left, ask);
      if (next === undefined) break;
      ask.add(next);
      add(left, next.endpointId, -1);
    }
  }
  const over = new Set(turnsOver(waiting, working, now));
  const staying = working.filter((holder) => !over.has(holder) && !ask.has(holder));
  return { ask: [...ask], share: evenShares(waiting, emptying, staying, left, now), over: [...over] };
}

/** A claim, and how many of the slots that are being emptied are for it. */
interface Waiting
  extends Pick<Claim, "endpointId" | "isHelpedBy" | "have" | "missing" | "lacking" | "need" | "since" | "shortSince"> {
  readonly found: number;
}

const starves = ({ have, missing }: Pick<Claim, "have" | "missing">): boolean => have === 0 && missing > 0;

/** The first one of the endpoint with the most left, of those that help. */
function spareOf(
  working: readonly Holder[],
  { isHelpedBy }: Pick<Claim, "isHelpedBy">,
  left: ReadonlyMap<EndpointId, number>,
  taken: ReadonlySet<Holder>,
): Holder | undefined {
  let best: Holder | undefined;
  let most = 0;
  for (const holder of working) {
    const count = left.get(holder.endpointId) ?? 0;
    if (count <= most || taken.has(holder) || !isHelpedBy(holder)) continue;
    best = holder;
    most = count;
  }
  return best;
}

function countsOf(holders: readonly Holder[]): Map<EndpointId, number> {
  const counts = new Map<EndpointId, number>();
  for (const { endpointId } of holders) add(counts, endpointId, 1);
  return counts;
}

function add(counts: Map<EndpointId, number>, endpointId: EndpointId, more: number): void {
  counts.set(endpointId, (counts.get(endpointId) ?? 0) + more);
}

/**
 * Which replicas must go because others have waited for a turn for too long on a pod that has no free slot for them: those
 * who have none at all, and those who have had at least two less than another while they needed more. Without this, one
 * endpoint's long queue would keep everybody else's jobs waiting until it is empty. Batch jobs end no turn of a warm floor.
 * And who has nothing to do takes the only replica of one at work seldom, because it would idle where others wait, and the
 * only one of another warm floor never.
 * @param waiting endpoints that need a replica, in the order of their turns
 * @param holders replicas that are not on their way out
 */
export function turnsOver(waiting: readonly Waiting[], holders: readonly Holder[], now: number): readonly Holder[] {
  const left = new Set(holders.filter((holder) => isOver(holder, now)));
  const counts = countsOf(holders);
  const count = (endpointId: EndpointId): number => counts.get(endpointId) ?? 0;
  const over: Holder[] = [];
  for (const claim of waiting) {
    const none = starves(claim) && claim.found === 0;
    if (claim.found >= claim.missing || now - (none ? claim.since : claim.shortSince) < FAIR_TURN_MS) continue;
    const [victim] = [...left]
      .filter((holder) => claim.isHelpedBy(holder))
      .filter((holder) =>
        none
          ? mayTake(claim.need, holder, count(holder.endpointId), now)
          : count(holder.endpointId) > claim.have + claim.found + 1,
      )
      .toSorted((a, b) => count(b.endpointId) - count(a.endpointId) || a.since - b.since || (a.id < b.id ? -1 : 1));
    if (victim === undefined) continue;
    over.push(victim);
    left.delete(victim);
    add(counts, victim.endpointId, -1);
  }
  return over;
}

function isOver({ since, turnMs }: Turn, now: number): boolean {
  return now - since >= turnMs;
}

/** Whether somebody who has none may take the replica, whose turn is over. @param count how many its endpoint has */
function mayTake(
  need: Need,
  { since, turnMs, need: others, warm }: Pick<Holder, "need" | "warm" | keyof Turn>,
  count: number,
  now: number,
): boolean {
  switch (need) {
    case "calls":
      return true;
    case "warmth":
      if (count > 1 || others === "batch") return true;
      return others === "calls" && now - since >= TURNS_PER_IDLE_TURN * turnMs;
    case "batch":
      return count > warm;
    default:
      throw new Error(`unhandled: ${JSON.stringify(need satisfies never)}`);
  }
}

/**
 * Whether somebody who has too few, or none, could come to its slot, however long that takes: as `reclaim` would have it.
 * @param of the endpoint of that replica: how many it has, and how many of those it does not need
 */
export function givesWay(
  { need, have }: Pick<Claim, "need" | "have">,
  holder: Pick<Holder, "draining" | "need" | "warm" | keyof Turn>,
  of: { readonly count: number; readonly spare: number },
): boolean {
  if (holder.draining || of.spare > 0) return true;
  return have === 0 ? mayTake(need, holder, of.count, Number.POSITIVE_INFINITY) : of.count > have + 1;
}

/**
 * Replicas that an endpoint has for its batch jobs are not needed; but of two that would use more of them none should have
 * all. To those who would use them for calls they go at once, however many they have: a caller waits for an answer, a
 * backlog does not. Whether one idles, kept for interactive jobs, its endpoint knows: those are not shared.
 */
function evenShares(
  waiting: readonly Waiting[],
  emptying: Holder[],
  working: readonly Holder[],
  left: Map<EndpointId, number>,
  now: number,
): readonly Holder[] {
  const ask = new Set<Holder>();
  const counts = countsOf(working);
  for (const claim of waiting) {
    const hasWaited = now - claim.shortSince >= FAIR_TURN_MS;
    if (claim.found < claim.missing || !(hasWaited || claim.need === "calls")) continue;
    for (let { found } = claim; found < claim.lacking; found += 1) {
      const coming = emptying.findIndex((holder) => claim.isHelpedBy(holder));
      if (coming >= 0) {
        emptying.splice(coming, 1);
        continue;
      }
      const isUneven = (holder: Holder): boolean =>
        hasWaited && (counts.get(holder.endpointId) ?? 0) > claim.have + found + 1 && isOver(holder, now);
      const isForCalls = ({ need }: Holder): boolean => claim.need === "calls" && need === "batch";
      const shared = working.filter((holder) => isUneven(holder) || isForCalls(holder));
      const next = spareOf(shared, claim, left, ask);
      if (next === undefined) break;
      ask.add(next);
      add(counts, next.endpointId, -1);
      add(left, next.endpointId, -1);
    }
  }
  return [...ask];
}
