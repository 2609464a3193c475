import type { DeliveryId } from "#contract/ids";
import { inFlightMax } from "#durable-objects/outbox/breaker";
import type { DeliveryStore } from "#durable-objects/webhooks/delivery-store";
import { isListened } from "#durable-objects/webhooks/destination";
import {
  CONNECTIONS_PER_OBJECT,
  SENDS_MAX,
  TriesUnderWay,
  type TryUnderWay,
} from "#durable-objects/webhooks/tries-under-way";

/**
 * Of all tries on their way, so many at most to destinations of which it is not known that they answer quickly: the
 * others have the own object's connections and a courier's, whatever hangs.
 */
export const DOUBTFUL_SENDS_MAX = SENDS_MAX - 2 * CONNECTIONS_PER_OBJECT;
/** Of these again, so many at most to destinations that have failed of late: the rest is for those never heard from. */
export const FAILING_SENDS_MAX = 54;
/** A destination that takes longer may be hanging. */
const QUICK_MS = 2_000;
/** Destinations remembered by their last answer; one that is forgotten shows anew what it is. */
const ANSWERS_KEPT_MAX = 1_000;

export interface Chosen {
  readonly id: DeliveryId;
  readonly destination: string;
  /** The destination has failed since its last success. */
  readonly failing: boolean;
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
  readonly #underWay = new TriesUnderWay();
  /** How long the last try of a destination took that was answered, ms, the latest last; after a restart none is known. */
  readonly #answers = new Map<string, number>();
  #lines: Map<string, Line> | null = null;
  /** The destination that was served last: the turn goes to those behind it. */
  #served = "";

  constructor(store: DeliveryStore) {
    this.#store = store;
  }

  // --- tries on their way ------------------------------------------------------------------------------------------

  /** Notes that a try begins. @returns it, with who is to make it */
  begin({ id, destination, failing }: Chosen, now: number): TryUnderWay {
    this.#served = destination;
    this.#store.touched.add(destination);
    const isQuick = this.#isQuick(destination, now);
    return this.#underWay.begin(id, { destination, startedAt: now, failing }, isQuick);
  }

  /** @param answered when an answer came, Unix ms; null when none did */
  end(id: DeliveryId, answered: number | null): void {
    const ended = this.#underWay.end(id);
    if (ended === undefined) return;
    const { destination, startedAt } = ended;
    this.#store.touched.add(destination);
    this.#answers.delete(destination);
    if (answered === null) return;
    this.#answers.set(destination, answered - startedAt);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > ANSWERS_KEPT_MAX && oldest !== undefined) this.#answers.delete(oldest);
  }

  /** When the try on its way began; undefined when there is none. */
  startedAt(id: DeliveryId): number | undefined {
    return this.#underWay.get(id)?.startedAt;
  }

  /** When the oldest try on its way began. */
  oldestStart(): number | null {
    return this.#underWay.oldestStart();
  }

  /** A transaction was undone: of the tries on their way only those that are written down are. */
  forget(): void {
    const kept = new Set(this.#store.trying().map(({ id }) => id));
    for (const id of this.#underWay.ids()) if (!kept.has(id)) this.#underWay.end(id);
    this.#lines = null;
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** The deliveries to send now, one of each destination before the second of any. */
  next(now: number): Chosen[] {
    let room = SENDS_MAX - this.#underWay.size;
    if (room <= 0) return [];
    let doubtfulRoom = DOUBTFUL_SENDS_MAX - this.#doubtful(now);
    let failingRoom = FAILING_SENDS_MAX - this.#underWay.failing;
    const chosen: Chosen[] = [];
    const second: (Chosen & { readonly isQuick: boolean })[] = [];
    const hasRoom = (isQuick: boolean, failing: boolean): boolean =>
      room > 0 && (isQuick || doubtfulRoom > 0) && (!failing || failingRoom > 0);
    const choose = (one: Chosen, isQuick: boolean): void => {
      chosen.push(one);
      room -= 1;
      if (!isQuick) doubtfulRoom -= 1;
      if (one.failing) failingRoom -= 1;
    };
    for (const [destination, { failing }] of this.#inTurn(now)) {
      if (room <= 0) break;
      const isQuick = this.#isQuick(destination, now);
      if (!hasRoom(isQuick, failing)) continue;
      const [id, next] = this.#readyOf(destination, now);
      if (id === undefined) continue;
      choose({ id, destination, failing }, isQuick);
      if (next !== undefined) second.push({ id: next, destination, failing, isQuick });
    }
    for (const { isQuick, ...one } of second) if (hasRoom(isQuick, one.failing)) choose(one, isQuick);
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

  /** It answered quickly when it was last asked, and lets nobody wait now. */
  #isQuick(destination: string, now: number): boolean {
    return (this.#answers.get(destination) ?? Number.POSITIVE_INFINITY) <= QUICK_MS && !this.#hangs(destination, now);
  }

  /** It lets somebody wait longer than those do that answer. */
  #hangs(destination: string, now: number): boolean {
    return this.#underWay.of(destination).some(({ startedAt }) => now - startedAt > QUICK_MS);
  }

  /** Tries on their way to destinations of which it is not known that they answer quickly. */
  #doubtful(now: number): number {
    return this.#underWay
      .destinations()
      .filter((destination) => !this.#isQuick(destination, now))
      .reduce((count, destination) => count + this.#underWay.of(destination).length, 0);
  }

  /** Destinations that are due, those behind the one that was served last before the others. */
  #inTurn(now: number): [string, Line][] {
    const due = [...this.#fresh()].filter(([, { dueAt }]) => dueAt <= now);
    due.sort(([one], [other]) => (one < other ? -1 : 1));
    const behind = due.findIndex(([destination]) => destination > this.#served);
    return behind === -1 ? due : [...due.slice(behind), ...due.slice(0, behind)];
  }

  /** Deliveries of a destination that may go now; one that has not answered yet, not the last time or not now, gets one. */
  #readyOf(destination: string, now: number): DeliveryId[] {
    const health = this.#store.health(destination);
    if (health.closedUntil > now) return [];
    const busy = this.#underWay.of(destination).length;
    const answers = this.#answers.has(destination) && !this.#hangs(destination, now);
    const free = (answers ? inFlightMax(health) : 1) - busy;
    if (free <= 0) return [];
    return this.#store
      .firstPending(destination, busy + free)
      .filter(({ id, nextTryAt }) => nextTryAt <= now && !this.#underWay.has(id))
      .slice(0, free)
      .map(({ id }) => id);
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
      .firstPending(destination, this.#underWay.of(destination).length + 1)
      .find(({ id }) => !this.#underWay.has(id));
    if (waiting === undefined) return null;
    const { closedUntil, failures } = this.#store.health(destination);
    return { dueAt: Math.max(waiting.nextTryAt, closedUntil), failing: failures > 0 };
  }
}
