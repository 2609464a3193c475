/** A GPU machine without GPU and without ComfyUI: it speaks the agent protocol, its jobs over sockets, and does nothing else. */
import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type * as z from "zod";
import { type Answer, Connection } from "#bench/load/connection";
import { type Answered, ReplicaSocket } from "#bench/product/replica-socket";
import type { BenchReplica } from "#bench/subject";
import {
  AGENT_PROTOCOL,
  type HeldReplica,
  JoinedNode,
  type Lease,
  type NodePoll,
  NodePollAnswer,
  PROTOCOL_HEADER,
  ReplicaReportAnswer,
} from "#contract/agent";
import type { EndpointId, ReplicaId } from "#contract/ids";

const NODE_POLL_MS = 20_000;
const LOOK_AGAIN_MS = 20;
const REPLICA_POLL_MS = 25_000;
const PLACE_WITHIN_MS = 60_000;
/** A replica that is not heard for 40 s is taken for lost, and one of the bench may have to wait for its turn. */
const REPORT_EVERY_MS = 10_000;

export interface FakeNode {
  /** Waits until the pod has placed so many replicas of an endpoint here. */
  replicas(endpointId: string, count: number): Promise<BenchReplica<Lease>[]>;
  leave(): void;
}

type Headers = Readonly<Record<string, string>>;

/** Joins a pod with a machine of so many slots and keeps its heartbeat going. */
export async function joinFakeNode(url: string, joinToken: string, slots: number): Promise<FakeNode> {
  const heartbeat = await Connection.open(url);
  const joined = await post(heartbeat, "/agent/v1/nodes", bearer(joinToken), JoinedNode, {
    name: "bench",
    agent_version: "0",
    comfyui: "none",
    gpus: [],
    slots,
  });
  const headers = bearer(joined.session);
  const held = new Map<ReplicaId, HeldReplica & { readonly endpoint_id: EndpointId }>();
  let leaving = false;
  const beat = async (): Promise<void> => {
    while (!leaving) {
      const poll: NodePoll = {
        poll_id: newPollId(),
        comfyui: "none",
        gpus: [],
        slots,
        draining: false,
        replicas: [...held.values()].map(({ replica_id, slot, state }) => ({ replica_id, slot, state })),
        wait_ms: NODE_POLL_MS,
      };
      const wanted = await post(heartbeat, `/agent/v1/nodes/${joined.node_id}/poll`, headers, NodePollAnswer, poll);
      for (const { replica_id, slot, endpoint_id } of wanted.replicas) {
        held.set(replica_id, { replica_id, slot, endpoint_id, state: "ready" });
      }
      const still = new Set(wanted.replicas.map(({ replica_id }) => replica_id));
      for (const id of held.keys()) if (!still.has(id)) held.delete(id);
    }
  };
  const opened = new Set<ReplicaId>();
  const reports = await Connection.open(url);
  const report = async (): Promise<void> => {
    while (!leaving) {
      await pause(REPORT_EVERY_MS, undefined, { ref: false });
      for (const id of opened) if (!leaving) await reportReady(reports, headers, id);
    }
  };
  const alive = Promise.all([beat(), report()]).catch((error: unknown) => {
    if (!leaving) throw error;
  });
  return {
    replicas: async (endpointId, count) => {
      const deadline = Date.now() + PLACE_WITHIN_MS;
      const mine = () => [...held.values()].filter((replica) => replica.endpoint_id === endpointId);
      while (mine().length < count) {
        if (Date.now() > deadline) throw new Error(`${mine().length} of ${count} replicas were placed in time`);
        // The heartbeat runs by itself; should it have failed, this hears of it.
        await Promise.race([pause(LOOK_AGAIN_MS), alive]);
      }
      for (const { replica_id } of mine().slice(0, count)) opened.add(replica_id);
      return await Promise.all(
        mine()
          .slice(0, count)
          .map(({ replica_id }) => openReplica(url, headers, replica_id)),
      );
    },
    leave: () => {
      leaving = true;
      heartbeat.close();
      reports.close();
    },
  };
}

async function openReplica(url: string, headers: Headers, id: ReplicaId): Promise<BenchReplica<Lease>> {
  const connection = await Connection.open(url);
  await reportReady(connection, headers, id);
  connection.close();
  const socket = await ReplicaSocket.open(url, id, headers);
  /** The answer of the poll that the last complete went on as. */
  let standing: Promise<Answered> | null = null;
  return {
    take: async () => {
      for (;;) {
        const poll = { poll_id: newPollId(), leases: [], wait_ms: REPLICA_POLL_MS };
        const { said } = await (standing ?? socket.call({ call: "poll", body: poll }));
        standing = null;
        if (said.lease) return said.lease;
        if (said.stop === true) throw new Error("a replica of the bench is no longer wanted");
      }
    },
    complete: async ({ lease_id: lease, token }, more) => {
      const next = more ? { next_poll_id: newPollId(), next_wait_ms: REPLICA_POLL_MS } : {};
      const body = { outputs: [], phases: [], ...next };
      const { said, poll } = await socket.call({ call: "complete", lease, token, body });
      standing = poll;
      return said.next ?? null;
    },
    close: () => socket.close(),
  };
}

async function reportReady(connection: Connection, headers: Headers, id: ReplicaId): Promise<void> {
  const report = { state: "ready", phases: [] };
  await post(connection, `/agent/v1/replicas/${id}/state`, headers, ReplicaReportAnswer, report);
}

async function post<Schema extends z.ZodType>(
  connection: Connection,
  path: string,
  headers: Headers,
  schema: Schema,
  message: object,
): Promise<z.infer<Schema>> {
  const answer = await connection.send({ method: "POST", path, headers, body: JSON.stringify(message) });
  if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${textOf(answer)}`);
  const value: unknown = JSON.parse(textOf(answer));
  const result = schema.safeParse(value);
  // A poll's refusal comes as its last line, behind a status of 200.
  if (!result.success) throw new Error(`${path}: ${textOf(answer)}`);
  return result.data;
}

const textOf = (answer: Answer): string => answer.body.toString();

function bearer(token: string): Headers {
  return {
    authorization: `Bearer ${token}`,
    [PROTOCOL_HEADER]: String(AGENT_PROTOCOL),
    "content-type": "application/json",
  };
}

function newPollId(): string {
  return randomBytes(12).toString("base64url");
}
