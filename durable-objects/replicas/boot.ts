/** How much of a replica's start a job waited for. */
import type { StateChange } from "#durable-objects/replicas/replica-record";

export interface Stretch {
  readonly phase: string;
  readonly startedAt: number;
  readonly ms: number;
}

/** What each state before `ready` is called in a job's timeline. */
const NAMES: Readonly<Record<string, string>> = {
  requested: "placement",
  placed: "placement",
  preparing: "preparing",
  booting: "booting",
  loading: "loading",
};

/** The stretches of a replica's start that overlap with [from, to], cut to it; neighbours of one name are joined. */
export function bootWithin(changes: readonly StateChange[], from: number, to: number): Stretch[] {
  const stretches: Stretch[] = [];
  changes.forEach((change, index) => {
    const phase = NAMES[change.state];
    const start = Math.max(from, change.at);
    const end = Math.min(to, changes[index + 1]?.at ?? to);
    if (phase === undefined || end <= start) return;
    const last = stretches.at(-1);
    if (last !== undefined && last.phase === phase && last.startedAt + last.ms === start) {
      stretches[stretches.length - 1] = { ...last, ms: end - last.startedAt };
    } else stretches.push({ phase, startedAt: start, ms: end - start });
  });
  return stretches;
}
