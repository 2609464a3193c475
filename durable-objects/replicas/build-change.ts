/** Which build gives a replica to which other one, and when: jobs of several builds wait in one queue. */
import type { Lane } from "#contract/job";

/** Digest of a build; null: what is installed on a machine. */
export type Build = string | null;

/** What there is of a build, and for it. Times in Unix ms. */
export interface BuildLoad {
  readonly build: Build;
  /** New jobs come for it: it is the active release's, or a canary's. */
  readonly isExpected: boolean;
  /** Replicas that have it or are about to. */
  readonly replicas: number;
  /** Of those, the ones that are about to. */
  readonly starting: number;
  /** Replicas of no build, which take its jobs as well. */
  readonly helpers: number;
  /** Of all these, the ones without a job. */
  readonly idle: number;
  /** Its replicas crash, and none works. */
  readonly isHeld: boolean;
  readonly waiting: Readonly<Record<Lane, number>>;
  /** Jobs on its replicas. */
  readonly running: Readonly<Record<Lane, number>>;
  /** When the oldest job that waits came; null: none does. */
  readonly oldestAt: number | null;
  /** When a replica last came to it from another build; 0: none has. */
  readonly changedAt: number;
}

export interface Pace {
  /** How long a replica takes to change its build, ms. */
  readonly startMs: number;
  /** How long a job takes, ms. */
  readonly serviceMs: number;
}

/** One idle replica makes itself one of another build. */
export interface BuildChange {
  readonly from: Build;
  readonly to: Build;
  /** From then on it is worth it; not before now. */
  readonly at: number;
}

/** A change must save what it takes, and what it takes to come back where that is to be expected. */
const WORTH_STARTS = 1;
const WORTH_STARTS_AND_BACK = 2;
/** For so long jobs gather that the last replica of a build might go for, which is likely to be missed soon. */
const LULL_STARTS = 4;
/** Where builds have to take turns, each has its turn for so many starts: most of the time goes to jobs. */
const TURN_STARTS = 8;
/** But nobody waits for a turn for longer than this, however long a start takes. */
const TURN_MS_MAX = 30 * 60_000;

/**
 * The next change: of those that are due the one with the most urgent jobs, from where a replica is missed least. A build
 * that nobody waits for any more gives all it has. Others share: each keeps one replica as long as there are enough of
 * them, more go to where what waits takes longest, and where builds have to take turns, those are long. A replica of no build
 * takes any job as it is.
 * @param loads all builds that have replicas or jobs
 * @returns null while none is worth it, and time alone does not make it so
 */
export function nextChange(loads: readonly BuildLoad[], pace: Pace, now: number): BuildChange | null {
  const changes = loads.filter(mayGrow).flatMap((to) =>
    loads
      .filter((from) => from !== to && from.build !== null && from.replicas > from.starting)
      .flatMap((from) => {
        const at = changeAt(from, to, pace);
        return at === null ? [] : [{ from, to, at: Math.max(at, now) }];
      }),
  );
  const [first] = changes.toSorted(
    (a, b) =>
      a.at - b.at ||
      Number(isUrgent(b.to)) - Number(isUrgent(a.to)) ||
      Number(a.to.replicas > 0) - Number(b.to.replicas > 0) ||
      Number(isDone(b.from)) - Number(isDone(a.from)) ||
      clearMs(a.from, -1, "all", pace) - clearMs(b.from, -1, "all", pace),
  );
  return first === undefined ? null : { from: first.from.build, to: first.to.build, at: first.at };
}

/** Nobody waits for it, and nobody will. */
export function isDone({ isExpected, waiting }: Pick<BuildLoad, "isExpected" | "waiting">): boolean {
  return !isExpected && waiting.interactive + waiting.batch === 0;
}

/**
 * More of its jobs wait than replicas for them are there. Until one has shown that it works with the build, one at a time
 * tries: the others are all that works.
 */
function mayGrow({ waiting, isHeld, replicas, starting, idle }: BuildLoad): boolean {
  const isShown = replicas > starting || starting === 0;
  return !isHeld && isShown && waiting.interactive + waiting.batch > starting + idle;
}

/** Batch jobs are weighed against each other alone: they fill what interactive ones leave. */
function isUrgent({ waiting }: BuildLoad): boolean {
  return waiting.interactive > 0;
}

/** When one build is to give a replica to another, Unix ms; null: not by time alone. */
function changeAt(from: BuildLoad, to: BuildLoad, pace: Pace): number | null {
  if (isDone(from)) return 0;
  if (to.replicas + to.helpers === 0) return from.replicas > 1 ? firstAt(from, to, pace) : turnAt(from, to, pace);
  return from.replicas > 1 ? shareAt(from, to, pace) : helpAt(from, to, pace);
}

/** The other build gets its first replica: at once, unless it gave its last one away for want of jobs just now. */
function firstAt(from: BuildLoad, to: BuildLoad, pace: Pace): number {
  return isMissedBy(from, to) ? from.changedAt + turnMs(pace) : 0;
}

/** There are too few replicas for each build to have one. */
function turnAt(from: BuildLoad, to: BuildLoad, pace: Pace): number {
  return turnOver(from, to, isMissedBy(from, to) || !isUrgent(to) ? turnMs(pace) : lullMs(pace));
}

/** Both have replicas, the first more than one. */
function shareAt(from: BuildLoad, to: BuildLoad, pace: Pace): number | null {
  const jobs = isUrgent(to) ? "interactive" : "all";
  const savedMs = clearMs(to, 0, jobs, pace) - clearMs(from, -1, jobs, pace);
  if (savedMs <= (from.isExpected ? WORTH_STARTS_AND_BACK : WORTH_STARTS) * pace.startMs) return null;
  if (isUrgent(to)) return 0;
  if (clearMs(from, -1, "interactive", pace) > WORTH_STARTS * pace.startMs) return null;
  return from.isExpected ? turnOver(from, to, turnMs(pace)) : 0;
}

/** The last replica of a build idles beside the queue of another that has some. */
function helpAt(from: BuildLoad, to: BuildLoad, pace: Pace): number | null {
  const savedMs = clearMs(to, 0, "all", pace);
  if (clearMs(from, 0, "all", pace) > 0 || savedMs <= WORTH_STARTS_AND_BACK * pace.startMs) return null;
  return isUrgent(to) ? from.changedAt + lullMs(pace) : turnOver(from, to, turnMs(pace));
}

/** When a build has had a replica, and the other one's jobs have waited, for so long. */
function turnOver(from: BuildLoad, to: BuildLoad, ms: number): number {
  return Math.max(to.oldestAt ?? 0, from.changedAt) + ms;
}

/** Whether jobs wait for the replica that are as urgent as those it would go for. */
function isMissedBy({ waiting }: BuildLoad, to: BuildLoad): boolean {
  return waiting.interactive + (isUrgent(to) ? 0 : waiting.batch) > 0;
}

function turnMs({ startMs }: Pace): number {
  return Math.min(TURN_STARTS * startMs, TURN_MS_MAX);
}

function lullMs({ startMs }: Pace): number {
  return Math.min(LULL_STARTS * startMs, TURN_MS_MAX);
}

/** How long all jobs that it has take with so many replicas more, ms. */
function clearMs(
  { waiting, running, replicas, helpers }: BuildLoad,
  more: 0 | -1,
  jobs: "interactive" | "all",
  { serviceMs }: Pace,
): number {
  const batch = jobs === "all" ? waiting.batch + running.batch : 0;
  const work = waiting.interactive + running.interactive + batch;
  return work === 0 ? 0 : (work * serviceMs) / (replicas + more + helpers);
}
