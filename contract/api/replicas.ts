/** The replicas of an endpoint: how they stand, what they write, what their time went to, and how one is sent away. */
import * as z from "zod";
import { EndpointParams } from "#contract/api/endpoints";
import { route } from "#contract/api/route";
import { PodId, ReplicaId } from "#contract/ids";
import { GpuTypeName, Replica } from "#contract/replica";
import { wholeNumber } from "#contract/whole-number";

const tag = "Replicas";
const ReplicaParams = EndpointParams.extend({ replica: ReplicaId });

/** A line that a replica wrote while it was prepared and started. */
export const ReplicaLogLine = z
  .object({
    number: z.int().nonnegative(),
    at: z.iso.datetime().meta({ description: "When the server heard of it" }),
    line: z.string(),
  })
  .meta({ id: "ReplicaLogLine" });
export type ReplicaLogLine = z.infer<typeof ReplicaLogLine>;

/** What the replicas of a pod and a type of card did on a day, in seconds by the server's clock. */
export const ReplicaDay = z
  .object({
    day: z.iso.date().meta({ description: "UTC" }),
    pod_id: PodId,
    gpu_type: GpuTypeName.nullable(),
    seconds: z.object({
      cold: z.number().nonnegative().meta({ description: "Started, and not ready yet" }),
      idle: z.number().nonnegative(),
      busy: z.number().nonnegative().meta({ description: "Had a job on their GPU" }),
    }),
    card_seconds: z.number().nonnegative().meta({
      description:
        "All of those seconds as time of whole cards: where several slots share a card, a replica counts for its part",
    }),
    started: z.int().nonnegative().meta({ description: "Replicas that were placed on this day" }),
    crashed: z.int().nonnegative().meta({ description: "Replicas that crashed on this day" }),
    price_per_hour: z.number().nonnegative().nullable().meta({
      description:
        "US dollars for an hour of the card as it is set now: by the pod (a deleted one as it was then), else by the workspace, else as shipped; null without a type of card",
    }),
    cost: z.number().nonnegative().nullable().meta({ description: "US dollars for the card seconds at that price" }),
  })
  .meta({ id: "ReplicaDay" });
export type ReplicaDay = z.infer<typeof ReplicaDay>;

export const listReplicas = route({
  id: "listReplicas",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/replicas",
  summary: "Replicas of the endpoint, with states and timed phases",
  description: "Replicas that have ended are kept for an hour, the last 50 of them.",
  scope: "read",
  params: EndpointParams,
  query: z.object({
    state: z.enum(["current", "ended", "all"]).default("current").meta({
      description:
        "`current`: those that run, and those that crashed within the hour; `ended`: stopped and crashed ones",
    }),
  }),
  status: 200,
  returns: z.object({ data: z.array(Replica) }),
  problems: ["endpoint_not_found"],
});
export const getReplica = route({
  id: "getReplica",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/replicas/{replica}",
  summary: "Get a replica",
  scope: "read",
  params: ReplicaParams,
  status: 200,
  returns: Replica,
  problems: ["endpoint_not_found", "replica_not_found"],
});
export const getReplicaLogs = route({
  id: "getReplicaLogs",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/replicas/{replica}/logs",
  summary: "What a replica wrote while it was prepared and started",
  description:
    "The last 1,000 lines of the steps of its build and of ComfyUI's start, without passwords, tokens, prompts and inputs. Lines have numbers: ask again from `next` for those that have come since. With `Accept: text/event-stream` each line is an event `line` (its data is a ReplicaLogLine), until the replica is ready or has ended: then comes `end`, whose data has its `state`. A stream goes on after `Last-Event-ID`.",
  scope: "read",
  params: ReplicaParams,
  query: z.object({
    from: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(0).meta({
      description: "Only lines with this number or a higher one",
    }),
  }),
  headers: z.object({ "last-event-id": z.string().max(40).optional() }),
  status: 200,
  returns: z.object({
    data: z.array(ReplicaLogLine),
    next: z.int().nonnegative().meta({ description: "The number of the line that comes next" }),
  }),
  alsoReturnTypes: { 200: ["text/event-stream"] },
  problems: ["endpoint_not_found", "replica_not_found", "too_many_watchers"],
});
export const stopReplica = route({
  id: "stopReplica",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/replicas/{replica}/stop",
  summary: "Stop a replica after the job in hand",
  description: "Another one is started only when it is needed: for waiting jobs, or for the warm floor.",
  scope: "deploy",
  params: ReplicaParams,
  status: 200,
  returns: Replica,
  problems: ["endpoint_not_found", "replica_not_found", "replica_ended"],
});
export const replaceReplica = route({
  id: "replaceReplica",
  tag,
  method: "post",
  path: "/v1/endpoints/{endpoint}/replicas/{replica}/replace",
  summary: "Start a new replica, and stop this one when that one is ready",
  description: "Where its pod has no room for one more, this one stops first, after the job in hand.",
  scope: "deploy",
  params: ReplicaParams,
  status: 200,
  returns: Replica,
  problems: ["endpoint_not_found", "replica_not_found", "replica_ended"],
});
export const listReplicaSeconds = route({
  id: "listReplicaSeconds",
  tag,
  method: "get",
  path: "/v1/endpoints/{endpoint}/replica-seconds",
  summary: "What the time of an endpoint's replicas went to, by day",
  description:
    "One entry for each UTC day, pod and type of card, replicas that run included until now. Days are kept for 400 days, and no longer than their endpoint: read them before it is deleted.",
  scope: "read",
  params: EndpointParams,
  query: z.object({
    from: z.iso.date().optional().meta({ description: "First UTC day; 30 days ago when left out" }),
    to: z.iso.date().optional().meta({ description: "Last UTC day; today when left out" }),
  }),
  status: 200,
  returns: z.object({ data: z.array(ReplicaDay) }),
  problems: ["endpoint_not_found"],
});
