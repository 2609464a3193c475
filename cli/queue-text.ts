import { duration, textTable } from "#cli/text-table";
import type { QueueSummary } from "#contract/queue";

function storageText({ bytes, bytes_max, state }: QueueSummary["storage"]): string {
  const percent = Math.floor((100 * bytes) / bytes_max);
  const meaning = state === "full" ? "new jobs are refused" : "records of ended jobs go as soon as their outputs have";
  return `STORAGE   ${percent} % full: ${meaning}`;
}

/** How a queue stands, in lines for people. */
export function queueText(queue: QueueSummary): string[] {
  const { paused, queued, retrying, running, dead, oldest_wait_ms, eta_ms, service_ms_p50 } = queue;
  const { finished_last_minute: minute, finished_last_hour: hour } = queue;
  const ended = minute.succeeded + minute.failed + minute.canceled + minute.expired;
  return [
    ...(paused === null
      ? []
      : [
          `PAUSED    since ${paused.since}${paused.reason === null ? "" : `: ${paused.reason}`}` +
            (paused.refuse_new ? "; new jobs are refused" : ""),
        ]),
    `queued    ${queued.interactive} interactive, ${queued.batch} batch` +
      (retrying === 0 ? "" : `, ${retrying} of them between two tries`) +
      (oldest_wait_ms === null ? "" : `; the oldest waits ${duration(oldest_wait_ms)}`),
    `running   ${running}${service_ms_p50 === null ? "" : `; half of the last ones took ${duration(service_ms_p50)} or less`}`,
    `next      ${eta_ms === null ? "nobody can tell how long a new job would wait" : `a new job would start in ${duration(eta_ms)}`}`,
    `last min  ${queue.arrived_last_minute} arrived, ${ended} ended`,
    `last hour ${hour.succeeded} succeeded, ${hour.failed} failed, ${hour.canceled} canceled, ${hour.expired} expired`,
    ...(queue.storage.state === "ample" ? [] : [storageText(queue.storage)]),
    `dead      ${dead}${dead === 0 ? "" : "; `pilotlight queue dead` lists them"}`,
    "",
    ...(queue.in_flight.length === 0
      ? []
      : [
          ...textTable(
            ["job", "attempt", "phase", "done", "replica", "since"],
            queue.in_flight.map(({ job_id, attempt, phase, replica_id, assigned_at, progress }) => [
              job_id,
              String(attempt),
              phase,
              progress === null ? "" : `${Math.round(progress.fraction * 100)} %`,
              replica_id,
              assigned_at,
            ]),
          ),
          "",
        ]),
    ...textTable(
      ["replica", "node", "state", "release", "since", "error"],
      queue.replicas.map(({ id, node_id, state, release, started_at, error }) => [
        id,
        node_id,
        state,
        String(release),
        started_at,
        error ?? "",
      ]),
    ),
  ];
}
