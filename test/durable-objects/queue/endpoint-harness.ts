import type { Lease, ReplicaPollAnswer } from "#contract/agent";
import { DEFAULT_SETTINGS, type EndpointSettings } from "#contract/endpoint";
import { EndpointId, type JobId, KeyId, makeId, NodeId, ownerKey, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { WebhookEvent } from "#contract/webhook";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { EndpointConfig, EnqueueRequest, LeaseProof, NodeIdentity } from "#durable-objects/endpoint/rpc";
import type { DemandReply } from "#durable-objects/pod/rpc";
import type { World } from "#durable-objects/sql/database";
import type { OutboxEvent } from "#durable-objects/webhooks/rpc";
import { seededBytes } from "../seeded-bytes.ts";
import { NodeDatabase } from "./node-database.ts";

export interface FakeReplica {
  readonly id: ReplicaId;
  readonly node: NodeIdentity;
}

/** One replica at most, for as long as there is work and a minute more: what a test is not about, it can foresee. */
export const PLAIN_SETTINGS: EndpointSettings = { ...DEFAULT_SETTINGS, policy: "request_count", max_replicas: 1 };

/** What a pod with plenty of room and no wishes of its own answers to a demand. */
export function podReply(replicas: readonly FakeReplica[], more: Partial<DemandReply> = {}): DemandReply {
  return {
    replicas: replicas.map(({ id, node }) => ({ replicaId: id, nodeId: node.nodeId, gpuType: null, slotsOnCard: 1 })),
    floor: 0,
    idleTimeoutMs: null,
    room: 100,
    held: 0,
    gpuTypes: [null],
    shortage: { code: "none", error: null },
    lack: more.shortage ?? { code: "none", error: null },
    ...more,
  };
}

/** An endpoint's core over SQLite in memory, with a clock and an alarm that only the test moves. */
export class EndpointHarness {
  readonly db: NodeDatabase;
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  readonly endpointId: EndpointId;
  readonly keyId: KeyId;
  now = 1_800_000_000_000;
  armedAt: number | null = null;
  /** Polls that wait, by replica. */
  readonly waiting = new Map<ReplicaId, string>();
  /** Answers that waiting polls got, newest last. */
  readonly answers: { replicaId: ReplicaId; pollId: string; at: number; answer: ReplicaPollAnswer }[] = [];
  demandsToSend = 0;
  erased = false;
  /** Pods that the endpoint has said that it wants nothing more of. */
  readonly leftPods: PodId[] = [];
  /** What was logged of canaries that were rolled back. */
  readonly rolledBack: { release: number; reason: string }[] = [];
  /** Events that the workspace's webhooks have taken. */
  readonly told: OutboxEvent[] = [];
  /** What the workspace subscribes to. */
  subscribed: readonly WebhookEvent[] = [];
  webhooksAway = false;
  core: EndpointCore;
  readonly #randomBytes: (length: number) => Uint8Array;
  #polls = 0;

  constructor(settings: Partial<EndpointSettings> = {}, seed = 1, db = new NodeDatabase()) {
    this.db = db;
    this.#randomBytes = seededBytes(seed);
    this.workspaceId = makeId(WorkspaceId, "ws", this.now, this.#randomBytes);
    this.podId = makeId(PodId, "pod", this.now, this.#randomBytes);
    this.endpointId = makeId(EndpointId, "ep", this.now, this.#randomBytes);
    this.keyId = makeId(KeyId, "key", this.now, this.#randomBytes);
    this.core = new EndpointCore(this.db, this.#world(), null);
    this.configure(settings);
  }

  #world(): World {
    return { now: () => this.now, randomBytes: this.#randomBytes };
  }

  configure(
    settings: Partial<EndpointSettings>,
    more: Partial<Pick<EndpointConfig, "release" | "canary" | "pods" | "needs">> = {},
  ): void {
    const { endpointId, workspaceId, podId } = this;
    const config = { endpointId, workspaceId, podId, slug: "picture", release: 1, ...more };
    this.call((core) => core.configure({ ...config, settings: { ...PLAIN_SETTINGS, ...settings } }));
  }

  /** One call, then its effects. */
  call<T>(work: (core: EndpointCore) => T): T {
    const result = work(this.core);
    this.#perform();
    return result;
  }

  /** The object is thrown out of memory and comes back from its tables. */
  restart(): void {
    this.waiting.clear();
    this.core = new EndpointCore(this.db, this.#world(), this.armedAt);
    this.#perform();
  }

  #perform(): void {
    for (const effect of this.core.takeEffects()) {
      if (effect.type === "arm") this.armedAt = effect.at;
      else if (effect.type === "send_demand") this.demandsToSend += 1;
      else if (effect.type === "hand_over") this.#handOver();
      else if (effect.type === "leave_pod") this.leftPods.push(effect.podId);
      else if (effect.type === "erase") this.erased = true;
      else if (effect.type === "canary_rolled_back") this.rolledBack.push(effect);
      else if (effect.type === "poll_answered") {
        if (this.waiting.get(effect.replicaId) === effect.pollId) this.waiting.delete(effect.replicaId);
        this.answers.push({ replicaId: effect.replicaId, pollId: effect.pollId, at: this.now, answer: effect.answer });
      }
    }
  }

  /** The workspace's webhooks take what there is, unless they are away. */
  #handOver(): void {
    for (let next = this.core.handOver(); next !== null; next = this.core.handOver()) {
      if (this.webhooksAway) this.core.handOverFailed();
      else {
        this.told.push(...(next.register ? [] : next.events));
        this.core.handedOver(next.register ? 0 : next.last, { version: 1, events: this.subscribed });
      }
    }
    this.#perform();
  }

  /** Lets the time pass. The alarm rings when it is due, unless it is `late`. */
  pass(ms: number, late = false): void {
    const until = this.now + ms;
    if (!late) {
      for (let rings = 0; this.armedAt !== null && this.armedAt <= until; rings += 1) {
        if (rings > 100_000) throw new Error("the alarm rings without end");
        this.now = Math.max(this.now, this.armedAt);
        this.ring();
      }
    }
    this.now = until;
  }

  ring(): void {
    this.armedAt = null;
    this.call((core) => core.wake());
  }

  /** The pod answers that it placed these, and nothing else. @param more what else it says */
  answerDemand(replicas: readonly FakeReplica[], more: Partial<DemandReply> = {}, podId = this.podId): void {
    const demand = this.core.demand(podId);
    if (demand === null) return;
    this.call((core) => core.demandAnswered(demand, podReply(replicas, more), this.now));
    this.demandsToSend = 0;
  }

  /** All replicas are gone, and the pod has heard that none is wanted. */
  settle(): void {
    for (let round = 0; round < 2; round += 1) {
      this.pass(10_000);
      this.answerDemand([]);
    }
  }

  node(): NodeIdentity {
    const nodeId = makeId(NodeId, "node", this.now, this.#randomBytes, ownerKey(this.podId));
    return { workspaceId: this.workspaceId, podId: this.podId, nodeId };
  }

  /** A replica the pod vouches for. */
  replica(node: NodeIdentity = this.node()): FakeReplica {
    const id = makeId(ReplicaId, "rep", this.now, this.#randomBytes, ownerKey(this.endpointId));
    this.call((core) => core.admitReplica(node, id));
    return { id, node };
  }

  request(more: Partial<EnqueueRequest> = {}): EnqueueRequest {
    return {
      workspaceId: this.workspaceId,
      keyId: this.keyId,
      release: 1,
      inputs: '{"seed":18446744073709551615}',
      files: [],
      lane: "interactive",
      priority: 5,
      tags: [],
      expiresInMs: 3_600_000,
      timeoutMs: 60_000,
      ...more,
    };
  }

  /** Submits a job that must be taken. */
  submit(more: Partial<EnqueueRequest> = {}): JobId {
    const reply = this.call((core) => core.enqueue(this.request(more)));
    if (!reply.ok) throw new Error(reply.code);
    return reply.job.id;
  }

  job(id: JobId) {
    const reply = this.core.getJob(this.workspaceId, id);
    if (!reply.ok) throw new Error(reply.code);
    return reply.job;
  }

  /** A poll; without an answer at once it is noted as waiting. */
  poll(
    replica: FakeReplica,
    leases: readonly Lease[] = [],
    more: { pollId?: string; waitMs?: number } = {},
  ): ReplicaPollAnswer | "waiting" | "refused" {
    this.#polls += 1;
    const poll = {
      poll_id: more.pollId ?? `poll-${String(this.#polls).padStart(8, "0")}`,
      leases: leases.map(({ lease_id, token }) => ({ lease_id, token })),
      wait_ms: more.waitMs ?? 25_000,
    };
    const outcome = this.call((core) => core.pollReplica(replica.node, replica.id, poll));
    if (outcome.type === "waiting") {
      this.waiting.set(replica.id, poll.poll_id);
      return "waiting";
    }
    return outcome.type === "answered" && outcome.reply.ok ? outcome.reply.answer : "refused";
  }

  /** A poll that must be answered with a lease at once. */
  take(replica: FakeReplica, leases: readonly Lease[] = []): Lease {
    const answer = this.poll(replica, leases);
    if (typeof answer === "string" || answer.lease === null) throw new Error(`no lease: ${JSON.stringify(answer)}`);
    return answer.lease;
  }

  proof(replica: FakeReplica, lease: Pick<Lease, "lease_id" | "token">): LeaseProof {
    return { ...replica.node, leaseId: lease.lease_id, token: lease.token };
  }

  progress(
    replica: FakeReplica,
    lease: Lease,
    phase: "assigned" | "preparing" | "executing" | "uploading" = "executing",
  ) {
    return this.call((core) => core.progress(this.proof(replica, lease), { phase }));
  }

  complete(replica: FakeReplica, lease: Lease, nextPollId?: string, nextWaitMs?: number) {
    const next = nextPollId === undefined ? {} : { next_poll_id: nextPollId };
    const wait = nextWaitMs === undefined ? {} : { next_wait_ms: nextWaitMs };
    const message = { outputs: [], phases: [], ...next, ...wait };
    return this.call((core) => core.complete(this.proof(replica, lease), message, []));
  }

  fail(replica: FakeReplica, lease: Lease, code: "execution_error" | "out_of_memory" = "out_of_memory") {
    return this.call((core) =>
      core.fail(this.proof(replica, lease), { error: { code, message: "it broke" }, phases: [] }),
    );
  }

  release(replica: FakeReplica, lease: Lease) {
    return this.call((core) => core.release(this.proof(replica, lease), "the agent shuts down"));
  }
}
