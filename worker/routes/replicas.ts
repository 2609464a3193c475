/** Replicas as operators see them: how they stand, what they write, what their time went to. */
import {
  getReplica,
  getReplicaLogs,
  listReplicaSeconds,
  listReplicas,
  replaceReplica,
  stopReplica,
} from "#contract/api/replicas";
import { Problem } from "#contract/problems";
import { replicaLogStream, shownLine } from "#worker/endpoints/replica-log";
import { acceptsEvents } from "#worker/http/accept";
import { handle } from "#worker/http/router";
import { askEndpoint } from "#worker/placement/objects";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { cardPrices } from "#worker/pods/card-prices";

/** A month, when nobody says how far back. */
const DAYS_DEFAULT = 30;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

const list = handle(listReplicas, async ({ env, principal: { workspaceId }, params, query }) => {
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askEndpoint(env, endpoint.key, "repeatable", (object) =>
    object.listReplicas(workspaceId, query.state),
  );
  return { data: reply.replicas };
});

const get = handle(getReplica, async ({ env, principal: { workspaceId }, params }) => {
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askEndpoint(env, endpoint.key, "repeatable", (object) =>
    object.getReplica(workspaceId, params.replica),
  );
  return reply.replica;
});

const logs = handle(getReplicaLogs, async ({ env, principal: { workspaceId }, params, query, headers, request }) => {
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  if (acceptsEvents(request.headers.get("accept"))) {
    const followed = { env, workspaceId, key: endpoint.key, replica: params.replica };
    return replicaLogStream(followed, Math.max(query.from, nextLine(headers["last-event-id"])));
  }
  const { lines, next } = await askEndpoint(env, endpoint.key, "repeatable", (object) =>
    object.replicaLog(workspaceId, params.replica, query.from),
  );
  return { data: lines.map(shownLine), next };
});

/** @throws Problem malformed_request */
function nextLine(header: string | undefined): number {
  if (header === undefined || header === "") return 0;
  if (/^(?:0|[1-9][0-9]{0,14})$/.test(header)) return Number(header);
  throw new Problem("malformed_request", "Last-Event-ID must be the id of an event of this replica's log.");
}

const stop = handle(stopReplica, async ({ env, principal: { workspaceId }, params }) => {
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askEndpoint(env, endpoint.key, "repeatable", (object) =>
    object.stopReplica(workspaceId, params.replica),
  );
  return reply.replica;
});

const replace = handle(replaceReplica, async ({ env, principal: { workspaceId }, params }) => {
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const reply = await askEndpoint(env, endpoint.key, "repeatable", (object) =>
    object.replaceReplica(workspaceId, params.replica),
  );
  return reply.replica;
});

const seconds = handle(listReplicaSeconds, async ({ env, principal: { workspaceId }, params, query }) => {
  const { endpoint } = await ownEndpoint(env, workspaceId, params.endpoint);
  const today = Math.floor(Date.now() / DAY_MS);
  const to = query.to === undefined ? today : dayOf(query.to);
  const from = query.from === undefined ? to - DAYS_DEFAULT : dayOf(query.from);
  const { days } = await askEndpoint(env, endpoint.key, "repeatable", (object) =>
    object.replicaDays(workspaceId, from, to),
  );
  const podIds = new Set(days.map(({ podId }) => podId));
  const priceOf = await cardPrices(env.CATALOG, workspaceId, [...podIds]);
  const data = days.map(({ day, podId, gpuType, used, cardMs, started, crashed }) => {
    const type = gpuType === "" ? null : gpuType;
    const price = priceOf(podId, type);
    return {
      day: new Date(day * DAY_MS).toISOString().slice(0, 10),
      pod_id: podId,
      gpu_type: type,
      seconds: { cold: used.cold / 1_000, idle: used.idle / 1_000, busy: used.busy / 1_000 },
      card_seconds: cardMs / 1_000,
      started,
      crashed,
      price_per_hour: price,
      cost: price === null ? null : costOf(cardMs, price),
    };
  });
  return { data };
});

export const replicaRoutes = [list, get, logs, stop, replace, seconds];

/** Dollars, to a millionth. */
function costOf(cardMs: number, pricePerHour: number): number {
  return Math.round((cardMs / HOUR_MS) * pricePerHour * 1_000_000) / 1_000_000;
}

/** Days since 1970, UTC. */
function dayOf(date: string): number {
  return Math.floor(Date.parse(`${date}T00:00:00Z`) / DAY_MS);
}
