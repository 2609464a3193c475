import type { Scaler } from "#durable-objects/autoscaler/scaler";

/** The simplest scaler: a replica per interactive job, and an idle one stops after so many seconds. */
export function perRequestScaler(idleS: number): Scaler {
  return {
    note: () => {},
    decide: ({ ceiling }, { now, waitingTotal, replicas }) => {
      const idle = replicas.filter(({ state }) => state === "idle");
      const gone = idle.filter(({ since }) => now - since >= idleS * 1_000).map(({ id }) => id);
      const next = Math.min(...idle.map(({ since }) => since + idleS * 1_000).filter((until) => until > now));
      const busy = replicas.filter(({ state }) => state === "busy").length;
      return {
        wanted: Math.min(ceiling, Math.max(waitingTotal + busy, replicas.length - gone.length)),
        letGo: gone,
        reason: "a replica per job",
        lookAgainAt: next < Number.POSITIVE_INFINITY ? next : null,
      };
    },
    save: () => '"nothing is learned"',
  };
}
