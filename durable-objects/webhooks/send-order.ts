/** Whose turn it is: which pending deliveries may go out now, so that a slow or dead receiver delays nobody else. */
import type { DeliveryId } from "#contract/ids";
import { inFlightMax } from "#durable-objects/outbox/breaker";
import type { DeliveryStore } from "#durable-objects/webhooks/delivery-store";

/** Tries on their way, by delivery. */
export type InFlight = Map<DeliveryId, { readonly destination: string; readonly startedAt: number }>;

/** The platform opens six connections at once; a seventh would wait, and its deadline with it. */
const SENDS_MAX = 6;
/** Of these, so many at most to destinations that have failed of late: the others always have the rest. */
const FAILING_SENDS_MAX = 3;

interface Chosen {
  readonly id: DeliveryId;
  readonly destination: string;
}

/**
 * The deliveries to send now, one of each destination before the second of any.
 * @param served the destination that was served last; the turn goes to those behind it
 */
export function toSend(store: DeliveryStore, inFlight: InFlight, served: string, now: number): Chosen[] {
  let room = SENDS_MAX - inFlight.size;
  if (room <= 0) return [];
  const failingNow = [...inFlight.values()].filter(({ destination }) => store.health(destination).failures > 0);
  let failingRoom = FAILING_SENDS_MAX - failingNow.length;
  const all = sendable(store);
  const behind = all.findIndex((destination) => destination > served);
  const inTurn = behind === -1 ? all : [...all.slice(behind), ...all.slice(0, behind)];
  const lines = inTurn.map((destination) => ({ destination, ...lineOf(store, inFlight, destination, now) }));
  const chosen: Chosen[] = [];
  for (let round = 0; room > 0 && lines.some(({ ready }) => ready.length > round); round += 1) {
    for (const { destination, ready, failing } of lines) {
      const id = ready[round];
      if (id === undefined || room <= 0 || (failing && failingRoom <= 0)) continue;
      chosen.push({ id, destination });
      room -= 1;
      if (failing) failingRoom -= 1;
    }
  }
  return chosen;
}

/**
 * When the next delivery will be due; what is due and waits only for others to come back needs no alarm.
 * @returns Unix ms, after `now`; null when nothing is to come
 */
export function nextSendAt(store: DeliveryStore, inFlight: InFlight, now: number): number | null {
  let next: number | null = null;
  for (const destination of sendable(store)) {
    const { dueAt } = lineOf(store, inFlight, destination, now);
    if (dueAt !== null && dueAt > now && (next === null || dueAt < next)) next = dueAt;
  }
  return next;
}

/** Those that are sent to; `listen` webhooks fetch. */
function sendable(store: DeliveryStore): string[] {
  return [...store.pendingDestinations()].filter((destination) => !destination.startsWith("listen "));
}

/** What of a destination may go now, and when its first other one may. */
function lineOf(
  store: DeliveryStore,
  inFlight: InFlight,
  destination: string,
  now: number,
): { readonly ready: DeliveryId[]; readonly failing: boolean; readonly dueAt: number | null } {
  const health = store.health(destination);
  const busy = [...inFlight.values()].filter((one) => one.destination === destination).length;
  const free = Math.max(0, inFlightMax(health) - busy);
  const first = store.firstPending(destination, busy + free + 1).filter(({ id }) => !inFlight.has(id));
  const isOpen = health.closedUntil <= now;
  const ready = isOpen
    ? first
        .filter(({ nextTryAt }) => nextTryAt <= now)
        .slice(0, free)
        .map(({ id }) => id)
    : [];
  const waiting = first.find(({ id }) => !ready.includes(id));
  const dueAt = waiting === undefined ? null : Math.max(waiting.nextTryAt, health.closedUntil);
  return { ready, failing: health.failures > 0, dueAt };
}
