import * as z from "zod";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { JoinTokenId, NodeId, PodId } from "#contract/ids";
import {
  JOIN_TOKEN_S_DEFAULT,
  JOIN_TOKEN_S_MAX,
  JOIN_TOKEN_USES_MAX,
  NODE_LISTED_MAX,
  NODES_PER_POD_MAX,
} from "#contract/limits";
import { PersonText } from "#contract/person-text";
import { JoinToken, NodeSummary, Pod, PodDetail, PodSettings } from "#contract/replica";

const tag = "Pods";
const PodParams = z.object({ pod: PodId });
const NodeParams = z.object({ pod: PodId, node: NodeId });
const TokenParams = z.object({ pod: PodId, token: JoinTokenId });

const PodName = PersonText.trim().min(1).max(100).meta({ description: "Unique in the workspace" });
const { description: _description, ...settingsShape } = PodSettings.shape;
const settings = z.strictObject({ description: PersonText.max(2_000), ...settingsShape }).partial().shape;

export const NewPod = z.strictObject({ name: PodName, ...settings }).meta({ id: "NewPod" });
export type NewPod = z.infer<typeof NewPod>;

/** What is left out stays; a list or the prices are replaced as a whole. */
export const PodPatch = z.strictObject({ name: PodName.optional(), ...settings }).meta({ id: "PodPatch" });
export type PodPatch = z.infer<typeof PodPatch>;

export const createPod = route({
  id: "createPod",
  tag,
  method: "post",
  path: "/v1/pods",
  summary: "Make a pod: an allotment of GPUs that machines join and endpoints use",
  scope: "admin",
  body: NewPod,
  idempotent: "catalog",
  status: 201,
  returns: Pod,
  problems: ["pod_name_taken", "pod_limit"],
});
export const listPods = route({
  id: "listPods",
  tag,
  method: "get",
  path: "/v1/pods",
  summary: "List pods, the oldest first: it is the one for endpoints that name none",
  scope: "read",
  status: 200,
  returns: z.object({ data: z.array(Pod) }),
  problems: [],
});
export const getPod = route({
  id: "getPod",
  tag,
  method: "get",
  path: "/v1/pods/{pod}",
  summary: "Read a pod, with its capacity: nodes, slots, replicas, and who waits for a slot",
  description:
    "Counted by the pod's own object as it places replicas, at the moment of the call. Lists and changes of pods answer with the settings alone, so that they do not depend on these objects.",
  scope: "read",
  params: PodParams,
  status: 200,
  returns: PodDetail,
  problems: ["pod_not_found"],
});
export const patchPod = route({
  id: "patchPod",
  tag,
  method: "patch",
  path: "/v1/pods/{pod}",
  summary: "Change a pod's name or settings",
  description: "What is left out stays; lists and prices are replaced as a whole.",
  scope: "admin",
  params: PodParams,
  body: PodPatch,
  status: 200,
  returns: Pod,
  problems: ["pod_not_found", "pod_name_taken"],
});
export const deletePod = route({
  id: "deletePod",
  tag,
  method: "delete",
  path: "/v1/pods/{pod}",
  summary: "Delete a pod that no endpoint uses and no node is online in",
  scope: "admin",
  params: PodParams,
  status: 204,
  problems: ["pod_not_found", "pod_in_use"],
});

export const listNodes = route({
  id: "listNodes",
  tag,
  method: "get",
  path: "/v1/pods/{pod}/nodes",
  summary: "List a pod's nodes with their GPUs and slots",
  description: `Of each node's builds and models only the ${NODE_LISTED_MAX} used last are named; reading the node names all. A pod has at most ${NODES_PER_POD_MAX} nodes, those included that are away.`,
  scope: "read",
  params: PodParams,
  status: 200,
  returns: z.object({ data: z.array(NodeSummary) }),
  problems: ["pod_not_found"],
});
export const getNode = route({
  id: "getNode",
  tag,
  method: "get",
  path: "/v1/pods/{pod}/nodes/{node}",
  summary: "Read a node, with its latest figures",
  description:
    "Being asked for, the node sends its figures each second for the next 10 seconds; unasked, each 15 seconds. Ask each second to watch it.",
  scope: "read",
  params: NodeParams,
  status: 200,
  returns: NodeSummary,
  problems: ["pod_not_found", "node_not_found"],
});

const nodeAction = (id: string, verb: string, summary: string, description: string) =>
  route({
    id,
    tag,
    method: "post",
    path: `/v1/pods/{pod}/nodes/{node}/${verb}`,
    summary,
    description,
    scope: "admin",
    params: NodeParams,
    status: 200,
    returns: NodeSummary,
    problems: ["pod_not_found", "node_not_found"],
  });

export const drainNode = nodeAction(
  "drainNode",
  "drain",
  "Empty a node: its replicas finish their jobs and stop, and it gets nothing new",
  "It stays so until it is undrained, through restarts too. Doing it twice is doing it once.",
);
export const undrainNode = nodeAction(
  "undrainNode",
  "undrain",
  "Let a drained node run replicas again",
  "A node whose own agent is shutting down goes on draining.",
);
export const cordonNode = nodeAction(
  "cordonNode",
  "cordon",
  "Give a node nothing new; what it runs stays",
  "It stays so until it is uncordoned.",
);
export const uncordonNode = nodeAction(
  "uncordonNode",
  "uncordon",
  "Let a cordoned node get new replicas again",
  "Where a replica waits for room, at once.",
);
export const trustNode = nodeAction(
  "trustNode",
  "trust",
  "End a node's quarantine",
  "For when what it was quarantined for is mended: it gets replicas again at once.",
);
export const removeNode = route({
  id: "removeNode",
  tag,
  method: "delete",
  path: "/v1/pods/{pod}/nodes/{node}",
  summary: "Remove a node from its pod",
  description:
    "Its replicas finish the jobs in hand and end. Its session is void: beside what those jobs need it opens nothing, no workflow and no model. The machine may join again, as a new node, with a token that lets in one more; to keep it out, revoke that.",
  scope: "admin",
  params: NodeParams,
  status: 204,
  problems: ["pod_not_found", "node_not_found"],
});

export const NewJoinToken = z
  .strictObject({
    name: PersonText.trim().max(200).default("").meta({ description: "What it is for" }),
    expires_in: z
      .int()
      .min(60)
      .max(JOIN_TOKEN_S_MAX)
      .default(JOIN_TOKEN_S_DEFAULT)
      .meta({ description: "Seconds; a day when left out" }),
    uses_max: z.int().min(1).max(JOIN_TOKEN_USES_MAX).nullable().default(null).meta({
      description: "Machines that may join with it: 1 for a one-time token; null: as many as ever may, 10,000",
    }),
  })
  .meta({ id: "NewJoinToken" });

export const createJoinToken = route({
  id: "createJoinToken",
  tag,
  method: "post",
  path: "/v1/pods/{pod}/join-tokens",
  summary: "Make a token with which machines join the pod; it is shown once",
  scope: "admin",
  params: PodParams,
  body: NewJoinToken,
  bodyOptional: true,
  idempotent: "catalog",
  status: 201,
  returns: JoinToken,
  problems: ["pod_not_found", "join_token_limit"],
});
export const listJoinTokens = route({
  id: "listJoinTokens",
  tag,
  method: "get",
  path: "/v1/pods/{pod}/join-tokens",
  summary: "List a pod's join tokens, newest first; those that are over stay for 30 days",
  scope: "admin",
  params: PodParams,
  query: PageQuery,
  status: 200,
  returns: page(JoinToken),
  problems: ["pod_not_found", "invalid_cursor"],
});
export const revokeJoinToken = route({
  id: "revokeJoinToken",
  tag,
  method: "delete",
  path: "/v1/pods/{pod}/join-tokens/{token}",
  summary: "Revoke a join token: from now on no machine joins with it",
  description: "Machines that have joined stay; to have one go, remove its node.",
  scope: "admin",
  params: TokenParams,
  status: 204,
  problems: ["pod_not_found", "join_token_not_found"],
});
