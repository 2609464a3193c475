/** What must hold of the queue as a whole after each operation. */
import { LEASE_MS, LEASE_RENEW_MS, PROGRESS_PERSIST_MS } from "#contract/limits";
import { ALARM_PACE_MS } from "#durable-objects/endpoint/alarm-clock";
import type { RunningJob } from "#durable-objects/queue/job-record";
import type { Oracle } from "./oracle.ts";
import { promise } from "./violation.ts";

/** Without an interactive job for ten minutes batch jobs take every idle replica; a lost alarm may take one more. */
const INTERACTIVE_LATELY_MS = 11 * 60_000;

/** Jobs on one replica's GPU, or for it: the one it executes and one ahead. */
const AT_WORK = 2;
/** Leases of one replica: those, and one before them whose outputs go up. */
const LEASES_PER_REPLICA = 3;

/** When the lease must be over, at the latest. The object may know of a renewal it did not write down. */
function overBy(oracle: Oracle, { lease }: RunningJob): number {
  const known = oracle.leases.get(lease.id);
  const heardAt = Math.max(known?.heardAt ?? 0, known?.perhapsHeardAt ?? 0);
  return Math.max(lease.until, heardAt + LEASE_MS) + PROGRESS_PERSIST_MS;
}

export function checkQueue(oracle: Oracle): void {
  const { now, operation, world } = oracle;
  const held = new Map<string, number>();
  const atWork = new Map<string, number>();
  let due = Number.POSITIVE_INFINITY;
  for (const { record } of oracle.living.values()) {
    if (record.lane === "interactive") oracle.interactiveAt = now;
    if (record.state === "running") {
      const count = (held.get(record.lease.replicaId) ?? 0) + 1;
      held.set(record.lease.replicaId, count);
      promise("I11", count <= LEASES_PER_REPLICA, () => `${record.lease.replicaId} holds ${count} leases`);
      if (record.phase !== "uploading") {
        const jobs = (atWork.get(record.lease.replicaId) ?? 0) + 1;
        atWork.set(record.lease.replicaId, jobs);
        promise("I11", jobs <= AT_WORK, () => `${record.lease.replicaId} has ${jobs} jobs for its GPU`);
      } else if (count === LEASES_PER_REPLICA)
        world.coverage.path("a job is held ahead while another one's outputs go up");
      due = Math.min(due, overBy(oracle, record));
      if (record.executingAt !== null)
        due = Math.min(due, Math.max(record.deadlineAt, oracle.restartedAt + LEASE_RENEW_MS));
      // L3: the alarm ends what is over.
      if (operation.type === "wake") {
        promise("L3", overBy(oracle, record) > now, () => `the alarm left the lease ${record.lease.id}, which is over`);
      }
    } else if (record.state === "queued") {
      if (record.availableAt !== null) due = Math.min(due, record.availableAt);
      if (record.startedAt === null) due = Math.min(due, record.expiresAt);
      if (operation.type === "wake") {
        promise(
          "L3",
          record.availableAt === null || record.availableAt > now,
          () => `${record.id} stays in its backoff`,
        );
        // One that came back in this very turn has its own alarm next.
        const since = record.events.at(-1)?.at;
        promise(
          "L3",
          record.startedAt !== null || record.expiresAt > now || since === now,
          () => `${record.id} has expired unseen`,
        );
      }
    }
  }
  checkAlarm(oracle, due);
  if (!world.paused && !oracle.removed) checkIdle(oracle, held, atWork);
}

/** I18, L6: whatever waits for time has an alarm, and one that got lost is set again. */
function checkAlarm(oracle: Oracle, due: number): void {
  if (due === Number.POSITIVE_INFINITY || oracle.alarmIsLate) return;
  const { at: alarmAt, last: lastArmed } = oracle.world.object.alarm;
  promise("I18", lastArmed !== null, () => `something is due in ${due - oracle.now} ms and no alarm is set`);
  // What was due already when it was set, or became so as the clock jumped, rings at once, at the pace of a busy alarm.
  promise(
    "I18",
    lastArmed.at <= Math.max(oracle.now + 1, lastArmed.setAt + ALARM_PACE_MS, due),
    () => `something is due in ${due - oracle.now} ms, the alarm rings in ${lastArmed.at - oracle.now} ms`,
  );
  promise(
    "L6",
    alarmAt !== null || lastArmed.at >= oracle.now - 10_000,
    () => `the alarm was lost ${oracle.now - lastArmed.at} ms ago and is not set again`,
  );
}

/**
 * L2: nothing that is ready waits beside a replica that has nothing to do and waits for work. One that works takes a job
 * ahead, or not: that is checked where it is granted. Batch jobs leave replicas to interactive ones, as long as there have
 * been any lately.
 */
function checkIdle(oracle: Oracle, held: ReadonlyMap<string, number>, atWork: ReadonlyMap<string, number>): void {
  let ready = false;
  for (const { record } of oracle.living.values()) {
    if (record.state !== "queued" || record.availableAt !== null || record.avoid !== null) continue;
    if (record.startedAt === null && record.expiresAt <= oracle.now) continue;
    if (record.lane === "batch" && oracle.interactiveAt > oracle.now - INTERACTIVE_LATELY_MS) continue;
    ready = true;
    break;
  }
  if (!ready) return;
  const hasRoom = (id: string): boolean => (held.get(id) ?? 0) < LEASES_PER_REPLICA && !atWork.has(id);
  const idle = oracle.world.pod.idleAtTheObject().find(hasRoom);
  promise("L2", idle === undefined, () => `a job is ready and ${idle} waits for work`);
}

/** I11: what the object counts is what is there. */
export function checkCounts(oracle: Oracle): void {
  const summary = oracle.world.summary();
  if (summary === null) return;
  const counts = { interactive: 0, batch: 0, running: 0 };
  for (const { record } of oracle.living.values()) {
    if (record.state === "queued") counts[record.lane] += 1;
    else counts.running += 1;
  }
  let dead = 0;
  for (const { record } of oracle.jobs.values()) if (record.state === "failed" && record.dead) dead += 1;
  promise("I11", summary.dead === dead, () => `${summary.dead} dead letters are counted, there are ${dead}`);
  promise(
    "I11",
    (summary.paused !== null) === oracle.world.paused,
    () => "it is shown otherwise whether the queue is paused",
  );
  promise(
    "I11",
    summary.queued.interactive === counts.interactive &&
      summary.queued.batch === counts.batch &&
      summary.running === counts.running,
    () =>
      `counted ${summary.queued.interactive}, ${summary.queued.batch}, ${summary.running}; there are ` +
      `${counts.interactive}, ${counts.batch}, ${counts.running}`,
  );
}
