import { JsonText } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import type { Job, JobOutput } from "#contract/job";
import { SIGNED_LINK_S } from "#contract/limits";
import type { JobSnapshot, StoredOutput } from "#durable-objects/endpoint/rpc";
import { signedOutputQuery } from "#worker/auth/signed-link";
import type { Env } from "#worker/env";

/** The job as callers see it: addresses absolute by the origin they used, outputs with fresh signed links. */
export async function jobView(
  snapshot: JobSnapshot,
  env: Env,
  workspaceId: WorkspaceId,
  origin: string,
): Promise<Omit<Job, "inputs"> & { inputs: JsonText }> {
  const self = `${origin}/v1/jobs/${snapshot.id}`;
  return {
    id: snapshot.id,
    endpoint_id: snapshot.endpointId,
    endpoint: snapshot.slug,
    release: snapshot.release,
    state: snapshot.state,
    phase: snapshot.phase,
    lane: snapshot.lane,
    priority: snapshot.priority,
    tags: [...snapshot.tags],
    // Written by the submit, every digit; whoever shows a job need not read it.
    inputs: new JsonText(snapshot.inputs),
    attempt: snapshot.attempt,
    attempts_max: snapshot.attemptsMax,
    position: snapshot.position,
    progress: snapshot.progress,
    outputs: await outputsView(snapshot, env, workspaceId, origin),
    error: snapshot.error,
    created_at: iso(snapshot.createdAt),
    started_at: isoOrNull(snapshot.startedAt),
    finished_at: isoOrNull(snapshot.finishedAt),
    expires_at: isoOrNull(snapshot.expiresAt),
    timeline: snapshot.timeline.map((row) => ({
      phase: row.phase,
      attempt: row.attempt,
      started_at: iso(row.startedAt),
      ms: row.ms,
    })),
    key_id: snapshot.keyId,
    batch_id: snapshot.batchId,
    retry_of: snapshot.retryOf,
    retried_as: snapshot.retriedAs,
    webhook: snapshot.webhook,
    urls: { self, events: `${self}/events`, cancel: `${self}/cancel`, why: `${self}/why` },
  };
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

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

export function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : iso(ms);
}
