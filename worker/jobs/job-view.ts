import type { JsonText } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import type { Job, JobOutput } from "#contract/job";
import { SIGNED_LINK_S } from "#contract/limits";
import type { JobSnapshot, StoredOutput } from "#durable-objects/endpoint/rpc";
import { shownJob } from "#durable-objects/endpoint/shown-job";
import { signedOutputQuery } from "#worker/auth/signed-link";
import type { Env } from "#worker/env";

/** The job as callers see it: addresses absolute by the origin they used, outputs with fresh signed links. */
export async function jobView(
  snapshot: JobSnapshot,
  env: Env,
  workspaceId: WorkspaceId,
  origin: string,
): Promise<Omit<Job, "inputs"> & { inputs: JsonText }> {
  return shownJob(snapshot, await outputsView(snapshot, env, workspaceId, origin), origin);
}

/** A job's outputs with fresh signed links. */
export function outputsView(
  snapshot: JobSnapshot,
  env: Env,
  workspaceId: WorkspaceId,
  origin: string,
): Promise<JobOutput[]> {
  const expires = Math.floor(Date.now() / 1000) + SIGNED_LINK_S;
  return Promise.all(snapshot.outputs.map((output) => outputView(output, snapshot, env, workspaceId, origin, expires)));
}

async function outputView(
  output: StoredOutput,
  snapshot: JobSnapshot,
  env: Env,
  workspaceId: WorkspaceId,
  origin: string,
  expires: number,
): Promise<JobOutput> {
  const path = `/v1/jobs/${snapshot.id}/outputs/${output.name}`;
  return {
    name: output.name,
    output: output.output,
    kind: output.kind,
    filename: output.filename,
    content_type: output.content_type,
    size: output.size,
    sha256: output.sha256,
    url: `${origin}${path}?${await signedOutputQuery(env.SIGNING_SECRET, path, expires, workspaceId)}`,
    ...(output.text === undefined ? {} : { text: output.text }),
  };
}
