/** A queue, a batch and an operation as the service shows them. */
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";

const ENDPOINT_ID = "ep_0dpx4n3m8k7q2wz6tgr1vyc5hb";

export function exampleBatch(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: "batch_0dpx4n3m8k7q2wz6tgr1vyc5ha",
    endpoint_id: ENDPOINT_ID,
    endpoint: "text-to-image",
    state: "running",
    total: 3,
    counts: { queued: 3, running: 0, succeeded: 0, failed: 0, canceled: 0, expired: 0 },
    progress: 0,
    created_at: "2026-11-21T10:00:00.000Z",
    finished_at: null,
    urls: { self: "/v1/batches/x", results: "/v1/batches/x/results", cancel: "/v1/batches/x/cancel", jobs: "/v1/jobs" },
    ...changes,
  };
}

export function exampleResult(index: number, changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    index,
    job_id: EXAMPLE_JOB_ID,
    state: "succeeded",
    inputs: { seed: index },
    outputs: [],
    error: null,
    ...changes,
  };
}

export function exampleOperation(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: "op_0dpx4n3m8k7q2wz6tgr1vyc5ha",
    endpoint_id: ENDPOINT_ID,
    kind: "cancel",
    state: "done",
    looked_at: 5,
    changed: 3,
    skipped: 2,
    progress: 1,
    created_jobs: [],
    created_at: "2026-11-21T10:00:00.000Z",
    finished_at: "2026-11-21T10:00:01.000Z",
    ...changes,
  };
}

export function exampleQueue(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const finished = { succeeded: 7, failed: 1, canceled: 0, expired: 0 };
  return {
    endpoint_id: ENDPOINT_ID,
    paused: null,
    queued: { interactive: 4, batch: 30 },
    retrying: 1,
    running: 2,
    dead: 5,
    oldest_wait_ms: 61_000,
    eta_ms: 42_000,
    in_flight: [],
    replicas: [],
    arrived_last_minute: 12,
    finished_last_minute: finished,
    finished_last_hour: { ...finished, succeeded: 420 },
    service_ms_p50: 3_000,
    storage: { bytes: 2_000_000, bytes_max: 10_000_000_000, state: "ample" },
    ...changes,
  };
}

export function exampleEntry(position: number): Record<string, unknown> {
  return {
    job_id: EXAMPLE_JOB_ID,
    position,
    eta_ms: 1_000 * position,
    phase: "waiting",
    lane: "interactive",
    priority: 5,
    attempt: 0,
    tags: [],
    key_id: "key_0dpx4n3m8k7q2wz6tgr1vyc5hc",
    batch_id: null,
    created_at: "2026-11-21T10:00:00.000Z",
    waited_ms: 5_000,
    expires_at: null,
    available_at: null,
  };
}

export function exampleUsage(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    lease_id: `lse_${EXAMPLE_JOB_ID.slice(4)}-1`,
    job_id: EXAMPLE_JOB_ID,
    endpoint_id: ENDPOINT_ID,
    key_id: "key_0dpx4n3m8k7q2wz6tgr1vyc5hc",
    release: 1,
    lane: "interactive",
    tags: [],
    attempt: 1,
    replica_id: "rep_0dpx4n3m8k7q2wz6tgr1vyc5hd",
    node_id: "node_0dpx4n3m8k7q2wz6tgr1vyc5he",
    started_at: "2026-11-21T10:00:00.000Z",
    ended_at: "2026-11-21T10:00:01.500Z",
    ms: 1_500,
    outcome: "completed",
    ...changes,
  };
}

/** An endpoint with a prompt and a seed. */
export function exampleEndpoint(): Record<string, unknown> {
  const input = (name: string, more: Record<string, unknown>) => ({
    name,
    title: name,
    required: false,
    advanced: false,
    targets: [{ node: "1", field: name }],
    ...more,
  });
  return {
    id: ENDPOINT_ID,
    newest_release: 1,
    canary: null,
    slug: "text-to-image",
    name: "Text to image",
    pod_id: "pod_0dpx4n3m8k7q2wz6tgr1vyc5hf",
    pods: [{ pod_id: "pod_0dpx4n3m8k7q2wz6tgr1vyc5hf", lanes: ["interactive", "batch"] }],
    settings: DEFAULT_SETTINGS,
    release: {
      number: 1,
      digest: "0".repeat(64),
      inputs: [
        input("prompt", { type: "string", maxLength: 1_000, multiline: true, default: "" }),
        input("seed", { type: "integer", seed: true }),
        input("steps", { type: "integer", seed: false, default: 20 }),
      ],
      outputs: [],
      classes: [],
      build: null,
      warnings: [],
      state: "ready",
      forced: false,
      verification: [],
      created_at: "2026-11-21T10:00:00.000Z",
    },
    pending: null,
    created_at: "2026-11-21T10:00:00.000Z",
    updated_at: "2026-11-21T10:00:00.000Z",
    urls: { self: "/v1/endpoints/a", jobs: "/v1/endpoints/a/jobs", schema: "/v1/endpoints/a/schema" },
  };
}
