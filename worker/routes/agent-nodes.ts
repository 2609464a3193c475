/** Nodes: joining a pod, the heartbeat that says what a node should run, and how it fares. */
import * as z from "zod";
import { JoinedNode, JoinNode, NodeMetricsAnswer, NodeMetricsReport, NodePoll, NodePollAnswer } from "#contract/agent";
import { route } from "#contract/api/route";
import { NodeId, ownerKey } from "#contract/ids";
import { JSON_BODY_BYTES_MAX, LONG_POLL_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { PodRpc } from "#durable-objects/pod/rpc";
import { admitJoin, heldJoinToken, requireJoin } from "#worker/auth/join-token";
import { type NodeSession, nearsItsEnd, signNodeSession } from "#worker/auth/node-session";
import { giveJoinBack, type HeldJoinToken } from "#worker/catalog/join-tokens";
import type { Env } from "#worker/env";
import { bearer, handleAgent, requireProtocol } from "#worker/http/agent-router";
import { readJsonBody } from "#worker/http/json-body";
import { pollAnswer } from "#worker/http/poll-stream";
import { finished, type Mounted } from "#worker/http/router";
import { askToldPod, refreshPod } from "#worker/placement/introduce-pod";
import { askPod } from "#worker/placement/objects";

const tag = "Agent";

const joinNode = route({
  id: "joinNode",
  tag,
  method: "post",
  path: "/agent/v1/nodes",
  summary: "Join a pod with a join token",
  scope: null,
  body: JoinNode,
  status: 201,
  returns: JoinedNode,
  problems: [
    "join_token_used",
    "join_token_expired",
    "join_token_revoked",
    "gpu_mismatch",
    "node_limit",
    "pod_not_found",
  ],
});

const pollNode = route({
  id: "pollNode",
  tag,
  method: "post",
  path: "/agent/v1/nodes/{node}/poll",
  summary: "Heartbeat; waits until what the node should run differs from what it runs",
  scope: null,
  params: z.object({ node: NodeId }),
  body: NodePoll,
  status: 200,
  returns: NodePollAnswer,
  problems: ["node_not_found"],
});

const reportNodeMetrics = route({
  id: "reportNodeMetrics",
  tag,
  method: "post",
  path: "/agent/v1/nodes/{node}/metrics",
  summary: "Say how busy, full and hot the machine is; the answer says when the next figures are due",
  scope: null,
  params: z.object({ node: NodeId }),
  body: NodeMetricsReport,
  status: 200,
  returns: NodeMetricsAnswer,
  problems: ["node_not_found"],
});

/** Not `handleAgent`: who joins has no session yet. */
const join: Mounted = {
  method: joinNode.method,
  path: joinNode.path,
  answer: async ({ env, request }) => {
    requireProtocol(request);
    const token = await heldJoinToken(env, bearer(request));
    const { body } = await readJsonBody(request, JoinNode, JSON_BODY_BYTES_MAX);
    // An agent that draws no id is another machine each time.
    const joinId = body.join_id ?? crypto.randomUUID();
    const { podId, workspaceId } = token;
    const { nodeId, isNew } = await admitJoin(env, token, joinId);
    try {
      await askToldPod(env, podId, workspaceId, "repeatable", (pod) => pod.join(workspaceId, body, nodeId));
    } catch (error) {
      // What the pod refuses does not count, unless it was counted before: that machine has had its node, or has it. Where
      // the pod's answer is lost, the machine counts, and comes again by its id.
      if (isNew && error instanceof Problem) await giveJoinBack(env.CATALOG, token.id, joinId);
      throw error;
    }
    if (!isNew) await stillJoined(env, token, joinId, nodeId);
    const session = await signNodeSession(env.SIGNING_SECRET, { nodeId, podId, workspaceId });
    return finished(joinNode, { node_id: nodeId, pod_id: podId, session });
  },
};

/** A node that was removed while its machine joined again is not brought back by that. @throws Problem */
async function stillJoined(env: Env, token: HeldJoinToken, joinId: string, nodeId: NodeId): Promise<void> {
  try {
    await requireJoin(env, token, joinId, nodeId);
  } catch (error) {
    const { podId, workspaceId } = token;
    await askPod(env, podId, "repeatable", (pod) => pod.removeNode(workspaceId, nodeId)).catch((refused: unknown) => {
      // Whoever removes it may have been faster.
      if (!(refused instanceof Problem)) throw refused;
    });
    throw error;
  }
}

/** A session speaks for one node; another one's name is as unknown as an invented one. */
function requireOwnName(node: NodeSession, named: NodeId): void {
  if (named !== node.nodeId) throw new Problem("node_not_found", "This session is another node's.");
}

const poll = handleAgent(pollNode, async (call) => {
  const { env, node, params, body } = call;
  requireOwnName(node, params.node);
  const identity = { workspaceId: node.workspaceId, podId: node.podId, nodeId: node.nodeId };
  const message = { ...body, wait_ms: Math.min(body.wait_ms, LONG_POLL_MS) };
  const work = async () => {
    call.waitUntil(refreshPod(call, node.podId, node.workspaceId));
    const { answer } = await askPod(env, node.podId, "repeatable", (pod) => pod.pollNode(identity, message));
    return nearsItsEnd(node, Date.now())
      ? { ...answer, session: await signNodeSession(env.SIGNING_SECRET, identity) }
      : answer;
  };
  return pollAnswer(call, work(), () =>
    (env.PODS.getByName(ownerKey(node.podId)) as unknown as PodRpc).abandonPoll(node.nodeId, body.poll_id),
  );
});

const metrics = handleAgent(reportNodeMetrics, async ({ env, node, params, body }) => {
  requireOwnName(node, params.node);
  const identity = { workspaceId: node.workspaceId, podId: node.podId, nodeId: node.nodeId };
  const { nextInMs } = await askPod(env, node.podId, "repeatable", (pod) => pod.reportMetrics(identity, body.metrics));
  return { next_in_ms: nextInMs };
});

export const agentNodeRoutes = [join, poll, metrics];
