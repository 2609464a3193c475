/** Wiring: which routes there are. */
import { Hono } from "hono";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { routes as publicRoutes } from "#contract/api/all";
import type { AppEnv } from "#worker/http/call";
import { type Mounted, mount } from "#worker/http/router";
import { accessRoutes } from "#worker/routes/access";
import { agentLeaseRoutes } from "#worker/routes/agent-leases";
import { agentModelRoutes } from "#worker/routes/agent-models";
import { agentNodeRoutes } from "#worker/routes/agent-nodes";
import { agentReplicaRoutes } from "#worker/routes/agent-replicas";
import { batchRoutes } from "#worker/routes/batches";
import { buildRoutes } from "#worker/routes/builds";
import { documentRoutes } from "#worker/routes/documents";
import { endpointRoutes } from "#worker/routes/endpoints";
import { fileRoutes } from "#worker/routes/files";
import { gpuTypeRoutes } from "#worker/routes/gpu-types";
import { jobRoutes } from "#worker/routes/jobs";
import { joinTokenRoutes } from "#worker/routes/join-tokens";
import { modelRoutes } from "#worker/routes/models";
import { nodeRoutes } from "#worker/routes/nodes";
import { outputRoutes } from "#worker/routes/outputs";
import { podRoutes } from "#worker/routes/pods";
import { queueRoutes } from "#worker/routes/queue";
import { releaseRoutes } from "#worker/routes/releases";
import { replicaRoutes } from "#worker/routes/replicas";
import { scalingRoutes } from "#worker/routes/scaling";
import { usageRoutes } from "#worker/routes/usage";
import { webhookRoutes } from "#worker/routes/webhooks";

const mounted: readonly Mounted[] = [
  ...documentRoutes,
  ...endpointRoutes,
  ...replicaRoutes,
  ...scalingRoutes,
  ...releaseRoutes,
  ...buildRoutes,
  ...jobRoutes,
  ...outputRoutes,
  ...batchRoutes,
  ...queueRoutes,
  ...usageRoutes,
  ...fileRoutes,
  ...modelRoutes,
  ...podRoutes,
  ...joinTokenRoutes,
  ...nodeRoutes,
  ...gpuTypeRoutes,
  ...webhookRoutes,
  ...accessRoutes,
  ...agentNodeRoutes,
  ...agentReplicaRoutes,
  ...agentLeaseRoutes,
  ...agentModelRoutes,
];

export function createApp(): Hono<AppEnv> {
  // The quick one, and no other: beside it, an address of which it cannot tell two readings apart would slow down every call.
  const app = new Hono<AppEnv>({ router: new RegExpRouter() });
  mount(app, mounted);
  return app;
}

/** Routes of the public contract that nothing answers; a test holds it empty. */
export function unansweredRoutes(): string[] {
  return publicRoutes
    .filter((route) => !mounted.some((one) => one.method === route.method && one.path === route.path))
    .map((route) => route.id);
}
