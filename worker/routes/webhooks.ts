/** Webhooks: subscriptions, their secrets, the log of deliveries, and the keys that verify signatures. */
import {
  createWebhook,
  deleteWebhook,
  getDelivery,
  getWebhook,
  getWebhookKeys,
  getWebhookSecret,
  listDeliveries,
  listenWebhook,
  listJobDeliveries,
  listWebhooks,
  patchWebhook,
  recoverWebhook,
  redeliver,
  reportDelivery,
  rotateWebhookSecret,
  testWebhook,
} from "#contract/api/webhooks";
import { DeliveryId, type WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { guardUrl } from "#contract/public-url";
import { DEFAULT_WEBHOOK_EVENTS, type Delivery, type WebhookEvent } from "#contract/webhook";
import { publicKeyText } from "#durable-objects/outbox/signed-content";
import { type DeliveryPage, MADE_OF_BYTES, type MadeOf, type WebhookSource } from "#durable-objects/webhooks/rpc";
import { base64url, deploymentKey, keyId } from "#durable-objects/webhooks/signer";
import type { Env } from "#worker/env";
import { jsonAnswer } from "#worker/http/answer";
import type { Arrival } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handleOnce, type Making } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { askEndpoint, askWebhooks } from "#worker/placement/objects";
import { ownEndpoint, ownJobKey } from "#worker/placement/own-endpoint";

/** The public keys are the same until the deployment's secret is another. */
const KEYS_CACHE_CONTROL = "public, max-age=300";

const create = handleOnce(createWebhook, async (call, making) => {
  const { env, principal, body } = call;
  const { workspaceId } = principal;
  const url = body.kind === "http" ? usable(call, body.url) : unused(body.url);
  const endpointId =
    body.endpoint === undefined ? null : (await ownEndpoint(env, workspaceId, body.endpoint)).endpoint.id;
  const of = madeOf(making);
  const { webhook } = await askWebhooks(env, workspaceId, "repeatable", (webhooks) =>
    webhooks.create(
      workspaceId,
      {
        kind: body.kind,
        url,
        events: distinct(body.events ?? DEFAULT_WEBHOOK_EVENTS),
        endpointId,
        description: body.description ?? null,
      },
      of,
    ),
  );
  return webhook;
});

const list = handle(listWebhooks, async ({ env, principal: { workspaceId } }) => {
  const { webhooks } = await askWebhooks(env, workspaceId, "repeatable", (object) => object.list(workspaceId));
  return { data: webhooks };
});

const get = handle(getWebhook, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) => object.get(workspaceId, params.webhook));
  return reply.webhook;
});

const patch = handle(patchWebhook, async (call) => {
  const { env, params, body } = call;
  const { workspaceId } = call.principal;
  if (body.url !== undefined) usable(call, body.url);
  const change = body.events === undefined ? body : { ...body, events: distinct(body.events) };
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.patch(workspaceId, params.webhook, change),
  );
  return reply.webhook;
});

const remove = handle(deleteWebhook, async ({ env, principal: { workspaceId }, params }) => {
  await askWebhooks(env, workspaceId, "once", (object) => object.remove(workspaceId, params.webhook));
  return undefined;
});

const secret = handle(getWebhookSecret, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.secret(workspaceId, params.webhook),
  );
  return reply.secret;
});

const rotate = handleOnce(rotateWebhookSecret, async ({ env, principal: { workspaceId }, params }, making) => {
  const of = madeOf(making);
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.rotate(workspaceId, params.webhook, of),
  );
  return reply.secret;
});

const test = handleOnce(testWebhook, async ({ env, principal: { workspaceId }, params, body }, making) => {
  const of = madeOf(making);
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.tryOut(workspaceId, params.webhook, body.event, of),
  );
  return reply.delivery;
});

const deliveries = handle(listDeliveries, async ({ env, principal: { workspaceId }, params, query }) =>
  pageOf(env, workspaceId, params.webhook, query.cursor, [query.state, query.event, query.job], {
    limit: query.limit,
    ...(query.state === undefined ? {} : { state: query.state }),
    ...(query.event === undefined ? {} : { event: query.event }),
    ...(query.job === undefined ? {} : { jobId: query.job }),
  }),
);

const ofJob = handle(listJobDeliveries, async ({ env, principal: { workspaceId }, params, query }) => {
  const key = await ownJobKey(env, workspaceId, params.job);
  const only = { limit: query.limit, jobId: params.job };
  const found = await pageOf(env, workspaceId, null, query.cursor, [params.job], only);
  if (found.data.length === 0 && query.cursor === undefined) {
    // What was told of a job may outlive its record; where nothing was, the job itself must be there.
    await askEndpoint(env, key, "repeatable", (object) => object.getJob(workspaceId, params.job));
  }
  return found;
});

const delivery = handle(getDelivery, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.delivery(workspaceId, params.webhook, params.delivery),
  );
  return reply.delivery;
});

const again = handleOnce(redeliver, async ({ env, principal: { workspaceId }, params }) => {
  const reply = await askWebhooks(env, workspaceId, "once", (object) =>
    object.redeliver(workspaceId, params.webhook, params.delivery),
  );
  return reply.delivery;
});

const recover = handleOnce(recoverWebhook, async ({ env, principal: { workspaceId }, params, body }) => {
  const { recovered } = await askWebhooks(env, workspaceId, "once", (object) =>
    object.recover(workspaceId, params.webhook, Date.parse(body.since)),
  );
  return { recovered };
});

const listen = handle(listenWebhook, async ({ env, principal: { workspaceId }, params, body }) => {
  const { messages } = await askWebhooks(env, workspaceId, "once", (object) =>
    object.listen(workspaceId, params.webhook, body.wait_ms),
  );
  return { messages };
});

const report = handle(reportDelivery, async ({ env, principal: { workspaceId }, params, body }) => {
  const reply = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.report(workspaceId, params.webhook, params.delivery, body),
  );
  return reply.delivery;
});

const keys = handle(getWebhookKeys, async ({ env }) => {
  const { publicKey } = await deploymentKey(env.SIGNING_SECRET);
  const key = {
    kty: "OKP",
    crv: "Ed25519",
    use: "sig",
    alg: "EdDSA",
    kid: await keyId(publicKey),
    x: base64url(publicKey),
    whpk: publicKeyText(publicKey),
  };
  return jsonAnswer(200, { keys: [key] }, { "cache-control": KEYS_CACHE_CONTROL });
});

export const webhookRoutes = [
  create,
  list,
  get,
  patch,
  remove,
  secret,
  rotate,
  test,
  deliveries,
  ofJob,
  delivery,
  again,
  recover,
  listen,
  report,
  keys,
];

/** @param filters what the list was asked for: a cursor goes on in the same list alone */
async function pageOf(
  env: Env,
  workspaceId: WorkspaceId,
  source: WebhookSource | null,
  cursor: string | undefined,
  filters: readonly (string | undefined)[],
  page: DeliveryPage,
): Promise<{ data: Delivery[]; next_cursor: string | null }> {
  const { SIGNING_SECRET } = env;
  const listed = JSON.stringify([source, ...filters.map((filter) => filter ?? null)]);
  const place = await readCursor(SIGNING_SECRET, "deliveries", workspaceId, cursor, listed);
  const before = place === undefined ? {} : { before: DeliveryId.parse(place) };
  const { deliveries: data, next } = await askWebhooks(env, workspaceId, "repeatable", (object) =>
    object.deliveries(workspaceId, source, { ...page, ...before }),
  );
  const next_cursor = next === null ? null : await makeCursor(SIGNING_SECRET, "deliveries", workspaceId, next, listed);
  return { data, next_cursor };
}

function madeOf({ at, randomBytes }: Making): MadeOf {
  return { at, bytes: randomBytes(MADE_OF_BYTES) };
}

/** @throws Problem invalid_url when nothing may be posted there */
function usable({ env, url: { host } }: Arrival, text: string | undefined): string {
  if (text === undefined) throw invalidUrl("Is missing: say where to post, or make a webhook of the kind listen.");
  const guarded = guardUrl(text, { allowLoopback: env.ALLOW_LOOPBACK_URLS === "true", ownHosts: [host] });
  if (!guarded.ok) throw invalidUrl(guarded.reason);
  return text;
}

/** @throws Problem invalid_url when there is one */
function unused(text: string | undefined): null {
  if (text !== undefined) throw invalidUrl("Must be left out for a webhook of the kind listen.");
  return null;
}

function invalidUrl(reason: string): Problem {
  return new Problem("invalid_url", `/url: ${reason}`, { errors: [{ path: "/url", reason }] });
}

function distinct(events: readonly WebhookEvent[]): WebhookEvent[] {
  return [...new Set(events)];
}
