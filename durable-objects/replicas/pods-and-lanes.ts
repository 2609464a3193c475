/** Which pods serve which lanes, and which of them share their work. */
import type { PodId } from "#contract/ids";
import type { Lane } from "#contract/job";

export interface PodLanes {
  readonly podId: PodId;
  readonly lanes: readonly Lane[];
}

export type PoolName = "all" | "interactive" | "batch";

/** Pods that take jobs of the same lanes: one scaler decides for all of them together. */
export interface Pool {
  readonly name: PoolName;
  readonly lanes: readonly Lane[];
  /** In the order of preference. */
  readonly pods: readonly PodLanes[];
}

/** Whether one group goes on with the other's traffic: interactive jobs are scaled by one, whether batch jobs share it or not. */
export function isSameTraffic(one: PoolName, other: PoolName): boolean {
  return (one === "batch") === (other === "batch");
}

/**
 * The pods in groups that share no lane. As soon as one pod serves both lanes, all of them are one group: a replica that
 * is started for one lane then takes work off the other.
 */
export function poolsOf(pods: readonly PodLanes[]): readonly Pool[] {
  const interactive = pods.filter(({ lanes }) => lanes.includes("interactive"));
  const batch = pods.filter(({ lanes }) => lanes.includes("batch"));
  const isShared = interactive.some((pod) => batch.includes(pod)) || interactive.length === 0 || batch.length === 0;
  if (isShared) return [{ name: "all", lanes: ["interactive", "batch"], pods }];
  return [
    { name: "interactive", lanes: ["interactive"], pods: interactive },
    { name: "batch", lanes: ["batch"], pods: batch },
  ];
}
