import type { HeldReplica, NodePollAnswer, PollOrder } from "#contract/agent";
import type { GpuMatch } from "#contract/gpu-types";
import { EndpointId, makeId, type NodeId, PodId, type ReplicaId, WorkspaceId } from "#contract/ids";
import {
  DEFAULT_POD_SETTINGS,
  type Gpu,
  type NodeInventory,
  type NodeSummary,
  type PodSettings,
} from "#contract/replica";
import { PodCore } from "#durable-objects/pod/pod-core";
import { QUIET_NOTED_MS } from "#durable-objects/pod/pod-state";
import type { Farewell } from "#durable-objects/pod/pod-store";
import type { Demand } from "#durable-objects/pod/rpc";
import { NodeDatabase } from "../queue/node-database.ts";
import { seededBytes } from "../seeded-bytes.ts";

interface PollMore {
  readonly pollId?: string;
  readonly waitMs?: number;
  readonly draining?: boolean;
  readonly slots?: number;
  readonly region?: string;
  readonly order?: PollOrder;
  readonly name?: string;
  readonly version?: string;
  readonly gpus?: readonly Gpu[];
  readonly slotsPerGpu?: number;
  readonly inventory?: NodeInventory;
}

/** What a machine says when it joins. */
interface JoinMore {
  readonly name?: string;
  readonly slots?: number;
  readonly region?: string;
  readonly gpus?: readonly Gpu[];
  readonly slotsPerGpu?: number;
  readonly inventory?: NodeInventory;
}

/** A pod's core with a clock of its own, and what it asked of the outside. */
export class PodHarness {
  readonly db = new NodeDatabase();
  readonly #bytes = seededBytes(7);
  now = 1_800_000_000_000;
  armedAt: number | null = null;
  readonly workspaceId = makeId(WorkspaceId, "ws", this.now, this.#bytes);
  readonly podId = makeId(PodId, "pod", this.now, this.#bytes);
  readonly waiting = new Map<NodeId, string>();
  readonly answers: { nodeId: NodeId; answer: NodePollAnswer }[] = [];
  readonly reclaims: { endpointId: EndpointId; replicaId: ReplicaId }[] = [];
  /** Replicas of which endpoints were asked what they have heard. */
  readonly asked: ReplicaId[] = [];
  /** Endpoints that were told to ask again. */
  readonly termsChanged: EndpointId[] = [];
  /** Endpoints that answer to that that they have left. */
  readonly gone = new Set<EndpointId>();
  /** Farewells said since they were last looked at. */
  #said: Farewell[] = [];
  core = this.#open();
  #polls = 0;

  constructor() {
    this.call((core) => core.configure(this.podId, this.workspaceId));
  }

  #open(): PodCore {
    return new PodCore(this.db, { now: () => this.now, randomBytes: this.#bytes }, this.armedAt);
  }

  restart(): void {
    this.waiting.clear();
    this.core = this.#open();
    this.call(() => undefined);
  }

  call<T>(work: (core: PodCore) => T): T {
    const result = work(this.core);
    for (const effect of this.core.takeEffects()) {
      if (effect.type === "arm") this.armedAt = effect.at;
      else if (effect.type === "tell_gone") this.#said.push(effect.farewell);
      else if (effect.type === "reclaim") this.reclaims.push(effect);
      else if (effect.type === "ask_heard") this.asked.push(effect.replicaId);
      else if (effect.type === "terms_changed") {
        const { endpointId, version } = effect;
        this.termsChanged.push(endpointId);
        if (this.gone.has(endpointId)) this.call((pod) => pod.leave(endpointId, version));
      } else {
        this.waiting.delete(effect.nodeId);
        this.answers.push({ nodeId: effect.nodeId, answer: effect.answer });
      }
    }
    return result;
  }

  /** The object is thrown out of memory some time after its last call, once the quiet nodes are noted, and woken by its alarm. */
  evict(): void {
    this.pass(QUIET_NOTED_MS);
    this.call((core) => core.noteQuiet());
    const { armedAt } = this;
    if (armedAt !== null) this.now = Math.max(this.now, armedAt);
    this.restart();
    this.pass(0);
  }

  pass(ms: number): void {
    const until = this.now + ms;
    for (let rings = 0; this.armedAt !== null && this.armedAt <= until; rings += 1) {
      if (rings > 1_000) throw new Error("the alarm rings without end");
      this.now = Math.max(this.now, this.armedAt);
      this.armedAt = null;
      this.call((core) => core.wake());
    }
    this.now = until;
  }

  node(slots = 1, region?: string): NodeId {
    const reply = this.join({ slots, ...(region === undefined ? {} : { region }) });
    if (!reply.ok) throw new Error(reply.code);
    return reply.nodeId;
  }

  /** The cards with which machines have joined. */
  readonly #cards = new Map<NodeId, readonly Gpu[]>();

  join({ name = "machine", slots = 1, region, gpus = [], slotsPerGpu, inventory }: JoinMore = {}) {
    const reply = this.call((core) =>
      core.join(this.workspaceId, {
        name,
        agent_version: "1",
        comfyui: "stand-in",
        gpus: [...gpus],
        slots,
        ...(region === undefined ? {} : { region }),
        ...(slotsPerGpu === undefined ? {} : { slots_per_gpu: slotsPerGpu }),
        ...(inventory === undefined ? {} : { inventory }),
      }),
    );
    if (reply.ok) this.#cards.set(reply.nodeId, gpus);
    return reply;
  }

  /** A machine with cards. */
  machine(more: JoinMore): NodeId {
    const reply = this.join(more);
    if (!reply.ok) throw new Error(reply.detail);
    return reply.nodeId;
  }

  #settingsVersion = 0;

  configure(settings: Partial<PodSettings>, gpuTypes?: readonly GpuMatch[]): void {
    this.#settingsVersion += 1;
    const told = { version: this.#settingsVersion, settings: { ...DEFAULT_POD_SETTINGS, ...settings } };
    const reply = this.call((core) =>
      core.configure(this.podId, this.workspaceId, { ...told, ...(gpuTypes === undefined ? {} : { gpuTypes }) }),
    );
    if (!reply.ok) throw new Error(reply.code);
  }

  /** The node as the API shows it. */
  shown(nodeId: NodeId): NodeSummary {
    const reply = this.core.listNodes(this.workspaceId);
    const node = reply.ok ? reply.nodes.find(({ id }) => id === nodeId) : undefined;
    if (node === undefined) throw new Error("the node is not listed");
    return node;
  }

  /** Beats of an honest node until that much time is over. */
  beat(nodeId: NodeId, ms: number, replicas: readonly HeldReplica[] = [], more: PollMore = {}): void {
    for (let left = ms; left > 0; left -= 10_000) {
      this.poll(nodeId, replicas, { waitMs: 0, ...more });
      this.pass(Math.min(left, 10_000));
    }
  }

  endpoint(): EndpointId {
    return makeId(EndpointId, "ep", this.now, this.#bytes);
  }

  poll(
    nodeId: NodeId,
    replicas: readonly HeldReplica[] = [],
    more: PollMore = {},
  ): NodePollAnswer["replicas"] | "waiting" | "refused" {
    this.#polls += 1;
    const pollId = more.pollId ?? `poll-${String(this.#polls).padStart(8, "0")}`;
    const identity = { workspaceId: this.workspaceId, podId: this.podId, nodeId };
    const outcome = this.call((core) =>
      core.pollNode(identity, {
        poll_id: pollId,
        ...(more.order === undefined ? {} : { order: more.order }),
        ...(more.name === undefined ? {} : { name: more.name }),
        ...(more.version === undefined ? {} : { agent_version: more.version }),
        ...(more.region === undefined ? {} : { region: more.region }),
        comfyui: "stand-in",
        gpus: [...(more.gpus ?? this.#cards.get(nodeId) ?? [])],
        ...(more.slotsPerGpu === undefined ? {} : { slots_per_gpu: more.slotsPerGpu }),
        ...(more.inventory === undefined ? {} : { inventory: more.inventory }),
        slots: more.slots ?? 1,
        draining: more.draining ?? false,
        replicas: [...replicas],
        wait_ms: more.waitMs ?? 25_000,
      }),
    );
    if (outcome.type === "waiting") {
      this.waiting.set(nodeId, pollId);
      return "waiting";
    }
    return outcome.reply.ok ? outcome.reply.answer.replicas : "refused";
  }

  /** The one replica that the node should run. */
  wanted(nodeId: NodeId, replicas: readonly HeldReplica[] = []): ReplicaId {
    const answer = this.poll(nodeId, replicas, { waitMs: 0 });
    const [first] = typeof answer === "string" ? [] : answer;
    if (first === undefined) throw new Error(`nothing is wanted: ${JSON.stringify(answer)}`);
    return first.replica_id;
  }

  #version = 0;

  demand(endpointId: EndpointId, wanted: number, more: Partial<Demand> = {}) {
    this.#version += 1;
    const { podId, workspaceId } = this;
    const reply = this.call((core) =>
      core.setDemand({
        podId,
        endpointId,
        workspaceId,
        version: this.#version,
        wanted,
        needed: wanted,
        warm: 0,
        calls: true,
        drain: [],
        regions: [],
        build: null,
        models: [],
        trials: [],
        ...more,
      }),
    );
    if (!reply.ok) throw new Error(reply.code);
    return reply;
  }

  farewells() {
    const said = this.#said;
    this.#said = [];
    return said;
  }
}

/** A replica as a node reports it. */
export const held = (replica_id: ReplicaId, state: HeldReplica["state"] = "ready", slot = 0): HeldReplica => ({
  replica_id,
  slot,
  state,
});

/** A pod with one node, on which the one replica of an endpoint is ready. */
export function replicaOnNode(slots = 1) {
  const pod = new PodHarness();
  const node = pod.node(slots);
  const endpoint = pod.endpoint();
  pod.demand(endpoint, 1);
  const replicaId = pod.wanted(node);
  pod.poll(node, [held(replicaId)], { waitMs: 0, slots });
  return { pod, node, endpoint, replicaId };
}

/** A card as nvidia-smi tells it. */
export function card(name = "NVIDIA GeForce RTX 4090", vram_mb = 24_564, index = 0): Gpu {
  return { index, name, uuid: null, vram_mb, driver: "570.1" };
}

/** A machine's inventory that says nothing but what it has on its disk. */
export function disk(builds: readonly string[], models: readonly string[] = []): NodeInventory {
  return {
    os: null,
    cpu: null,
    cpu_cores: null,
    memory_mb: null,
    disk_total_mb: null,
    disk_free_mb: null,
    driver: null,
    cuda: null,
    python: null,
    node: null,
    builds: [...builds],
    models: [...models],
  };
}
