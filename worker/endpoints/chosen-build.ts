/** The build that a caller chooses for a release. */
import type { WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { findBuild } from "#worker/catalog/builds";
import type { Env } from "#worker/env";

/** @returns the digest as it was given @throws Problem build_not_found */
export async function knownBuild(env: Env, workspaceId: WorkspaceId, digest: string | null): Promise<string | null> {
  if (digest === null || (await findBuild(env.CATALOG, workspaceId, digest)) !== undefined) return digest;
  throw new Problem("build_not_found", "Your workspace has no such build; register it first (POST /v1/builds).", {
    errors: [{ path: "/build", reason: "Must be the digest of a registered build." }],
  });
}
