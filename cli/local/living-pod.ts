import { rm } from "node:fs/promises";
import { type Credentials, type StateFolder, writeJsonFile } from "#cli/local/state-folder";
import type { Pods } from "#client/pods";

/** The pod of this machine may have been deleted: then it is the oldest one that there is, or a new one. */
export async function withLivingPod(
  state: StateFolder,
  pods: Pick<Pods, "list" | "create">,
  credentials: Credentials,
  report: (line: string) => void,
  signal: AbortSignal,
): Promise<Credentials> {
  const living = await pods.list({ signal });
  if (living.some(({ id }) => id === credentials.pod_id)) return credentials;
  const [oldest] = living;
  const pod = oldest ?? (await pods.create({ name: "default" }, { signal }));
  report(
    `This machine's pod was deleted: it ${oldest === undefined ? "has a new one" : "joins the oldest"}, ${pod.name}.`,
  );
  const moved = { ...credentials, pod_id: pod.id };
  // Its token opens the deleted pod.
  await rm(state.joinToken, { force: true });
  await writeJsonFile(state.credentials, moved);
  return moved;
}
