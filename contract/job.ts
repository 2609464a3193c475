/** A job as callers see it. What is stored is durable-objects/queue/job-record.ts. */
import * as z from "zod";
import { BatchId, EndpointId, JobId, KeyId } from "#contract/ids";
import { EXPIRES_IN_S_MAX, PRIORITY_MAX, PRIORITY_MIN, TAG_BYTES_MAX, TAGS_MAX, TIMEOUT_S_MAX } from "#contract/limits";
import { PersonText } from "#contract/person-text";
import { OutputKind } from "#contract/workflow";

export const JobState = z.enum(["queued", "running", "succeeded", "failed", "canceled", "expired"]);
export type JobState = z.infer<typeof JobState>;
export const TERMINAL_STATES = ["succeeded", "failed", "canceled", "expired"] as const;
export type TerminalState = (typeof TERMINAL_STATES)[number];

export function isTerminal(state: JobState): state is TerminalState {
  return (TERMINAL_STATES as readonly string[]).includes(state);
}

export const JobPhase = z.enum(["waiting", "retrying", "assigned", "preparing", "loading", "executing", "uploading"]);
export type JobPhase = z.infer<typeof JobPhase>;
/** The phases an agent reports, in the order they happen. */
export const RunningPhase = z.enum(["assigned", "preparing", "loading", "executing", "uploading"]);
export type RunningPhase = z.infer<typeof RunningPhase>;

export const Lane = z.enum(["interactive", "batch"]);
export type Lane = z.infer<typeof Lane>;

export const JobErrorCode = z.enum([
  "execution_error",
  "out_of_memory",
  "missing_node",
  "missing_model",
  "invalid_workflow",
  "execution_timeout",
  "start_timeout",
  "output_failed",
  "input_failed",
  "replica_failed",
  "lease_lost",
  "poisoned",
  "budget_exceeded",
]);
export type JobErrorCode = z.infer<typeof JobErrorCode>;

/** Errors that the same job would meet again on any machine: not retried. */
export const DETERMINISTIC_ERRORS: readonly JobErrorCode[] = [
  "execution_error",
  "missing_node",
  "missing_model",
  "invalid_workflow",
  "execution_timeout",
  "start_timeout",
  "budget_exceeded",
];

export const JobError = z
  .object({
    code: JobErrorCode,
    message: z.string().meta({ description: "For people: what went wrong and what to do" }),
    node_id: z.string().optional(),
    class_type: z.string().optional(),
  })
  .meta({ id: "JobError" });
export type JobError = z.infer<typeof JobError>;

export const JobProgress = z
  .object({
    /** 0..1 over the whole run, as far as it can be told. */
    fraction: z.number().min(0).max(1),
    node_id: z.string().optional(),
    class_type: z.string().optional(),
    step: z.int().nonnegative().optional(),
    steps: z.int().positive().optional(),
    nodes_done: z.int().nonnegative(),
    nodes_total: z.int().nonnegative(),
  })
  .meta({ id: "JobProgress" });
export type JobProgress = z.infer<typeof JobProgress>;

export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, "64 lower-case hexadecimal digits");

export const JobOutput = z
  .object({
    name: z.string().meta({ description: "Unique within the job, safe in a URL" }),
    output: z.string().meta({ description: "The output of the endpoint's schema that it belongs to" }),
    kind: OutputKind,
    filename: z.string().meta({ description: "As the workflow named it; may hold spaces and any script" }),
    content_type: z.string(),
    size: z.int().nonnegative().meta({ description: "Bytes" }),
    sha256: Sha256,
    url: z.string().meta({ description: "Signed link: works without credentials for an hour" }),
    text: z.string().optional().meta({ description: "The content of a short text output" }),
  })
  .meta({ id: "JobOutput" });
export type JobOutput = z.infer<typeof JobOutput>;

/** What a webhook can hear of a job. */
export const JobEventType = z.enum([
  "job.queued",
  "job.started",
  "job.progress",
  "job.succeeded",
  "job.failed",
  "job.canceled",
  "job.expired",
]);
export type JobEventType = z.infer<typeof JobEventType>;

/** One stretch of the job's life; the last one of a living job has no end. */
export const TimelineEntry = z
  .object({
    phase: z.string(),
    attempt: z.int().nonnegative(),
    started_at: z.iso.datetime(),
    ms: z.int().nonnegative().nullable().meta({ description: "Milliseconds; null while it lasts" }),
  })
  .meta({ id: "TimelineEntry" });
export type TimelineEntry = z.infer<typeof TimelineEntry>;

/** Where to tell of this one job, beside the workspace's subscriptions. */
export const JobWebhook = z
  .strictObject({
    url: z.string().max(4_096).meta({ description: "https://; signed with the workspace's default secret" }),
    events: z
      .array(JobEventType)
      .min(1)
      .max(JobEventType.options.length)
      .default(["job.succeeded", "job.failed", "job.canceled", "job.expired"]),
  })
  .meta({ id: "JobWebhook" });
export type JobWebhook = z.infer<typeof JobWebhook>;

export const Job = z
  .object({
    id: JobId,
    endpoint_id: EndpointId,
    endpoint: z.string().meta({ description: "The endpoint's slug" }),
    release: z.int().positive(),
    state: JobState,
    phase: JobPhase.nullable(),
    lane: Lane,
    priority: z.int(),
    tags: z.array(z.string()),
    inputs: z.record(z.string(), z.unknown()).meta({ description: "With defaults, and with the seed that was drawn" }),
    attempt: z.int().nonnegative(),
    attempts_max: z.int().positive(),
    position: z
      .int()
      .positive()
      .nullable()
      .meta({ description: "Place in the queue, 1 is next; null when not queued" }),
    progress: JobProgress.nullable(),
    outputs: z.array(JobOutput),
    error: JobError.nullable(),
    created_at: z.iso.datetime(),
    started_at: z.iso.datetime().nullable(),
    finished_at: z.iso.datetime().nullable(),
    expires_at: z.iso.datetime().nullable().meta({ description: "Not started by then, it expires" }),
    timeline: z.array(TimelineEntry),
    key_id: KeyId.meta({ description: "The API key that submitted it" }),
    batch_id: BatchId.nullable(),
    retry_of: JobId.nullable().meta({ description: "The ended job that this one runs again" }),
    retried_as: JobId.nullable().meta({ description: "The newest job that runs this one again" }),
    webhook: JobWebhook.nullable(),
    urls: z.object({ self: z.string(), events: z.string(), cancel: z.string(), why: z.string() }),
  })
  .meta({ id: "Job" });
export type Job = z.infer<typeof Job>;

export const Tag = PersonText.min(1).refine(
  (tag) => new TextEncoder().encode(tag).length <= TAG_BYTES_MAX,
  `at most ${TAG_BYTES_MAX} bytes`,
);

export const NewJob = z
  .strictObject({
    inputs: z.record(z.string(), z.unknown()).default({}),
    lane: Lane.default("interactive"),
    priority: z.int().min(PRIORITY_MIN).max(PRIORITY_MAX).optional(),
    tags: z.array(Tag).max(TAGS_MAX).default([]),
    expires_in: z
      .int()
      .min(1)
      .max(EXPIRES_IN_S_MAX)
      .optional()
      .meta({ description: "Seconds until it must have started" }),
    timeout: z.int().min(1).max(TIMEOUT_S_MAX).optional().meta({ description: "Seconds one attempt may execute" }),
    webhook: JobWebhook.optional(),
  })
  .meta({ id: "NewJob" });
export type NewJob = z.infer<typeof NewJob>;

/** Changes a job that still waits. */
export const JobPatch = z
  .strictObject({
    lane: Lane.optional(),
    priority: z.int().min(PRIORITY_MIN).max(PRIORITY_MAX).optional(),
    position: z.literal("front").optional().meta({ description: "Before every other job of its lane" }),
  })
  .refine((patch) => Object.keys(patch).length > 0, "name at least one of lane, priority, position")
  .meta({ id: "JobPatch" });
export type JobPatch = z.infer<typeof JobPatch>;

/** Why a job has not started. The design's reasons, and those of a single job. */
export const WaitReasonCode = z.enum([
  "paused",
  "budget_exhausted",
  "rate_limited",
  "no_node_online",
  "region_unavailable",
  "crash_looping",
  "replica_starting",
  "all_slots_busy",
  "batch_lane",
  "retry_backoff",
  "prefers_another_node",
  "about_to_start",
]);
export type WaitReasonCode = z.infer<typeof WaitReasonCode>;

export const WaitReason = z
  .object({
    code: WaitReasonCode,
    detail: z.string().meta({ description: "For people: what holds the job up and what would help" }),
    /** When it is expected to be over; null when nobody can tell. */
    until: z.iso.datetime().nullable(),
    replica_id: z.string().optional(),
    phase: z.string().optional().meta({ description: "Of the replica that starts" }),
    doing: z.string().optional().meta({ description: "What the replica that starts is at, in words" }),
    error: z.string().optional().meta({ description: "The last error of a replica that keeps crashing" }),
    ahead: z.int().nonnegative().optional().meta({ description: "Jobs that go first" }),
  })
  .meta({ id: "WaitReason" });
export type WaitReason = z.infer<typeof WaitReason>;

export const JobWhy = z
  .object({
    job_id: JobId,
    state: JobState,
    phase: JobPhase.nullable(),
    position: z.int().positive().nullable(),
    eta_ms: z.int().nonnegative().nullable().meta({ description: "Milliseconds until it should start; null: unknown" }),
    reasons: z.array(WaitReason).meta({ description: "The weightiest first; empty when the job does not wait" }),
    summary: z.string().meta({ description: "One sentence for people" }),
  })
  .meta({ id: "JobWhy" });
export type JobWhy = z.infer<typeof JobWhy>;

/** A numbered event of a job. Numbers have no gaps; the terminal event is the last. */
export const JobEvent = z
  .object({
    seq: z.int().positive(),
    type: z.enum(["queued", "started", "phase", "retrying", "succeeded", "failed", "canceled", "expired"]),
    at: z.iso.datetime(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "JobEvent" });
export type JobEvent = z.infer<typeof JobEvent>;
