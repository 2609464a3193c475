import type { DeliveryId } from "#contract/ids";

/** The platform lets an object wait for six answers at once; a seventh request would wait, and its deadline with it. */
export const CONNECTIONS_PER_OBJECT = 6;
/**
 * Couriers of a workspace: objects that make tries for it, each with connections of its own. With so many, every
 * subscription that a workspace may have can hang at the same moment, and nobody waits for a connection.
 */
export const COURIERS_MAX = 20;
/** Tries on their way at once: by the workspace's own object and by its couriers. */
export const SENDS_MAX = CONNECTIONS_PER_OBJECT * (1 + COURIERS_MAX);

/** The workspace's own object, among those that make tries; couriers count from 1. */
const OWN = 0;

export interface TryUnderWay {
  readonly id: DeliveryId;
  readonly destination: string;
  readonly url: string;
  /** Unix ms. */
  readonly startedAt: number;
  /** The destination had failed since its last success when the try began. */
  readonly failing: boolean;
  /** Who makes it: a courier's number, from 1; null: the workspace's own object. */
  readonly courier: number | null;
}

/** The tries on their way, which only this object's memory has: where to, since when, and by whose connections. */
export class TriesUnderWay {
  readonly #tries = new Map<DeliveryId, TryUnderWay>();
  readonly #byDestination = new Map<string, TryUnderWay[]>();
  /** Connections in use, of the own object and of each courier. */
  readonly #used: number[] = Array.from({ length: 1 + COURIERS_MAX }, () => 0);

  get size(): number {
    return this.#tries.size;
  }

  /** How many of them go to destinations that had failed of late. */
  get failing(): number {
    return [...this.#tries.values()].filter(({ failing }) => failing).length;
  }

  /**
   * Notes a try that begins, and chooses who makes it. The own object's connections are for those that answer quickly:
   * the others have them only where no courier has one.
   */
  begin(one: Omit<TryUnderWay, "courier">, isQuick: boolean): TryUnderWay {
    const courier = this.#free(isQuick ? OWN : OWN + 1) ?? this.#free(OWN);
    if (courier === null) throw new Error("no connection is free");
    this.#used[courier] = (this.#used[courier] ?? 0) + 1;
    const begun = { ...one, courier: courier === OWN ? null : courier };
    this.#tries.set(one.id, begun);
    this.#byDestination.set(one.destination, [...this.of(one.destination), begun]);
    return begun;
  }

  /** @returns the try that has ended; undefined when it was not on its way */
  end(id: DeliveryId): TryUnderWay | undefined {
    const ended = this.#tries.get(id);
    if (ended === undefined) return undefined;
    this.#tries.delete(id);
    const left = this.of(ended.destination).filter((one) => one !== ended);
    if (left.length === 0) this.#byDestination.delete(ended.destination);
    else this.#byDestination.set(ended.destination, left);
    const courier = ended.courier ?? OWN;
    this.#used[courier] = (this.#used[courier] ?? 0) - 1;
    return ended;
  }

  has(id: DeliveryId): boolean {
    return this.#tries.has(id);
  }

  get(id: DeliveryId): TryUnderWay | undefined {
    return this.#tries.get(id);
  }

  ids(): DeliveryId[] {
    return [...this.#tries.keys()];
  }

  /** Those to one destination, the oldest first. */
  of(destination: string): readonly TryUnderWay[] {
    return this.#byDestination.get(destination) ?? [];
  }

  destinations(): string[] {
    return [...this.#byDestination.keys()];
  }

  /** When the oldest began, Unix ms; null when there is none. */
  oldestStart(): number | null {
    let oldest: number | null = null;
    for (const { startedAt } of this.#tries.values()) {
      if (oldest === null || startedAt < oldest) oldest = startedAt;
    }
    return oldest;
  }

  /** The first with a free connection, so that as few couriers as possible are awake. */
  #free(first: number): number | null {
    const found = this.#used.findIndex((used, index) => index >= first && used < CONNECTIONS_PER_OBJECT);
    return found === -1 ? null : found;
  }
}
