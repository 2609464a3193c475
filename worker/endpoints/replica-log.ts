/** The log of a replica's start as events, while it goes on. */
import type { ReplicaLogLine } from "#contract/api/replicas";
import type { OwnerKey, ReplicaId, WorkspaceId } from "#contract/ids";
import { SSE_KEEPALIVE_MS } from "#contract/limits";
import type { LogLine } from "#durable-objects/endpoint/replica-news";
import type { ReplicaLogReply } from "#durable-objects/endpoint/rpc";
import { lineEvent, logStream } from "#worker/endpoints/log-stream";
import type { Env } from "#worker/env";
import { askEndpoint } from "#worker/placement/objects";

interface Followed {
  readonly env: Env;
  readonly workspaceId: WorkspaceId;
  /** Of the endpoint's object. */
  readonly key: OwnerKey;
  readonly replica: ReplicaId;
}

/**
 * Lines from a number on as events, until the replica is ready or has ended. An event's id is the number of the line that
 * comes after it.
 * @throws Problem replica_not_found, too_many_watchers
 */
export async function replicaLogStream(followed: Followed, from: number): Promise<Response> {
  return logStream(
    await look(followed, from, 0),
    ({ lines }) => lines.map((line) => lineEvent(line.number + 1, shownLine(line))).join(""),
    ({ next }) => look(followed, next, SSE_KEEPALIVE_MS),
  );
}

export function shownLine({ number, at, line }: LogLine): ReplicaLogLine {
  return { number, at: new Date(at).toISOString(), line };
}

function look(followed: Followed, from: number, waitMs: number): Promise<ReplicaLogReply> {
  const { env, workspaceId, key, replica } = followed;
  return askEndpoint(env, key, "repeatable", (object) => object.watchReplicaLog(workspaceId, replica, from, waitMs));
}
