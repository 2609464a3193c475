/** Replicas, nodes and pods as callers see them. */
import * as z from "zod";
import { EndpointId, JoinTokenId, NodeId, PodId, ReplicaId } from "#contract/ids";
import { Sha256 } from "#contract/job";
import {
  CARD_POWER_W_MAX,
  CARD_TEMPERATURE_C_MAX,
  CARD_TEMPERATURE_C_MIN,
  GPU_INDEX_MAX,
  IDLE_TIMEOUT_S_MAX,
  MACHINE_MB_MAX,
  NETWORK_BYTES_PER_S_MAX,
  NODE_BUILDS_MAX,
  NODE_MODELS_MAX,
  POD_ENDPOINTS_LISTED_MAX,
  REPLICAS_MAX,
  SLOTS_PER_NODE_MAX,
  VRAM_MB_MAX,
} from "#contract/limits";
import { Region } from "#contract/region";

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

/** A type of card, as the shipped table of GPU types calls it: `rtx-4090`, `a100-80`. */
export const GpuTypeName = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, "1 to 32 lower-case letters, digits, inner hyphens");
export type GpuTypeName = z.infer<typeof GpuTypeName>;

export const Replica = z
  .object({
    id: ReplicaId,
    endpoint_id: EndpointId,
    node_id: NodeId,
    state: ReplicaState,
    release: z.int().positive(),
    error: z.string().nullable(),
    pod_id: PodId,
    gpu_type: GpuTypeName.nullable(),
    doing: z
      .string()
      .nullable()
      .meta({ description: "What it is at while it starts, in words: 3.1 of 6.9 GB of model.safetensors" }),
    started_at: z.iso.datetime(),
    seconds: z
      .object({ cold: z.number().nonnegative(), idle: z.number().nonnegative(), busy: z.number().nonnegative() })
      .meta({ description: "How long it has started, idled and worked until now, by the server's clock" }),
    states: z
      .array(z.object({ state: ReplicaState, at: z.iso.datetime() }))
      .meta({ description: "When it entered each state" }),
    phases: z.array(z.object({ phase: z.string(), ms: z.int().nonnegative() })),
  })
  .meta({ id: "Replica" });
export type Replica = z.infer<typeof Replica>;

export const Gpu = z
  .object({
    index: z.int().min(0).max(GPU_INDEX_MAX),
    name: z.string().max(200),
    uuid: z.string().max(100).nullable(),
    vram_mb: z.int().min(0).max(VRAM_MB_MAX),
    driver: z.string().max(100).nullable(),
  })
  .meta({ id: "Gpu" });
export type Gpu = z.infer<typeof Gpu>;

/** What the node has beside its cards; what it cannot find out is null. */
export const NodeInventory = z
  .strictObject({
    os: z.string().max(200).nullable(),
    cpu: z.string().max(200).nullable(),
    cpu_cores: z.int().nonnegative().nullable(),
    memory_mb: z.int().min(0).max(MACHINE_MB_MAX).nullable(),
    disk_total_mb: z.int().min(0).max(MACHINE_MB_MAX).nullable(),
    disk_free_mb: z.int().min(0).max(MACHINE_MB_MAX).nullable(),
    driver: z.string().max(100).nullable(),
    cuda: z.string().max(100).nullable(),
    python: z.string().max(100).nullable(),
    node: z.string().max(100).nullable(),
    builds: z.array(Sha256).max(NODE_BUILDS_MAX).meta({ description: "Builds ready on its disk, by digest" }),
    models: z.array(Sha256).max(NODE_MODELS_MAX).meta({ description: "Weights on its disk, by sha256" }),
  })
  .meta({ id: "NodeInventory" });
export type NodeInventory = z.infer<typeof NodeInventory>;

const Percent = z.number().min(0).max(100).nullable();
const Megabytes = z.number().min(0).max(MACHINE_MB_MAX).nullable();
const CardMegabytes = z.number().min(0).max(VRAM_MB_MAX).nullable();
const BytesPerSecond = z.number().min(0).max(NETWORK_BYTES_PER_S_MAX).nullable();

/** How a node fares at one moment; what it cannot measure is null. */
export const NodeMetrics = z
  .strictObject({
    gpus: z
      .array(
        z.strictObject({
          index: z.int().min(0).max(GPU_INDEX_MAX),
          busy_percent: Percent,
          vram_used_mb: CardMegabytes,
          vram_total_mb: CardMegabytes,
          temperature_c: z.number().min(CARD_TEMPERATURE_C_MIN).max(CARD_TEMPERATURE_C_MAX).nullable(),
          power_w: z.number().min(0).max(CARD_POWER_W_MAX).nullable(),
        }),
      )
      .max(SLOTS_PER_NODE_MAX),
    cpu_percent: Percent,
    memory_used_mb: Megabytes,
    memory_total_mb: Megabytes,
    disk_free_mb: Megabytes,
    disk_total_mb: Megabytes,
    network_in_bytes_per_s: BytesPerSecond,
    network_out_bytes_per_s: BytesPerSecond,
  })
  .meta({ id: "NodeMetrics" });
export type NodeMetrics = z.infer<typeof NodeMetrics>;

export const NodeSummary = z
  .object({
    id: NodeId,
    pod_id: PodId,
    name: z.string(),
    region: z.string().nullable(),
    online: z.boolean(),
    draining: z.boolean(),
    cordoned: z.boolean().meta({ description: "It gets nothing new; what it runs stays" }),
    quarantine: z
      .object({ reason: z.string(), since: z.iso.datetime(), until: z.iso.datetime().nullable() })
      .nullable()
      .meta({ description: "Why the pod does not trust it, until when; null: it does" }),
    unused_because: z.string().nullable().meta({
      description: "Why it gets nothing new though it is online, in words; null: it does, or it is not online",
    }),
    gpu_type: GpuTypeName.nullable().meta({
      description: "Of its first card; null: none, or one the table does not know",
    }),
    slots_per_gpu: z.int().positive(),
    inventory: NodeInventory.nullable(),
    metrics: NodeMetrics.extend({ at: z.iso.datetime() }).nullable(),
    comfyui: z.string().meta({ description: "What drives the jobs: spawned, attached or stand-in, with its version" }),
    gpus: z.array(Gpu),
    slots: z.array(z.object({ slot: z.int().nonnegative(), replica_id: ReplicaId.nullable() })),
    agent_version: z.string(),
    joined_at: z.iso.datetime(),
    last_seen_at: z.iso.datetime(),
  })
  .meta({ id: "Node" });
export type NodeSummary = z.infer<typeof NodeSummary>;

/** What an operator sets of a pod. */
export const PodSettings = z
  .strictObject({
    description: z.string().max(2_000),
    gpu_types: z.array(GpuTypeName).max(20).meta({
      description: "Cards that may join, the preferred one first; a node without one of them is refused. Empty: any",
    }),
    containers_max: z.int().min(1).max(10_000).nullable().meta({
      description: "Replicas that may run on it at once; null: as many as its nodes have slots",
    }),
    regions: z.array(Region).max(20).meta({ description: "Where its nodes may be; empty: anywhere" }),
    min_replicas: z.int().min(0).max(REPLICAS_MAX).meta({
      description: "Replicas kept on it even when idle, whichever endpoints they are of: those used last keep them",
    }),
    idle_timeout_s: z.int().min(1).max(IDLE_TIMEOUT_S_MAX).nullable().meta({
      description:
        "No replica idles longer on it than this, whatever its endpoint allows; null: as its endpoint allows",
    }),
    prices: z.record(GpuTypeName, z.number().min(0).max(1_000)).meta({
      description: "Price per GPU-hour by type of card, where it differs from the table's",
    }),
  })
  .meta({ id: "PodSettings" });
export type PodSettings = z.infer<typeof PodSettings>;

export const DEFAULT_POD_SETTINGS: PodSettings = {
  description: "",
  gpu_types: [],
  containers_max: null,
  regions: [],
  min_replicas: 0,
  idle_timeout_s: null,
  prices: {},
};

export const Pod = z
  .object({
    id: PodId,
    name: z.string(),
    ...PodSettings.shape,
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "Pod" });
export type Pod = z.infer<typeof Pod>;

const Count = z.int().nonnegative();

/** Replicas as their pod knows them: how far they have come, and whether they are on their way out. */
export const ReplicaCounts = z
  .object({
    total: Count,
    placed: Count.meta({ description: "Given a slot; their nodes have not begun with them" }),
    preparing: Count,
    booting: Count,
    loading: Count,
    ready: Count.meta({ description: "Ready for a job, or at one" }),
    draining: Count.meta({
      description: "On their way out, whatever they are at; they hold their slots until they are gone",
    }),
  })
  .meta({ id: "ReplicaCounts" });
export type ReplicaCounts = z.infer<typeof ReplicaCounts>;

/** Why an endpoint has fewer replicas on a pod than it wants; durable-objects/replicas/place.ts says when which. */
export const ShortageCode = z.enum(["no_node_online", "region_unavailable", "all_slots_busy", "crash_looping"]);
export type ShortageCode = z.infer<typeof ShortageCode>;

export const PodEndpoint = z
  .object({
    endpoint_id: EndpointId,
    wanted: Count.meta({ description: "Replicas that it would have here" }),
    needed: Count.meta({
      description: "Replicas that it has work for or keeps warm itself; what it has beyond may go to others",
    }),
    have: Count.meta({ description: "Replicas that it has here and that are not on their way out" }),
    trials: Count.meta({ description: "Types of card on which it still lacks a replica that tries a release" }),
    replicas: ReplicaCounts,
    waits_since: z.iso.datetime().nullable().meta({
      description: "Since when it has had fewer than it wants, or lacked one for a trial; null: it has them",
    }),
    shortage: z
      .object({
        code: ShortageCode,
        error: z.string().nullable().meta({
          description:
            "In words: the last error of replicas that crash, or why machines take nothing new; null: unknown",
        }),
      })
      .nullable()
      .meta({ description: "Why it has fewer than it wants; null: it has them, or gets them now" }),
  })
  .meta({ id: "PodEndpoint" });
export type PodEndpoint = z.infer<typeof PodEndpoint>;

export const PodCapacity = z
  .object({
    nodes: z.object({
      total: Count.meta({ description: "Those included that are away" }),
      online: Count,
      open: Count.meta({ description: "Online, and they take new work" }),
    }),
    slots: z.object({
      total: Count.meta({ description: "Of the nodes that are online" }),
      taken: Count.meta({ description: "They hold a replica, or something that the pod has not given them" }),
      draining: Count.meta({ description: "Of those taken, the ones whose replica is on its way out" }),
      free: Count.meta({
        description: "A new replica could have them now: on nodes that take new work, and within the pod's containers",
      }),
    }),
    containers_left: Count.nullable().meta({
      description: "Replicas that may be added before `containers_max` is reached; null: no bound",
    }),
    replicas: ReplicaCounts,
    endpoints: z
      .array(PodEndpoint)
      .max(POD_ENDPOINTS_LISTED_MAX)
      .meta({
        description: `Those that want replicas here or have some, the longest waiting first; at most ${POD_ENDPOINTS_LISTED_MAX}`,
      }),
    endpoints_total: Count,
  })
  .meta({ id: "PodCapacity" });
export type PodCapacity = z.infer<typeof PodCapacity>;

/** A pod with how it stands now, as its object counts it. */
export const PodDetail = Pod.extend({ capacity: PodCapacity }).meta({ id: "PodDetail" });
export type PodDetail = z.infer<typeof PodDetail>;

export const JoinToken = z
  .object({
    id: JoinTokenId,
    pod_id: PodId,
    name: z.string().meta({ description: "What it is for" }),
    created_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
    uses_max: z
      .int()
      .positive()
      .nullable()
      .meta({ description: "Machines that may join with it; null: as many as ever may, 10,000" }),
    uses: z.int().nonnegative(),
    revoked_at: z.iso.datetime().nullable(),
    token: z.string().optional().meta({ description: "Shown once, when it is made" }),
  })
  .meta({ id: "JoinToken" });
export type JoinToken = z.infer<typeof JoinToken>;
