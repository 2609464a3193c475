/** What GPUs did, attempt by attempt, by the server's clock. */
import * as z from "zod";
import { EndpointId, JobId, KeyId, LeaseId, NodeId, ReplicaId } from "#contract/ids";
import { Lane } from "#contract/job";

/** One attempt that has ended. There is exactly one row for each lease that an agent began to work under. */
export const UsageRow = z
  .object({
    lease_id: LeaseId,
    job_id: JobId,
    endpoint_id: EndpointId,
    key_id: KeyId,
    release: z.int().positive(),
    lane: Lane,
    tags: z.array(z.string()),
    attempt: z.int().positive(),
    replica_id: ReplicaId,
    node_id: NodeId,
    started_at: z.iso.datetime().meta({ description: "When the lease was granted" }),
    ended_at: z.iso.datetime(),
    ms: z.int().nonnegative(),
    outcome: z.enum(["completed", "failed", "released", "lost", "canceled", "timed_out"]),
  })
  .meta({ id: "UsageRow" });
export type UsageRow = z.infer<typeof UsageRow>;
