import { env } from "cloudflare:workers";
import type { Lease } from "#contract/agent";
import { DEFAULT_SETTINGS, type EndpointSettings } from "#contract/endpoint";
import { EndpointId, type JobId, KeyId, makeId, ownerKey, PodId, type ReplicaId, WorkspaceId } from "#contract/ids";
import type { EndpointRpc, EnqueueRequest, LeaseProof, NodeIdentity, Reply } from "#durable-objects/endpoint/rpc";
import type { PodRpc } from "#durable-objects/pod/rpc";

export const randomBytes = (length: number) => crypto.getRandomValues(new Uint8Array(length));

/** The value of a reply that must not be a refusal. */
export async function must<T extends object>(reply: Promise<Reply<T>>): Promise<{ readonly ok: true } & T> {
  const given = await reply;
  if (!given.ok) throw new Error(`${given.code}: ${given.detail}`);
  return given;
}

/** Repeats a look until it sees something, for what happens by the objects' own clock. */
export async function eventually<T>(look: () => Promise<T | null>): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const seen = await look();
    if (seen !== null) return seen;
    if (Date.now() > deadline) throw new Error("it never happened");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Starts take no time here, so a policy that learns would keep no replica between two jobs. */
const PLAIN_SETTINGS: EndpointSettings = { ...DEFAULT_SETTINGS, policy: "request_count" };

/** An endpoint and its pod, both real objects of their own, with unknown names unless `open` is called. */
export class Objects {
  readonly workspaceId = makeId(WorkspaceId, "ws", Date.now(), randomBytes);
  readonly podId = makeId(PodId, "pod", Date.now(), randomBytes);
  readonly endpointId = makeId(EndpointId, "ep", Date.now(), randomBytes);
  readonly keyId = makeId(KeyId, "key", Date.now(), randomBytes);
  readonly endpointStub = env.ENDPOINTS.getByName(ownerKey(this.endpointId));
  readonly podStub = env.PODS.getByName(ownerKey(this.podId));
  #polls = 0;

  get endpoint(): EndpointRpc {
    return this.endpointStub as unknown as EndpointRpc;
  }

  get pod(): PodRpc {
    return this.podStub as unknown as PodRpc;
  }

  static async open(settings: Partial<EndpointSettings> = {}): Promise<Objects> {
    const objects = new Objects();
    await must(objects.pod.configure(objects.podId, objects.workspaceId));
    await objects.configure(settings);
    return objects;
  }

  async configure(settings: Partial<EndpointSettings>): Promise<void> {
    const { endpointId, workspaceId, podId } = this;
    const config = { endpointId, workspaceId, podId, slug: "picture", release: 1 };
    await must(this.endpoint.configure({ ...config, settings: { ...PLAIN_SETTINGS, ...settings } }));
  }

  request(more: Partial<EnqueueRequest> = {}): EnqueueRequest {
    const { workspaceId, keyId } = this;
    return {
      workspaceId,
      keyId,
      release: 1,
      inputs: "{}",
      files: [],
      lane: "interactive",
      priority: 5,
      tags: [],
      expiresInMs: 3_600_000,
      timeoutMs: 60_000,
      ...more,
    };
  }

  async submit(more: Partial<EnqueueRequest> = {}): Promise<JobId> {
    return (await must(this.endpoint.enqueue(this.request(more)))).job.id;
  }

  async join(slots = 1): Promise<NodeIdentity> {
    const machine = { name: "machine", agent_version: "1", comfyui: "stand-in", gpus: [], slots };
    const { nodeId } = await must(this.pod.join(this.workspaceId, machine));
    return { workspaceId: this.workspaceId, podId: this.podId, nodeId };
  }

  /** One heartbeat of the node. */
  async beat(node: NodeIdentity, replicas: readonly ReplicaId[] = [], waitMs = 0) {
    const held = replicas.map((replica_id, slot) => ({ replica_id, slot, state: "ready" as const }));
    const poll = { poll_id: this.pollId(), comfyui: "stand-in", gpus: [], slots: 1, draining: false, replicas: held };
    return (await must(this.pod.pollNode(node, { ...poll, wait_ms: waitMs }))).answer;
  }

  pollId(): string {
    this.#polls += 1;
    return `poll-${String(this.#polls).padStart(8, "0")}`;
  }

  /** A machine whose one replica the pod has placed for the endpoint, because a job waits. */
  async machine(): Promise<{ node: NodeIdentity; replicaId: ReplicaId }> {
    const node = await this.join();
    const [placed] = (await this.beat(node, [], 10_000)).replicas;
    if (placed === undefined) throw new Error("nothing was placed");
    return { node, replicaId: placed.replica_id };
  }

  poll(node: NodeIdentity, replicaId: ReplicaId, more: { pollId?: string; waitMs?: number; leases?: Lease[] } = {}) {
    return this.endpoint.pollReplica(node, replicaId, {
      poll_id: more.pollId ?? this.pollId(),
      leases: (more.leases ?? []).map(({ lease_id, token }) => ({ lease_id, token })),
      wait_ms: more.waitMs ?? 0,
    });
  }

  async take(node: NodeIdentity, replicaId: ReplicaId): Promise<{ lease: Lease; proof: LeaseProof }> {
    const { answer } = await must(this.poll(node, replicaId));
    if (answer.lease === null) throw new Error("no lease");
    return { lease: answer.lease, proof: { ...node, leaseId: answer.lease.lease_id, token: answer.lease.token } };
  }

  async job(id: JobId) {
    return (await must(this.endpoint.getJob(this.workspaceId, id))).job;
  }
}
