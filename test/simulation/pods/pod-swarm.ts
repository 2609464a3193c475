import type { Dice } from "../dice.ts";

/** What one seed draws: how large its world is, and how often what goes wrong. Chances are 0..1. */
export interface PodSwarm {
  readonly nodes: number;
  readonly endpoints: number;
  readonly containersMax: number | null;
  readonly minReplicas: number;
  /** Types of card that the pod takes; empty: any. */
  readonly gpuTypes: readonly string[];
  readonly faults: PodFaults;
}

export interface PodFaults {
  /** A message or its answer does not arrive. */
  readonly lost: number;
  /** A message arrives twice. */
  readonly doubled: number;
  /** A message takes up to a minute. */
  readonly late: number;
  /** The pod's object goes out of memory, at the end of a turn. */
  readonly restart: number;
  /** Its storage gives way in the middle of a turn: nothing of the turn has happened. */
  readonly undone: number;
  /** The alarm is lost. */
  readonly alarmLost: number;
  /** The alarm rings seconds late. */
  readonly alarmLate: number;
  /** A machine's agent dies and is started anew, at each of its polls. */
  readonly agentRestart: number;
  /** A machine loses its power, or its network, for a while. */
  readonly machineDown: number;
  readonly networkCut: number;
  /** A replica dies, at each of its steps. */
  readonly crash: number;
  /** An operator does something to a node, each twenty seconds or so. */
  readonly operator: number;
  /** The share of nodes that lie. */
  readonly liars: number;
}

export const NO_POD_FAULTS: PodFaults = {
  lost: 0,
  doubled: 0,
  late: 0,
  restart: 0,
  undone: 0,
  alarmLost: 0,
  alarmLate: 0,
  agentRestart: 0,
  machineDown: 0,
  networkCut: 0,
  crash: 0,
  operator: 0,
  liars: 0,
};

/** Most rates are 0 in most worlds: a mix in which everything fails all the time meets only the first failure of all. */
export function drawPodSwarm(dice: Dice): PodSwarm {
  const rate = (...rates: number[]) => dice.pick([0, 0, ...rates]) ?? 0;
  return {
    nodes: dice.int(1, 5),
    endpoints: dice.int(1, 5),
    containersMax: dice.pick([null, null, 1, 3, 6]) ?? null,
    minReplicas: dice.pick([0, 0, 1, 3]) ?? 0,
    gpuTypes: dice.pick([[], [], ["l40s", "rtx-4090"], ["rtx-4090", "l40s", "h200"]]) ?? [],
    faults: {
      lost: rate(0.01, 0.1, 0.3),
      doubled: rate(0.02, 0.2),
      late: rate(0.01, 0.1),
      restart: rate(0.002, 0.02, 0.1),
      undone: rate(0.02, 0.1),
      alarmLost: rate(0.05, 0.5),
      alarmLate: rate(0.2),
      agentRestart: rate(0.01, 0.05),
      machineDown: rate(0.005, 0.02),
      networkCut: rate(0.005, 0.02),
      crash: rate(0.02, 0.2),
      operator: rate(0.2, 0.6),
      liars: rate(0.3, 0.7),
    },
  };
}
