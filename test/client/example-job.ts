/** A job as the service shows it. */
export function exampleJob(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: "job_0dpx4n3m8k7q2wz6tgr1vyc5ha",
    endpoint_id: "ep_0dpx4n3m8k7q2wz6tgr1vyc5hb",
    endpoint: "text-to-image",
    release: 1,
    state: "queued",
    phase: "waiting",
    lane: "interactive",
    priority: 5,
    tags: [],
    inputs: {},
    attempt: 0,
    attempts_max: 3,
    position: 1,
    progress: null,
    outputs: [],
    error: null,
    created_at: "2026-11-21T10:00:00.000Z",
    started_at: null,
    finished_at: null,
    expires_at: null,
    timeline: [],
    key_id: "key_0dpx4n3m8k7q2wz6tgr1vyc5hc",
    batch_id: null,
    retry_of: null,
    retried_as: null,
    webhook: null,
    urls: { self: "/v1/jobs/x", events: "/v1/jobs/x/events", cancel: "/v1/jobs/x/cancel", why: "/v1/jobs/x/why" },
    ...changes,
  };
}

export const EXAMPLE_JOB_ID = "job_0dpx4n3m8k7q2wz6tgr1vyc5ha";
