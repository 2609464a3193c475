import type { UsageRow } from "#contract/usage";
import type { Violation } from "./check.ts";
import type { Evidence, JobEvidence } from "./evidence.ts";

/** Usage: one row for each lease, and of the attempts of a succeeded job the last one is the one that completed. */
export function checkUsage({ jobs, usage }: Evidence): Violation[] {
  const found: Violation[] = [];
  const byJob = new Map<string, UsageRow[]>();
  const leases = new Set<string>();
  for (const row of usage) {
    byJob.set(row.job_id, [...(byJob.get(row.job_id) ?? []), row]);
    const name = `${row.job_id} ${row.lease_id}`;
    if (leases.has(name)) found.push({ kind: "double_usage", detail: `${row.job_id}: two rows for ${row.lease_id}` });
    leases.add(name);
    if (Date.parse(row.ended_at) - Date.parse(row.started_at) !== row.ms) {
      found.push({ kind: "double_usage", detail: `${row.lease_id}: ${row.ms} ms are not its time from start to end` });
    }
  }
  for (const job of jobs) found.push(...checkAttempts(job, byJob.get(job.record?.id ?? "") ?? []));
  return found;
}

function checkAttempts({ record, events }: JobEvidence, rows: readonly UsageRow[]): Violation[] {
  const found: Violation[] = [];
  if (record === null) return found;
  const inOrder = rows.toSorted((one, other) => Date.parse(one.started_at) - Date.parse(other.started_at));
  for (const [index, row] of inOrder.entries()) {
    const next = inOrder[index + 1];
    if (next !== undefined && Date.parse(next.started_at) < Date.parse(row.ended_at)) {
      found.push({ kind: "double_usage", detail: `${record.id}: ${row.lease_id} and ${next.lease_id} at one time` });
    }
  }
  const completed = inOrder.filter(({ outcome }) => outcome === "completed");
  if (record.state !== "succeeded") {
    for (const { lease_id } of completed) {
      found.push({ kind: "stale_writes", detail: `${record.id} is ${record.state}, but ${lease_id} completed it` });
    }
    return found;
  }
  if (completed.length === 0)
    found.push({ kind: "missing_usage", detail: `${record.id} succeeded without a row for it` });
  if (completed.length > 1)
    found.push({ kind: "stale_writes", detail: `${record.id} was completed by ${completed.length} leases` });
  const [winner] = completed;
  if (winner === undefined) return found;
  if (inOrder.at(-1) !== winner) {
    found.push({
      kind: "stale_writes",
      detail: `${record.id} was completed by ${winner.lease_id}, which was not its last`,
    });
  }
  const lastStart = events.findLast(({ type }) => type === "started");
  if (lastStart !== undefined && lastStart.replicaId !== winner.replica_id) {
    found.push({
      kind: "stale_writes",
      detail: `${record.id} was last given to ${lastStart.replicaId}, completed by ${winner.replica_id}`,
    });
  }
  if (winner.attempt !== record.attempt) {
    found.push({
      kind: "stale_writes",
      detail: `${record.id} is at attempt ${record.attempt}, completed by attempt ${winner.attempt}`,
    });
  }
  return found;
}
