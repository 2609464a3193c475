import { CliError } from "#cli/errors";
import type { Pilotlight } from "#client/pilotlight";
import { pause } from "#client/retry";
import type { NodeSummary } from "#contract/replica";

const ONLINE_MS_MAX = 90_000;
const LOOK_EVERY_MS = 100;

/**
 * Waits until a node of the pod is online.
 * @throws CliError `agent_not_ready` after 90 s; the signal's reason when it is aborted
 */
export async function nodeOnline(client: Pilotlight, pod: string, signal: AbortSignal): Promise<NodeSummary> {
  const deadline = performance.now() + ONLINE_MS_MAX;
  for (;;) {
    const node = (await client.nodes.list(pod, { signal })).find(({ online }) => online);
    if (node !== undefined) return node;
    if (performance.now() > deadline) {
      throw new CliError("agent_not_ready", `No node is online after ${ONLINE_MS_MAX / 1_000} s; agent.log says why`);
    }
    await pause(LOOK_EVERY_MS, signal);
  }
}
