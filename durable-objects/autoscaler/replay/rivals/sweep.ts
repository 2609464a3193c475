/**
 * The known rules with every sensible setting: the best of them, picked afterwards for one trace, one start time and one
 * value of waiting, is what a policy without tuning is held against.
 */
import { averaged } from "./averaged.ts";
import { fixed } from "./fixed.ts";
import { knative } from "./knative.ts";
import { knownRivals } from "./known.ts";
import { perRequest } from "./per-request.ts";
import { queueDelay } from "./queue-delay.ts";
import type { Rival } from "./rival.ts";

const IDLE_S = [5, 10, 30, 60, 120, 180, 300, 450, 600, 900, 1_800, 3_600];
const REQUESTS_PER_REPLICA = [1, 2, 3, 4, 8];
const BUFFERS = [1, 2];
const DELAYS_S = [0.5, 1, 2, 4, 8, 15, 30, 60, 120];
const STABLE_S = [30, 120, 300, 600];
const TARGETS = [0.5, 0.7, 1, 2, 4];
const FIXED = [3, 5, 6, 10, 12, 14, 20, 24, 28, 32, 40, 48, 56, 64, 7, 9];

export const sweptRivals: readonly Rival[] = [
  ...IDLE_S.flatMap((idleS) => [
    ...REQUESTS_PER_REPLICA.map((requestsPerReplica) => ({
      name: `idle-${idleS}-per-${requestsPerReplica}`,
      title: `${requestsPerReplica} requests per replica, idle ${idleS} s`,
      make: () => perRequest({ idleS, requestsPerReplica }),
    })),
    ...BUFFERS.flatMap((buffer) =>
      [1, 2, 4].map((requestsPerReplica) => ({
        name: `idle-${idleS}-per-${requestsPerReplica}-buffer-${buffer}`,
        title: `${requestsPerReplica} requests per replica and ${buffer} more, idle ${idleS} s`,
        make: () => perRequest({ idleS, requestsPerReplica, buffer }),
      })),
    ),
    ...DELAYS_S.map((delayS) => ({
      name: `idle-${idleS}-delay-${delayS}`,
      title: `queue delay ${delayS} s, idle ${idleS} s`,
      make: () => queueDelay({ delayS, idleS }),
    })),
  ]),
  ...STABLE_S.flatMap((stableS) =>
    TARGETS.map((target) => ({
      name: `knative-${stableS}-${target}`,
      title: `Knative KPA, window ${stableS} s, target ${target}`,
      make: () => knative({ stableS, target }),
    })),
  ),
  ...[30, 60].flatMap((windowS) =>
    [0.7, 1, 2].flatMap((target) =>
      [300, 900].map((downDelayS) => ({
        name: `average-${windowS}-${target}-down-${downDelayS}`,
        title: `average of ${windowS} s, target ${target}, down after ${downDelayS} s`,
        make: () => averaged({ windowS, target, upDelayS: 0, downDelayS }),
      })),
    ),
  ),
  ...FIXED.map((count) => ({ name: `fixed-${count}`, title: `${count} replicas, always`, make: () => fixed(count) })),
];

/** Everything that is known, as shipped and swept. */
export const allRivals: readonly Rival[] = [...knownRivals, ...sweptRivals];
