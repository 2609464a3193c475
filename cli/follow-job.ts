/** Watching a job to its end, and saying in one line how far it is. */
import type { Output } from "#cli/output";
import { progressBar } from "#cli/progress-bar";
import { duration } from "#cli/text-table";
import type { JobStreamEvent } from "#client/job-events";
import type { Pilotlight } from "#client/pilotlight";
import type { PilotlightErrorFields } from "#client/pilotlight-error";
import { PilotlightError } from "#client/pilotlight-error";
import type { JsonObject } from "#contract/exact-json";
import { isTerminal, type Job, JobProgress } from "#contract/job";

/**
 * Follows a job's events, writes a progress line for each and every event to `--json-stream`.
 * @param timeoutMs gives up watching after this; the job goes on
 * @returns the job as it ended
 * @throws PilotlightError `wait_timeout`; the signal's reason when it is aborted
 */
export async function followJob(
  client: Pilotlight,
  job: string,
  output: Output,
  options: { readonly signal: AbortSignal; readonly timeoutMs?: number | undefined },
): Promise<Job> {
  const timeout = options.timeoutMs === undefined ? undefined : AbortSignal.timeout(options.timeoutMs);
  const signal = timeout === undefined ? options.signal : AbortSignal.any([options.signal, timeout]);
  let phase = "queued";
  try {
    for await (const event of client.jobs.events(job, { signal })) {
      if (event.type !== "preview") output.event({ event: event.type, seq: event.seq, job, data: event.data });
      phase = phaseAfter(phase, event);
      const line = progressLine(phase, event);
      if (line !== null) output.progress(line, phase);
    }
    // The last event holds the job too, but the stream may have been joined after it.
    for (;;) {
      const ended = await client.jobs.get(job, { waitS: 10, signal });
      if (isTerminal(ended.state)) return ended;
    }
  } catch (error) {
    options.signal.throwIfAborted();
    if (timeout?.aborted === true) {
      const fields: PilotlightErrorFields = {
        code: "wait_timeout",
        status: 200,
        detail: `${job} has not ended within ${duration(options.timeoutMs ?? 0)}`,
      };
      throw new PilotlightError(fields);
    }
    throw error;
  }
}

/** The phase a job is in after an event; `progress` and `preview` do not change it. */
export function phaseAfter(phase: string, event: JobStreamEvent): string {
  if (event.type === "progress" || event.type === "preview") return phase;
  if (event.type === "phase") return textOf(event.data, "phase") ?? phase;
  if (event.type === "started") return textOf(event.data, "phase") ?? "assigned";
  return event.type;
}

/** One line for people, or null when the event says nothing new: `executing KSampler 14/20 ██████▌ 70 %`. */
export function progressLine(phase: string, event: JobStreamEvent): string | null {
  if (event.type === "preview") return null;
  if (event.type !== "progress") return phase;
  const position = event.data.position;
  if (typeof position === "number") return `${phase} #${position}`;
  const progress = JobProgress.safeParse(event.data);
  if (!progress.success) return phase;
  const { fraction, class_type, step, steps, nodes_done, nodes_total } = progress.data;
  const what = class_type ?? `${nodes_done}/${nodes_total} nodes`;
  const steps_ = step === undefined || steps === undefined ? "" : ` ${step}/${steps}`;
  return `${phase} ${what}${steps_} ${progressBar(fraction)} ${Math.round(fraction * 100)} %`;
}

function textOf(data: JsonObject, name: string): string | undefined {
  const value = data[name];
  return typeof value === "string" ? value : undefined;
}

/** `waiting 12 ms · assigned 3 ms · executing 1.2 s`: where the time went. */
export function phasesLine(job: Job): string {
  return job.timeline
    .map(({ phase, attempt, ms }) => {
      const which = job.attempt > 1 && attempt > 0 ? `${phase} (${attempt})` : phase;
      return `${which} ${ms === null ? "…" : `${ms} ms`}`;
    })
    .join(" · ");
}
