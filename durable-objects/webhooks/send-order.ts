import type { DeliveryId } from "#contract/ids";
import { inFlightMax } from "#durable-objects/outbox/breaker";
import type { DeliveryStore } from "#durable-objects/webhooks/delivery-store";

/** The platform opens six connections at once; a seventh would wait, and its deadline with it. */
const SENDS_MAX = 6;
/** Of these, so many at most to destinations that have failed of late: the others always have the rest. */
const FAILING_SENDS_MAX = 3;

/** The destination of a `listen` webhook begins so: nothing is sent there, its command fetches. */
const LISTENED = "listen ";

export function listenDestination(webhookId: string): string {
  return `${LISTENED}${webhookId}`;
}

export function isListened(destination: string): boolean {
  return destination.startsWith(LISTENED);
}

export interface Chosen {
  readonly id: DeliveryId;
  readonly destination: string;
}

/** A destination with something to send. */
interface Line {
  /** When its next delivery may go; earlier than now when it only waits for a place. */
  readonly dueAt: number;
  readonly failing: boolean;
}

/**
 * Whose turn it is, so that a slow or dead receiver delays nobody else. Knows the tries on their way, which only this
 * object's memory has, and when each destination is due, which is read from the tables again where something changed.
 */
export class SendOrder {
  readonly #store: DeliveryStore;
  readonly #inFlight = new Map<DeliveryId, { readonly destination: string; readonly startedAt: number }>();
  #lines: Map<string, Line> | null = null;
  /** The destination that was served last: the turn goes to those behind it. */
  #served = "";

  constructor(store: DeliveryStore) {
    this.#store = store;
  }

  // --- tries on their way ------------------------------------------------------------------------------------------

  begin({ id, destination }: Chosen, now: number): void {
    this.#inFlight.set(id, { destination, startedAt: now });
    this.#served = destination;
    this.#store.touched.add(destination);
  }

  end(id: DeliveryId): void {
    const destination = this.#inFlight.get(id)?.destination;
    this.#inFlight.delete(id);
    if (destination !== undefined) this.#store.touched.add(destination);
  }

  /** When the try on its way began; undefined when there is none. */
  startedAt(id: DeliveryId): number | undefined {
    return this.#inFlight.get(id)?.startedAt;
  }

  /** When the oldest try on its way began. */
  oldestStart(): number | null {
    const starts = [...this.#inFlight.values()].map(({ startedAt }) => startedAt);
    return starts.length === 0 ? null : Math.min(...starts);
  }

  /** A transaction was undone: of the tries on their way only those that are written down are. */
  forget(): void {
    const kept = new Set(this.#store.trying().map(({ id }) => id));
    for (const id of [...this.#inFlight.keys()]) if (!kept.has(id)) this.#inFlight.delete(id);
    this.#lines = null;
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** The deliveries to send now, one of each destination before the second of any. */
  next(now: number): Chosen[] {
    let room = SENDS_MAX - this.#inFlight.size;
    if (room <= 0) return [];
    let failingRoom = FAILING_SENDS_MAX - this.#failingSends();
    const ready: { readonly destination: string; readonly failing: boolean; readonly ids: DeliveryId[] }[] = [];
    for (const [destination, { failing }] of this.#inTurn(now)) {
      if (ready.length >= room) break;
      if (failing && failingRoom <= 0) continue;
      const ids = this.#readyOf(destination, now);
      if (ids.length === 0) continue;
      if (failing) failingRoom -= 1;
      ready.push({ destination, failing, ids });
    }
    const chosen: Chosen[] = ready.flatMap(({ destination, ids }) =>
      ids.slice(0, 1).map((id) => ({ id, destination })),
    );
    room -= chosen.length;
    for (const { destination, failing, ids } of ready) {
      const id = ids[1];
      if (id === undefined || room <= 0 || (failing && failingRoom <= 0)) continue;
      chosen.push({ id, destination });
      room -= 1;
      if (failing) failingRoom -= 1;
    }
    return chosen;
  }

  /**
   * When the next delivery will be due; what is due and waits only for others to come back needs no alarm.
   * @returns Unix ms, after `now`; null when nothing is to come
   */
  nextAt(now: number): number | null {
    let next: number | null = null;
    for (const { dueAt } of this.#fresh().values()) if (dueAt > now && (next === null || dueAt < next)) next = dueAt;
    return next;
  }

  #failingSends(): number {
    return [...this.#inFlight.values()].filter(({ destination }) => this.#store.health(destination).failures > 0)
      .length;
  }

  /** Destinations that are due, those behind the one that was served last before the others. */
  #inTurn(now: number): [string, Line][] {
    const due = [...this.#fresh()].filter(([, { dueAt }]) => dueAt <= now);
    due.sort(([one], [other]) => (one < other ? -1 : 1));
    const behind = due.findIndex(([destination]) => destination > this.#served);
    return behind === -1 ? due : [...due.slice(behind), ...due.slice(0, behind)];
  }

  /** Deliveries of a destination that may go now. */
  #readyOf(destination: string, now: number): DeliveryId[] {
    const health = this.#store.health(destination);
    if (health.closedUntil > now) return [];
    const busy = this.#busy(destination);
    const free = inFlightMax(health) - busy;
    if (free <= 0) return [];
    return this.#store
      .firstPending(destination, busy + free)
      .filter(({ id, nextTryAt }) => nextTryAt <= now && !this.#inFlight.has(id))
      .slice(0, free)
      .map(({ id }) => id);
  }

  #busy(destination: string): number {
    return [...this.#inFlight.values()].filter((one) => one.destination === destination).length;
  }

  #fresh(): Map<string, Line> {
    const { touched } = this.#store;
    const changed = this.#lines === null ? [...this.#store.pendingDestinations()] : [...touched];
    touched.clear();
    this.#lines ??= new Map();
    for (const destination of changed) {
      const line = isListened(destination) ? null : this.#lineOf(destination);
      if (line === null) this.#lines.delete(destination);
      else this.#lines.set(destination, line);
    }
    return this.#lines;
  }

  #lineOf(destination: string): Line | null {
    const waiting = this.#store
      .firstPending(destination, this.#busy(destination) + 1)
      .find(({ id }) => !this.#inFlight.has(id));
    if (waiting === undefined) return null;
    const { closedUntil, failures } = this.#store.health(destination);
    return { dueAt: Math.max(waiting.nextTryAt, closedUntil), failing: failures > 0 };
  }
}
