/** Nodes as operators see them: who is there, how it fares, and what they may do to it. */
import {
  cordonNode,
  drainNode,
  getNode,
  listNodes,
  removeNode,
  trustNode,
  uncordonNode,
  undrainNode,
} from "#contract/api/pods";
import type { NodeChange } from "#durable-objects/pod/rpc";
import { forgetJoinOf } from "#worker/catalog/join-tokens";
import { handle, type Mounted } from "#worker/http/router";
import { askToldPod } from "#worker/placement/introduce-pod";

const list = handle(listNodes, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askToldPod(env, params.pod, workspaceId, "repeatable", (pod) => pod.listNodes(workspaceId));
  return { data: reply.nodes };
});

const get = handle(getNode, async ({ env, principal: { workspaceId }, params }) => {
  const { node } = await askToldPod(env, params.pod, workspaceId, "repeatable", (pod) =>
    pod.watchNode(workspaceId, params.node),
  );
  return node;
});

/** A route that changes one thing of a node. Doing it twice is doing it once. */
function change(route: typeof drainNode, what: NodeChange): Mounted {
  return handle(route, async ({ env, principal: { workspaceId }, params }) => {
    const { node } = await askToldPod(env, params.pod, workspaceId, "repeatable", (pod) =>
      pod.changeNode(workspaceId, params.node, what),
    );
    return node;
  });
}

const remove = handle(removeNode, async ({ env, principal: { workspaceId }, params }) => {
  // First: when this is all that is done, the same call again finds the node still there.
  await forgetJoinOf(env.CATALOG, workspaceId, params.pod, params.node);
  await askToldPod(env, params.pod, workspaceId, "repeatable", (pod) => pod.removeNode(workspaceId, params.node));
  return undefined;
});

export const nodeRoutes = [
  list,
  get,
  change(drainNode, { draining: true }),
  change(undrainNode, { draining: false }),
  change(cordonNode, { cordoned: true }),
  change(uncordonNode, { cordoned: false }),
  change(trustNode, { quarantined: false }),
  remove,
];
