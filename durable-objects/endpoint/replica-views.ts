/** The endpoint's replicas and what they write, as callers see it. */
import type { EndpointId, ReplicaId } from "#contract/ids";
import { type Refusal, refusal } from "#contract/problems";
import type { Replica } from "#contract/replica";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { ENDED_SHOWN_MS, endedAt } from "#durable-objects/endpoint/replica-life";
import type { LogLine } from "#durable-objects/endpoint/replica-news";
import type { ReplicaLogReply, Reply } from "#durable-objects/endpoint/rpc";
import { iso } from "#durable-objects/endpoint/shown-job";
import { isOver, isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** Which replicas a list holds: those that run or have crashed lately, those that have ended lately, or both. */
export type Listed = "current" | "ended" | "all";

/** The replicas as the API shows them. */
export function listed(state: EndpointState, which: Listed, now: number): Replica[] {
  const { config } = state;
  if (config === null) return [];
  return state.replicas
    .all()
    .filter((replica) => isListed(replica, which, now))
    .map((replica) => shown(state, replica, config.endpointId, now));
}

function isListed(replica: ReplicaRecord, which: Listed, now: number): boolean {
  if (!isOver(replica.state)) return which !== "ended";
  if (endedAt(replica) + ENDED_SHOWN_MS <= now) return false;
  return which !== "current" || replica.state === "crashed";
}

function shown(state: EndpointState, replica: ReplicaRecord, endpointId: EndpointId, now: number): Replica {
  const { cold, idle, busy } = state.replicas.accounts.used(replica, now);
  return {
    id: replica.id,
    endpoint_id: endpointId,
    node_id: replica.nodeId,
    pod_id: replica.podId,
    gpu_type: replica.gpuType ?? null,
    state: isOver(replica.state)
      ? replica.state
      : replica.draining
        ? "draining"
        : replica.state === "ready" && state.held(replica.id) > 0
          ? "busy"
          : replica.state,
    release: replica.release,
    error: replica.error,
    doing: state.news.doing(replica.id),
    started_at: iso(replica.startedAt),
    seconds: { cold: cold / 1_000, idle: idle / 1_000, busy: busy / 1_000 },
    states: replica.changes.map(({ state: entered, at }) => ({ state: entered, at: iso(at) })),
    phases: [...replica.phases],
  };
}

/** One of them, as long as it is listed. */
export function getReplica(state: EndpointState, id: ReplicaId, now: number): Reply<{ replica: Replica }> {
  const replica = listed(state, "all", now).find((one) => one.id === id);
  return replica === undefined ? noReplicaHere() : { ok: true, replica };
}

/** Lines of a replica's log from a number on. */
export function replicaLog(
  state: EndpointState,
  id: ReplicaId,
  from: number,
): Reply<{ lines: readonly LogLine[]; next: number }> {
  if (state.replicas.get(id) === null) return noReplicaHere();
  const lines = state.news.lines(id, from);
  return { ok: true, lines, next: (lines.at(-1)?.number ?? from - 1) + 1 };
}

/** Lines of a replica's log from a number on, and how it stands. */
export function followedReplica(
  state: EndpointState,
  id: ReplicaId,
  from: number,
  now: number,
): Reply<ReplicaLogReply> {
  const log = replicaLog(state, id, from);
  if (!log.ok) return log;
  const reply = getReplica(state, id, now);
  if (!reply.ok) return reply;
  const { state: stands } = reply.replica;
  return { ...log, state: stands, ended: !isStarting(stands) };
}

export const noReplicaHere = (): Refusal => refusal("replica_not_found", "The endpoint has no such replica.");
