/** An endpoint's queue: how it stands, who waits, pause and resume, dead letters, and operations on many jobs. */
import {
  cancelOperation,
  createOperation,
  getOperation,
  getQueue,
  listDead,
  listOperations,
  listQueue,
  pauseQueue,
  purgeQueue,
  redriveDead,
  resumeQueue,
} from "#contract/api/queue";
import { JobId, OperationId } from "#contract/ids";
import { Problem } from "#contract/problems";
import type { Operation } from "#contract/queue";
import type { OperationRequest } from "#durable-objects/endpoint/rpc";
import type { Principal } from "#worker/auth/principal";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import { jsonAnswer } from "#worker/http/answer";
import type { Arrival } from "#worker/http/call";
import { makeCursor, readCursor } from "#worker/http/cursor";
import { handle } from "#worker/http/router";
import { idempotencyOf, replayedHeader } from "#worker/jobs/idempotency-key";
import { jobView } from "#worker/jobs/job-view";
import { PAGE_BYTES_MAX } from "#worker/jobs/newest-jobs";
import { placeOfText, textOfPlace } from "#worker/jobs/queue-place";
import { askEndpoint } from "#worker/placement/objects";
import { ownEndpointCached, ownOperationKey } from "#worker/placement/own-endpoint";
import { askTold } from "#worker/placement/told-endpoint";

/** What the handlers share: who asks, about which endpoint. */
interface EndpointCall extends Arrival {
  readonly principal: Principal;
  readonly params: { readonly endpoint: string };
}

function endpointOf({ env, principal, params }: EndpointCall): Promise<EndpointSummary> {
  return ownEndpointCached(env, principal.workspaceId, params.endpoint);
}

const stand = handle(getQueue, async (call) => {
  const { workspaceId } = call.principal;
  const found = await endpointOf(call);
  return (await askTold(call.env, found, "repeatable", (object) => object.queueSummary(workspaceId))).summary;
});

const waiting = handle(listQueue, async (call) => {
  const { env, query } = call;
  const { workspaceId } = call.principal;
  const found = await endpointOf(call);
  const filters = JSON.stringify([found.endpoint.key, query.lane ?? null]);
  const place = await readCursor(env.SIGNING_SECRET, "queue", workspaceId, query.cursor, filters);
  const { entries, next } = await askTold(env, found, "repeatable", (object) =>
    object.listQueue(workspaceId, {
      limit: query.limit,
      ...(query.lane === undefined ? {} : { lane: query.lane }),
      ...(place === undefined ? {} : { after: placeOfText(place) }),
    }),
  );
  return {
    data: entries,
    next_cursor:
      next === null ? null : await makeCursor(env.SIGNING_SECRET, "queue", workspaceId, textOfPlace(next), filters),
  };
});

const pause = handle(pauseQueue, async (call) => {
  const { workspaceId } = call.principal;
  const found = await endpointOf(call);
  const { reason, refuse_new } = call.body;
  const reply = await askTold(call.env, found, "repeatable", (object) =>
    object.pauseQueue(workspaceId, { reason: reason ?? null, refuseNew: refuse_new }),
  );
  return reply.summary;
});

const resume = handle(resumeQueue, async (call) => {
  const { workspaceId } = call.principal;
  const found = await endpointOf(call);
  return (await askTold(call.env, found, "repeatable", (object) => object.resumeQueue(workspaceId))).summary;
});

const dead = handle(listDead, async (call) => {
  const { env, query } = call;
  const { workspaceId } = call.principal;
  const found = await endpointOf(call);
  const filters = found.endpoint.key;
  const place = await readCursor(env.SIGNING_SECRET, "dead", workspaceId, query.cursor, filters);
  const { jobs, next } = await askTold(env, found, "repeatable", (object) =>
    object.listDead(workspaceId, {
      limit: query.limit,
      bytesMax: PAGE_BYTES_MAX,
      ...(place === undefined ? {} : { before: JobId.parse(place) }),
    }),
  );
  return {
    data: await Promise.all(jobs.map((job) => jobView(job, env, workspaceId, call.url.origin))),
    next_cursor: next === null ? null : await makeCursor(env.SIGNING_SECRET, "dead", workspaceId, next, filters),
  };
});

const purge = handle(purgeQueue, async (call) => {
  const { confirm, state, lane, tag, key_id } = call.body;
  const found = await endpointOf(call);
  if (confirm !== found.endpoint.slug) {
    const reason = `Must be the endpoint's slug, "${found.endpoint.slug}".`;
    throw new Problem("confirmation_mismatch", `/confirm: ${reason}`, { errors: [{ path: "/confirm", reason }] });
  }
  return started(call, found, { kind: "purge", selection: { state, lane, tag, key_id } });
});

const redrive = handle(redriveDead, async (call) => {
  const { jobs, since } = call.body;
  return started(call, await endpointOf(call), {
    kind: "redrive",
    selection: {},
    ...(since === undefined ? {} : { since }),
    ...(jobs === undefined ? {} : { jobs: [...new Set(jobs)] }),
  });
});

const operate = handle(createOperation, async (call) => {
  const { state, ...selection } = call.body.selection;
  return started(call, await endpointOf(call), {
    kind: call.body.action,
    selection: { ...selection, ...(state === undefined ? {} : { state }) },
  });
});

async function started(
  call: EndpointCall & {
    readonly headers: { readonly "idempotency-key"?: string | undefined };
    readonly raw: { readonly bytes: Uint8Array };
  },
  found: EndpointSummary,
  request: Pick<OperationRequest, "kind" | "selection" | "jobs" | "since">,
): Promise<Response> {
  const { workspaceId, keyId } = call.principal;
  const idempotency = await idempotencyOf(call.headers["idempotency-key"], call.raw.bytes);
  const { operation, replayed } = await askTold(
    call.env,
    found,
    idempotency === undefined ? "once" : "repeatable",
    (object) =>
      object.startOperation(workspaceId, {
        ...request,
        keyId,
        ...(idempotency === undefined ? {} : { idempotency }),
      }),
  );
  return jsonAnswer(202, operation, {
    location: `${call.url.origin}/v1/operations/${operation.id}`,
    ...replayedHeader(replayed),
  });
}

const operations = handle(listOperations, async (call) => {
  const { env, query } = call;
  const { workspaceId } = call.principal;
  const found = await endpointOf(call);
  const filters = found.endpoint.key;
  const place = await readCursor(env.SIGNING_SECRET, "operations", workspaceId, query.cursor, filters);
  const reply = await askTold(env, found, "repeatable", (object) =>
    object.listOperations(workspaceId, {
      limit: query.limit,
      ...(place === undefined ? {} : { before: OperationId.parse(place) }),
    }),
  );
  return {
    data: reply.operations,
    next_cursor:
      reply.next === null ? null : await makeCursor(env.SIGNING_SECRET, "operations", workspaceId, reply.next, filters),
  };
});

const operation = handle(getOperation, async (call): Promise<Operation> => {
  const { workspaceId } = call.principal;
  const key = await ownOperationKey(call.env, workspaceId, call.params.operation);
  const reply = await askEndpoint(call.env, key, "repeatable", (object) =>
    object.getOperation(workspaceId, call.params.operation),
  );
  return reply.operation;
});

const stop = handle(cancelOperation, async (call): Promise<Operation> => {
  const { workspaceId } = call.principal;
  const key = await ownOperationKey(call.env, workspaceId, call.params.operation);
  const reply = await askEndpoint(call.env, key, "repeatable", (object) =>
    object.cancelOperation(workspaceId, call.params.operation),
  );
  return reply.operation;
});

export const queueRoutes = [stand, waiting, pause, resume, dead, purge, redrive, operate, operations, operation, stop];
