/** What the endpoint's pods have said of the room that they have, and for how long that is believed. */
import type { PodId } from "#contract/ids";
import type { StoredDemand } from "#durable-objects/endpoint/demand-store";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import type { Pool } from "#durable-objects/replicas/pods-and-lanes";

/**
 * What a pod said is believed for this long. While replicas are missing it is believed until the pod answers again, which
 * it is soon asked to: else the claim on another pod would end each time, only to see what this one says.
 */
const ROOM_BELIEVED_MS = 10_000;
/** A pod that has answered none of so many messages, sent within half a minute or so, counts as one without room. */
const SILENT_TRIES = 4;

export interface PodRoom {
  /** Replicas that could still be started there. */
  readonly replicas: number;
  /** Beyond that, replicas that could be started once others have left. */
  readonly held: number;
  readonly at: number;
  /** Until when it is believed, Unix ms; without end while the pod is asked again. */
  readonly until: number;
}

export function hearRoom(
  { room }: EndpointState,
  podId: PodId,
  said: Pick<PodRoom, "replicas" | "held">,
  now: number,
): void {
  room.set(podId, { ...said, at: now, until: now + ROOM_BELIEVED_MS });
}

/** Whether there are others that may go on without one. */
export function hasSeveralPods({ config }: EndpointState): boolean {
  return config !== null && config.pods.length > 1;
}

/** Whether a pod, of several, has not answered for so long that the others are to go on without it. */
export function isSilent(state: EndpointState, { tries }: Pick<StoredDemand, "tries">): boolean {
  return tries >= SILENT_TRIES && hasSeveralPods(state);
}

/** What is believed of a pod; null: nobody knows. */
export function roomOf(state: EndpointState, podId: PodId): PodRoom | null {
  const known = state.room.get(podId);
  if (known !== undefined) return known;
  // What it said before this object woke is remembered only where it was short; then it is to be asked again anyway.
  const told = state.demands.get(podId);
  const until = Number.POSITIVE_INFINITY;
  if (told?.shortage != null) return { replicas: 0, held: told.shortage.held ?? 0, at: told.shortage.at, until };
  return told !== null && isSilent(state, told) ? { replicas: 0, held: 0, at: state.wokeAt, until } : null;
}

/**
 * Forgets what was said too long ago, and keeps the rest for as long as it may be of use.
 * @param isMissing whether replicas are missing that one of these pods may start as well as another
 */
export function holdRooms(state: EndpointState, { pods }: Pool, isMissing: boolean, now: number): void {
  for (const { podId } of pods) {
    const room = roomOf(state, podId);
    if (room === null) continue;
    const until = isMissing ? Number.POSITIVE_INFINITY : room.at + ROOM_BELIEVED_MS;
    state.room.set(podId, room.until <= now ? null : { ...room, until });
  }
}
