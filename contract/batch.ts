/** Many jobs in one request. */
import * as z from "zod";
import { BatchId, EndpointId, JobId } from "#contract/ids";
import { JobError, JobOutput, JobState, JobWebhook, Lane, Tag } from "#contract/job";
import {
  BATCH_JOBS_MAX,
  EXPIRES_IN_S_MAX,
  PRIORITY_MAX,
  PRIORITY_MIN,
  SWEEP_VALUES_MAX,
  TAGS_MAX,
  TIMEOUT_S_MAX,
} from "#contract/limits";

const Inputs = z.record(z.string(), z.unknown());

export const NewBatch = z
  .strictObject({
    inputs: z
      .union([z.array(Inputs).min(1).max(BATCH_JOBS_MAX), Inputs])
      .default({})
      .meta({ description: "A list: one job each. An object: the inputs all jobs of the sweep share." }),
    sweep: z
      .record(z.string(), z.array(z.unknown()).min(1).max(SWEEP_VALUES_MAX))
      .optional()
      .meta({
        description: `Values by input name; one job for every combination, at most ${BATCH_JOBS_MAX}. The last name varies fastest.`,
        examples: [{ seed: [1, 2, 3], prompt: ["a fox", "a hare"] }],
      }),
    lane: Lane.default("batch"),
    priority: z.int().min(PRIORITY_MIN).max(PRIORITY_MAX).optional(),
    tags: z.array(Tag).max(TAGS_MAX).default([]),
    expires_in: z.int().min(1).max(EXPIRES_IN_S_MAX).optional(),
    timeout: z.int().min(1).max(TIMEOUT_S_MAX).optional(),
    webhook: JobWebhook.optional().meta({ description: "Told of each job of the batch" }),
  })
  .meta({ id: "NewBatch" });
export type NewBatch = z.infer<typeof NewBatch>;

export const Batch = z
  .object({
    id: BatchId,
    endpoint_id: EndpointId,
    endpoint: z.string(),
    state: z.enum(["running", "done"]).meta({ description: "`done` once every job has ended" }),
    total: z.int().positive(),
    counts: z.object({
      queued: z.int(),
      running: z.int(),
      succeeded: z.int(),
      failed: z.int(),
      canceled: z.int(),
      expired: z.int(),
    }),
    progress: z.number().min(0).max(1).meta({ description: "Ended jobs over all jobs" }),
    created_at: z.iso.datetime(),
    finished_at: z.iso.datetime().nullable(),
    urls: z.object({ self: z.string(), results: z.string(), cancel: z.string(), jobs: z.string() }),
  })
  .meta({ id: "Batch" });
export type Batch = z.infer<typeof Batch>;

/** One line of a batch's results. */
export const BatchResult = z
  .object({
    index: z.int().nonnegative().meta({ description: "Place in the request, from 0" }),
    job_id: JobId,
    state: JobState,
    inputs: z.record(z.string(), z.unknown()),
    outputs: z.array(JobOutput),
    error: JobError.nullable(),
  })
  .meta({ id: "BatchResult" });
export type BatchResult = z.infer<typeof BatchResult>;
