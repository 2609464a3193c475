/** Whether a job is what kills the machines it runs on. */
import type { NodeId } from "#contract/ids";
import type { JobError, JobErrorCode } from "#contract/job";
import type { RunningJob } from "#durable-objects/queue/job-record";
import type { LeaseOutcome } from "#durable-objects/queue/lease";

/** One dead machine is an accident of the machine. */
const DEATHS_MIN = 2;
const DEADLY: readonly JobErrorCode[] = ["lease_lost", "replica_failed"];

/**
 * The error a job ends with whose attempts are used up. It is poisoned when its attempts ended with the death of the
 * agent or replica that had begun to work on it: all of them, or those on at least two different nodes. An agent that
 * released the job lives.
 * @param job with its last lease still open
 * @param error what ended the last attempt
 * @param by how its lease ends
 */
export function finalError(job: RunningJob, error: JobError, by: LeaseOutcome): JobError {
  if (!DEADLY.includes(error.code) || !job.lease.confirmed || by === "released") return error;
  const deaths = [...earlierDeaths(job), job.lease.nodeId];
  const nodes = [...new Set(deaths)];
  if (deaths.length < DEATHS_MIN || (deaths.length < job.attempt && nodes.length < DEATHS_MIN)) return error;
  const where = nodes.length === 1 ? `node ${nodes[0]}` : `nodes ${nodes.join(", ")}`;
  return {
    code: "poisoned",
    message: `${deaths.length} of ${job.attempt} attempts ended with the death of the replica or its agent (${where}). Last: ${error.message}`,
  };
}

/** Nodes of the attempts before the present one that ended by a death, one for each. */
function earlierDeaths(job: RunningJob): NodeId[] {
  // A lease handed back counts for no attempt: the next lease has its number again, and its event names the one before.
  const codes = new Map<number, JobErrorCode>();
  for (const event of job.events) {
    if (event.type !== "retrying") continue;
    const { attempt, error } = JSON.parse(event.data) as { attempt: number; error: JobError };
    if (!codes.has(attempt)) codes.set(attempt, error.code);
  }
  const leases = new Map(job.leases.map((lease) => [lease.attempt, lease]));
  const died = (attempt: number): boolean => {
    const code = codes.get(attempt);
    return code !== undefined && DEADLY.includes(code);
  };
  return [...leases.values()]
    .filter(({ attempt, heard, outcome }) => attempt < job.attempt && heard && outcome !== "released" && died(attempt))
    .map(({ nodeId }) => nodeId);
}
