/** Wiring: what every request passes, in order, and which route answers. */
import { Hono } from "hono";
import { routes as publicRoutes } from "#contract/api/all";
import { Problem } from "#contract/problems";
import { problemAnswer } from "#worker/http/answer";
import type { AppEnv } from "#worker/http/call";
import { errorAnswer } from "#worker/http/error-handler";
import { freshRequestId } from "#worker/http/fresh-id";
import { type Mounted, mount } from "#worker/http/router";
import { secured } from "#worker/http/security-headers";
import { accessRoutes } from "#worker/routes/access";
import { agentLeaseRoutes } from "#worker/routes/agent-leases";
import { agentNodeRoutes } from "#worker/routes/agent-nodes";
import { agentReplicaRoutes } from "#worker/routes/agent-replicas";
import { batchRoutes } from "#worker/routes/batches";
import { documentRoutes } from "#worker/routes/documents";
import { endpointRoutes } from "#worker/routes/endpoints";
import { fileRoutes } from "#worker/routes/files";
import { jobRoutes } from "#worker/routes/jobs";
import { outputRoutes } from "#worker/routes/outputs";
import { podRoutes } from "#worker/routes/pods";
import { queueRoutes } from "#worker/routes/queue";
import { usageRoutes } from "#worker/routes/usage";
import { webhookRoutes } from "#worker/routes/webhooks";

const mounted: readonly Mounted[] = [
  ...documentRoutes,
  ...endpointRoutes,
  ...jobRoutes,
  ...outputRoutes,
  ...batchRoutes,
  ...queueRoutes,
  ...usageRoutes,
  ...fileRoutes,
  ...podRoutes,
  ...webhookRoutes,
  ...accessRoutes,
  ...agentNodeRoutes,
  ...agentReplicaRoutes,
  ...agentLeaseRoutes,
];

/**
 * The addresses we have need no percent-encoding, no empty segment and no parameter: everything else is a trick or a
 * mistake, and no part behind this one has to decode it.
 */
const PLAIN_PATH = /^(?:\/[A-Za-z0-9._~-]+)*\/?$/;

export function createApp(): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  app.use(async (context, next) => {
    const requestId = freshRequestId();
    context.set("requestId", requestId);
    await next();
    context.res = secured(context.res, requestId, new URL(context.req.raw.url));
  });

  app.use(async (context, next) => {
    const { pathname } = new URL(context.req.raw.url);
    if (!PLAIN_PATH.test(pathname)) throw new Problem("not_found", "There is nothing at this address.");
    if (context.req.raw.headers.has("content-encoding")) {
      // Unpacking what strangers send is how a kilobyte becomes a gigabyte.
      throw new Problem("unsupported_media_type", "Send the body without Content-Encoding.");
    }
    await next();
  });

  mount(app, mounted);
  app.notFound((context) => problemAnswer("not_found", "There is nothing at this address.", context.get("requestId")));
  app.onError((error, context) =>
    errorAnswer(error, context.get("requestId"), context.req.raw.method, new URL(context.req.raw.url).pathname),
  );
  return app;
}

/** Routes of the public contract that nothing answers; a test holds it empty. */
export function unansweredRoutes(): string[] {
  return publicRoutes
    .filter((route) => !mounted.some((one) => one.method === route.method && one.path === route.path))
    .map((route) => route.id);
}
