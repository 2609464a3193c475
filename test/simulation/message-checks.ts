/** What agents may be told, and what their messages may do. */
import type { ReplicaPollAnswer } from "#contract/agent";
import type { JobId, LeaseId } from "#contract/ids";
import type { Completed } from "#durable-objects/endpoint/rpc";
import type { LeaseMessage, Operation } from "./operation.ts";
import type { Oracle } from "./oracle.ts";
import { promise } from "./violation.ts";

/** The end of a lease after which the same message again gets the same answer. */
const ENDED_BY: Readonly<Record<LeaseMessage["what"], string>> = {
  complete: "completed",
  fail: "failed",
  release: "released",
  progress: "",
  input: "",
  grant: "",
};

export function checkMessage(
  oracle: Oracle,
  operation: LeaseMessage,
  reply: { readonly ok: boolean; readonly code?: string; readonly answer?: { readonly cancel: boolean } },
  touched: ReadonlySet<string>,
): void {
  const { judgement, now, world } = oracle;
  const { what, proof } = operation;
  const lease = oracle.leases.get(proof.leaseId);
  if (judgement.current && lease !== undefined) {
    promise(
      "I4",
      reply.ok || reply.code === "file_not_found",
      () => `the present lease is refused its ${what}: ${reply.code}`,
    );
    // Fetching inputs ahead is no sign that the job has begun.
    if (what !== "input" || !lease.isAhead || lease.heardAt !== null) lease.heardAt = now;
    if (what === "complete") world.coverage.path("a job succeeds");
    return;
  }
  // I4, I5, I16: nobody else changes anything; what a zombie does is litter.
  const jobId = lease?.jobId;
  promise(
    "I4",
    jobId === undefined || !touched.has(jobId),
    () => `a stale ${what} under ${proof.leaseId} has changed ${jobId}`,
  );
  // I13: the same end twice gets the same answer; a lease that the server ended is told to stop.
  const revoked = what === "progress" && (judgement.outcome === "canceled" || judgement.outcome === "timed_out");
  const repeated = ENDED_BY[what] !== "" && ENDED_BY[what] === judgement.outcome;
  const expected = judgement.genuine && (repeated || revoked);
  promise(
    "I13",
    reply.ok === expected,
    () => `a stale ${what} (${judgement.outcome}) was answered ${reply.code ?? "ok"}`,
  );
  if (expected && revoked) {
    promise("I13", reply.answer?.cancel === true, () => "an agent is not told that its job was canceled");
    world.coverage.path("an agent is told to stop");
  } else world.coverage.path(repeated ? `a repeated ${what} gets its answer` : `a stale ${what} is refused`);
}

/** A complete goes on as a poll only for whom a job may come, and once: said again, it does not. */
export function checkWaits(oracle: Oracle, operation: LeaseMessage, { next, waits }: Completed): void {
  if (waits === null) return;
  const { judgement, living, world } = oracle;
  const { nextPollId, nextWaitMs } = operation;
  const { replicaId, ms } = waits;
  promise("I13", judgement.current, () => `a complete of ${replicaId} that was said again waits a second time`);
  promise("I13", next === null, () => `${replicaId} waits beside the lease it got`);
  promise("L2", ms <= (nextPollId === undefined ? -1 : (nextWaitMs ?? -1)), () => `${replicaId} waits unasked`);
  const row = world.database.look("SELECT draining FROM replicas WHERE id = ?", replicaId)[0];
  promise("L2", row?.draining === 0, () => `${replicaId} waits for work although it is let go`);
  for (const { record } of living.values()) {
    const holds = record.state === "running" && record.lease.replicaId === replicaId;
    promise("I7", !holds, () => `${replicaId} waits as if it did not hold the lease of ${record.id}`);
  }
  world.coverage.path("a complete goes on as a poll");
}

export function checkPoll(
  oracle: Oracle,
  { replicaId, poll }: Operation & { type: "poll" },
  outcome: string,
  answer: ReplicaPollAnswer | null,
): void {
  const isPresent = (id: LeaseId, jobId: JobId): boolean => {
    const record = oracle.jobs.get(jobId)?.record;
    return record?.state === "running" && record.lease.id === id;
  };
  for (const id of answer?.ended ?? []) {
    const lease = oracle.leases.get(id);
    const held = lease !== undefined && isPresent(id, lease.jobId) && lease.replicaId === replicaId;
    const token = poll.leases.find(({ lease_id }) => lease_id === id)?.token;
    promise("I7", !held || token !== lease.token, () => `the living lease ${id} is called ended`);
  }
  // I13: a poll that was answered with a lease gets it again, as long as it lives.
  for (const { record } of oracle.living.values()) {
    if (record.state !== "running" || record.lease.replicaId !== replicaId) continue;
    const lease = oracle.leases.get(record.lease.id);
    if (lease === undefined || lease.pollId !== poll.poll_id) continue;
    if (poll.leases.some(({ lease_id }) => lease_id === lease.id)) continue;
    if (outcome === "unverified" || (outcome === "answered" && answer === null)) continue;
    promise("I13", answer?.lease?.lease_id === lease.id, () => `the poll ${poll.poll_id} does not get its lease again`);
  }
}
