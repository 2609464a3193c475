import * as z from "zod";
import { route } from "#contract/api/route";
import { PodId } from "#contract/ids";
import { JoinToken, NodeSummary, Pod } from "#contract/replica";

const tag = "Pods";
const PodParams = z.object({ pod: PodId });

export const listPods = route({
  id: "listPods",
  tag,
  method: "get",
  path: "/v1/pods",
  summary: "List pods",
  scope: "read",
  status: 200,
  returns: z.object({ data: z.array(Pod) }),
  problems: [],
});
export const listNodes = route({
  id: "listNodes",
  tag,
  method: "get",
  path: "/v1/pods/{pod}/nodes",
  summary: "List a pod's nodes with their GPUs and slots",
  scope: "read",
  params: PodParams,
  status: 200,
  returns: z.object({ data: z.array(NodeSummary) }),
  problems: ["pod_not_found"],
});
export const createJoinToken = route({
  id: "createJoinToken",
  tag,
  method: "post",
  path: "/v1/pods/{pod}/join-tokens",
  summary: "Make a token with which machines join the pod; it is shown once",
  scope: "admin",
  params: PodParams,
  body: z.strictObject({
    expires_in: z
      .int()
      .min(60)
      .max(365 * 86_400)
      .default(86_400),
  }),
  idempotent: "catalog",
  status: 201,
  returns: JoinToken,
  problems: ["pod_not_found"],
});
