/** Mounts routes of the agent API: another credential, a protocol number, the same reading of requests. */
import { AGENT_PROTOCOL, LEASE_TOKEN_HEADER, LeaseToken, PROTOCOL_HEADER } from "#contract/agent";
import type { Route } from "#contract/api/route";
import type { LeaseId } from "#contract/ids";
import { Problem } from "#contract/problems";
import type { LeaseProof } from "#durable-objects/endpoint/rpc";
import { type NodeSession, verifyNodeSession } from "#worker/auth/node-session";
import type { Arrival, Call } from "#worker/http/call";
import { finished, type Mounted, readCall } from "#worker/http/router";

/** A call of an agent: like any call, with a node where a caller has a principal. */
export type AgentCall<R extends Route> = Omit<Call<R>, "principal"> & { readonly node: NodeSession };

/** Joins a route with its handler for nodes that have joined. */
export function handleAgent<const R extends Route>(
  route: R,
  handler: (call: AgentCall<R>) => Promise<Response | object | undefined>,
): Mounted {
  return {
    method: route.method,
    path: route.path,
    answer: async (arrival, rawParams) => {
      requireProtocol(arrival.request);
      const node = await verifyNodeSession(arrival.env.SIGNING_SECRET, bearer(arrival.request));
      const read = await readCall(route, arrival, rawParams);
      return finished(route, await handler({ ...arrival, node, ...read } as unknown as AgentCall<R>));
    },
  };
}

/** @throws Problem upgrade_required for agents of another protocol */
export function requireProtocol(request: Request): void {
  const spoken = request.headers.get(PROTOCOL_HEADER);
  if (spoken === String(AGENT_PROTOCOL)) return;
  throw new Problem(
    "upgrade_required",
    `This server speaks agent protocol ${AGENT_PROTOCOL}; the agent sent ${spoken === null ? "none" : "another"} in ${PROTOCOL_HEADER}.`,
  );
}

/** The token of `Authorization: Bearer …`. */
export function bearer(request: Request): string {
  const match = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "");
  if (match?.[1] === undefined || request.headers.has("x-api-key")) {
    throw new Problem("unauthenticated", "Send one credential, as Authorization: Bearer …");
  }
  return match[1];
}

/** What proves a message about a lease: who sends it and the lease's token. */
export function leaseProof(call: Arrival & { readonly node: NodeSession }, leaseId: LeaseId): LeaseProof {
  const header = call.request.headers.get(LEASE_TOKEN_HEADER);
  if (header === null) throw new Problem("malformed_request", `Send the lease's token in ${LEASE_TOKEN_HEADER}.`);
  const token = LeaseToken.safeParse(header);
  if (!token.success) throw new Problem("lease_lost", "That is no lease's token.");
  const { workspaceId, podId, nodeId } = call.node;
  return { workspaceId, podId, nodeId, leaseId, token: token.data };
}
