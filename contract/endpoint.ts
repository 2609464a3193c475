/** Endpoints and releases as callers see them. */
import * as z from "zod";
import { SmokeTest } from "#contract/build";
import { Canary } from "#contract/canary";
import { EndpointId, PodId } from "#contract/ids";
import { Lane, Sha256 } from "#contract/job";
import {
  ATTEMPTS_MAX,
  BATCH_TARGET_WAIT_S_DEFAULT,
  IDLE_TIMEOUT_S_MAX,
  MAX_REPLICAS_DEFAULT,
  PODS_PER_ENDPOINT_MAX,
  QUEUE_DEPTH_DEFAULT,
  QUEUE_DEPTH_MAX,
  REPLICAS_MAX,
  TIMEOUT_S_DEFAULT,
  TIMEOUT_S_MAX,
  WAIT_VALUE_DEFAULT,
  WAIT_VALUE_MAX,
  WAIT_VALUE_MIN,
  WARM_WINDOWS_MAX,
} from "#contract/limits";
import { PersonText } from "#contract/person-text";
import { Region } from "#contract/region";
import { Force, PendingActivation, ReleaseState, Verification } from "#contract/verification";
import { InputSpec, OutputSpec, Overrides } from "#contract/workflow";

/** A stable name callers use; unique in the workspace. Never of an id's form, so that both fit in one path. */
export const Slug = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, "1 to 63 lower-case letters, digits and inner hyphens")
  .meta({ examples: ["text-to-image"] });

export const ScalingPolicy = z.enum(["predictive", "queue_delay", "request_count"]);
export type ScalingPolicy = z.infer<typeof ScalingPolicy>;

export const Weekday = z.enum(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]);
const TimeOfDay = z.string().regex(/^(?:[01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$/, "a time of day, 00:00 to 24:00");

/** A part of the week in which replicas are kept warm. One that ends before it begins, or at the same time, goes on past midnight. */
export const WarmWindow = z
  .strictObject({
    days: z.array(Weekday).min(1).max(7).meta({ description: "Days on which it begins" }),
    from: TimeOfDay.meta({ description: "When it begins; 24:00 is the end of the day, the next one's 00:00" }),
    to: TimeOfDay.meta({
      description:
        "When it ends: the next day, where this is earlier than `from` or the same, so that 08:00 to 08:00 is 24 hours. From 24:00 to 00:00 is refused: a whole day is from 00:00 to 24:00",
    }),
    time_zone: z.string().min(1).max(64).default("UTC").meta({ description: "IANA name, such as Europe/Berlin" }),
    replicas: z.int().min(0).max(REPLICAS_MAX),
  })
  .meta({ id: "WarmWindow" });
export type WarmWindow = z.infer<typeof WarmWindow>;

export const EndpointSettings = z
  .strictObject({
    /** Replicas kept even when idle: the warm floor. */
    min_replicas: z.int().min(0).max(REPLICAS_MAX),
    max_replicas: z.int().min(1).max(REPLICAS_MAX),
    /** Seconds without work after which a replica above the warm floor stops; null: `predictive` learns how long is best, the other policies take 60. */
    idle_timeout_s: z.int().min(1).max(IDLE_TIMEOUT_S_MAX).nullable(),
    /** How many replicas are worth having: by what is learned of the demand, by how long jobs wait, or by how many there are. */
    policy: ScalingPolicy,
    /** GPU-seconds that one second of a caller's waiting is worth: 1 thrifty, 10 balanced, 100 fast. */
    wait_value: z.number().min(WAIT_VALUE_MIN).max(WAIT_VALUE_MAX),
    /** Seconds that 95 of 100 interactive jobs may wait at most; then the wait value is learned from it. null: by wait_value. */
    target_p95_wait_s: z.number().min(0.1).max(3_600).nullable(),
    /** With policy `queue_delay`: another replica when the oldest job has waited so many seconds. */
    queue_delay_s: z.number().min(0).max(3_600),
    /** With policy `request_count`: jobs per replica. */
    jobs_per_replica: z.int().min(1).max(1_000),
    /** Seconds that batch jobs may wait for an idle replica before one is started for them. */
    batch_target_wait_s: z
      .int()
      .min(0)
      .max(7 * 86_400),
    /** Times of the week with a warm floor of their own; where several fit, the highest counts, and never less than min_replicas. */
    warm_schedule: z.array(WarmWindow).max(WARM_WINDOWS_MAX),
    /** Seconds one attempt may execute. */
    timeout_s: z.int().min(1).max(TIMEOUT_S_MAX),
    /** Tries of one job, the first included. */
    attempts_max: z.int().min(1).max(10),
    /** Jobs that may wait; the next one is refused with 429. */
    queue_depth_max: z.int().min(1).max(QUEUE_DEPTH_MAX),
    /** Attempts that may start within a minute; null: as many as there are replicas. */
    starts_per_minute_max: z.int().min(1).max(100_000).nullable(),
    /** GPU-seconds of attempts within one UTC day, after which no job starts and new ones are refused with 402; null: no bound. */
    gpu_seconds_per_day_max: z.int().min(1).max(1_000_000_000).nullable(),
    /** Regions in which its replicas may run, as nodes name theirs when they join; empty: any. */
    regions: z.array(Region).max(20),
  })
  .meta({ id: "EndpointSettings" });
export type EndpointSettings = z.infer<typeof EndpointSettings>;

export const DEFAULT_SETTINGS: EndpointSettings = {
  min_replicas: 0,
  max_replicas: MAX_REPLICAS_DEFAULT,
  idle_timeout_s: null,
  policy: "predictive",
  wait_value: WAIT_VALUE_DEFAULT,
  target_p95_wait_s: null,
  queue_delay_s: 4,
  jobs_per_replica: 1,
  batch_target_wait_s: BATCH_TARGET_WAIT_S_DEFAULT,
  warm_schedule: [],
  timeout_s: TIMEOUT_S_DEFAULT,
  attempts_max: ATTEMPTS_MAX,
  queue_depth_max: QUEUE_DEPTH_DEFAULT,
  starts_per_minute_max: null,
  gpu_seconds_per_day_max: null,
  regions: [],
};

/** A pod an endpoint's replicas run on, and the lanes it takes from there. */
export const EndpointPod = z
  .strictObject({
    pod_id: PodId,
    lanes: z.array(Lane).min(1).max(2).default(["interactive", "batch"]),
  })
  .meta({ id: "EndpointPod" });
export type EndpointPod = z.infer<typeof EndpointPod>;

/** In the order of preference; each pod once. */
export const EndpointPods = z
  .array(EndpointPod)
  .min(1)
  .max(PODS_PER_ENDPOINT_MAX)
  .refine((pods) => new Set(pods.map(({ pod_id }) => pod_id)).size === pods.length, {
    error: "Must name each pod once",
  })
  .meta({ description: "Pods its replicas run on, the preferred one first, and which lanes each serves" });
export type EndpointPods = z.infer<typeof EndpointPods>;

export const Release = z
  .object({
    number: z.int().positive(),
    digest: z.string().meta({ description: "sha256 of the release's content" }),
    inputs: z.array(InputSpec),
    outputs: z.array(OutputSpec),
    classes: z.array(z.string()).meta({ description: "Node classes the GPU must have" }),
    build: Sha256.nullable().meta({
      description: "Digest of what it needs on a GPU; null: it runs on what the machines' owners have installed",
    }),
    warnings: z.array(z.string()).meta({ description: "What the importer was not sure of" }),
    state: ReleaseState.nullable().meta({
      description:
        "Whether it has run on the cards it is to run on; null in lists of endpoints, and while the endpoint's queue does not answer",
    }),
    forced: z.boolean().meta({ description: "It was used by force, before it was ready" }),
    verification: z.array(Verification).meta({ description: "Each type of card on which it was, or is to be, tried" }),
    created_at: z.iso.datetime(),
  })
  .meta({ id: "Release" });
export type Release = z.infer<typeof Release>;

export const Endpoint = z
  .object({
    id: EndpointId,
    slug: Slug,
    name: z.string(),
    pod_id: PodId.meta({ description: "The first of `pods`" }),
    pods: EndpointPods,
    settings: EndpointSettings,
    release: Release,
    canary: Canary.nullable().meta({ description: "The release that gets a part of the new jobs; null: none does" }),
    pending: PendingActivation.nullable().meta({
      description:
        "The release that takes its place by itself once it is ready; null: none, in lists, and while the endpoint's queue does not answer",
    }),
    newest_release: z.int().positive().meta({ description: "Its number; another one than `release` may be active" }),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    urls: z.object({ self: z.string(), jobs: z.string(), schema: z.string() }),
  })
  .meta({ id: "Endpoint" });
export type Endpoint = z.infer<typeof Endpoint>;

/** A workflow as the API takes it: the graph itself, its JSON text (which keeps every digit), or a file in base64. */
export const WorkflowSource = z.union([z.record(z.string(), z.unknown()), z.string().min(1)]).meta({
  id: "WorkflowSource",
  description:
    "ComfyUI workflow, in API format or as the editor saves it, as an object or as text, or a PNG, WebP or zip (comfy-pack) that carries one as a data URI (data:image/png;base64,…). The editor's format with custom nodes needs object_info",
});

const ViewComfyForm = z.record(z.string(), z.unknown()).meta({
  description:
    "A view_comfy.json of the graph: its fields are the inputs, and what it leaves out is hidden. It is kept with its workflow, until another workflow or form comes. A zip may hold it beside the graph.",
});

/** The build of a release that is made. */
const ChosenBuild = Sha256.nullable().meta({
  description: "Digest of a registered build (POST /v1/builds) that the release needs; null: none",
});

const ChosenSmokeTest = SmokeTest.nullable().meta({
  description:
    "What has to run on a machine before it gets jobs: values of inputs, and names of outputs that must come. null: the graph is run once as it was saved, and proves nothing",
});

export const NewEndpoint = z
  .strictObject({
    slug: Slug,
    name: PersonText.min(1).max(200).optional(),
    pod_id: PodId.optional().meta({ description: "One pod for everything; the workspace's default pod when left out" }),
    pods: EndpointPods.optional(),
    workflow: WorkflowSource,
    object_info: z.record(z.string(), z.unknown()).optional().meta({
      description:
        "ComfyUI's GET /object_info, whole or only the classes of the graph: types and ranges come from it, and for the editor's format which value is which",
    }),
    view_comfy: ViewComfyForm.optional(),
    overrides: Overrides.optional(),
    build: ChosenBuild.optional(),
    smoke_test: ChosenSmokeTest.optional(),
    settings: EndpointSettings.partial().optional(),
  })
  .meta({ id: "NewEndpoint" });
export type NewEndpoint = z.infer<typeof NewEndpoint>;

/**
 * With a workflow, overrides, object_info or a form, a new release is made and, unless told otherwise, activated: at once
 * where the active release has never run on a GPU, else as soon as the new one has (`pending`).
 */
export const EndpointPatch = z
  .strictObject({
    name: PersonText.min(1).max(200).optional(),
    pods: EndpointPods.optional(),
    settings: EndpointSettings.partial().optional(),
    workflow: WorkflowSource.optional(),
    object_info: z.record(z.string(), z.unknown()).optional(),
    view_comfy: ViewComfyForm.optional(),
    overrides: Overrides.optional(),
    build: ChosenBuild.optional(),
    smoke_test: ChosenSmokeTest.optional(),
    activate: z.boolean().optional().meta({
      description:
        "false: the new release is only made, for its diff, a canary or a later activation. Its number is newest_release",
    }),
    force: Force.optional(),
  })
  .meta({ id: "EndpointPatch" });
export type EndpointPatch = z.infer<typeof EndpointPatch>;

/** What a release is imported from; at least one of them. Without a workflow, the active release's is imported again. */
const { name: _name, settings: _settings, pods: _pods, ...releaseFields } = EndpointPatch.shape;
export const NewRelease = z
  .strictObject(releaseFields)
  .refine(({ activate: _, force: _forced, ...given }) => Object.values(given).some((field) => field !== undefined), {
    error: "Must have at least one of workflow, overrides, object_info and view_comfy",
  })
  .meta({ id: "NewRelease" });
export type NewRelease = z.infer<typeof NewRelease>;

/** JSON Schema 2020-12 of inputs and outputs. */
export const EndpointSchema = z
  .object({
    endpoint: z.string(),
    release: z.int().positive(),
    inputs: z.record(z.string(), z.unknown()),
    outputs: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "EndpointSchema" });
export type EndpointSchema = z.infer<typeof EndpointSchema>;
