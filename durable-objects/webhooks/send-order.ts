import type { DeliveryId } from "#contract/ids";
import { FAILURES_TO_OPEN, IN_FLIGHT_MAX, inFlightMax } from "#durable-objects/outbox/breaker";
import type { DeliveryStore } from "#durable-objects/webhooks/delivery-store";
import { isListened, isOrigin } from "#durable-objects/webhooks/destination";
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
/**
 * Single jobs of many owners may post to one origin, each to a URL of its own. So many of these URLs are asked at once,
 * and those that hang are not counted: one that hangs delays no other.
 */
const URLS_AT_ONCE = 6;
/** Tries on their way to one origin, with those that hang. A statement of SQL takes a hundred values. */
const ORIGIN_SENDS_MAX = 30;
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
  /** Origins to which no more can go before a moment, Unix ms, unless something of them changes. */
  readonly #waiting = new Map<string, number>();
  /** The destination that was served last: the turn goes to those behind it. */
  #served = "";

  constructor(store: DeliveryStore) {
    this.#store = store;
  }

  // --- tries on their way ------------------------------------------------------------------------------------------

  /** Notes that a try begins. @returns it, with who is to make it */
  begin({ id, destination, failing }: Chosen, url: string, now: number): TryUnderWay {
    this.#served = destination;
    this.#store.touched.add(destination);
    const isQuick = this.#isQuick(destination, now);
    return this.#underWay.begin({ id, destination, url, startedAt: now, failing }, isQuick);
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
    this.#waiting.clear();
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** The deliveries to send now, one of each destination before the second of any. */
  next(now: number): Chosen[] {
    let room = SENDS_MAX - this.#underWay.size;
    if (room <= 0) return [];
    let doubtfulRoom = DOUBTFUL_SENDS_MAX - this.#doubtful(now);
    let failingRoom = FAILING_SENDS_MAX - this.#underWay.failing;
    const chosen: Chosen[] = [];
    const later: (Chosen & { readonly isQuick: boolean; readonly round: number })[] = [];
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
      const [id, ...others] = this.#readyOf(destination, now);
      if (id === undefined) continue;
      choose({ id, destination, failing }, isQuick);
      for (const [round, other] of others.entries()) later.push({ id: other, destination, failing, isQuick, round });
    }
    later.sort((one, other) => one.round - other.round);
    for (const { id, destination, failing, isQuick } of later) {
      if (hasRoom(isQuick, failing)) choose({ id, destination, failing }, isQuick);
    }
    return chosen;
  }

  /**
   * When the next delivery will be due; what is due and waits only for others to come back needs no alarm, unless
   * they hang and it need not wait for them any longer.
   * @returns Unix ms, after `now`; null when nothing is to come
   */
  nextAt(now: number): number | null {
    let next = Number.POSITIVE_INFINITY;
    for (const [destination, { dueAt }] of this.#fresh()) {
      const at = dueAt > now ? dueAt : this.#hangsAt(destination, now);
      next = Math.min(next, at, this.#waiting.get(destination) ?? at);
    }
    return next === Number.POSITIVE_INFINITY ? null : next;
  }

  /** It answered quickly when it was last asked, and lets nobody wait now. */
  #isQuick(destination: string, now: number): boolean {
    return (this.#answers.get(destination) ?? Number.POSITIVE_INFINITY) <= QUICK_MS && !this.#hangs(destination, now);
  }

  /** It lets somebody wait longer than those do that answer. */
  #hangs(destination: string, now: number): boolean {
    return this.#underWay.of(destination).some((one) => isLong(one, now));
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
    // Its breaker is open: what failed was the origin, whichever URL was asked.
    if (isOrigin(destination) && health.failures < FAILURES_TO_OPEN) return this.#readyUrlsOf(destination, now);
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

  /** Deliveries to an origin that may go now: of each URL as many as of a destination, and others beside those that hang. */
  #readyUrlsOf(origin: string, now: number): DeliveryId[] {
    if ((this.#waiting.get(origin) ?? 0) > now) return [];
    const underWay = this.#underWay.of(origin);
    const fresh = underWay.filter((one) => !isLong(one, now));
    const free = Math.min(URLS_AT_ONCE - fresh.length, ORIGIN_SENDS_MAX - underWay.length);
    const each = this.#answers.has(origin) ? IN_FLIGHT_MAX : 1;
    const busy = new Map<string, number>();
    for (const one of underWay) {
      busy.set(one.url, isLong(one, now) ? IN_FLIGHT_MAX : (busy.get(one.url) ?? 0) + 1);
    }
    const ready: DeliveryId[] = [];
    while (ready.length < free) {
      const full = [...busy].filter(([, count]) => count >= each).map(([url]) => url);
      const found = this.#store.firstDueBeside(origin, now, [...underWay.map(({ id }) => id), ...ready], full);
      if (found === null) break;
      ready.push(found.id);
      busy.set(found.url, (busy.get(found.url) ?? 0) + 1);
    }
    // Looked at again when something of it changes, another delivery is due, or a try that counts now is one that hangs.
    if (ready.length === 0) {
      const dueAt = this.#store.nextDueAfter(origin, now) ?? Number.POSITIVE_INFINITY;
      this.#waiting.set(origin, Math.min(dueAt, this.#hangsAt(origin, now)));
    }
    return ready;
  }

  /** When the first of an origin's tries will have lasted long, Unix ms; never for other destinations. */
  #hangsAt(destination: string, now: number): number {
    if (!isOrigin(destination)) return Number.POSITIVE_INFINITY;
    const fresh = this.#underWay.of(destination).filter((one) => !isLong(one, now));
    return Math.min(...fresh.map(({ startedAt }) => startedAt + QUICK_MS + 1));
  }

  #fresh(): Map<string, Line> {
    const { touched } = this.#store;
    const changed = this.#lines === null ? [...this.#store.pendingDestinations()] : [...touched];
    touched.clear();
    this.#lines ??= new Map();
    for (const destination of changed) {
      this.#waiting.delete(destination);
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

/** It lasts longer than the tries of those that answer quickly. */
function isLong({ startedAt }: TryUnderWay, now: number): boolean {
  return now - startedAt > QUICK_MS;
}
