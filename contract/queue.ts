/** A queue as callers see it: how it stands, who waits in which order, and bulk operations on it. */
import * as z from "zod";
import { BatchId, EndpointId, JobId, KeyId, NodeId, OperationId, ReplicaId } from "#contract/ids";
import { JobErrorCode, JobPhase, JobProgress, JobState, Lane, Tag } from "#contract/job";
import { PersonText } from "#contract/person-text";
import { Replica } from "#contract/replica";

export const QueuePause = z
  .object({
    since: z.iso.datetime(),
    reason: z.string().nullable(),
    refuse_new: z.boolean().meta({ description: "New jobs are refused with 503 instead of waiting" }),
  })
  .meta({ id: "QueuePause" });
export type QueuePause = z.infer<typeof QueuePause>;

const Finished = z.object({ succeeded: z.int(), failed: z.int(), canceled: z.int(), expired: z.int() });

/** How one endpoint's queue stands. */
export const QueueSummary = z
  .object({
    endpoint_id: EndpointId,
    paused: QueuePause.nullable(),
    queued: z.object({ interactive: z.int().nonnegative(), batch: z.int().nonnegative() }),
    retrying: z.int().nonnegative().meta({ description: "Of those queued, the ones that wait for their next try" }),
    running: z.int().nonnegative(),
    dead: z.int().nonnegative().meta({ description: "Failed jobs that nobody has redriven or dismissed" }),
    oldest_wait_ms: z.int().nonnegative().nullable(),
    eta_ms: z
      .int()
      .nonnegative()
      .nullable()
      .meta({ description: "How long a job submitted now to the interactive lane would wait; null: unknown" }),
    in_flight: z
      .array(
        z.object({
          job_id: JobId,
          attempt: z.int().positive(),
          phase: JobPhase,
          replica_id: ReplicaId,
          node_id: NodeId,
          assigned_at: z.iso.datetime(),
          progress: JobProgress.nullable(),
        }),
      )
      .meta({ description: "The jobs that run, at most 200 of them" }),
    replicas: z.array(Replica),
    arrived_last_minute: z.int().nonnegative(),
    finished_last_minute: Finished,
    finished_last_hour: Finished,
    service_ms_p50: z.int().nonnegative().nullable().meta({ description: "Median of the last 100 successful runs" }),
    storage: z
      .object({
        bytes: z.int().nonnegative(),
        bytes_max: z.int().positive(),
        state: z.enum(["ample", "short", "full"]),
      })
      .meta({
        description:
          "What the endpoint stores of jobs, of what it can. From 80 % on (`short`) records of ended jobs go as soon as their outputs have; from 90 % on (`full`) no new jobs are taken",
      }),
  })
  .meta({ id: "QueueSummary" });
export type QueueSummary = z.infer<typeof QueueSummary>;

/** A waiting job at its place. */
export const QueueEntry = z
  .object({
    job_id: JobId,
    position: z.int().positive().meta({ description: "1 is next, over both lanes" }),
    eta_ms: z.int().nonnegative().nullable(),
    phase: JobPhase,
    lane: Lane,
    priority: z.int(),
    attempt: z.int().nonnegative(),
    tags: z.array(z.string()),
    key_id: KeyId,
    batch_id: BatchId.nullable(),
    created_at: z.iso.datetime(),
    waited_ms: z.int().nonnegative(),
    expires_at: z.iso.datetime().nullable(),
    available_at: z.iso.datetime().nullable().meta({ description: "When its next try may begin" }),
  })
  .meta({ id: "QueueEntry" });
export type QueueEntry = z.infer<typeof QueueEntry>;

export const PauseQueue = z
  .strictObject({
    reason: PersonText.min(1).max(500).optional(),
    refuse_new: z.boolean().default(false),
  })
  .meta({ id: "PauseQueue" });

/** Which jobs an operation is about; all conditions given must hold. */
export const JobSelection = z
  .strictObject({
    state: JobState.optional(),
    lane: Lane.optional(),
    tag: Tag.optional(),
    key_id: KeyId.optional(),
    batch_id: BatchId.optional(),
    error_code: JobErrorCode.optional(),
    created_after: z.iso.datetime({ offset: true }).optional(),
    created_before: z.iso.datetime({ offset: true }).optional(),
  })
  .meta({ id: "JobSelection" });
export type JobSelection = z.infer<typeof JobSelection>;

export const PurgeQueue = z
  .strictObject({
    confirm: z.string().meta({ description: "The endpoint's slug, typed again" }),
    state: z.enum(["queued", "retrying", "dead"]).default("queued").meta({
      description:
        "`queued`: every job that waits is canceled. `retrying`: those that wait for another try. `dead`: the dead-letter list is emptied, its jobs stay `failed`. Running jobs are never purged.",
    }),
    lane: Lane.optional(),
    tag: Tag.optional(),
    key_id: KeyId.optional(),
  })
  .meta({ id: "PurgeQueue" });
export type PurgeQueue = z.infer<typeof PurgeQueue>;

export const RedriveDead = z
  .strictObject({
    jobs: z.array(JobId).min(1).max(1_000).optional(),
    since: z.iso.datetime({ offset: true }).optional().meta({ description: "All that failed at or after this" }),
    all: z.literal(true).optional(),
  })
  .refine((redrive) => Object.keys(redrive).length === 1, "give exactly one of jobs, since, all")
  .meta({ id: "RedriveDead" });
export type RedriveDead = z.infer<typeof RedriveDead>;

export const OperationKind = z.enum(["cancel", "retry", "redrive", "purge"]);
export type OperationKind = z.infer<typeof OperationKind>;

export const NewOperation = z
  .strictObject({
    action: z.enum(["cancel", "retry"]).meta({
      description: "`cancel`: living jobs. `retry`: ended jobs run again, each as a new job.",
    }),
    selection: JobSelection,
  })
  .meta({ id: "NewOperation" });
export type NewOperation = z.infer<typeof NewOperation>;

/** A bulk operation on its way; it goes on by itself, also through a restart. */
export const Operation = z
  .object({
    id: OperationId,
    endpoint_id: EndpointId,
    kind: OperationKind,
    state: z.enum(["running", "done", "canceled"]),
    looked_at: z.int().nonnegative().meta({ description: "Jobs looked at so far" }),
    changed: z.int().nonnegative().meta({ description: "Jobs canceled, retried, redriven or dismissed so far" }),
    skipped: z.int().nonnegative().meta({ description: "Jobs that had moved on, or found the queue full" }),
    progress: z.number().min(0).max(1),
    created_jobs: z.array(JobId).meta({ description: "Of a retry or redrive: the first 100 new jobs" }),
    created_at: z.iso.datetime(),
    finished_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "Operation" });
export type Operation = z.infer<typeof Operation>;
