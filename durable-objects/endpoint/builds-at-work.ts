/** The builds of an endpoint: what there is of each, and which replica takes which release's jobs. */
import type { ReplicaId } from "#contract/ids";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { coldStartMs } from "#durable-objects/endpoint/scaling";
import type { WaitingRelease } from "#durable-objects/endpoint/waiting-releases";
import {
  type Build,
  type BuildChange,
  type BuildLoad,
  isDone,
  nextChange,
} from "#durable-objects/replicas/build-change";
import { enter, isCapacity, isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** While the replicas of a build crash, none of another one is given for it: those are all that works. */
const CRASH_PAUSE_MS = 10 * 60_000;
/** How long a start takes where none has been seen. */
const START_MS = 60_000;
/** The oldest job of a release is looked for among so many. */
const OLDEST_OF = 16;

/** The builds that new jobs come for, the active release's first; null: nobody can tell. */
export function expectedBuilds({ config, canary }: EndpointState): readonly [Build, ...Build[]] | null {
  if (config === null || config.removed) return null;
  const active = config.needs?.build ?? null;
  if (config.canary === undefined || !canary.isRunning) return [active];
  return config.canary.build === undefined ? null : [active, config.canary.build];
}

/** What the endpoint is told of builds with its configuration, for the time when other releases are active. */
export function noteBuilds({ config, releases }: EndpointState): void {
  if (config === null) return;
  releases.noteBuild(config.release, config.needs?.build ?? null);
  const { canary } = config;
  if (canary?.build !== undefined) releases.noteBuild(canary.release, canary.build);
}

/** Whether a replica runs jobs of a release as it is. One of no build runs any, and what nobody knows is tried. */
export function hasBuild(state: EndpointState, replicaId: ReplicaId, release: number): boolean {
  const build = state.replicas.get(replicaId)?.build ?? null;
  const needed = state.releases.builds.get(release);
  return build === null || needed === undefined || build === needed;
}

/** Whether new jobs come for a replica as it is; also where nobody can tell. */
export function isExpectedAt(state: EndpointState, replicaId: ReplicaId): boolean {
  const build = state.replicas.get(replicaId)?.build ?? null;
  return build === null || (expectedBuilds(state)?.includes(build) ?? true);
}

/** A replica that gets a job whose release needs another build gives it back, and makes itself one of that build. */
export function changeBuild(state: EndpointState, replicaId: ReplicaId, release: number, now: number): void {
  const replica = state.replicas.get(replicaId);
  const build = state.releases.builds.get(release);
  if (replica === null || build === undefined || hasBuild(state, replicaId, release)) return;
  state.replicas.put({ ...enter(replica, "preparing", now), build, replacedSince: null });
  state.effect({ type: "replica_changed" });
}

/** What there is of each build; null: all replicas run all jobs, or nobody can tell. */
export function buildLoads(state: EndpointState, now: number): BuildLoad[] | null {
  const expected = expectedBuilds(state);
  const there = state.replicas
    .all()
    .filter(isCapacity)
    .map((replica) => ({ replica, build: buildAt(state, replica) }));
  const own = there.map(({ build }) => build).filter((build) => build !== null);
  if (expected === null || own.length === 0) return null;
  const { builds } = state.releases;
  if (new Set([...own, ...builds.values()]).size < 2) return null;
  const jobs = state.waiting.releases.all().flatMap((waiting) => {
    const build = builds.get(waiting.release);
    return build === undefined ? [] : [{ ...waiting, build }];
  });
  const all = new Set([...own, ...expected, ...jobs.map(({ build }) => build)]);
  if (all.size < 2) return null;
  const running = Array.from(state.running.values(), ({ replicaId, lane }) => {
    const replica = state.replicas.get(replicaId);
    return { lane, build: replica === null ? null : buildAt(state, replica) };
  });
  return Array.from(all, (build) => {
    const replicas = there.filter((each) => each.build === build).map(({ replica }) => replica);
    const helpers = build === null ? [] : there.filter((each) => each.build === null).map(({ replica }) => replica);
    const waits = jobs.filter((job) => job.build === build);
    const runs = running.filter((job) => job.build === build);
    return {
      build,
      isExpected: expected.includes(build),
      replicas: replicas.length,
      starting: replicas.filter((replica) => isStarting(replica.state)).length,
      helpers: helpers.length,
      idle: [...replicas, ...helpers].filter((replica) => isIdle(state, replica)).length,
      isHeld: heldUntil(state, build, now) !== null,
      waiting: {
        interactive: sumOf(waits.filter(({ lane }) => lane === "interactive")),
        batch: sumOf(waits.filter(({ lane }) => lane === "batch")),
      },
      running: {
        interactive: runs.filter(({ lane }) => lane === "interactive").length,
        batch: runs.filter(({ lane }) => lane === "batch").length,
      },
      oldestAt: oldestOf(state, waits),
      changedAt: Math.max(0, ...replicas.map(changedAt)),
    };
  });
}

/** The next replica that should change its build, see nextChange. */
export function nextBuildChange(state: EndpointState, loads: readonly BuildLoad[], now: number): BuildChange | null {
  const [first] = state.scaling.pools;
  const startMs = (first === undefined ? null : coldStartMs(first)) ?? START_MS;
  return nextChange(loads, { startMs, serviceMs: state.services.median() ?? startMs }, now);
}

/** The replicas of builds that nobody waits for any more, and nobody will. */
export function outdated(state: EndpointState, now: number): ReplicaRecord[] {
  const done = (buildLoads(state, now) ?? []).filter(isDone).map(({ build }) => build);
  return state.replicas
    .all()
    .filter((replica) => isCapacity(replica) && replica.build != null && done.includes(replica.build));
}

/** Until when no other replica is given for a build, because its own crash and none works; null: nothing speaks against it. */
export function heldUntil(state: EndpointState, build: Build, now: number): number | null {
  const all = state.replicas.all();
  if (all.some((replica) => isCapacity(replica) && !isStarting(replica.state) && replica.build === build)) return null;
  const crashes = all
    .filter((replica) => replica.state === "crashed" && buildAt(state, replica) === build)
    .map(({ changes, startedAt }) => changes.at(-1)?.at ?? startedAt);
  const until = Math.max(0, ...crashes) + CRASH_PAUSE_MS;
  return crashes.length > 0 && until > now ? until : null;
}

/** The build that a replica has or, before it has said so, that it was placed for; null: none, it takes any job. */
function buildAt(state: EndpointState, { build, release }: ReplicaRecord): Build {
  return build === undefined ? (state.releases.builds.get(release) ?? null) : build;
}

function isIdle(state: EndpointState, replica: ReplicaRecord): boolean {
  return !isStarting(replica.state) && state.held(replica.id) === 0;
}

function sumOf(waiting: readonly WaitingRelease[]): number {
  return waiting.reduce((sum, { jobs }) => sum + jobs, 0);
}

/** When the oldest of them came, Unix ms. */
function oldestOf(state: EndpointState, waiting: readonly WaitingRelease[]): number | null {
  const ats = waiting
    .map((release) => state.waiting.releases.oldestSeen(release, OLDEST_OF))
    .filter((at) => at !== null);
  return ats.length === 0 ? null : Math.min(...ats);
}

/** When it came to its build from another one, Unix ms; 0: it is its first. */
function changedAt({ changes }: ReplicaRecord): number {
  const readies = changes.filter(({ state }) => state === "ready");
  return readies.length < 2 ? 0 : (readies.at(-1)?.at ?? 0);
}
