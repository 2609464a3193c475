/** Watching a release on its way to its place: what its machines say, and what came of it. */
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import type { Pilotlight } from "#client/pilotlight";
import type { Endpoint } from "#contract/endpoint";
import type { ReleaseLogLine, Verification } from "#contract/verification";

/** Options of every command that gives a release its place. */
export const placeOptions = { "no-wait": { type: "boolean" }, force: { type: "boolean" } } as const;
export const placeHelp = {
  "no-wait": "do not wait until the release has run on the machines; it takes its place by itself",
  force: "at once, whether or not the release has run on a GPU",
};

/**
 * Waits until the release that the endpoint waits for has its place, unless --no-wait is given.
 * @param endpoint as the call that asked for it answered
 * @returns the endpoint as it is then; as it was given where nothing is waited for
 * @throws CliError `release_failed`, `release_replaced`, `interrupted`
 */
export async function placed(call: Call, client: Pilotlight, endpoint: Endpoint): Promise<Endpoint> {
  const { pending, slug } = endpoint;
  if (pending === null || call.flag("no-wait")) return endpoint;
  const { release, since } = pending;
  const { output, interrupts } = call;
  const { signal } = interrupts;
  output.note(`Release ${release} takes its place as soon as it has run on the machines. ${pending.reason}`);
  let after = 0;
  try {
    for (;;) {
      for await (const line of client.releases.logs(slug, release, { after, signal })) {
        after = line.n;
        // Lines of an earlier try are history.
        if (line.at < since) continue;
        output.event({ event: "release_log", release, data: line });
        output.note(logLine(line));
      }
      const now = await client.endpoints.get(slug, { signal });
      if (now.pending?.release === release) continue;
      if (now.release.number === release || now.canary?.release === release) return now;
      const tried = await client.releases.get(slug, release, {}, { signal });
      const failed = tried.verification.find(({ state }) => state === "failed");
      if (failed !== undefined) throw new CliError("release_failed", failureText(release, failed));
      throw new CliError("release_replaced", `Release ${release} is not waited for any more.`);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new CliError("interrupted", `Release ${release} goes on to its place by itself; releases logs follows it.`);
  }
}

/** `rtx-4090  The smoke test has passed.` */
export function logLine({ gpu_type, text }: ReleaseLogLine): string {
  return gpu_type === null ? text : `${gpu_type}  ${text}`;
}

/** What is said of a release that waits, and of one that is used without having run. */
export function standingLines({ slug, release, pending }: Endpoint): string[] {
  if (pending !== null) {
    const role = pending.canary === null ? "new jobs run on it" : "it gets its part of the new jobs";
    return [
      `${slug} still runs new jobs on release ${release.number}. As soon as release ${pending.release} is ready, ${role}.`,
      `  ${pending.reason}`,
      `  pilotlight releases logs ${slug} ${pending.release}`,
    ];
  }
  return release.forced && release.state !== "ready"
    ? [`warning: release ${release.number} is active by force: it has not run on a GPU yet.`]
    : [];
}

function failureText(release: number, { gpu_type, error }: Verification): string {
  const where = gpu_type === null ? "the machines" : gpu_type;
  return `Release ${release} cannot run on ${where}: ${error ?? "nobody says why"}`;
}
