/** Nodes: joining a pod, and the heartbeat that says what a node should run. */
import * as z from "zod";
import { JoinedNode, JoinNode, NodePoll, NodePollAnswer } from "#contract/agent";
import { route } from "#contract/api/route";
import { NodeId, ownerKey } from "#contract/ids";
import { JSON_BODY_BYTES_MAX, LONG_POLL_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { PodRpc } from "#durable-objects/pod/rpc";
import { verifyJoinToken } from "#worker/auth/join-token";
import { nearsItsEnd, signNodeSession } from "#worker/auth/node-session";
import { bearer, handleAgent, requireProtocol } from "#worker/http/agent-router";
import { readJsonBody } from "#worker/http/json-body";
import { pollAnswer } from "#worker/http/poll-stream";
import { finished, type Mounted } from "#worker/http/router";
import { introducePod } from "#worker/placement/introduce-pod";
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
  problems: [],
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

/** Not `handleAgent`: who joins has no session yet. */
const join: Mounted = {
  method: joinNode.method,
  path: joinNode.path,
  answer: async ({ env, request }) => {
    requireProtocol(request);
    const { workspaceId, podId } = await verifyJoinToken(env, bearer(request));
    const { body } = await readJsonBody(request, JoinNode, JSON_BODY_BYTES_MAX);
    await introducePod(env, podId, workspaceId);
    const { nodeId } = await askPod(env, podId, "once", (pod) => pod.join(workspaceId, body));
    const session = await signNodeSession(env.SIGNING_SECRET, { nodeId, podId, workspaceId });
    return finished(joinNode, { node_id: nodeId, pod_id: podId, session });
  },
};

const poll = handleAgent(pollNode, async (call) => {
  const { env, node, params, body } = call;
  // A session speaks for one node; another one's name is as unknown as an invented one.
  if (params.node !== node.nodeId) throw new Problem("node_not_found", "This session is another node's.");
  const identity = { workspaceId: node.workspaceId, podId: node.podId, nodeId: node.nodeId };
  const message = { ...body, wait_ms: Math.min(body.wait_ms, LONG_POLL_MS) };
  const work = async () => {
    const { answer } = await askPod(env, node.podId, "repeatable", (pod) => pod.pollNode(identity, message));
    return nearsItsEnd(node, Date.now())
      ? { ...answer, session: await signNodeSession(env.SIGNING_SECRET, identity) }
      : answer;
  };
  return pollAnswer(call, work(), () =>
    (env.PODS.getByName(ownerKey(node.podId)) as unknown as PodRpc).abandonPoll(node.nodeId, body.poll_id),
  );
});

export const agentNodeRoutes = [join, poll];
