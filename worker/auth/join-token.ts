import { isWellFormedSecret } from "#contract/access";
import type { PodId, WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { sha256Hex } from "#worker/auth/digest";
import { findJoinToken } from "#worker/catalog/pods";
import type { Env } from "#worker/env";

/** The pod a join token opens. @throws Problem unauthenticated; a malformed one is told before the catalog is asked */
export async function verifyJoinToken(env: Env, token: string): Promise<{ workspaceId: WorkspaceId; podId: PodId }> {
  if (!isWellFormedSecret("plj", token)) throw new Problem("unauthenticated", "The join token is malformed.");
  const found = await findJoinToken(env.CATALOG, await sha256Hex(token), Date.now());
  if (found === undefined) throw new Problem("unauthenticated", "The join token is unknown or has expired.");
  return found;
}
