/** What is said of a replica, by itself or by its pod, with all that follows from it in the same turn. */
import type { ReplicaReport, ReplicaReportAnswer, VerificationReport, VerificationReportAnswer } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { noteStart } from "#durable-objects/endpoint/errands";
import { dispatch } from "#durable-objects/endpoint/matcher";
import * as gate from "#durable-objects/endpoint/release-gate";
import * as replicas from "#durable-objects/endpoint/replica-life";
import { sendErrands } from "#durable-objects/endpoint/replica-polls";
import type { Reply } from "#durable-objects/endpoint/rpc";
import type { ReplicaRecord } from "#durable-objects/replicas/replica-record";

/**
 * A replica says how it stands.
 * @param known the replica, verified before
 */
export function reportReplica(
  state: EndpointState,
  known: ReplicaRecord,
  report: ReplicaReport,
  now: number,
): Reply<{ answer: ReplicaReportAnswer }> {
  const { config } = state;
  if (config === null) throw new Error("the endpoint is not configured");
  state.presence.seen(known.id, now);
  const logNext = state.news.heard(known.id, report, now);
  state.effect({ type: "replica_changed" });
  const replica = replicas.report(state, known, report, now);
  if (replica !== null) noteStart(state, replica, report, now);
  dispatch(state, now);
  sendErrands(state, now);
  const stop = replica === null || replica.draining;
  return { ok: true, answer: { release: config.release, stop, log_next: logNext } };
}

/**
 * A replica says how its errand goes.
 * @param known the replica, verified before
 */
export function reportVerification(
  state: EndpointState,
  known: ReplicaRecord,
  report: VerificationReport,
  now: number,
): Reply<{ answer: VerificationReportAnswer }> {
  state.presence.seen(known.id, now);
  const reply = gate.reportVerification(state, known, report, now);
  sendErrands(state, now);
  return reply;
}

/**
 * Its pod says that it is no more.
 * @param silent it was not heard of: its leases run out by themselves
 * @param heardAt when its node last was, Unix ms: one that starts says nothing itself for minutes; null: nobody knows
 */
export function replicaGone(
  state: EndpointState,
  id: ReplicaId,
  { reason, silent, heardAt }: { readonly reason: string; readonly silent: boolean; readonly heardAt: number | null },
  now: number,
): void {
  if (!silent) replicas.loseLeases(state, id, reason, now);
  const aliveUntil = Math.max(state.presence.aliveUntil(id) ?? 0, heardAt ?? 0);
  const at = silent && aliveUntil > 0 ? Math.min(now, aliveUntil) : now;
  const isAsTold = !silent && state.replicas.get(id)?.draining === true;
  replicas.gone(state, id, at, { error: isAsTold ? null : reason, unseenAt: silent ? now : null });
  dispatch(state, now);
  sendErrands(state, now);
}
