/** How long a replica may take to start, phase by phase, before its machine is no use for it. Pure. */
import type { ReplicaState } from "#contract/replica";

/** From its placement until the node says that it has it: an agent begins in the turn in which it is told. */
export const START_UNHEARD_MS = 60_000;
/** Without any progress, by phase. Each is some times what the agent itself waits at that point, which ends with a reason. */
const STALLED_MS = {
  requested: 5 * 60_000,
  placed: 5 * 60_000,
  /** Sources of models that give no byte are given up sooner; a step of pip's may be silent for minutes. */
  preparing: 30 * 60_000,
  /** The agent waits ten minutes for ComfyUI, unless its owner says otherwise. */
  booting: 30 * 60_000,
  /** A smoke test loads every model of the release, from a slow disk perhaps. */
  loading: 60 * 60_000,
} as const;
/** Preparing, where the agent does not say how it goes on: a hundred gigabytes over a slow line. */
const PREPARING_UNTOLD_MS = 6 * 60 * 60_000;
/** All of a first start, whatever progress is told: nobody waits a day for a machine. */
const START_MS_MAX = 24 * 60 * 60_000;

export interface Start {
  readonly state: ReplicaState;
  /** The node has said that it has it. */
  readonly isReported: boolean;
  /** Its agent says how its start goes on. */
  readonly tellsProgress: boolean;
  /** It has been ready before. */
  readonly wasReady: boolean;
  /** When it was placed, or when this could first be watched, Unix ms. */
  readonly since: number;
  /** When it last entered a phase or made progress, Unix ms. */
  readonly movedAt: number;
}

export interface StartLimit {
  /** Unix ms. */
  readonly at: number;
  /** Why it ends then. */
  readonly reason: string;
}

/** @returns when its node should be told to give it up; null when it does not start */
export function startLimit({ state, isReported, tellsProgress, wasReady, since, movedAt }: Start): StartLimit | null {
  if (!isReported) {
    const reason = `The node was told to start the replica and did not within ${inWords(START_UNHEARD_MS)}.`;
    return { at: since + START_UNHEARD_MS, reason };
  }
  if (!(state in STALLED_MS)) return null;
  const phase = state as keyof typeof STALLED_MS;
  const ms = phase === "preparing" && !tellsProgress ? PREPARING_UNTOLD_MS : STALLED_MS[phase];
  const stalled = { at: movedAt + ms, reason: `The replica was ${phase} for ${inWords(ms)} and got no further.` };
  const whole = since + START_MS_MAX;
  if (wasReady || whole >= stalled.at) return stalled;
  return { at: whole, reason: `The replica was not ready after ${inWords(START_MS_MAX)}.` };
}

function inWords(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 60) return minutes === 1 ? "a minute" : `${minutes} minutes`;
  return minutes === 60 ? "an hour" : `${minutes / 60} hours`;
}
