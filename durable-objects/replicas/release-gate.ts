/**
 * The deploy gate: a release that has run on a GPU is replaced only by one that has run there, too. Pure.
 *
 * A release is tried once on each type of card that the endpoint's pods have online. What a try came to is a fact about a
 * release and a type of card; who tries it is a replica, which may die in the middle.
 */
import type { ReplicaId } from "#contract/ids";
import type { ReleaseState } from "#contract/verification";

/** A type of card; null: none, or one without a name. */
export type Card = string | null;

/** A release on one type of card. Times in Unix ms. */
export interface Trial {
  readonly release: number;
  readonly card: Card;
  readonly state: ReleaseState;
  /** The errand of the replica that is on it; null while nobody is. */
  readonly errand: string | null;
  /** Who is on it, or was last. */
  readonly replicaId: ReplicaId | null;
  /** Why it failed, or why the last try ended without a result. */
  readonly error: string | null;
  /** Tries that ended without a result: that says nothing about the release, but they must not go on for ever. */
  readonly tries: number;
  readonly startedAt: number | null;
  readonly heardAt: number | null;
  readonly finishedAt: number | null;
  /** The number of the errand's line that is wanted next. */
  readonly logNext: number;
}

/** As many tries as jobs have attempts: what ends three replicas ends the fourth. */
export const TRIES_MAX = 3;
/** A replica on an errand says something every few seconds; after this silence somebody else gets it. */
export const ERRAND_SILENCE_MS = 60_000;
/** While jobs wait, they go first for so long: then the errand does, or a busy endpoint could never be deployed. */
export const ERRAND_PATIENCE_MS = 20_000;

/** What becomes of the wish to make a release the active one. */
export type Decision = "active" | "now" | "waits";

export interface Wish {
  readonly release: number;
  readonly active: number;
  readonly force: boolean;
  /** The active release has run on a card of the endpoint. */
  readonly isActiveProven: boolean;
  /** The wished one was ready before, or is ready on all cards that are online. */
  readonly isReady: boolean;
}

/** Whether a release may become the active one now. Where nothing has ever run, there is nothing to keep. */
export function decide({ release, active, force, isActiveProven, isReady }: Wish): Decision {
  if (release === active) return "active";
  return force || isReady || !isActiveProven ? "now" : "waits";
}

/** The release's cards that count: those online, each once. */
export function isReadyOn(trials: readonly Trial[], online: readonly Card[]): boolean {
  return online.length > 0 && online.every((card) => trialOn(trials, card)?.state === "ready");
}

/** What ends the wish: a card on which the release cannot run. Cards that went away meanwhile do not count. */
export function failureOn(trials: readonly Trial[], online: readonly Card[]): Trial | null {
  return trials.find(({ state, card }) => state === "failed" && online.includes(card)) ?? null;
}

/** Cards on which nobody has tried the release, and nobody does now. */
export function openCards(trials: readonly Trial[], online: readonly Card[]): Card[] {
  return online.filter((card) => {
    const trial = trialOn(trials, card);
    return trial === null || (trial.errand === null && !isSettled(trial));
  });
}

export function trialOn(trials: readonly Trial[], card: Card): Trial | null {
  return trials.find((trial) => trial.card === card) ?? null;
}

/** The release has run there, or cannot. */
export function isSettled({ state }: Pick<Trial, "state">): boolean {
  return state === "ready" || state === "failed";
}

export function freshTrial(release: number, card: Card): Trial {
  return {
    release,
    card,
    state: "untried",
    errand: null,
    replicaId: null,
    error: null,
    tries: 0,
    startedAt: null,
    heardAt: null,
    finishedAt: null,
    logNext: 0,
  };
}

/** A replica is on its way to try it. */
export function begun(trial: Trial, errand: string, replicaId: ReplicaId, now: number): Trial {
  return { ...trial, state: "building", errand, replicaId, error: null, startedAt: now, heardAt: now, logNext: 0 };
}

/** The release has run there, whoever was to try it. */
export function proven(trial: Trial, replicaId: ReplicaId, now: number): Trial {
  if (trial.state === "ready") return trial;
  const startedAt = trial.replicaId === replicaId ? trial.startedAt : null;
  return { ...trial, state: "ready", errand: null, replicaId, error: null, startedAt, finishedAt: now };
}

/** It cannot run there: the same try would end the same way. */
export function refuted(trial: Trial, error: string, now: number): Trial {
  return { ...trial, state: "failed", errand: null, error, finishedAt: now };
}

/** The try ended without a result: somebody else gets it, so many times. */
export function returned(trial: Trial, reason: string, now: number): Trial {
  const tries = trial.tries + 1;
  if (tries < TRIES_MAX) return { ...trial, state: "untried", errand: null, error: reason, tries };
  return refuted({ ...trial, tries }, `${tries} tries ended without a result. The last one: ${reason}`, now);
}

/**
 * How far the release is as a whole.
 * @param isAwaited somebody has asked for it: it is the active one, or is to be
 * @param wasReady it was ready before
 */
export function releaseState(
  trials: readonly Trial[],
  online: readonly Card[],
  { isAwaited, wasReady }: { readonly isAwaited: boolean; readonly wasReady: boolean },
): ReleaseState {
  // Without a card there is nothing new to know: what was tried last counts.
  const counted = online.length === 0 ? trials : trials.filter(({ card }) => online.includes(card));
  if (wasReady || isReadyOn(trials, online)) return "ready";
  if (counted.some(({ state }) => state === "failed")) return "failed";
  if (counted.some(({ state }) => state === "verifying")) return "verifying";
  if (counted.some(({ state }) => state === "building")) return "building";
  return isAwaited ? "verifying" : "untried";
}
