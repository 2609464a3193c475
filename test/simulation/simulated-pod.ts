import { NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { NODE_LOST_MS } from "#contract/limits";
import type { NodeIdentity } from "#durable-objects/endpoint/rpc";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import { type Answer, NO_ANSWER } from "./network.ts";
import { SimulatedAgent } from "./simulated-agent.ts";
import type { Simulation } from "./simulation.ts";

interface Placed {
  readonly node: NodeIdentity;
  readonly agent: SimulatedAgent;
}

/** Slots of one node. */
const SLOTS = 2;
/** Until the pod has told the endpoint of a replica's end it tries again at this pace, ms. */
const TELL_AGAIN_MS = 5_000;

/** The pod as the endpoint knows it: places replicas on nodes, stops those let go, and says when one is gone. */
export class SimulatedPod {
  readonly #world: Simulation;
  readonly #nodes: readonly NodeIdentity[];
  readonly #placed = new Map<ReplicaId, Placed>();
  /** Every agent that may still send something, clones and dead ones' machines included. */
  readonly agents = new Set<SimulatedAgent>();
  #version = 0;
  #wanted = 0;
  #onStrike = false;

  constructor(world: Simulation) {
    this.#world = world;
    const { workspaceId, podId } = world;
    this.#nodes = Array.from({ length: world.swarm.nodes }, () => {
      const nodeId = world.id(NodeId, "node", ownerKey(podId));
      return { workspaceId, podId, nodeId };
    });
  }

  get isOnStrike(): boolean {
    return this.#onStrike;
  }

  /** Nothing is placed any more, and what was is gone. */
  goOnStrike(): void {
    this.#onStrike = true;
    for (const agent of [...this.agents]) agent.kill();
  }

  /** Answers a demand, which may be an old one. */
  demand(demand: Demand): Answer<DemandReply> {
    const { dice, faults } = this.#world;
    if (dice.chance(faults.podDown)) {
      this.#world.hit("pod does not answer", null);
      return NO_ANSWER;
    }
    if (demand.version >= this.#version) {
      this.#version = demand.version;
      for (const id of demand.drain) this.#placed.get(id)?.agent.drain();
      this.#wanted = demand.wanted;
      this.#fill();
    }
    const room = this.#nodes.length * SLOTS - this.#placed.size;
    const full = { code: "all_slots_busy", error: null } as const;
    const nothing = { code: "none", error: null } as const;
    return {
      replicas: [...this.#placed].map(([replicaId, { node }]) => ({
        replicaId,
        nodeId: node.nodeId,
        gpuType: null,
        slotsOnCard: 1,
      })),
      floor: 0,
      idleTimeoutMs: null,
      room,
      held: 0,
      gpuTypes: [null],
      shortage: room === 0 && this.#placed.size < this.#wanted ? full : nothing,
      lack: room === 0 ? full : nothing,
    };
  }

  /** Places what is wanted and missing. */
  #fill(): void {
    if (this.#onStrike) return;
    for (let missing = this.#wanted - this.#placed.size; missing > 0; missing -= 1) this.#place();
  }

  #place(): void {
    const node = this.#nodes
      .map((candidate) => ({ candidate, used: this.#usedSlots(candidate.nodeId) }))
      .toSorted((a, b) => a.used - b.used)
      .find(({ used }) => used < SLOTS)?.candidate;
    if (node === undefined) return;
    const id = this.#world.id(ReplicaId, "rep", ownerKey(this.#world.endpointId));
    const agent = new SimulatedAgent(this.#world, id, node);
    this.#placed.set(id, { node, agent });
    agent.boot();
  }

  #usedSlots(nodeId: NodeId): number {
    let used = 0;
    for (const { node } of this.#placed.values()) if (node.nodeId === nodeId) used += 1;
    return used;
  }

  has(replicaId: ReplicaId, nodeId: NodeId): boolean {
    return this.#placed.get(replicaId)?.node.nodeId === nodeId;
  }

  /** The replica's process is over, its node says so. */
  ended(replicaId: ReplicaId, reason: string): void {
    if (!this.#placed.delete(replicaId)) return;
    this.#tell(replicaId, reason, false);
  }

  /** The machine is dead: nobody says so, its silence does. */
  fellSilent(replicaId: ReplicaId): void {
    this.#world.agenda.in(NODE_LOST_MS, () => {
      if (this.#placed.delete(replicaId)) this.#tell(replicaId, "the node is not heard of", true);
    });
  }

  /** The pod takes a replica for gone, whatever its agent does. */
  misjudge(replicaId: ReplicaId, silent: boolean): void {
    if (!this.#placed.delete(replicaId)) return;
    this.#tell(replicaId, "the pod thinks that it is gone", silent);
  }

  #tell(replicaId: ReplicaId, reason: string, silent: boolean): void {
    const { network, object, podId, agenda, dice } = this.#world;
    agenda.in(dice.int(500, 5_000), () => this.#fill());
    network.call<true>(
      null,
      (respond) => {
        const told = object.turn({ type: "gone", replicaId, silent }, (core) =>
          core.replicaGone(podId, replicaId, reason, silent),
        );
        respond(told === NO_ANSWER ? NO_ANSWER : true);
      },
      30_000,
      (answer) => {
        if (answer === NO_ANSWER) agenda.in(TELL_AGAIN_MS, () => this.#tell(replicaId, reason, silent));
      },
    );
  }

  /** Replicas whose poll waits at the object, and which may have work, as it knows them. */
  idleAtTheObject(): ReplicaId[] {
    const { object, database } = this.#world;
    const waiting = [...this.#placed.keys()].filter((id) => object.waitingPoll(id) !== null);
    if (waiting.length === 0) return waiting;
    const ready = database
      .look("SELECT id FROM replicas WHERE state NOT IN ('draining', 'stopped', 'crashed') AND draining = 0")
      .map(({ id }) => id);
    return waiting.filter((id) => ready.includes(id));
  }

  /** Any of the living agents; none when there is none. */
  anyAgent(): SimulatedAgent | undefined {
    return this.#world.dice.pick([...this.agents]);
  }

  replicaIds(): ReplicaId[] {
    return [...this.#placed.keys()];
  }
}
