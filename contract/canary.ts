/** A canary: a release that gets a part of the new jobs, and loses it again by itself when it does worse than the active one. */
import * as z from "zod";

/** More jobs than this tell no more about a release. */
const MIN_JOBS_MAX = 10_000;
const LATENCY_RATIO_MAX = 100;

export const NewCanary = z
  .strictObject({
    weight: z.number().min(0).max(1).meta({ description: "Part of the new jobs that run on it; 0 ends the canary" }),
    max_error_rate_increase: z.number().min(0).max(1).default(0.05).meta({
      description: "It is rolled back when its share of failed jobs is above the active release's by more than this",
    }),
    max_latency_ratio: z.number().min(1).max(LATENCY_RATIO_MAX).default(1.5).meta({
      description:
        "It is rolled back when its jobs execute longer than this many times the active release's, mean or p95",
    }),
    min_jobs: z.int().min(1).max(MIN_JOBS_MAX).default(20).meta({
      description: "So many of its jobs must have ended before it is judged",
    }),
  })
  .meta({ id: "NewCanary" });
export type NewCanary = z.infer<typeof NewCanary>;

/** What one release has done since the canary began. */
export const CanaryArm = z
  .object({
    succeeded: z.int().nonnegative(),
    failed: z.int().nonnegative(),
    execution_ms_mean: z.number().nonnegative().nullable(),
    execution_ms_p95: z.number().nonnegative().nullable().meta({ description: "Within a tenth" }),
  })
  .meta({ id: "CanaryArm" });
export type CanaryArm = z.infer<typeof CanaryArm>;

export const CanaryResults = z
  .object({
    state: z.enum(["running", "rolled_back"]),
    ended_at: z.iso.datetime().nullable(),
    reason: z.string().nullable().meta({ description: "Why it was rolled back" }),
    canary: CanaryArm,
    active: CanaryArm,
  })
  .meta({ id: "CanaryResults" });
export type CanaryResults = z.infer<typeof CanaryResults>;

export const Canary = z
  .object({
    ...NewCanary.shape,
    release: z.int().positive(),
    since: z.iso.datetime(),
    results: CanaryResults.nullable().meta({
      description: "null in lists, and while the endpoint's queue does not answer",
    }),
  })
  .meta({ id: "Canary" });
export type Canary = z.infer<typeof Canary>;
