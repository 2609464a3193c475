/** I12: who goes first. */
import type { JobId } from "#contract/ids";
import type { JobRecord, QueuedJob } from "#durable-objects/queue/job-record";
import type { KnownLease, Oracle } from "./oracle.ts";
import { promise } from "./violation.ts";

/** Decision 0008: an old batch job goes first once so many have overtaken it, and none of its lane has begun for as long. */
const BATCH_PATIENCE_MS = 10 * 60_000;
const BATCH_TURN = 10;

/** A job that waits, or waited until it was granted in this operation. */
interface Waiting {
  readonly record: JobRecord;
  readonly avoid: QueuedJob["avoid"];
}

/** @param grants those of one operation, by number: each must have gone to the first job in order that its replica may take */
export function checkGrants(oracle: Oracle, grants: readonly KnownLease[]): void {
  const waiting = new Map<JobId, Waiting>();
  for (const { record } of oracle.living.values()) {
    if (record.state !== "queued" || record.availableAt !== null) continue;
    if (record.startedAt === null && record.expiresAt <= oracle.now) continue;
    waiting.set(record.id, { record, avoid: record.avoid });
  }
  for (const grant of grants) {
    const record = oracle.jobs.get(grant.jobId)?.record;
    if (record !== undefined)
      waiting.set(grant.jobId, { record, avoid: oracle.avoidedBefore.get(grant.jobId) ?? null });
  }
  for (const grant of grants) {
    const granted = waiting.get(grant.jobId);
    if (granted === undefined) continue;
    promise("I12", !oracle.world.paused, () => `${grant.jobId} was started while the queue is paused`);
    for (const other of waiting.values()) {
      if (other === granted || !goesBefore(oracle, other.record, granted.record, waiting)) continue;
      promise(
        "I12",
        !mayTake(oracle, other, grant.nodeId) || mayWait(oracle, other, grant.nodeId),
        () => `${grant.jobId} went before ${other.record.id} (${place(granted.record)}, ${place(other.record)})`,
      );
      oracle.world.coverage.path("a job waits for another node");
    }
    if (grant.isAhead) checkAhead(oracle, grant, granted.record);
    // I10: a node on which the job failed gets it again at once only where there is no other.
    promise("I10", mayTake(oracle, granted, grant.nodeId), () => `${grant.jobId} went back to the node that lost it`);
    if (granted.avoid?.nodeId === grant.nodeId) oracle.world.coverage.path("a node gets a job again that it lost");
    const isBatch = granted.record.lane === "batch";
    const { all, remembered } = oracle.batchOvertaken;
    oracle.batchOvertaken = isBatch ? { all: 0, remembered: 0 } : { all: all + 1, remembered: remembered + 1 };
    if (isBatch) oracle.batchGrantedAt = oracle.now;
    waiting.delete(grant.jobId);
  }
}

/** L2: a job is held ahead only where no replica could begin it now, and once only. */
function checkAhead(oracle: Oracle, grant: KnownLease, record: JobRecord): void {
  const holders = new Set<string>();
  for (const { record: other } of oracle.living.values()) {
    if (other.state === "running") holders.add(other.lease.replicaId);
  }
  const idle = oracle.world.pod.idleAtTheObject().find((id) => !holders.has(id));
  promise("L2", idle === undefined, () => `${grant.jobId} is held ahead while ${idle} has nothing to do`);
  promise("I10", record.leases.length === 1, () => `${grant.jobId} came back, and is held ahead again`);
  oracle.world.coverage.path("a job is held ahead");
}

function goesBefore(oracle: Oracle, a: JobRecord, b: JobRecord, waiting: ReadonlyMap<JobId, Waiting>): boolean {
  if (a.lane !== b.lane) {
    let head: JobRecord | null = null;
    for (const { record } of waiting.values()) {
      if (record.lane === "batch" && (head === null || isEarlier(record, head))) head = record;
    }
    // Those in `waiting` that run got their leases in this operation, at this grant or later.
    const isStarving = ![...oracle.living.values()].some(
      ({ record }) => record.lane === "batch" && record.state === "running" && !waiting.has(record.id),
    );
    const isOld = head !== null && oracle.now - head.createdAt >= BATCH_PATIENCE_MS;
    const mayGoFirst = isOld && isStarving && oracle.batchOvertaken.all >= BATCH_TURN;
    if (a.lane === "interactive") return !mayGoFirst;
    // The object may have forgotten when the last one began, and takes the next one earlier then.
    const isRemembered = oracle.batchOvertaken.remembered >= BATCH_TURN;
    const mustGoFirst = mayGoFirst && isRemembered && oracle.now - oracle.batchGrantedAt >= BATCH_PATIENCE_MS;
    if (mustGoFirst) oracle.world.coverage.path("an old batch job gets its turn");
    return mustGoFirst;
  }
  return isEarlier(a, b);
}

function isEarlier(a: JobRecord, b: JobRecord): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.id < b.id);
}

/** Whether the node may have the job: not while another node is preferred and there is one. */
function mayTake(oracle: Oracle, { avoid }: Waiting, nodeId: string): boolean {
  return avoid === null || avoid.nodeId !== nodeId || avoid.until <= oracle.now || !oracle.world.hasOtherNode(nodeId);
}

/** Whether it may have waited for another node, or for a replica that is known to be there, when the grant was made. */
function mayWait(oracle: Oracle, { record, avoid }: Waiting, nodeId: string): boolean {
  if (avoid === null || avoid.until <= oracle.now) return false;
  if (record.leases.some(({ outcome, heard }) => outcome === "lost" && !heard)) return true;
  return avoid.nodeId === nodeId && oracle.world.hadOtherNode(nodeId);
}

function place(record: JobRecord): string {
  return `${record.lane} ${record.rank}`;
}
