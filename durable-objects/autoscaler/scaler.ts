/**
 * What every scaling policy is given and what it answers. Times are Unix ms by the server's clock, durations ms.
 * A policy keeps a memory of its own: plain data that fits into one row, so that a restart forgets nothing it learned.
 */
import type { Lane } from "#contract/job";

/** What has happened since the last word; each is told once, in the order of `at`. */
export type ScalerEvent =
  | { readonly type: "arrived"; readonly at: number; readonly lane: Lane }
  /** A job began to run; `cold`: it waited for a replica's start. */
  | {
      readonly type: "started";
      readonly at: number;
      readonly lane: Lane;
      readonly waitedMs: number;
      readonly cold: boolean;
    }
  /**
   * A replica is free again; `busyMs` is the time the job held it. Of a job that was lost with its replica nobody knows
   * how long it ran: that one is not told, and only what is observed says that it runs no more.
   */
  | { readonly type: "finished"; readonly at: number; readonly lane: Lane; readonly busyMs: number }
  /** A replica became ready, so long after it was asked for. */
  | { readonly type: "booted"; readonly at: number; readonly bootMs: number };

export interface ScalerReplica {
  readonly id: string;
  readonly state: "starting" | "idle" | "busy";
  /** Since when it is in that state. */
  readonly since: number;
  /** The lane of the job it runs; null unless it is busy. */
  readonly lane: Lane | null;
}

export interface ScalerSettings {
  readonly policy: "predictive" | "queue_delay" | "request_count";
  /** GPU-seconds that one second of a caller's waiting is worth. */
  readonly waitValue: number;
  /** Seconds that 95 of 100 interactive jobs may wait at most; when given, the wait value is learned from it. */
  readonly targetP95WaitS: number | null;
  /** Replicas kept whatever the demand: the warm floor of now, by settings, schedule and by hand. */
  readonly floor: number;
  /** No more replicas than this. */
  readonly ceiling: number;
  /**
   * Idle time after which a replica above the floor stops, exactly. null: `predictive` finds the best time by what it
   * has learned, the others take IDLE_TIMEOUT_S_DEFAULT.
   */
  readonly idleTimeoutMs: number | null;
  /** For `queue_delay`: another replica when the oldest job has waited so long. */
  readonly queueDelayMs: number;
  /** For `request_count`: jobs per replica. */
  readonly jobsPerReplica: number;
  /** How long batch jobs may wait before they get replicas of their own. */
  readonly batchTargetWaitMs: number;
}

export interface ScalerObservation {
  readonly now: number;
  /**
   * When each waiting interactive job arrived, oldest first; at most WAITING_SEEN_MAX of them. A batch job that has joined
   * the interactive queue because its deadline is near counts here from when it joined.
   */
  readonly waiting: readonly number[];
  /** How many interactive jobs wait in all. */
  readonly waitingTotal: number;
  readonly batchWaiting: number;
  /** When the oldest waiting batch job arrived; null when none waits. */
  readonly batchOldestAt: number | null;
  /** Replicas that count: starting, idle or busy, not on their way out. */
  readonly replicas: readonly ScalerReplica[];
}

export const WAITING_SEEN_MAX = 256;

export interface ScalerDecision {
  /**
   * Replicas to have: floor ≤ wanted ≤ ceiling. Where it is above the number of replicas less those let go, the difference
   * is started; where it is below, nothing else is stopped: the rest are busy.
   */
  readonly wanted: number;
  /** Idle replicas to let go now. Starting ones may be named too: their start is called off. */
  readonly letGo: readonly string[];
  /** In words, for the operator, beside the numbers of replicas: `expected wait 41 s is worth more than a start of 18 s`. */
  readonly reason: string;
  /** When the answer may change without any event; null: only an event can change it. */
  readonly lookAgainAt: number | null;
}

/** A policy and what it has learned of one endpoint. */
export interface Scaler {
  note(event: ScalerEvent): void;
  decide(settings: ScalerSettings, observation: ScalerObservation): ScalerDecision;
  /** All it has learned, as JSON text: below 16 kB. */
  save(): string;
}
