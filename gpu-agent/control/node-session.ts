/** The credential a node gets when it joins, kept on disk so that a restart is not a new node. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import * as z from "zod";
import { NodeId, PodId } from "#contract/ids";
import { writeFileAtomically } from "../state-directory.ts";

const StoredSession = z.strictObject({
  url: z.string(),
  node_id: NodeId,
  pod_id: PodId,
  session: z.string(),
  /** Which token made it: another token means another pod. */
  join_token_sha256: z.string().nullable(),
  /** The agent's latest start that used it; 0 in files of agents that did not count. */
  start: z.int().nonnegative().default(0),
});
export type StoredSession = z.infer<typeof StoredSession>;

export function tokenHash(joinToken: string | undefined): string | null {
  return joinToken === undefined ? null : createHash("sha256").update(joinToken).digest("hex");
}

/**
 * A number for this start of the agent, by which the server knows its polls from those of the start before that are
 * still on their way. Above the last one always; and, by the clock, also above those that were never written down or
 * that a restored disk has forgotten.
 */
export function nextStart(last: number, now: number): number {
  return Math.max(last + 1, Math.floor(now));
}

/**
 * @returns the session of an earlier run, or null when there is none for this server and this join token
 */
export async function loadSession(
  path: string,
  url: string,
  joinToken: string | undefined,
): Promise<StoredSession | null> {
  try {
    const stored = StoredSession.parse(JSON.parse(await readFile(path, "utf8")));
    const hash = tokenHash(joinToken);
    return stored.url === url && (hash === null || hash === stored.join_token_sha256) ? stored : null;
  } catch {
    return null;
  }
}

/** Only its owner may read it. */
export async function saveSession(path: string, session: StoredSession): Promise<void> {
  await writeFileAtomically(path, `${JSON.stringify(session, null, 2)}\n`, 0o600);
}
