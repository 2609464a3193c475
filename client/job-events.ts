import { type FollowedEvent, followEvents } from "#client/follow-events";
import type { CallOptions, Transport } from "#client/transport";
import { getJobEvents } from "#contract/api/jobs";
import { TERMINAL_STATES } from "#contract/job";

/**
 * One event of a job's stream. Numbered ones (queued, started, phase, retrying, and the last one, named after the state
 * the job ended in, whose data is the whole job) come once each and in order; `progress` and `preview` show the moment
 * and have no number.
 */
export type JobStreamEvent = FollowedEvent;

/**
 * Follows a job to its end, over as many connections as that takes.
 * @throws PilotlightError when the stream cannot be had; the signal's reason when it is aborted
 */
export function watchJob(
  transport: Transport,
  job: string,
  options: CallOptions & { readonly afterSeq?: number },
): AsyncGenerator<JobStreamEvent, void, void> {
  return followEvents(transport, {
    route: getJobEvents,
    params: { job: job as never },
    of: job,
    afterSeq: options.afterSeq ?? 0,
    isLast: (type) => (TERMINAL_STATES as readonly string[]).includes(type),
    signal: options.signal,
  });
}
