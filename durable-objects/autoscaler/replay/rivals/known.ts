/** Other systems' policies with the settings they ship with. Where each rule is written: docs/simulating-arrivals.md. */
import { averaged } from "./averaged.ts";
import { fixed } from "./fixed.ts";
import { hybridHistogram } from "./hybrid-histogram.ts";
import { knative } from "./knative.ts";
import { keda, kubernetes } from "./kubernetes.ts";
import { perRequest } from "./per-request.ts";
import { queueDelay } from "./queue-delay.ts";
import type { Rival } from "./rival.ts";

const timer = (idleS: number, title: string): Rival => ({
  name: `timer-${idleS}`,
  title,
  make: () => perRequest({ idleS }),
});
const always = (count: number): Rival => ({
  name: `fixed-${count}`,
  title: count === 1 ? "1 replica, always" : `${count} replicas, always`,
  make: () => fixed(count),
});

export const knownRivals: readonly Rival[] = [
  { name: "knative", title: "Knative KPA", make: () => knative() },
  { name: "keda", title: "KEDA + HPA", make: () => keda() },
  { name: "hpa", title: "Kubernetes HPA", make: () => kubernetes() },
  {
    name: "runpod-queue-delay",
    title: "RunPod queue delay",
    make: () => queueDelay({ delayS: 4, idleS: 5 }),
  },
  { name: "runpod-request-count", title: "RunPod request count", make: () => perRequest({ idleS: 5 }) },
  { name: "modal", title: "Modal", make: () => perRequest({ idleS: 60 }) },
  { name: "modal-buffer", title: "Modal + buffer 1", make: () => perRequest({ idleS: 60, buffer: 1 }) },
  { name: "fal", title: "fal", make: () => perRequest({ idleS: 60, unusedIdleS: 10 }) },
  {
    name: "baseten",
    title: "Baseten",
    make: () => averaged({ windowS: 60, target: 0.7, upDelayS: 0, downDelayS: 900 }),
  },
  {
    name: "ray-serve",
    title: "Ray Serve",
    make: () => averaged({ windowS: 30, target: 1, upDelayS: 30, downDelayS: 600 }),
  },
  {
    name: "fireworks",
    title: "Fireworks",
    make: () => averaged({ windowS: 30, target: 0.8, upDelayS: 30, downDelayS: 600, zeroAfterS: 3_600 }),
  },
  {
    name: "cloud-run",
    title: "Google Cloud Run",
    make: () => averaged({ windowS: 60, target: 0.6, upDelayS: 0, downDelayS: 900 }),
  },
  { name: "hybrid-histogram", title: "hybrid histogram (paper)", make: () => hybridHistogram() },
  { name: "hybrid-histogram-10", title: "hybrid histogram, 10 s bins", make: () => hybridHistogram({ binS: 10 }) },
  timer(10, "timer 10 s (fal's SDK)"),
  timer(30, "timer 30 s"),
  timer(180, "timer 180 s"),
  timer(300, "timer 300 s"),
  timer(600, "timer 600 s (AWS Lambda)"),
  timer(1_200, "timer 1200 s (Azure Functions)"),
  always(1),
  always(2),
  always(4),
  always(8),
  always(16),
];

/** Other names for the same rule. */
const ALIASES: Readonly<Record<string, string>> = { "timer-5": "runpod-request-count", "timer-60": "modal" };

/**
 * A rival by its name; any `timer-<seconds>` and `fixed-<replicas>` is one, too.
 * @returns undefined when there is none
 */
export function rivalNamed(name: string): Rival | undefined {
  const known = knownRivals.find((rival) => rival.name === (ALIASES[name] ?? name));
  if (known !== undefined) return known;
  const [, kind, digits] = /^(timer|fixed)-([1-9][0-9]{0,4})$/.exec(name) ?? [];
  if (digits === undefined) return undefined;
  return kind === "timer" ? timer(Number(digits), `timer ${digits} s`) : always(Number(digits));
}
