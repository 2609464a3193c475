/** How far a node is trusted: who fails, flaps or lies gets nothing new for a while. Pure. */
import { FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";

/** Fast failures further apart than this are not one streak: by then the machine has been something else. */
export const FAILURE_STREAK_MS = 30 * 60_000;
/** So many returns from silence within FLAPS_WITHIN_MS are a bad line: each one costs what ran there its work, and others a start. */
export const FLAPS_MAX = 4;
/** A silence takes 18 s to be seen, so four returns in ten minutes are more absence than presence can make good. */
export const FLAPS_WITHIN_MS = 10 * 60_000;
/** Replicas of nobody that turn up under a living session: one may be a mishap of this pod, three are not. */
export const STRAYS_MAX = 3;
export const STRAYS_WITHIN_MS = 60 * 60_000;
/** Other cards under a new start of the agent are a machine that was rebuilt; so many within CARD_SWAPS_WITHIN_MS are not. */
export const CARD_SWAPS_MAX = 4;
export const CARD_SWAPS_WITHIN_MS = 60 * 60_000;
/** The first quarantine: long enough for a person's restart or a driver's recovery, short enough not to need either. */
export const QUARANTINE_MS = 60_000;
/** Each further one is twice as long, up to this: a machine that recovers by itself is lost for an hour at most. */
export const QUARANTINE_MS_MAX = 60 * 60_000;
/** After so long without one, the next quarantine is a first one again. */
export const QUARANTINE_FORGIVEN_MS = 24 * 60 * 60_000;

export interface Quarantine {
  readonly reason: string;
  readonly since: number;
  /** It ends by itself then, Unix ms. */
  readonly until: number;
}

/** What speaks against a node. Times are Unix ms of the server. */
export interface NodeTrust {
  /** Fast failures in a row, whatever died, newest last. */
  readonly failures: readonly { readonly build: string; readonly at: number }[];
  /** When it came back after it had been given up. */
  readonly returns: readonly number[];
  /** When it ran something that it was never given. */
  readonly strays: readonly number[];
  /** When it came with other cards. */
  readonly cardSwaps: readonly number[];
  /** Slots on which the last replica failed fast, and when: a dead card is to keep nobody from the others. */
  readonly failedSlots: readonly { readonly slot: number; readonly at: number }[];
  /** Quarantines in a row. */
  readonly times: number;
  /** The latest one, which may be over. */
  readonly quarantine: Quarantine | null;
}

export const FULL_TRUST: NodeTrust = {
  failures: [],
  returns: [],
  strays: [],
  cardSwaps: [],
  failedSlots: [],
  times: 0,
  quarantine: null,
};

/** @returns the quarantine the node is in; null when it is trusted */
export function quarantineAt(trust: NodeTrust, now: number): Quarantine | null {
  return trust.quarantine !== null && trust.quarantine.until > now ? trust.quarantine : null;
}

export interface FastFailure {
  /** What failed: the digest of its build, or its endpoint where the machine's owner installed ComfyUI. */
  readonly build: string;
  /** The same build runs well on another node. */
  readonly runsElsewhere: boolean;
  /** Something else runs well on this node. */
  readonly worksHere: boolean;
  readonly error: string | null;
}

/**
 * After a replica that died at once. The machine is to blame only where the build cannot be: several builds died, or
 * this one runs elsewhere. A build that dies everywhere is left to the pause of that build, so that one broken release
 * does not take the pod's machines from everybody else.
 */
export function afterFastFailure(trust: NodeTrust, failure: FastFailure, now: number): NodeTrust {
  if (failure.worksHere) return { ...trust, failures: [] };
  const streak = trust.failures.filter(({ at }) => now - at < FAILURE_STREAK_MS);
  const failures = [...streak, { build: failure.build, at: now }].slice(-FAST_FAILURES_MAX);
  const builds = new Set(failures.map(({ build }) => build)).size;
  if (failures.length < FAST_FAILURES_MAX || (builds === 1 && !failure.runsElsewhere)) return { ...trust, failures };
  const what = builds === 1 ? "of a build that runs on other nodes" : `of ${builds} builds`;
  const last = failure.error === null ? "" : ` The last one: ${failure.error}`;
  return quarantined(
    { ...trust, failures: [] },
    `${failures.length} replicas ${what} died here one after the other within a minute of their start.${last}`,
    now,
  );
}

/** After a replica that died at once on this slot. */
export function afterFailureOn(trust: NodeTrust, slot: number, now: number): NodeTrust {
  return { ...trust, failedSlots: [...otherThan(trust, slot), { slot, at: now }] };
}

/** After a replica that got ready on this slot. */
export function afterReadyOn(trust: NodeTrust, slot: number): NodeTrust {
  const failedSlots = otherThan(trust, slot);
  return failedSlots.length === trust.failedSlots.length ? trust : { ...trust, failedSlots };
}

function otherThan({ failedSlots }: NodeTrust, slot: number): NodeTrust["failedSlots"] {
  return failedSlots.filter((failed) => failed.slot !== slot);
}

/** After a replica that lived: the machine works. */
export function afterLongLife(trust: NodeTrust): NodeTrust {
  return trust.failures.length === 0 ? trust : { ...trust, failures: [] };
}

/** After the node was given up and has come back. */
export function afterReturn(trust: NodeTrust, now: number): NodeTrust {
  const returns = [...trust.returns.filter((at) => now - at < FLAPS_WITHIN_MS), now];
  if (returns.length < FLAPS_MAX) return { ...trust, returns };
  const minutes = FLAPS_WITHIN_MS / 60_000;
  return quarantined(
    { ...trust, returns: [] },
    `It went away and came back ${returns.length} times within ${minutes} minutes.`,
    now,
  );
}

/** After the node has reported a replica that it was never given. */
export function afterStray(trust: NodeTrust, now: number): NodeTrust {
  const strays = [...trust.strays.filter((at) => now - at < STRAYS_WITHIN_MS), now];
  if (strays.length < STRAYS_MAX) return { ...trust, strays };
  return quarantined({ ...trust, strays: [] }, `It reported ${strays.length} replicas that it was never given.`, now);
}

/** After the node has come with other cards than before. */
export function afterCardSwap(trust: NodeTrust, now: number): NodeTrust {
  const cardSwaps = [...trust.cardSwaps.filter((at) => now - at < CARD_SWAPS_WITHIN_MS), now];
  if (cardSwaps.length < CARD_SWAPS_MAX) return { ...trust, cardSwaps };
  return quarantined({ ...trust, cardSwaps: [] }, `Its cards changed ${cardSwaps.length} times within an hour.`, now);
}

/** After what cannot be true was said. While it is said again, the quarantine that runs is prolonged, not doubled. */
export function afterLie(trust: NodeTrust, reason: string, now: number): NodeTrust {
  const running = quarantineAt(trust, now);
  if (running === null) return quarantined(trust, reason, now);
  if (running.until - now >= QUARANTINE_MS / 2) return trust;
  return { ...trust, quarantine: { ...running, reason, until: now + QUARANTINE_MS } };
}

/** A person trusts it again: nothing of before counts. */
export function trustedAgain(): NodeTrust {
  return FULL_TRUST;
}

function quarantined(trust: NodeTrust, reason: string, now: number): NodeTrust {
  const last = trust.quarantine;
  const forgiven = last === null || now - last.until >= QUARANTINE_FORGIVEN_MS;
  const times = forgiven ? 1 : trust.times + 1;
  const ms = Math.min(QUARANTINE_MS_MAX, QUARANTINE_MS * 2 ** Math.min(times - 1, 20));
  return { ...trust, times, quarantine: { reason, since: now, until: now + ms } };
}

/** A card as a node tells it. */
export interface StatedCard {
  readonly index: number;
  readonly uuid: string | null;
  readonly name: string;
  readonly vram_mb: number;
}

/** What a node says of its cards and slots, as far as it can be checked. */
export interface Statement {
  readonly gpus: readonly StatedCard[];
  readonly slots: number;
  /** null: the agent does not say it, and has one. */
  readonly slotsPerGpu: number | null;
  /** Of the agent's start; null: it does not say it. */
  readonly start: number | null;
}

/**
 * What of it cannot be true. An agent reads its cards once when it starts, so they do not change under one start, and one
 * that does not number its starts counts as never started anew; a node without a card has as many slots as its owner says.
 * @returns the reason in words; null when nothing speaks against it
 */
export function lieIn(said: Statement, before: Statement): string | null {
  const slotsPerGpu = said.slotsPerGpu ?? 1;
  if (said.gpus.length > 0 && said.slots > said.gpus.length * slotsPerGpu) {
    return `It offers ${said.slots} slots on ${said.gpus.length} cards with ${slotsPerGpu} slots each.`;
  }
  const twice = repeated(said.gpus.flatMap(({ uuid }) => uuid ?? [])) ?? repeated(said.gpus.map(({ index }) => index));
  if (twice !== undefined) return `It counts one card more than once: ${twice}.`;
  if (said.start === before.start && cardsOf(said.gpus) !== cardsOf(before.gpus)) {
    return `Its cards changed while its agent ran: ${cardsOf(before.gpus) || "none"} became ${cardsOf(said.gpus) || "none"}.`;
  }
  return null;
}

/** A card that both have, by its UUID; null where there is none, or nobody can tell. */
export function sharedCard(some: readonly StatedCard[], others: readonly StatedCard[]): string | null {
  const known = new Set(others.map(({ uuid }) => uuid));
  return some.find(({ uuid }) => uuid !== null && known.has(uuid))?.uuid ?? null;
}

function repeated<T>(values: readonly T[]): T | undefined {
  return values.find((value, at) => values.indexOf(value) !== at);
}

export function cardsOf(gpus: readonly StatedCard[]): string {
  return gpus
    .map(({ uuid, name, vram_mb }) => [name, `${vram_mb} MB`, ...(uuid === null ? [] : [uuid])].join(" "))
    .join(", ");
}
