import type { ScalingPolicy } from "#contract/endpoint";
import type { WebhookEvent } from "#contract/webhook";
import type { Dice } from "./dice.ts";

const ENDS: readonly WebhookEvent[] = ["job.succeeded", "job.failed", "job.canceled", "job.expired"];

/** Chances of the faults, each of one message, turn, put or second of an agent's life. */
export interface FaultRates {
  /** A message or an answer is lost. */
  readonly drop: number;
  /** A message arrives a second time, up to a minute later. */
  readonly duplicate: number;
  /** A message takes up to a minute, so that later ones overtake it. */
  readonly delay: number;
  /** The process dies at one of a turn's statements. */
  readonly crashInside: number;
  /** It dies after the commit and before the answer. */
  readonly crashAfter: number;
  /** One statement fails, the process lives on. */
  readonly storageError: number;
  /** All memory is gone between two turns. */
  readonly deploy: number;
  /** The object's clock jumps by up to 20 s, forwards or backwards. */
  readonly clockJump: number;
  readonly alarmEarly: number;
  readonly alarmLate: number;
  readonly alarmTwice: number;
  readonly alarmNever: number;
  readonly agentKilled: number;
  /** An agent stands still for 100 s and goes on as if nothing had been. */
  readonly agentPaused: number;
  /** A copy of an agent goes on beside it. */
  readonly agentCloned: number;
  /** The pod says that a replica is gone, true or not. */
  readonly replicaGone: number;
  readonly putFails: number;
  /** R2 says that it stored what it did not. */
  readonly putLost: number;
  readonly putSlow: number;
  /** A socket closes while a poll waits on it. */
  readonly socketCloses: number;
  /** The pod does not answer. */
  readonly podDown: number;
  /** The workspace's webhooks do not answer. */
  readonly webhooksDown: number;
}

/** One seed's world: its limits, its load and its faults. */
export interface Swarm {
  readonly attemptsMax: number;
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly nodes: number;
  readonly queueDepthMax: number;
  readonly idleTimeoutS: number | null;
  readonly policy: ScalingPolicy;
  readonly batchTargetWaitS: number;
  /** Mean time between two submissions, ms. */
  readonly arrivalMs: number;
  readonly batchShare: number;
  /** How far priorities are spread: 0 gives every job the same. */
  readonly prioritySpread: number;
  readonly keyShare: number;
  readonly keyReuse: number;
  readonly expiresInMs: readonly number[];
  readonly timeoutMs: readonly number[];
  readonly cancelShare: number;
  readonly watchShare: number;
  readonly strangers: number;
  readonly commands: number;
  readonly bootMs: number;
  readonly prepareMs: number;
  readonly executeMs: number;
  readonly uploadMs: number;
  readonly outputsMax: number;
  readonly filesShare: number;
  readonly renewMs: number;
  /** Of attempts: an error that comes back, one that may not, ComfyUI dying, the agent giving the lease back. */
  readonly failsAlways: number;
  readonly failsOnce: number;
  readonly givesBack: number;
  /** An attempt that hardly ends. */
  readonly hangs: number;
  readonly faults: FaultRates;
  /** Of calls: those that wait for others to share a commit with. */
  readonly groups: number;
  /** Of completes: those over a socket, which go on as a poll. */
  readonly sockets: number;
  /** What the workspace's webhooks want to hear of. */
  readonly interest: readonly WebhookEvent[];
  /** Once all jobs have ended: a month passes, the endpoint is deleted, or a day passes without a GPU. */
  readonly afterwards: "nothing" | "retention" | "removal" | "starvation";
}

/** No faults at all: what heals a run. */
export const NO_FAULTS: FaultRates = {
  drop: 0,
  duplicate: 0,
  delay: 0,
  crashInside: 0,
  crashAfter: 0,
  storageError: 0,
  deploy: 0,
  clockJump: 0,
  alarmEarly: 0,
  alarmLate: 0,
  alarmTwice: 0,
  alarmNever: 0,
  agentKilled: 0,
  agentPaused: 0,
  agentCloned: 0,
  replicaGone: 0,
  putFails: 0,
  putLost: 0,
  putSlow: 0,
  socketCloses: 0,
  podDown: 0,
  webhooksDown: 0,
};

const NOTHING_MOSTLY = Array.from({ length: 40 }, () => "nothing" as const);

/** Each seed draws its own mix: many faults are absent in it, others are frequent, so that rare combinations come about. */
export function drawSwarm(dice: Dice): Swarm {
  const rate = (most: number): number => (dice.chance(0.45) ? 0 : most * dice.float() ** 2);
  const oneOf = <T>(first: T, ...others: readonly T[]): T => others[dice.int(0, others.length) - 1] ?? first;
  const maxReplicas = dice.int(1, 4);
  const faults: FaultRates = {
    drop: rate(0.15),
    duplicate: rate(0.12),
    delay: rate(0.1),
    crashInside: rate(0.04),
    crashAfter: rate(0.03),
    storageError: rate(0.03),
    deploy: rate(0.02),
    clockJump: rate(0.02),
    alarmEarly: rate(0.2),
    alarmLate: rate(0.3),
    alarmTwice: rate(0.2),
    alarmNever: rate(0.15),
    agentKilled: rate(0.01),
    agentPaused: rate(0.02),
    agentCloned: rate(0.01),
    replicaGone: rate(0.01),
    putFails: rate(0.2),
    putLost: rate(0.2),
    putSlow: rate(0.2),
    socketCloses: rate(0.5),
    podDown: rate(0.3),
    webhooksDown: rate(0.3),
  };
  return {
    attemptsMax: dice.int(1, 8),
    minReplicas: dice.chance(0.3) ? dice.int(0, maxReplicas) : 0,
    maxReplicas,
    nodes: dice.int(1, 3),
    queueDepthMax: oneOf(40, 5, 15, 25),
    idleTimeoutS: oneOf<number | null>(20, 5, 60, null),
    policy: oneOf<ScalingPolicy>("predictive", "queue_delay", "request_count"),
    batchTargetWaitS: oneOf(0, 10, 60),
    arrivalMs: oneOf(2_500, 700, 1_500, 6_000, 15_000),
    batchShare: oneOf(0, 0.2, 0.5, 0.9),
    prioritySpread: oneOf(0, 2, 9),
    keyShare: oneOf(0.9, 0.5, 1),
    keyReuse: oneOf(0.1, 0, 0.3),
    expiresInMs: oneOf([86_400_000], [86_400_000, 20_000], [3_600_000, 8_000, 30_000], [86_400_000, 600_000]),
    timeoutMs: oneOf([60_000], [60_000, 4_000], [600_000, 15_000]),
    cancelShare: oneOf(0.05, 0, 0.25),
    watchShare: oneOf(0.05, 0.2),
    strangers: oneOf(0, 0.02),
    commands: oneOf(0, 0.02, 0.06),
    bootMs: oneOf(2_000, 300, 15_000),
    prepareMs: oneOf(300, 50, 4_000),
    executeMs: oneOf(2_000, 200, 6_000, 20_000),
    uploadMs: oneOf(100, 20, 3_000),
    outputsMax: oneOf(1, 0, 2, 3),
    filesShare: oneOf(0, 0.3),
    renewMs: oneOf(3_000, 3_000, 6_000, 10_000),
    failsAlways: oneOf(0.02, 0, 0.1),
    failsOnce: oneOf(0.05, 0, 0.2, 0.5),
    givesBack: oneOf(0.01, 0, 0.15),
    hangs: oneOf(0, 0.02, 0.1),
    groups: oneOf(0, 0.2, 0.7),
    sockets: oneOf(0.9, 0, 0.5),
    interest: oneOf<readonly WebhookEvent[]>(ENDS, [], ["job.succeeded"], ["job.queued", "job.started", ...ENDS]),
    faults,
    afterwards: dice.chance(0.15) ? "retention" : oneOf("nothing", ...NOTHING_MOSTLY, "removal", "starvation"),
  };
}
