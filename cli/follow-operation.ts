/** Watching an operation on many jobs to its end. */
import type { Call, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { progressBar } from "#cli/progress-bar";
import type { Pilotlight } from "#client/pilotlight";
import type { Operation } from "#contract/queue";

const STOP_MS_MAX = 10_000;

const DONE: Readonly<Record<Operation["kind"], string>> = {
  cancel: "canceled",
  retry: "ran again",
  redrive: "ran again",
  purge: "purged",
};

/**
 * Shows how far it is until it has ended. The first Ctrl-C stops it; what it has done stays done.
 * @throws CliError `interrupted`
 */
export async function followOperation(call: Call, client: Pilotlight, operation: Operation): Promise<Outcome> {
  const { output, interrupts } = call;
  const show = (now: Operation) => {
    output.event({ event: "operation", operation: now.id, data: now });
    const percent = Math.round(now.progress * 100);
    const line = `${now.kind} ${progressBar(now.progress)} ${percent} %, ${now.changed} jobs`;
    output.progress(line, `${Math.floor(percent / 10)} tenths`);
  };
  try {
    const ended = await client.operations.wait(operation.id, { signal: interrupts.signal, onProgress: show });
    return {
      data: { operation: ended },
      ids: ended.kind === "cancel" || ended.kind === "purge" ? [ended.id] : ended.created_jobs,
      text: summary(ended),
    };
  } catch (error) {
    if (!interrupts.signal.aborted) throw error;
    const stopped = await client.operations.cancel(operation.id, { signal: AbortSignal.timeout(STOP_MS_MAX) });
    throw new CliError("interrupted", summary(stopped).join(" "));
  }
}

function summary(operation: Operation): string[] {
  const { id, kind, state, changed, looked_at, skipped, created_jobs } = operation;
  const stopped = state === "canceled" ? ", then stopped" : "";
  const passed = skipped === 0 ? "" : `; ${skipped} had moved on or found the queue full`;
  return [
    `${id}: ${DONE[kind]} ${changed} of ${looked_at} jobs${passed}${stopped}.`,
    ...created_jobs.slice(0, 10).map((job) => `  ${job}`),
    ...(created_jobs.length > 10 ? [`  … and ${changed - 10} more`] : []),
  ];
}
