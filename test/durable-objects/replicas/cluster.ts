import type { HeldReplica, Lease, NodePoll } from "#contract/agent";
import type { EndpointSettings } from "#contract/endpoint";
import {
  EndpointId,
  type JobId,
  KeyId,
  makeId,
  type NodeId,
  ownerKey,
  PodId,
  type ReplicaId,
  WorkspaceId,
} from "#contract/ids";
import type { Lane } from "#contract/job";
import { DEFAULT_POD_SETTINGS, type PodSettings } from "#contract/replica";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { LeaseProof, NodeIdentity } from "#durable-objects/endpoint/rpc";
import { PodCore } from "#durable-objects/pod/pod-core";
import type { Farewell } from "#durable-objects/pod/pod-store";
import type { NodeChange } from "#durable-objects/pod/rpc";
import { PLAIN_SETTINGS } from "../queue/endpoint-harness.ts";
import { NodeDatabase } from "../queue/node-database.ts";
import { seededBytes } from "../seeded-bytes.ts";

/** Chances, 0..1, of what can go wrong with each message and each step. */
export interface Faults {
  readonly lostMessage: number;
  readonly objectRestart: number;
  readonly nodeRestart: number;
  readonly nodeSilent: number;
  readonly replicaCrash: number;
  /** A node's poll that arrives after the next one. */
  readonly latePoll: number;
}

export const NO_FAULTS: Faults = {
  lostMessage: 0,
  objectRestart: 0,
  nodeRestart: 0,
  nodeSilent: 0,
  replicaCrash: 0,
  latePoll: 0,
};

interface RunningReplica {
  readonly id: ReplicaId;
  readonly endpointId: EndpointId;
  readonly slot: number;
  state: HeldReplica["state"];
  stepsLeft: number;
  lease: Lease | null;
}

interface FakeNode {
  readonly pod: PodBox;
  identity: NodeIdentity;
  /** Whatever starts there dies at once. */
  isBroken: boolean;
  readonly slots: number;
  readonly running: Map<ReplicaId, RunningReplica>;
  silentSteps: number;
  polls: number;
  starts: number;
  /** A poll that is still on its way. */
  stuck: { readonly poll: NodePoll; pollsAhead: number } | null;
}

interface EndpointBox {
  readonly id: EndpointId;
  readonly db: NodeDatabase;
  core: EndpointCore;
  armedAt: number | null;
  /** How often its alarm has rung. */
  rings: number;
  /** How often it has asked pods for replicas. */
  asked: number;
}

interface PodBox {
  readonly id: PodId;
  readonly db: NodeDatabase;
  core: PodCore;
  armedAt: number | null;
  /** No message reaches it, and none comes back. */
  isSilent: boolean;
}

const STEP_MS = 500;
/** Polls that arrive before a late one: in one the node hears of a new replica, in the next it reports it. */
const OVERTAKEN_BY = 3;

/** Pods, their endpoints and their machines in one thread and one clock: what is sent arrives, twice, or not at all. */
export class Cluster {
  now = 1_800_000_000_000;
  faults: Faults = NO_FAULTS;
  readonly workspaceId: WorkspaceId;
  readonly first: PodBox;
  readonly endpoints: EndpointBox[] = [];
  readonly nodes: FakeNode[] = [];
  readonly jobs: { endpoint: EndpointBox; id: JobId }[] = [];
  /** Jobs that were completed, as the agents saw it. */
  readonly completed: JobId[] = [];
  /** How often the endpoints' alarms have rung. */
  rings = 0;
  readonly #bytes: (length: number) => Uint8Array;
  /** The first one is there from the beginning. */
  readonly pods: PodBox[] = [];

  constructor(seed: number) {
    this.#bytes = seededBytes(seed);
    this.workspaceId = makeId(WorkspaceId, "ws", this.now, this.#bytes);
    this.first = this.addPod();
  }

  addPod(): PodBox {
    const db = new NodeDatabase();
    const id = makeId(PodId, "pod", this.now, this.#bytes);
    const box = { id, db, core: new PodCore(db, this.#world(), null), armedAt: null, isSilent: false };
    this.pods.push(box);
    this.#podTurn(box, (pod) => pod.configure(id, this.workspaceId));
    return box;
  }

  #settingsVersion = 0;

  configurePod(settings: Partial<PodSettings>, pod = this.first): void {
    this.#settingsVersion += 1;
    const told = { version: this.#settingsVersion, settings: { ...DEFAULT_POD_SETTINGS, ...settings } };
    const reply = this.#podTurn(pod, (core) => core.configure(pod.id, this.workspaceId, told));
    if (!reply.ok) throw new Error(reply.code);
  }

  #world() {
    return { now: () => this.now, randomBytes: this.#bytes };
  }

  /** True with the given chance. */
  happens(chance: number): boolean {
    return chance > 0 && (this.#bytes(2)[0] ?? 0) / 256 + (this.#bytes(1)[0] ?? 0) / 65_536 < chance;
  }

  /** @param pods in the order of preference, each for both lanes */
  addEndpoint(settings: Partial<EndpointSettings> = {}, pods: readonly PodBox[] = [this.first]): EndpointBox {
    const id = makeId(EndpointId, "ep", this.now, this.#bytes);
    const db = new NodeDatabase();
    const box: EndpointBox = {
      id,
      db,
      core: new EndpointCore(db, this.#world(), null),
      armedAt: null,
      rings: 0,
      asked: 0,
    };
    this.endpoints.push(box);
    this.#turn(box, (core) =>
      core.configure({
        endpointId: id,
        workspaceId: this.workspaceId,
        podId: (pods[0] ?? this.first).id,
        pods: pods.map((pod) => ({ podId: pod.id, lanes: ["interactive", "batch"] })),
        slug: "picture",
        release: 1,
        settings: { ...PLAIN_SETTINGS, idle_timeout_s: 10, ...settings },
      }),
    );
    return box;
  }

  addNode(slots: number, pod = this.first): FakeNode {
    const joined = this.#podTurn(pod, (core) =>
      core.join(this.workspaceId, { name: "machine", agent_version: "1", comfyui: "stand-in", gpus: [], slots }),
    );
    if (!joined.ok) throw new Error(joined.code);
    const identity = { workspaceId: this.workspaceId, podId: pod.id, nodeId: joined.nodeId };
    const running = new Map<ReplicaId, RunningReplica>();
    const node: FakeNode = {
      pod,
      identity,
      isBroken: false,
      slots,
      running,
      silentSteps: 0,
      polls: 0,
      starts: 1,
      stuck: null,
    };
    this.nodes.push(node);
    return node;
  }

  changeNode(node: FakeNode, change: NodeChange): void {
    const reply = this.#podTurn(node.pod, (pod) => pod.changeNode(this.workspaceId, node.identity.nodeId, change));
    if (!reply.ok) throw new Error(reply.code);
  }

  /** The endpoint's object is thrown out of memory and comes back from its tables. */
  restart(box: EndpointBox): void {
    box.core = new EndpointCore(box.db, this.#world(), box.armedAt);
    this.#turn(box, () => undefined);
  }

  submit(endpoint: EndpointBox, lane: Lane = "interactive"): JobId | null {
    const reply = this.#turn(endpoint, (core) =>
      core.enqueue({
        workspaceId: this.workspaceId,
        keyId: makeId(KeyId, "key", this.now, this.#bytes),
        release: 1,
        inputs: "{}",
        files: [],
        lane,
        priority: 5,
        tags: [],
        expiresInMs: 86_400_000,
        timeoutMs: 60_000,
      }),
    );
    if (!reply.ok) return null;
    this.jobs.push({ endpoint, id: reply.job.id });
    return reply.job.id;
  }

  remove(endpoint: EndpointBox): void {
    this.#turn(endpoint, (core) => core.remove(this.workspaceId));
  }

  stateOf(job: { endpoint: EndpointBox; id: JobId }): string {
    const reply = job.endpoint.core.getJob(this.workspaceId, job.id);
    return reply.ok ? reply.job.state : reply.code;
  }

  /** Slots in use as the pods count them. */
  slotsTaken(pods: readonly PodBox[] = this.pods): { node: NodeId; slot: number; replica: ReplicaId }[] {
    return pods.flatMap((pod) => {
      const reply = pod.core.listNodes(this.workspaceId);
      if (!reply.ok) throw new Error(reply.code);
      return reply.nodes.flatMap((node) =>
        node.slots.flatMap(({ slot, replica_id }) =>
          replica_id === null ? [] : [{ node: node.id, slot, replica: replica_id }],
        ),
      );
    });
  }

  /** Half a second: the machines act, then the alarms that are due ring. */
  step(): void {
    this.now += STEP_MS;
    for (const node of this.nodes) this.#nodeStep(node);
    for (const box of this.endpoints) {
      if (this.happens(this.faults.objectRestart)) this.restart(box);
      if (box.armedAt !== null && box.armedAt <= this.now) {
        box.armedAt = null;
        this.rings += 1;
        box.rings += 1;
        this.#turn(box, (core) => core.wake());
      }
    }
    for (const pod of this.pods) {
      if (this.happens(this.faults.objectRestart)) {
        pod.core = new PodCore(pod.db, this.#world(), pod.armedAt);
        this.#podTurn(pod, () => undefined);
      }
      if (pod.armedAt !== null && pod.armedAt <= this.now) {
        pod.armedAt = null;
        this.#podTurn(pod, (core) => core.wake());
      }
    }
  }

  // --- the objects -------------------------------------------------------------------------------------------------

  #turn<T>(box: EndpointBox, work: (core: EndpointCore) => T): T {
    const result = work(box.core);
    for (const effect of box.core.takeEffects()) {
      if (effect.type === "arm") box.armedAt = effect.at;
      if (effect.type === "send_demand") this.#sendDemand(box, effect.podId);
      if (effect.type === "leave_pod") {
        const left = this.pods.find(({ id }) => id === effect.podId);
        if (left !== undefined) this.#podTurn(left, (pod) => pod.leave(box.id, effect.version));
      }
      if (effect.type === "hand_over") box.core.setInterest(this.workspaceId, { version: 1, events: [] });
    }
    return result;
  }

  #sendDemand(box: EndpointBox, podId: PodId | undefined): void {
    box.asked += 1;
    const demand = box.core.demand(podId);
    const to = this.pods.find(({ id }) => id === demand?.podId);
    if (demand === null || to === undefined || to.isSilent || this.happens(this.faults.lostMessage)) return;
    const reply = this.#podTurn(to, (pod) => pod.setDemand(demand));
    if (!reply.ok || this.happens(this.faults.lostMessage)) return;
    this.#turn(box, (core) => core.demandAnswered(demand, reply, this.now));
  }

  #podTurn<T>(from: PodBox, work: (pod: PodCore) => T): T {
    const result = work(from.core);
    for (const effect of from.core.takeEffects()) {
      if (effect.type === "arm") from.armedAt = effect.at;
      if (effect.type === "tell_gone") this.#tellGone(from, effect.farewell);
      if (effect.type === "terms_changed") {
        const box = this.endpoints.find(({ id }) => id === effect.endpointId);
        if (box === undefined || this.happens(this.faults.lostMessage)) continue;
        const asks = this.#turn(box, (core) => core.podChanged(from.id));
        if (!asks) this.#podTurn(from, (pod) => pod.leave(box.id, effect.version));
      }
      if (effect.type === "ask_heard") {
        const box = this.endpoints.find(({ id }) => id === effect.endpointId);
        if (box === undefined || this.happens(this.faults.lostMessage)) continue;
        const heard = this.#turn(box, (core) => core.heardOf(from.id, effect.replicaId));
        if (!this.happens(this.faults.lostMessage))
          this.#podTurn(from, (pod) => pod.heardAnswered(effect.replicaId, heard));
      }
      if (effect.type === "reclaim") {
        const box = this.endpoints.find(({ id }) => id === effect.endpointId);
        if (box === undefined || this.happens(this.faults.lostMessage)) continue;
        const given = this.#turn(box, (core) => core.reclaimIdle(from.id, effect.replicaId, effect.onlyBatch));
        if (!this.happens(this.faults.lostMessage))
          this.#podTurn(from, (pod) => pod.reclaimAnswered(effect.replicaId, given));
      }
    }
    return result;
  }

  #tellGone(from: PodBox, { endpointId, replicaId, reason, silent, heardAt }: Farewell): void {
    const box = this.endpoints.find(({ id }) => id === endpointId);
    if (box === undefined || this.happens(this.faults.lostMessage)) return;
    this.#turn(box, (core) => core.replicaGone(from.id, replicaId, reason, silent, heardAt));
    if (!this.happens(this.faults.lostMessage)) this.#podTurn(from, (pod) => pod.farewellTaken(replicaId));
  }

  // --- the machines ------------------------------------------------------------------------------------------------

  #nodeStep(node: FakeNode): void {
    if (node.silentSteps > 0) {
      node.silentSteps -= 1;
      return;
    }
    if (this.happens(this.faults.nodeSilent)) node.silentSteps = 120;
    if (this.happens(this.faults.nodeRestart)) {
      node.running.clear();
      node.starts += 1;
    }
    for (const replica of [...node.running.values()]) this.#replicaStep(node, replica);
    node.polls += 1;
    const poll: NodePoll = {
      poll_id: `node-poll-${String(node.polls).padStart(8, "0")}`,
      order: { start: node.starts, seq: node.polls },
      comfyui: "stand-in",
      gpus: [],
      slots: node.slots,
      draining: false,
      replicas: [...node.running.values()].map(({ id, slot, state }) => ({ replica_id: id, slot, state })),
      wait_ms: 0,
    };
    if (node.stuck === null && this.happens(this.faults.latePoll)) {
      node.stuck = { poll, pollsAhead: OVERTAKEN_BY };
      return;
    }
    const outcome = this.#podTurn(node.pod, (pod) => pod.pollNode(node.identity, poll));
    this.#arriveLate(node);
    if (this.happens(this.faults.lostMessage) || outcome.type !== "answered" || !outcome.reply.ok) return;
    const wanted = new Map(outcome.reply.answer.replicas.map((wish) => [wish.replica_id, wish]));
    for (const replica of node.running.values()) {
      const wish = wanted.get(replica.id);
      if (wish === undefined && replica.lease === null) node.running.delete(replica.id);
      else if (wish?.action !== "run" && replica.state !== "crashed") replica.state = "draining";
    }
    for (const wish of wanted.values()) {
      if (wish.action === "drain" || node.running.has(wish.replica_id)) continue;
      const slotTaken = [...node.running.values()].some(({ slot }) => slot === wish.slot);
      if (slotTaken) throw new Error(`two replicas on slot ${wish.slot}`);
      node.running.set(wish.replica_id, {
        id: wish.replica_id,
        endpointId: wish.endpoint_id,
        slot: wish.slot,
        state: "preparing",
        stepsLeft: 4,
        lease: null,
      });
    }
  }

  /** The poll that was overtaken: what the pod makes of it must end no replica. */
  #arriveLate(node: FakeNode): void {
    const { stuck } = node;
    if (stuck === null) return;
    stuck.pollsAhead -= 1;
    if (stuck.pollsAhead > 0) return;
    node.stuck = null;
    const before = this.slotsTaken();
    this.#podTurn(node.pod, (pod) => pod.pollNode(node.identity, stuck.poll));
    const after = new Set(this.slotsTaken().map(({ replica }) => replica));
    for (const { replica } of before) if (!after.has(replica)) throw new Error(`a late poll has ended ${replica}`);
  }

  #replicaStep(node: FakeNode, replica: RunningReplica): void {
    const box = this.endpoints.find(({ id }) => ownerKey(id) === ownerKey(replica.id));
    if (box === undefined) throw new Error("a replica of nobody");
    if (replica.state === "crashed") return;
    if (node.isBroken || this.happens(this.faults.replicaCrash)) {
      replica.state = "crashed";
      replica.lease = null;
      return;
    }
    if (replica.stepsLeft > 0) {
      replica.stepsLeft -= 1;
      if (replica.lease !== null) this.#progress(box, node, replica, replica.lease);
      return;
    }
    if (replica.lease !== null) {
      this.#finish(box, node, replica, replica.lease);
      return;
    }
    if (replica.state === "draining") {
      node.running.delete(replica.id);
      return;
    }
    replica.state = "ready";
    const outcome = this.#poll(box, node, replica);
    if (outcome.type !== "answered" || !outcome.reply.ok || this.happens(this.faults.lostMessage)) return;
    const { lease, stop } = outcome.reply.answer;
    if (stop) replica.state = "draining";
    if (lease !== null) this.#begin(replica, lease);
  }

  #poll(box: EndpointBox, node: FakeNode, replica: RunningReplica) {
    const poll = { poll_id: `poll-${replica.id.slice(-4)}-${this.now}`, leases: [], wait_ms: 0 };
    const ask = () => this.#turn(box, (core) => core.pollReplica(node.identity, replica.id, poll));
    const first = ask();
    if (first.type !== "unverified") return first;
    if (!node.pod.core.verifyReplica(box.id, replica.id, node.identity.nodeId)) return first;
    this.#turn(box, (core) => core.admitReplica(node.identity, replica.id));
    return ask();
  }

  #begin(replica: RunningReplica, lease: Lease): void {
    replica.lease = lease;
    replica.stepsLeft = 3;
    replica.state = replica.state === "draining" ? "draining" : "busy";
  }

  #proof(node: FakeNode, lease: Lease): LeaseProof {
    return { ...node.identity, leaseId: lease.lease_id, token: lease.token };
  }

  #progress(box: EndpointBox, node: FakeNode, replica: RunningReplica, lease: Lease): void {
    if (this.happens(this.faults.lostMessage)) return;
    const reply = this.#turn(box, (core) => core.progress(this.#proof(node, lease), { phase: "executing" }));
    if (!reply.ok || reply.answer.cancel) replica.lease = null;
  }

  #finish(box: EndpointBox, node: FakeNode, replica: RunningReplica, lease: Lease): void {
    if (this.happens(this.faults.lostMessage)) return;
    const message = {
      outputs: [],
      phases: [],
      ...(replica.state === "busy" ? { next_poll_id: `next-${lease.lease_id.slice(4)}` } : {}),
    };
    const reply = this.#turn(box, (core) => core.complete(this.#proof(node, lease), message, []));
    // The answer got lost: the agent says it again at the next step.
    if (this.happens(this.faults.lostMessage)) return;
    replica.lease = null;
    if (replica.state === "busy") replica.state = "ready";
    if (!reply.ok) return;
    this.completed.push(lease.job_id);
    if (reply.next !== null) this.#begin(replica, reply.next);
  }
}
