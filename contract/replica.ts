/** Replicas, nodes and pods as callers see them. */
import * as z from "zod";
import { EndpointId, JoinTokenId, NodeId, PodId, ReplicaId } from "#contract/ids";

export const ReplicaState = z.enum([
  "requested",
  "placed",
  "preparing",
  "booting",
  "loading",
  "ready",
  "busy",
  "draining",
  "stopped",
  "crashed",
]);
export type ReplicaState = z.infer<typeof ReplicaState>;

export const Replica = z
  .object({
    id: ReplicaId,
    endpoint_id: EndpointId,
    node_id: NodeId,
    state: ReplicaState,
    release: z.int().positive(),
    error: z.string().nullable(),
    started_at: z.iso.datetime(),
    phases: z.array(z.object({ phase: z.string(), ms: z.int().nonnegative() })),
  })
  .meta({ id: "Replica" });
export type Replica = z.infer<typeof Replica>;

export const Gpu = z
  .object({
    index: z.int().nonnegative(),
    name: z.string().max(200),
    uuid: z.string().max(100).nullable(),
    vram_mb: z.int().nonnegative(),
    driver: z.string().max(100).nullable(),
  })
  .meta({ id: "Gpu" });
export type Gpu = z.infer<typeof Gpu>;

export const NodeSummary = z
  .object({
    id: NodeId,
    pod_id: PodId,
    name: z.string(),
    region: z.string().nullable(),
    online: z.boolean(),
    draining: z.boolean(),
    comfyui: z.string().meta({ description: "What drives the jobs: spawned, attached or stand-in, with its version" }),
    gpus: z.array(Gpu),
    slots: z.array(z.object({ slot: z.int().nonnegative(), replica_id: ReplicaId.nullable() })),
    agent_version: z.string(),
    joined_at: z.iso.datetime(),
    last_seen_at: z.iso.datetime(),
  })
  .meta({ id: "Node" });
export type NodeSummary = z.infer<typeof NodeSummary>;

export const Pod = z.object({ id: PodId, name: z.string(), created_at: z.iso.datetime() }).meta({ id: "Pod" });
export type Pod = z.infer<typeof Pod>;

export const JoinToken = z
  .object({
    id: JoinTokenId,
    pod_id: PodId,
    created_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
    token: z.string().optional().meta({ description: "Shown once, when it is made" }),
  })
  .meta({ id: "JoinToken" });
export type JoinToken = z.infer<typeof JoinToken>;
