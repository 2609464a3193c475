/** How many replicas an endpoint has, why, and what an operator may do about it by hand. */
import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { route } from "#contract/api/route";
import { ScalingPolicy } from "#contract/endpoint";
import { REPLICAS_MAX, SCALING_DECISIONS_KEPT, WARM_S_MAX } from "#contract/limits";
import { wholeNumber } from "#contract/whole-number";

const tag = "Scaling";

/** One decision that changed how many replicas are wanted. */
export const ScalingDecision = z
  .object({
    at: z.iso.datetime(),
    from: z.int().nonnegative(),
    to: z.int().nonnegative(),
    reason: z.string().meta({ description: "In words: 2 -> 3: expected wait 41 s > target 10 s; cold start p50 18 s" }),
  })
  .meta({ id: "ScalingDecision" });
export type ScalingDecision = z.infer<typeof ScalingDecision>;

/** Replicas kept warm by hand. */
export const WarmHold = z
  .object({ replicas: z.int().min(1).max(REPLICAS_MAX), until: z.iso.datetime() })
  .meta({ id: "WarmHold" });
export type WarmHold = z.infer<typeof WarmHold>;

export const Scaling = z
  .object({
    policy: ScalingPolicy,
    wanted: z.int().nonnegative(),
    floor: z.int().nonnegative().meta({ description: "The warm floor of now: by settings, schedule and hand" }),
    ceiling: z.int().nonnegative(),
    replicas: z.object({
      starting: z.int().nonnegative(),
      idle: z.int().nonnegative(),
      busy: z.int().nonnegative(),
      draining: z.int().nonnegative(),
    }),
    waiting: z.object({ interactive: z.int().nonnegative(), batch: z.int().nonnegative() }),
    cold_start_s: z.number().nonnegative().nullable().meta({ description: "Measured, p50; null before the first" }),
    service_s: z
      .number()
      .nonnegative()
      .nullable()
      .meta({ description: "How long a job holds a replica, measured, mean" }),
    reason: z.string().meta({ description: "Why it wants as many as it does now" }),
    warm: WarmHold.nullable(),
    decisions: z.array(ScalingDecision).max(SCALING_DECISIONS_KEPT).meta({ description: "Newest first" }),
  })
  .meta({ id: "Scaling" });
export type Scaling = z.infer<typeof Scaling>;

export const getScaling = route({
  id: "getScaling",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/scaling",
  summary: "How many replicas an endpoint wants, and why",
  scope: "read",
  params: EndpointParams,
  query: z.object({ limit: wholeNumber(1, SCALING_DECISIONS_KEPT).default(50) }),
  status: 200,
  returns: Scaling,
  problems: ["endpoint_not_found"],
});
export const warmEndpoint = route({
  id: "warmEndpoint",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/warm",
  summary: "Keep some replicas warm for a while",
  description:
    "In place of what was asked for before: for so many seconds, or until a time. It ends by itself, and never takes more than max_replicas.",
  scope: "deploy",
  params: EndpointParams,
  body: z
    .strictObject({
      replicas: z.int().min(1).max(REPLICAS_MAX),
      for_s: z.int().min(1).max(WARM_S_MAX).optional().meta({ description: "From now on, in seconds" }),
      until: z.iso
        .datetime({ offset: true })
        .optional()
        .meta({ description: `In place of for_s: a time to come, at most ${WARM_S_MAX} seconds away` }),
    })
    .refine(({ for_s, until }) => (for_s === undefined) !== (until === undefined), {
      path: ["for_s"],
      error: "give either for_s (seconds from now) or until (a time)",
    }),
  status: 200,
  returns: Scaling,
  problems: ["endpoint_not_found"],
});
export const coolEndpoint = route({
  id: "coolEndpoint",
  tag,
  method: "delete",
  path: "/v1/endpoints/{endpoint}/warm",
  summary: "End what was asked for by hand: the warm floor is the settings' again",
  scope: "deploy",
  params: EndpointParams,
  status: 200,
  returns: Scaling,
  problems: ["endpoint_not_found"],
});
