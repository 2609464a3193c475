/** Pods, nodes, tokens and cards as the API shows them. */
import type { WorkspaceGpuType } from "#contract/api/gpu-types";
import { JoinTokenId, makeId, NodeId, ownerKey, PodId } from "#contract/ids";
import {
  DEFAULT_POD_SETTINGS,
  type JoinToken,
  type NodeSummary,
  type Pod,
  type PodCapacity,
  type PodDetail,
} from "#contract/replica";

const zeros = (length: number) => new Uint8Array(length);
const AT = "2026-11-21T10:00:00.000Z";

export const POD_ID = makeId(PodId, "pod", 1, zeros);
export const NODE_ID = makeId(NodeId, "node", 2, zeros, ownerKey(POD_ID));
export const OTHER_NODE_ID = makeId(NodeId, "node", 3, zeros, ownerKey(POD_ID));
export const TOKEN_ID = makeId(JoinTokenId, "jt", 4, zeros);

export function examplePod(more: Partial<Pod> = {}): Pod {
  return { id: POD_ID, name: "rack", ...DEFAULT_POD_SETTINGS, created_at: AT, updated_at: AT, ...more };
}

const NO_REPLICAS = { total: 0, placed: 0, preparing: 0, booting: 0, loading: 0, ready: 0, draining: 0 };

/** A pod with one free slot, as it is read. */
export function examplePodDetail(more: Partial<Pod> = {}, capacity: Partial<PodCapacity> = {}): PodDetail {
  return {
    ...examplePod(more),
    capacity: {
      nodes: { total: 1, online: 1, open: 1 },
      slots: { total: 1, taken: 0, draining: 0, free: 1 },
      containers_left: null,
      replicas: NO_REPLICAS,
      endpoints: [],
      endpoints_total: 0,
      ...capacity,
    },
  };
}

export function exampleNode(more: Partial<NodeSummary> = {}): NodeSummary {
  return {
    id: NODE_ID,
    pod_id: POD_ID,
    name: "cellar",
    region: "eu-west",
    online: true,
    draining: false,
    cordoned: false,
    quarantine: null,
    unused_because: null,
    gpu_type: "rtx-4090",
    slots_per_gpu: 1,
    inventory: null,
    metrics: null,
    comfyui: "stand-in",
    gpus: [{ index: 0, name: "NVIDIA GeForce RTX 4090", uuid: "GPU-aaaa", vram_mb: 24_564, driver: "560.35" }],
    slots: [{ slot: 0, replica_id: null }],
    agent_version: "0.1.0",
    joined_at: AT,
    last_seen_at: AT,
    ...more,
  };
}

export function exampleFigures(busy: number): NonNullable<NodeSummary["metrics"]> {
  return {
    gpus: [
      {
        index: 0,
        busy_percent: busy,
        vram_used_mb: 12_282,
        vram_total_mb: 24_564,
        temperature_c: 61,
        power_w: 312.4,
      },
    ],
    cpu_percent: 25,
    memory_used_mb: 16_384,
    memory_total_mb: 65_536,
    disk_free_mb: 102_400,
    disk_total_mb: 512_000,
    network_in_bytes_per_s: 1_250_000,
    network_out_bytes_per_s: null,
    at: AT,
  };
}

export function exampleToken(more: Partial<JoinToken> = {}): JoinToken {
  return {
    id: TOKEN_ID,
    pod_id: POD_ID,
    name: "",
    created_at: AT,
    expires_at: "2999-11-22T10:00:00.000Z",
    uses_max: null,
    uses: 0,
    revoked_at: null,
    ...more,
  };
}

export function exampleGpuType(more: Partial<WorkspaceGpuType> = {}): WorkspaceGpuType {
  return {
    name: "rtx-4090",
    title: "RTX 4090",
    vram_mb: 24_576,
    price_per_hour: 0.34,
    bandwidth_gb_s: 1008,
    suits: "Flux in FP8",
    matches: ["RTX 4090"],
    own: false,
    changed: [],
    ...more,
  };
}
