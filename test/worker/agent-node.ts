/** A GPU machine as the Worker sees it: joins a pod, takes leases, sends outputs. */
import {
  AGENT_PROTOCOL,
  JoinedNode,
  LEASE_TOKEN_HEADER,
  type Lease,
  type NodePollAnswer,
  NodePollAnswer as NodePollAnswerSchema,
  PROTOCOL_HEADER,
  ReplicaPollAnswer,
  SHA256_HEADER,
} from "#contract/agent";
import { type JsonObject, parseExactJson } from "#contract/exact-json";
import { jsonOf, send, type TestWorkspace } from "#test/worker/workspace";
import { sha256Hex } from "#worker/auth/digest";

export const GPU = { index: 0, name: "test", uuid: null, vram_mb: 24_000, driver: null };
/** How often a poll is repeated before the test gives up; each waits a little by itself. */
const ROUNDS_MAX = 100;

export interface TestNode {
  readonly nodeId: string;
  readonly session: string;
  /** Replicas that share its one card; 1 when left out. */
  readonly slots?: number;
}

export interface TestReplica {
  readonly node: TestNode;
  readonly replicaId: string;
  readonly slot: number;
}

export function agentHeaders(token?: string): Record<string, string> {
  return {
    [PROTOCOL_HEADER]: String(AGENT_PROTOCOL),
    ...(token === undefined ? {} : { [LEASE_TOKEN_HEADER]: token }),
  };
}

export async function joinToken(workspace: TestWorkspace): Promise<string> {
  const answer = await send("POST", `/v1/pods/${workspace.podId}/join-tokens`, { key: workspace.key, json: {} });
  return String((await jsonOf(answer)).token);
}

/** Joins the workspace's pod with a machine of one card. @param slots that share it; left out: one has it to itself */
export async function joinNode(workspace: TestWorkspace, slots?: number): Promise<TestNode> {
  const answer = await send("POST", "/agent/v1/nodes", {
    key: await joinToken(workspace),
    headers: agentHeaders(),
    json: { name: "machine", agent_version: "1", comfyui: "test", gpus: [GPU], ...offered(slots) },
  });
  if (answer.status !== 201) throw new Error(`join refused: ${await answer.text()}`);
  const joined = JoinedNode.parse(await answer.json());
  return { nodeId: joined.node_id, session: joined.session, ...(slots === undefined ? {} : { slots }) };
}

function offered(slots: number | undefined): JsonObject {
  return slots === undefined ? { slots: 1 } : { slots, slots_per_gpu: slots };
}

/** The JSON line of a poll's stream. */
export async function pollLine(answer: Response): Promise<JsonObject> {
  const lines = (await answer.text()).split("\n").filter((line) => line !== "");
  if (lines.length !== 1) throw new Error(`a poll answers one line, this one ${lines.length}`);
  return parseExactJson(lines[0] ?? "", { depthMax: 128 }) as JsonObject;
}

let polls = 0;
export function freshPollId(): string {
  polls += 1;
  return `poll-${String(polls).padStart(8, "0")}`;
}

export async function pollNode(node: TestNode, replicas: JsonObject[], waitMs = 0): Promise<NodePollAnswer> {
  const answer = await send("POST", `/agent/v1/nodes/${node.nodeId}/poll`, {
    key: node.session,
    headers: agentHeaders(),
    json: {
      poll_id: freshPollId(),
      comfyui: "test",
      gpus: [GPU],
      ...offered(node.slots),
      draining: false,
      replicas,
      wait_ms: waitMs,
    },
  });
  return NodePollAnswerSchema.parse(await pollLine(answer));
}

/** Waits until the pod wants a replica on this node, and says that it is ready. */
export async function readyReplica(node: TestNode): Promise<TestReplica> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const { replicas } = await pollNode(node, [], 200);
    const wanted = replicas.find((one) => one.action === "run");
    if (wanted === undefined) continue;
    const replica = { node, replicaId: wanted.replica_id, slot: wanted.slot };
    await report(replica, "ready");
    return replica;
  }
  throw new Error("no replica was wanted");
}

export async function report(replica: TestReplica, state: string): Promise<JsonObject> {
  const answer = await send("POST", `/agent/v1/replicas/${replica.replicaId}/state`, {
    key: replica.node.session,
    headers: agentHeaders(),
    json: { state, phases: [] },
  });
  const body = await jsonOf(answer);
  if (answer.status !== 200) throw new Error(`report refused: ${JSON.stringify(body)}`);
  return body;
}

export async function pollReplica(replica: TestReplica, waitMs = 0): Promise<ReplicaPollAnswer> {
  const answer = await send("POST", `/agent/v1/replicas/${replica.replicaId}/poll`, {
    key: replica.node.session,
    headers: agentHeaders(),
    json: { poll_id: freshPollId(), leases: [], wait_ms: waitMs },
  });
  return ReplicaPollAnswer.parse(await pollLine(answer));
}

/** Waits for a lease. */
export async function takeLease(replica: TestReplica): Promise<Lease> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const { lease } = await pollReplica(replica, 200);
    if (lease !== null) return lease;
  }
  throw new Error("no lease came");
}

/** A message about a lease. */
export function sendLease(
  replica: TestReplica,
  lease: { lease_id: string; token: string },
  method: string,
  path: string,
  sent: { json?: unknown; body?: BodyInit; headers?: Record<string, string> } = {},
): Promise<Response> {
  return send(method, `/agent/v1/leases/${lease.lease_id}/${path}`, {
    ...sent,
    key: replica.node.session,
    headers: { ...agentHeaders(lease.token), ...sent.headers },
  });
}

/** The manifest entry of an output. */
export async function entryOf(index: number, bytes: Uint8Array, contentType = "image/png") {
  return {
    index,
    name: `image-${index}.png`,
    output: "image",
    kind: "image",
    filename: `fox_${index}.png`,
    content_type: contentType,
    size: bytes.byteLength,
    sha256: await sha256Hex(bytes),
  };
}

/** Stores one output; answers its manifest entry. */
export async function putOutput(
  replica: TestReplica,
  lease: Lease,
  index: number,
  bytes: Uint8Array,
  contentType = "image/png",
): Promise<{ answer: Response; entry: JsonObject }> {
  const entry = await entryOf(index, bytes, contentType);
  const answer = await sendLease(replica, lease, "PUT", `outputs/${index}`, {
    body: bytes,
    headers: {
      [SHA256_HEADER]: entry.sha256,
      "content-type": contentType,
      "content-length": String(bytes.byteLength),
    },
  });
  return { answer, entry };
}

/** Runs one lease to a success with one output. */
export async function succeed(
  replica: TestReplica,
  lease: Lease,
  bytes: Uint8Array,
  entryMore: JsonObject = {},
): Promise<void> {
  const confirmed = await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
  if (confirmed.status !== 200) throw new Error(`progress refused: ${await confirmed.text()}`);
  const { answer, entry } = await putOutput(replica, lease, 0, bytes);
  if (answer.status !== 204) throw new Error(`output refused: ${await answer.text()}`);
  const completed = await sendLease(replica, lease, "POST", "complete", {
    json: { outputs: [{ ...entry, ...entryMore }], phases: [] },
  });
  if (completed.status !== 200) throw new Error(`complete refused: ${await completed.text()}`);
}
