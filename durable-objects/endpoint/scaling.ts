import type { ScalingPolicy } from "#contract/endpoint";
import type { Lane } from "#contract/job";
import { BatchReserve } from "#durable-objects/autoscaler/batch-reserve";
import { makeScaler } from "#durable-objects/autoscaler/make-scaler";
import type { Scaler, ScalerDecision, ScalerEvent } from "#durable-objects/autoscaler/scaler";
import { type Floor, floorAt, type Hold } from "#durable-objects/autoscaler/warm-floor";
import type { StoredConfig } from "#durable-objects/endpoint/config-store";
import { ScalingStore, type StoredDecision, type StoredScaler } from "#durable-objects/endpoint/scaling-store";
import { isSameTraffic, type Pool, type PoolName, poolsOf } from "#durable-objects/replicas/pods-and-lanes";
import type { SqlDatabase } from "#durable-objects/sql/database";

/** So many starts tell how long one takes. */
const BOOTS_KEPT = 20;
/** How much the latest job counts in the mean time that a job takes. */
const SERVICE_WEIGHT = 0.05;
/**
 * Decisions are made at once while there are few changes, and else at this pace: with a thousand jobs a second none of
 * them alone changes how many replicas are worth having.
 */
const DECISION_PACE_MS = 100;
const DECISIONS_AT_ONCE = 20;
/**
 * The next call makes a decision that was put off. Only where none comes does the alarm: one as near as the pace would ring,
 * and be set anew, five times a second for as long as there is traffic.
 */
const DECISION_LATE_MS = 1_000;
/** What was learned is written at most this often, and so much of it a kill may cost. */
const SAVE_EVERY_MS = 10_000;

/** For so long after a pod has taken back a replica that idled, none is started that no work waits for. */
const TAKEN_BACK_MS = 10 * 60_000;
const NO_FIGURES = { boots: [], serviceMs: null, reserve: null, takenBackAt: null };

/** What a decision depends on beside what jobs do. */
export interface Surroundings {
  /** How far the replicas have changed, a number that only grows. */
  readonly replicas: number;
  /** Nothing may start: the queue is paused, or its budget used up. */
  readonly isHeld: boolean;
  /** The warm floor. */
  readonly floor: number;
}

/** The scaler of one group of pods, with what is measured beside it. */
export interface PoolScaling {
  readonly pool: Pool;
  readonly policy: ScalingPolicy;
  readonly scaler: Scaler;
  /** What `predictive` had learned before another policy came, which learns nothing: for when it comes back. */
  readonly learned: string | null;
  readonly reserve: BatchReserve;
  boots: readonly number[];
  serviceMs: number | null;
  /** The last decision; null before the first since this object woke. */
  last: ScalerDecision | null;
  /** How many replicas there were after it; null before the first. */
  had: number | null;
  /** How many replicas there may be here as of then: what the settings allow, less what other lanes have; 0 before it. */
  ceiling: number;
  /** When a pod last took back a replica that idled; null: it has not lately. */
  takenBackAt: number | null;
  /** When the oldest batch job will have waited too long, as of the last decision; null when none waited. */
  batchDueAt: number | null;
}

/**
 * What an endpoint knows for scaling, in memory: jobs only tell it what they do, and nothing is written for that. It is
 * saved now and then, and read again when the object wakes or a turn is undone.
 */
export class EndpointScaling {
  readonly #store: ScalingStore;
  #config: StoredConfig | null = null;
  #pools: readonly PoolScaling[] | null = null;
  #hold: Hold | null | undefined;
  /** With the moment it was worked out at: a clock may be set back behind it. */
  #floor: (Floor & { readonly from: number }) | null = null;
  #newest: StoredDecision | null | undefined;
  /** Something has happened since the last decision. */
  #isStale = true;
  #decidedAt = Number.NEGATIVE_INFINITY;
  /** The decisions so far, each of which takes its pace, are paid for until then. */
  #paidUntil = 0;
  /** Since when something is learned that is not written; null: all of it is. */
  #unsavedSince: number | null = null;
  #batchStartedAt: number | null = null;
  #batchOvertaken = 0;
  /** How the world was at the last decision. */
  #seen: Surroundings = { replicas: -1, isHeld: false, floor: 0 };

  constructor(db: SqlDatabase) {
    this.#store = new ScalingStore(db);
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#pools = null;
    this.#hold = undefined;
    this.#floor = null;
    this.#newest = undefined;
    this.#isStale = true;
    this.#unsavedSince = null;
    this.#batchStartedAt = null;
    this.#batchOvertaken = 0;
  }

  /** The endpoint's settings and pods, when they are read or change. */
  configured(config: StoredConfig): void {
    const before = this.#config;
    this.#config = config;
    this.#floor = null;
    this.#isStale = true;
    if (this.#pools === null || before === null) return;
    const isKept =
      before.settings.policy === config.settings.policy && JSON.stringify(before.pods) === JSON.stringify(config.pods);
    if (!isKept) this.#pools = this.#open(config, this.#pools);
  }

  get pools(): readonly PoolScaling[] {
    if (this.#config === null) return [];
    this.#pools ??= this.#open(this.#config, []);
    return this.#pools;
  }

  /** The group that takes jobs of a lane. */
  poolOf(lane: Lane): PoolScaling | null {
    return this.pools.find(({ pool }) => pool.lanes.includes(lane)) ?? null;
  }

  /** @param open what is in memory of the groups there were: under another name, a lane goes on with what it has learned */
  #open(config: StoredConfig, open: readonly PoolScaling[]): readonly PoolScaling[] {
    const { policy } = config.settings;
    const stored = this.#store.scalers();
    return poolsOf(config.pods).map((pool): PoolScaling => {
      const before = open.find((one) => isSameTraffic(one.pool.name, pool.name));
      const row = stored.find((one) => isSameTraffic(one.pool, pool.name));
      const learned = before === undefined ? memoryOf(row) : learnedBy(before);
      const { boots, serviceMs, reserve, takenBackAt } = before ?? row?.figures ?? NO_FIGURES;
      const isGoingOn = before?.policy === policy;
      return {
        pool,
        policy,
        scaler: isGoingOn ? before.scaler : makeScaler(policy, policy === "predictive" ? learned : null),
        learned,
        reserve: reserve instanceof BatchReserve ? reserve : new BatchReserve(reserve),
        boots,
        serviceMs,
        takenBackAt: takenBackAt ?? null,
        last: null,
        had: null,
        ceiling: 0,
        batchDueAt: null,
      };
    });
  }

  // --- what happens ------------------------------------------------------------------------------------------------

  /**
   * @param atOnce interactive jobs that wait or run, this one included
   * @param isDelayed see {@link BatchReserve.arrived}
   */
  arrived(lane: Lane, at: number, atOnce: number, isDelayed: boolean): void {
    const known = this.poolOf(lane);
    if (known === null) return;
    if (lane === "interactive") known.reserve.arrived(at, atOnce, isDelayed);
    this.#note(known, { type: "arrived", at, lane });
  }

  /** When a batch job last began; null: none has since this object woke. */
  get batchStartedAt(): number | null {
    return this.#batchStartedAt;
  }

  /** Interactive jobs that have begun since then. */
  get batchOvertaken(): number {
    return this.#batchOvertaken;
  }

  started(lane: Lane, at: number, waitedMs: number, cold: boolean): void {
    if (lane === "batch") this.#batchStartedAt = at;
    this.#batchOvertaken = lane === "batch" ? 0 : this.#batchOvertaken + 1;
    const known = this.poolOf(lane);
    if (known === null) return;
    if (lane === "interactive") known.reserve.started(at, waitedMs);
    this.#note(known, { type: "started", at, lane, waitedMs, cold });
  }

  /** @param wasLost nobody was heard of any more: the time says nothing of how long a job takes, and nothing is learned of it */
  finished(lane: Lane, at: number, busyMs: number, wasLost: boolean): void {
    const known = this.poolOf(lane);
    if (known === null) return;
    if (wasLost) {
      this.#isStale = true;
      return;
    }
    if (lane === "batch") this.poolOf("interactive")?.reserve.batchEnded(busyMs);
    known.serviceMs = known.serviceMs === null ? busyMs : known.serviceMs + (busyMs - known.serviceMs) * SERVICE_WEIGHT;
    this.#note(known, { type: "finished", at, lane, busyMs });
  }

  /** @param pool of the pod that the replica is on */
  booted(pool: PoolName, at: number, bootMs: number): void {
    const known = this.pools.find((one) => one.pool.name === pool);
    if (known === undefined) return;
    known.boots = [...known.boots.slice(1 - BOOTS_KEPT), bootMs];
    this.#note(known, { type: "booted", at, bootMs });
  }

  /** A pod needs the slot of an idle replica, or lets none idle for longer: another one would fare no better. */
  takenBack(pool: PoolName, at: number): void {
    const known = this.pools.find((one) => one.pool.name === pool);
    if (known === undefined) return;
    known.takenBackAt = at;
    this.#isStale = true;
    this.#unsavedSince ??= at;
  }

  /** Something else has changed that a decision depends on. */
  changed(): void {
    this.#isStale = true;
  }

  #note(known: PoolScaling, event: ScalerEvent): void {
    known.scaler.note(event);
    this.#isStale = true;
    this.#unsavedSince ??= event.at;
  }

  // --- when to decide ----------------------------------------------------------------------------------------------

  mustDecide(now: number, { replicas, isHeld, floor }: Surroundings): boolean {
    const seen = this.#seen;
    if (this.#isStale || seen.replicas !== replicas || seen.isHeld !== isHeld || seen.floor !== floor) return true;
    const due = this.lookAgainAt(now);
    return due !== null && due <= now;
  }

  /** Whether a decision may be made now, and then it counts as made; or when it must be, should no call come before. */
  takeTurn(now: number, surroundings: Surroundings): { readonly at: number } | "now" {
    const ahead = DECISIONS_AT_ONCE * DECISION_PACE_MS;
    // Should the clock have stepped back, nothing is put off by as much.
    if (this.#paidUntil > now + ahead + DECISION_PACE_MS) this.#paidUntil = now;
    if (this.#paidUntil > now + ahead) return { at: now + DECISION_LATE_MS };
    this.#paidUntil = Math.max(this.#paidUntil, now) + DECISION_PACE_MS;
    this.#isStale = false;
    this.#seen = surroundings;
    this.#decidedAt = now;
    return "now";
  }

  /** The replicas as they are now have been decided about. */
  seen(replicas: number): void {
    this.#seen = { ...this.#seen, replicas };
  }

  /** When the last decision may be another one without anything happening; null: never. */
  lookAgainAt(now: number): number | null {
    const dues = this.pools.flatMap(({ last }) => (last?.lookAgainAt == null ? [] : [last.lookAgainAt]));
    // A policy that wants to look again at once has said all it has to say about this moment.
    const looks = dues.map((due) => Math.max(due, this.#decidedAt + DECISION_PACE_MS));
    const { until } = this.floor(now);
    if (until !== null) looks.push(until);
    return looks.length === 0 ? null : Math.min(...looks);
  }

  // --- the warm floor ----------------------------------------------------------------------------------------------

  get hold(): Hold | null {
    if (this.#hold === undefined) this.#hold = this.#store.readHold();
    return this.#hold;
  }

  set hold(hold: Hold | null) {
    this.#store.putHold(hold);
    this.#hold = hold;
    this.#floor = null;
    this.#isStale = true;
  }

  /** Settings, schedule and hand; the pods' own floors not included. */
  floor(now: number): Floor {
    const known = this.#floor;
    if (known !== null && known.from <= now && (known.until === null || known.until > now)) return known;
    if (this.#config === null) return { replicas: 0, until: null, by: "min_replicas" };
    const { min_replicas: minReplicas, warm_schedule: schedule } = this.#config.settings;
    this.#floor = { ...floorAt({ minReplicas, schedule, hold: this.hold }, now), from: now };
    return this.#floor;
  }

  // --- what is kept ------------------------------------------------------------------------------------------------

  /** Newest first. */
  decisions(limit: number): StoredDecision[] {
    return this.#store.decisions(limit);
  }

  /** How many replicas the last decision that changed their number was for; 0 before the first. */
  get target(): number {
    if (this.#newest === undefined) this.#newest = this.#store.decisions(1)[0] ?? null;
    return this.#newest?.to ?? 0;
  }

  decided(to: number, reason: string, now: number): void {
    const from = this.target;
    if (to === from) return;
    const number = (this.#newest?.number ?? 0) + 1;
    const decision = { number, at: now, from, to, reason: stepped(from, to, reason) };
    this.#store.addDecision(decision);
    this.#newest = decision;
  }

  /** When what was learned must be written; null when all of it is. */
  saveDue(): number | null {
    return this.#unsavedSince === null ? null : this.#unsavedSince + SAVE_EVERY_MS;
  }

  /** Writes what was learned, unless that was done lately. */
  save(now: number): void {
    const due = this.saveDue();
    if (due === null || due > now || this.#config === null) return;
    for (const { pool, policy, scaler, learned, reserve, boots, serviceMs, takenBackAt } of this.pools) {
      const figures = { boots, serviceMs, reserve: reserve.save(), takenBackAt };
      const isKept = policy !== "predictive" && learned !== null;
      const written = isKept ? ({ policy: "predictive", memory: learned } as const) : { policy, memory: scaler.save() };
      this.#store.putScaler({ pool: pool.name, ...written, figures }, now);
    }
    this.#unsavedSince = null;
  }
}

/** What `predictive` has learned so far; null: it never has decided. */
function learnedBy({ policy, scaler, learned }: PoolScaling): string | null {
  return policy === "predictive" ? scaler.save() : learned;
}

function memoryOf(row: StoredScaler | undefined): string | null {
  return row?.policy === "predictive" ? row.memory : null;
}

/** A reason with the numbers of replicas it is about: `2 -> 3: expected wait 41 s is worth more than a start of 18 s (p50)`. */
export function stepped(from: number, to: number, reason: string): string {
  return from === to ? `${to}: ${reason}` : `${from} -> ${to}: ${reason}`;
}

/** Whether what is started for the future alone would only be taken back again. */
export function startsForWorkOnly({ takenBackAt }: PoolScaling, now: number): boolean {
  return takenBackAt !== null && takenBackAt > now - TAKEN_BACK_MS;
}

/** The lower median of the latest starts, ms; null before the first. */
export function coldStartMs({ boots }: Pick<PoolScaling, "boots">): number | null {
  const sorted = boots.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}
