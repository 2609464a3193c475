/** Replicas: how they stand, what they run, and their asking for work. */
import * as z from "zod";
import {
  ReleaseForAgent,
  ReplicaPoll,
  ReplicaPollAnswer,
  ReplicaReport,
  ReplicaReportAnswer,
  VerificationReport,
  VerificationReportAnswer,
} from "#contract/agent";
import { route } from "#contract/api/route";
import { ReplicaId } from "#contract/ids";
import { LONG_POLL_MS, RELEASES_PER_ENDPOINT_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { wholeNumber } from "#contract/whole-number";
import { SOCKET_OWNER_HEADER, type SocketOwner } from "#durable-objects/endpoint/replica-sockets";
import type { EndpointRpc, NodeIdentity } from "#durable-objects/endpoint/rpc";
import { requireGivenReplica } from "#worker/auth/node-rights";
import type { NodeSession } from "#worker/auth/node-session";
import { findBuild } from "#worker/catalog/builds";
import { findRelease } from "#worker/catalog/endpoints";
import { handleAgent } from "#worker/http/agent-router";
import { pollAnswer } from "#worker/http/poll-stream";
import { agentEndpointKey } from "#worker/placement/agent-endpoint";
import { askEndpoint } from "#worker/placement/objects";

const tag = "Agent";
const ReplicaParams = z.object({ replica: ReplicaId });

const reportReplica = route({
  id: "reportReplica",
  tag,
  method: "post",
  path: "/agent/v1/replicas/{replica}/state",
  summary: "Say how a replica stands",
  scope: null,
  params: ReplicaParams,
  body: ReplicaReport,
  status: 200,
  returns: ReplicaReportAnswer,
  problems: ["replica_not_found"],
});

const getRelease = route({
  id: "getReleaseForAgent",
  tag,
  method: "get",
  path: "/agent/v1/replicas/{replica}/release",
  summary: "What a replica runs",
  scope: null,
  params: ReplicaParams,
  query: z.object({ release: wholeNumber(1, RELEASES_PER_ENDPOINT_MAX) }),
  status: 200,
  returns: ReleaseForAgent,
  problems: ["node_not_found", "replica_not_found", "release_not_found"],
});

const pollReplica = route({
  id: "pollReplica",
  tag,
  method: "post",
  path: "/agent/v1/replicas/{replica}/poll",
  summary: "Ask for a lease; waits until there is one",
  scope: null,
  params: ReplicaParams,
  body: ReplicaPoll,
  status: 200,
  returns: ReplicaPollAnswer,
  problems: ["replica_not_found"],
});

const reportVerification = route({
  id: "reportVerification",
  tag,
  method: "post",
  path: "/agent/v1/replicas/{replica}/verifications",
  summary: "Say how the try of a release goes",
  scope: null,
  params: ReplicaParams,
  body: VerificationReport,
  status: 200,
  returns: VerificationReportAnswer,
  problems: ["replica_not_found"],
});

const openSocket = route({
  id: "openReplicaSocket",
  tag,
  method: "get",
  path: "/agent/v1/replicas/{replica}/socket",
  summary: "The calls of each job over one WebSocket",
  scope: null,
  params: ReplicaParams,
  status: 101,
  problems: ["replica_not_found"],
});

const report = handleAgent(reportReplica, async ({ env, node, params, body }) => {
  const key = await agentEndpointKey(env, node.workspaceId, params.replica);
  const { answer } = await askEndpoint(env, key, "repeatable", (endpoint) =>
    endpoint.reportReplica(identityOf(node), params.replica, body),
  );
  return answer;
});

const verification = handleAgent(reportVerification, async ({ env, node, params, body }) => {
  const key = await agentEndpointKey(env, node.workspaceId, params.replica);
  const { answer } = await askEndpoint(env, key, "repeatable", (endpoint) =>
    endpoint.reportVerification(identityOf(node), params.replica, body),
  );
  return answer;
});

const release = handleAgent(getRelease, async ({ env, node, params, query }) => {
  const { endpointId } = await requireGivenReplica(env, node, params.replica);
  const found = await findRelease(env.CATALOG, endpointId, query.release);
  if (found === undefined) {
    throw new Problem("release_not_found", "The replica's endpoint has no such release.");
  }
  const { endpoint, release: made } = found;
  const build = made.build === null ? undefined : await findBuild(env.CATALOG, node.workspaceId, made.build);
  return {
    endpoint_id: endpoint.id,
    endpoint: endpoint.slug,
    release: made.number,
    graph: made.graph,
    inputs: made.inputs,
    outputs: made.outputs,
    classes: made.classes,
    build: build === undefined ? null : { digest: build.digest, manifest: build.manifest },
    object_info: made.objectInfo,
    smoke_test: made.smokeTest,
  };
});

const poll = handleAgent(pollReplica, async (call) => {
  const { env, node, params, body } = call;
  const key = await agentEndpointKey(env, node.workspaceId, params.replica);
  const message = { ...body, wait_ms: Math.min(body.wait_ms, LONG_POLL_MS) };
  const work = askEndpoint(env, key, "repeatable", (endpoint) =>
    endpoint.pollReplica(identityOf(node), params.replica, message),
  ).then(({ answer }) => answer);
  return pollAnswer(call, work, () =>
    (env.ENDPOINTS.getByName(key) as unknown as EndpointRpc).abandonPoll(params.replica, body.poll_id),
  );
});

/** The Worker only says who it is: what comes over the socket goes to the endpoint's object directly. */
const socket = handleAgent(openSocket, async ({ env, node, params, request }) => {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new Problem("malformed_request", "This address takes WebSockets: send Upgrade: websocket.");
  }
  const key = await agentEndpointKey(env, node.workspaceId, params.replica);
  const owner: SocketOwner = { ...identityOf(node), replicaId: params.replica, expiresAt: node.expires * 1000 };
  const opened = await env.ENDPOINTS.getByName(key).fetch("https://endpoint/socket", {
    headers: { upgrade: "websocket", [SOCKET_OWNER_HEADER]: JSON.stringify(owner) },
  });
  return new Response(null, { status: 101, webSocket: opened.webSocket });
});

export const agentReplicaRoutes = [report, verification, release, poll, socket];

function identityOf(node: NodeSession): NodeIdentity {
  return { workspaceId: node.workspaceId, podId: node.podId, nodeId: node.nodeId };
}
