/** Why a job has not started: everything that holds it up, told from facts. */
import type { NodeId } from "#contract/ids";
import type { WaitReason } from "#contract/job";

/** Why the pod has given fewer replicas than were asked for. */
export type Shortage = "none" | "no_node_online" | "region_unavailable" | "all_slots_busy" | "crash_looping";

export interface WaitFacts {
  readonly now: number;
  /** 1 is next. */
  readonly place: number;
  /** Milliseconds until it should start; null: unknown. */
  readonly etaMs: number | null;
  readonly paused: { readonly since: number; readonly reason: string | null } | null;
  /** The day's GPU time is used up. */
  readonly budget: { readonly maxS: number; readonly until: number } | null;
  /** As many attempts have started within the minute as may, or `isAhead`: will have with those before this one. */
  readonly rate: { readonly max: number; readonly until: number; readonly isAhead: boolean } | null;
  readonly replicas: {
    /** Ready, and not on their way out. */
    readonly ready: number;
    /** Of those, the ones without work. */
    readonly idle: number;
    /** Nodes of the idle ones. */
    readonly idleNodes: readonly NodeId[];
    /** The one that has come farthest on its way to ready. */
    readonly starting: {
      readonly id: string;
      readonly phase: string;
      readonly since: number;
      /** What it is at, in words. */
      readonly doing?: string | undefined;
      /** When it should be ready, by what starts have taken; null: nobody knows. */
      readonly readyAt: number | null;
    } | null;
    /** How long starts have taken, p50; null before the first. */
    readonly coldStartMs: number | null;
    /** Capacity on nodes other than the avoided one. */
    readonly elsewhere: boolean;
    /** There may be so many on the pods that take the job: max_replicas, less those on other pods. */
    readonly max: number;
    /** Crashes within the last hour since one was last ready, and the error of the latest. */
    readonly crashes: number;
    readonly crashError: string | null;
  };
  /** What the pod said last; null when it has all that was asked for, or has not answered. */
  readonly shortage: { readonly code: Shortage; readonly error: string | null; readonly at: number } | null;
  readonly regions: readonly string[];
  /** What the scaler last said of how many replicas are worth having; null: it has not been asked. */
  readonly scaling: string | null;
  /** Replicas are ready, but none of the build that the job's release needs; null: that is not so. */
  readonly otherBuild: OtherBuild | null;
  readonly batch: BatchFacts | null;
  /** It was a batch job, and waits with the interactive ones since then; null: it was none. */
  readonly joined: { readonly at: number; readonly expiresAt: number } | null;
  readonly job: {
    readonly availableAt: number | null;
    readonly avoid: { readonly nodeId: NodeId; readonly until: number } | null;
    /** What ended its last attempt. */
    readonly lastError: string | null;
  };
}

export interface OtherBuild {
  /** Ready replicas of other builds. */
  readonly ready: number;
  /** When one of them changes its build, not before now; null: not by time alone. */
  readonly changeAt: number | null;
  /** What keeps all of them from it, in words; null: nothing does. */
  readonly held: string | null;
}

/** Of batch jobs only. */
export interface BatchFacts {
  /** When one more replica is started for them; null: not known. */
  readonly ownReplicaAt: number | null;
  /** When it joins the interactive jobs. */
  readonly joinsAt: number;
  /** All that idles is kept free for interactive jobs, until then unless another one comes; null: it is not. */
  readonly keptUntil: number | null;
}

/** So many crashes without one replica getting ready in between are no accident. */
export const CRASHES_TELLING = 3;

/**
 * Everything that holds a waiting job up, the weightiest first: what somebody has switched or limited, then what there
 * is to run it on, then what concerns this job alone. Never empty.
 */
export function waitReasons(facts: WaitFacts): WaitReason[] {
  const reasons = [...switched(facts), ...capacity(facts), ...ownReasons(facts)];
  if (reasons.length > 0) return reasons;
  const detail = "Nothing holds it up: the next free replica that asks for work gets it.";
  return [{ code: "about_to_start", detail, until: iso(facts.now) }];
}

/** One sentence over all reasons. */
export function waitSummary(reasons: readonly WaitReason[], etaMs: number | null): string {
  const [first] = reasons;
  if (first === undefined) return "The job does not wait.";
  const more = reasons.length > 1 ? ` (and ${reasons.length - 1} more)` : "";
  const when = etaMs === null ? "" : ` It should start in about ${seconds(etaMs)}.`;
  return `${first.detail}${more}${when}`;
}

function switched({ paused, budget, rate, place }: WaitFacts): WaitReason[] {
  const reasons: WaitReason[] = [];
  if (paused !== null) {
    const why = paused.reason === null ? "" : ` (${paused.reason})`;
    const detail = `The queue has been paused since ${iso(paused.since)}${why}; it starts jobs again once it is resumed.`;
    reasons.push({ code: "paused", detail, until: null });
  }
  if (budget !== null) {
    const detail = `The endpoint's ${budget.maxS} GPU-seconds of this day are used up; jobs start again when the next UTC day begins, or when gpu_seconds_per_day_max is raised.`;
    reasons.push({ code: "budget_exhausted", detail, until: iso(budget.until) });
  }
  if (rate !== null) {
    reasons.push({ code: "rate_limited", detail: bounded(rate, place), until: iso(rate.until) });
  }
  return reasons;
}

function bounded({ max, isAhead }: NonNullable<WaitFacts["rate"]>, place: number): string {
  if (isAhead) {
    const attempts = max === 1 ? "1 attempt" : `${max} attempts`;
    return `No more than ${attempts} may start within a minute (starts_per_minute_max), and ${jobs(place - 1)} before this one.`;
  }
  const attempts = max === 1 ? "1 attempt has" : `${max} attempts have`;
  return `${attempts} started within the last minute, which is as many as starts_per_minute_max allows.`;
}

/** No replica could start a job for now, and none is asked for. */
function isHeld({ paused, budget, rate }: WaitFacts): boolean {
  return paused !== null || budget !== null || (rate !== null && !rate.isAhead);
}

function capacity(facts: WaitFacts): WaitReason[] {
  const { ready, starting, idle } = facts.replicas;
  if (facts.otherBuild !== null) {
    return [...changes(facts, facts.otherBuild), ...(starting === null ? [] : [startingUp(facts, starting)])];
  }
  const lane = batchLane(facts);
  if (lane !== null && starting === null) return [lane];
  if (lane === null && idle > 0 && (idle >= facts.place || isHeld(facts))) return [];
  const reasons: WaitReason[] = [];
  if (ready > 0) reasons.push(busyHere(facts));
  const short = shortage(facts);
  // With nothing ready, what keeps replicas from starting weighs more than the one that tries.
  if (ready === 0) reasons.push(...short);
  if (starting !== null) reasons.push(startingUp(facts, starting));
  if (ready > 0) reasons.push(...short);
  if (reasons.length > 0 || (isHeld(facts) && facts.replicas.max > 0)) return reasons;
  return [facts.replicas.max > 0 ? requested() : allElsewhere(facts)];
}

function busyHere(facts: WaitFacts): WaitReason {
  const { replicas, place, etaMs, now } = facts;
  const ahead = place - 1;
  const works = replicas.idle > 0 ? standing(replicas.ready) : working(replicas.ready);
  const first = ahead === 0 ? "the next one that is free takes this job" : `${jobs(ahead)} before this one`;
  const scaling = facts.scaling === null ? "" : ` Scaling: ${facts.scaling}.`;
  const top = replicas.ready >= replicas.max ? " More cannot run than max_replicas allows." : scaling;
  const until = etaMs === null ? null : iso(now + etaMs);
  return { code: "all_slots_busy", detail: `${works}; ${first}.${top}`, until, ahead };
}

function changes({ now, place }: WaitFacts, { ready, changeAt, held }: OtherBuild): WaitReason[] {
  const others = ready === 1 ? "the one ready replica has" : `the ${ready} ready replicas have`;
  const next =
    changeAt === null
      ? "One changes to it when that saves more time than it takes"
      : `One changes to it once it idles${changeAt > now ? `, from ${iso(changeAt)} on` : ""}`;
  const detail = `Its release needs another build than ${others}. ${held === null ? next : `Held: ${held}`}.`;
  const until = changeAt !== null && changeAt > now ? iso(changeAt) : null;
  return [{ code: "all_slots_busy", detail, until, ahead: place - 1 }];
}

const working = (ready: number): string =>
  ready === 1 ? "The one ready replica works" : `All ${ready} ready replicas work`;
const standing = (ready: number): string => (ready === 1 ? "One replica is ready" : `${ready} replicas are ready`);

function startingUp(facts: WaitFacts, starting: NonNullable<WaitFacts["replicas"]["starting"]>): WaitReason {
  const { coldStartMs } = facts.replicas;
  const usual = coldStartMs === null ? "" : ` Starts take ${seconds(coldStartMs)} (p50).`;
  const { doing } = starting;
  const now = doing === undefined ? "" : ` Now: ${doing}.`;
  const detail = `A replica starts: ${starting.phase} for ${seconds(facts.now - starting.since)}.${now}${usual}`;
  const until = starting.readyAt === null || starting.readyAt < facts.now ? null : iso(starting.readyAt);
  const said = doing === undefined ? {} : { doing };
  return { code: "replica_starting", detail, until, replica_id: starting.id, phase: starting.phase, ...said };
}

/** A batch job for which nothing is started yet, or can be: it takes what interactive jobs leave idle. */
function batchLane({ batch, now, replicas, place }: WaitFacts): WaitReason | null {
  if (batch === null || batch.ownReplicaAt === null) return null;
  if (batch.ownReplicaAt <= now) {
    if (batch.keptUntil === null || replicas.idle === 0) return null;
    const until = iso(batch.keptUntil);
    const detail = `What idles is kept free for interactive jobs, which have lately needed as many replicas at once; batch jobs get more of it from ${until} on, unless another one comes before.`;
    return { code: "batch_lane", detail, until, ahead: place - 1 };
  }
  const idle = replicas.idle > 0 ? "what idles is kept free for interactive jobs" : "no replica idles";
  const detail = `Batch jobs take replicas that idle, and ${idle}; from ${iso(batch.ownReplicaAt)} on one is started for them (batch_target_wait_s). From ${iso(batch.joinsAt)} on it goes with the interactive jobs, because it must start soon after (expires_in).`;
  return { code: "batch_lane", detail, until: iso(batch.ownReplicaAt), ahead: place - 1 };
}

/** Nothing ready, nothing starting, and the pod has no complaint: it was just asked. */
function requested(): WaitReason {
  const detail = "A replica has been asked for; the pod has not placed one yet.";
  return { code: "replica_starting", detail, until: null, phase: "requested" };
}

/** The lane's pods may have none, because the other lane's have as many as there may be. */
function allElsewhere({ place }: WaitFacts): WaitReason {
  const detail =
    "All replicas that max_replicas allows are on pods that do not take this lane. Raise it, or lower the warm floor.";
  return { code: "all_slots_busy", detail, until: null, ahead: place - 1 };
}

function shortage(facts: WaitFacts): WaitReason[] {
  const { replicas, shortage: short, regions, place } = facts;
  const crashing = replicas.ready === 0 && replicas.crashes >= CRASHES_TELLING;
  const code = short === null || short.code === "none" ? (crashing ? "crash_looping" : "none") : short.code;
  switch (code) {
    case "none":
      return [];
    case "no_node_online": {
      const closed = short?.error ?? null;
      const detail =
        closed === null
          ? "No machine of the endpoint's pod is online. Start one, or join one to the pod."
          : `No machine of the endpoint's pod takes new work. ${closed}`;
      return [{ code, detail, until: null }];
    }
    case "region_unavailable": {
      const where = regions.length === 0 ? "the endpoint's regions" : regions.join(", ");
      const advice = short?.error ?? "Join one there, or change the endpoint's regions.";
      const detail = `No machine that is online is in ${where}. ${advice}`;
      return [{ code, detail, until: null }];
    }
    case "crash_looping": {
      const error = short?.error ?? replicas.crashError;
      const last = error === null ? "" : ` Last error: ${error}`;
      const detail = `Replicas of this endpoint keep crashing; the next try follows after a pause.${last}`;
      return [{ code, detail, until: null, ...(error === null ? {} : { error }) }];
    }
    case "all_slots_busy":
      // With a replica of its own at work the endpoint's queue is already named; the pod's is news only without.
      if (replicas.ready > 0) return [];
      return [
        {
          code,
          detail:
            short?.error == null
              ? `Every slot of the pod works for other endpoints; ${jobs(place - 1)} before this one here.`
              : `No replica can be started. ${short.error} ${jobs(place - 1)} before this one here.`,
          until: null,
          ahead: place - 1,
        },
      ];
    default:
      throw new Error(`unhandled: ${JSON.stringify(code satisfies never)}`);
  }
}

function ownReasons({ job, now, replicas, joined }: WaitFacts): WaitReason[] {
  const reasons: WaitReason[] = [];
  if (job.availableAt !== null && job.availableAt > now) {
    const why = job.lastError === null ? "" : ` Its last attempt ended with: ${job.lastError}`;
    const detail = `It waits ${seconds(job.availableAt - now)} before its next attempt.${why}`;
    reasons.push({ code: "retry_backoff", detail, until: iso(job.availableAt) });
  }
  const { avoid } = job;
  const onlyAvoided = replicas.idleNodes.length > 0 && replicas.idleNodes.every((node) => node === avoid?.nodeId);
  if (avoid !== null && avoid.until > now && replicas.elsewhere && onlyAvoided) {
    const detail = `Its last attempt failed on node ${avoid.nodeId}: for ${seconds(avoid.until - now)} it waits for another one.`;
    reasons.push({ code: "prefers_another_node", detail, until: iso(avoid.until) });
  }
  if (joined !== null) {
    const detail = `It came as a batch job and has gone with the interactive ones since ${iso(joined.at)}, because its start deadline is near (expires_in).`;
    reasons.push({ code: "batch_lane", detail, until: iso(joined.expiresAt) });
  }
  return reasons;
}

const iso = (at: number): string => new Date(at).toISOString();

function jobs(count: number): string {
  return count === 1 ? "1 job goes" : `${count} jobs go`;
}

function seconds(ms: number): string {
  return ms < 10_000 ? `${(Math.max(0, ms) / 1_000).toFixed(1)} s` : `${Math.round(ms / 1_000)} s`;
}
