import type { HeldReplica, NodePoll, NodePollAnswer, WantedReplica } from "#contract/agent";
import { makeId, type NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { POLL_HEARTBEAT_MS } from "#contract/limits";
import type { Gpu } from "#contract/replica";
import { hasEnded, reconcile } from "#gpu-agent/reconcile";
import { promise } from "../violation.ts";
import type { PodSimulation } from "./pod-simulation.ts";

/** How a node deceives; null: not at all. */
export type Lie = "slots" | "strays" | "forgets" | "cards" | "states" | null;
export const LIES: readonly Lie[] = ["slots", "strays", "forgets", "cards", "states"];

interface Running {
  readonly wanted: WantedReplica;
  state: HeldReplica["state"];
}

const STARTS: readonly HeldReplica["state"][] = ["placed", "preparing", "booting", "loading", "ready"];
const STEP_MS = 1_500;
/** Of a job, and between two of them. */
const JOB_MS = 30_000;
const POLL_WAIT_MS = 25_000;
/** An agent takes a connection for dead over which it has not heard a heartbeat for so long. */
const STALL_MS = 15_000;
const CARDS: readonly (readonly Gpu[])[] = [
  [],
  [{ index: 0, name: "NVIDIA GeForce RTX 4090", uuid: "GPU-a", vram_mb: 24_564, driver: null }],
  [0, 1].map((index) => ({ index, name: "NVIDIA L40S", uuid: `GPU-b${index}`, vram_mb: 46_068, driver: null })),
];

/** A machine and its agent, which follows gpu-agent's own comparison; or one that lies. */
export class SimulatedNode {
  readonly #world: PodSimulation;
  readonly name: string;
  readonly #honestSlots: number;
  readonly #gpus: readonly Gpu[];
  /** At some time. */
  readonly hasLied: boolean;
  lie: Lie;
  id: NodeId | null = null;
  readonly running = new Map<ReplicaId, Running>();
  #start = 1;
  #seq = 0;
  /** Grows with each end of the agent: what was planned for an earlier life does not happen. */
  #life = 0;
  #isDown = false;
  /** Ends the poll that waits, for one that says the news. */
  #cutShort: () => void = () => undefined;
  isCut = false;

  constructor(world: PodSimulation, name: string, lie: Lie) {
    this.#world = world;
    this.name = name;
    this.lie = lie;
    this.hasLied = lie !== null;
    this.#gpus = (world.dice.pick(CARDS) ?? []).map((gpu) => ({ ...gpu, uuid: `${gpu.uuid}-${name}` }));
    this.#honestSlots = Math.max(1, this.#gpus.length) * world.dice.int(1, 2);
  }

  get #slotsPerGpu(): number {
    return Math.max(1, Math.ceil(this.#honestSlots / Math.max(1, this.#gpus.length)));
  }

  get slots(): number {
    return this.#honestSlots;
  }

  get isWell(): boolean {
    return this.id !== null && !this.#isDown && !this.isCut;
  }

  /** Replicas that hold a slot. */
  get alive(): HeldReplica[] {
    return this.#held().filter((held) => !hasEnded(held));
  }

  boot(): void {
    this.#isDown = false;
    this.#life += 1;
    this.#start += 1;
    this.#poll();
  }

  /** The process is gone, and with it what it ran. */
  die(forMs: number): void {
    this.#hitAtEachPhase("agent died");
    this.#isDown = true;
    this.#life += 1;
    this.running.clear();
    // The pod may see that the connection has ended.
    if (this.#world.dice.chance(0.5)) this.#abandon();
    const life = this.#life;
    this.#world.agenda.in(forMs, () => {
      // Who died twice is started once, after the second time.
      if (this.#life === life) this.boot();
    });
  }

  cut(forMs: number): void {
    if (this.isCut) return;
    this.isCut = true;
    this.#hitAtEachPhase("network cut");
    this.#world.agenda.in(forMs, () => {
      this.isCut = false;
    });
  }

  becomeHonest(): void {
    if (this.lie === null) return;
    this.lie = null;
    // Whoever repairs it starts its agent anew.
    this.die(1_000);
  }

  #hitAtEachPhase(what: string): void {
    this.#world.hit(what);
    for (const { state } of this.running.values()) this.#world.hit(`${what}, replica ${state}`);
  }

  #abandon(): void {
    const { id } = this;
    const pollId = this.#pollId();
    if (id !== null) this.#world.send(() => this.#world.turn("abandon", (core) => core.abandonPoll(id, pollId)));
  }

  #pollId(): string {
    return `poll-${this.name}-${this.#start}-${this.#seq}`;
  }

  #poll(): void {
    const world = this.#world;
    const life = this.#life;
    if (this.#isDown) return;
    const fate = world.dice.float();
    if (fate < world.faults.machineDown + world.faults.agentRestart) {
      this.die(fate < world.faults.machineDown ? world.dice.int(5_000, 90_000) : world.dice.int(500, 4_000));
      return;
    }
    if (world.dice.chance(world.faults.networkCut)) this.cut(world.dice.int(5_000, 90_000));
    if (this.id === null) {
      this.#join(life);
      return;
    }
    this.#seq += 1;
    const { id } = this;
    const pollId = this.#pollId();
    const poll = this.#message(pollId);
    let isAnswered = false;
    const again = () => {
      if (isAnswered || this.#life !== life) return;
      isAnswered = true;
      this.#poll();
    };
    // News cuts the poll short; silence makes the agent try again.
    this.#cutShort = again;
    let heardAt = world.now;
    const listen = () => {
      if (isAnswered || this.#life !== life) return;
      if (!this.isCut && world.isWaiting(id, pollId)) heardAt = world.now;
      if (world.now - heardAt >= STALL_MS) again();
      else world.agenda.in(POLL_HEARTBEAT_MS, listen);
    };
    listen();
    world.exchange<NodePollAnswer | "unknown">(
      () => !this.isCut,
      (respond) => world.pollNode(id, poll, respond),
      (answer) => {
        if (isAnswered || this.#life !== life) return;
        isAnswered = true;
        if (answer === "unknown") {
          this.id = null;
          this.#apply([]);
        } else this.#apply(answer.replicas);
        world.agenda.in(world.dice.int(100, 1_000), () => this.#life === life && this.#poll());
      },
    );
  }

  #join(life: number): void {
    const world = this.#world;
    let isAnswered = false;
    world.agenda.in(STALL_MS, () => !isAnswered && this.#life === life && this.#poll());
    world.exchange<NodeId | "refused">(
      () => !this.isCut,
      (respond) => {
        const gpus = [...this.#gpus];
        const slots = { slots: this.#honestSlots, slots_per_gpu: this.#slotsPerGpu };
        const request = { name: this.name, agent_version: "1", comfyui: "stand-in", gpus, ...slots };
        const joined = world.turn("join", (core) => core.join(world.workspaceId, request));
        if (joined !== null) respond(joined.ok ? joined.nodeId : "refused");
      },
      (answer) => {
        if (isAnswered || this.#life !== life) return;
        isAnswered = true;
        if (answer === "refused") return;
        this.id = answer;
        this.#poll();
      },
    );
  }

  #message(pollId: string): NodePoll {
    const { dice } = this.#world;
    const replicas = this.lie === "forgets" && dice.chance(0.5) ? [] : this.#held();
    if (this.lie === "strays" && dice.chance(0.3)) replicas.push(this.#stray());
    if (this.lie === "states") {
      for (const held of replicas)
        held.state = dice.pick(["placed", "ready", "draining", "busy"] as const) ?? held.state;
    }
    const gpus = this.lie === "cards" && dice.chance(0.2) ? (dice.pick(CARDS) ?? []) : this.#gpus;
    return {
      poll_id: pollId,
      order: { start: this.#start, seq: this.#seq },
      comfyui: "stand-in",
      gpus: [...gpus],
      slots: this.lie === "slots" ? this.#honestSlots + 5 : this.#honestSlots,
      slots_per_gpu: this.#slotsPerGpu,
      draining: false,
      replicas,
      wait_ms: POLL_WAIT_MS,
    };
  }

  #stray(): HeldReplica {
    const { dice, now, pod } = this.#world;
    const id = makeId(ReplicaId, "rep", now, (length) => dice.bytes(length), ownerKey(pod.podId));
    return { replica_id: id, slot: dice.int(0, 9), state: "ready" };
  }

  #held(): HeldReplica[] {
    return [...this.running].map(([replica_id, { wanted, state }]) => ({ replica_id, slot: wanted.slot, state }));
  }

  /** What gpu-agent/replica-set.ts does. */
  #apply(wanted: NodePollAnswer["replicas"]): void {
    const slots = wanted.map(({ slot }) => slot);
    promise("I11", new Set(slots).size === slots.length, () => `${this.name} was told of two replicas on one slot`);
    const { start, drain, forget } = reconcile(this.#held(), wanted, this.#honestSlots);
    for (const id of forget) this.running.delete(id);
    for (const id of drain) {
      const replica = this.running.get(id);
      if (replica === undefined) continue;
      replica.state = "draining";
      this.#later(id, this.#world.dice.int(100, 8_000), (it) => {
        it.state = "stopped";
      });
    }
    for (const wish of start) {
      const taken = this.alive.some(({ slot }) => slot === wish.slot);
      promise("I11", !taken, () => `${this.name} would run two replicas on slot ${wish.slot}`);
      this.running.set(wish.replica_id, { wanted: wish, state: "placed" });
      this.#advance(wish.replica_id);
    }
  }

  #advance(id: ReplicaId): void {
    const isUp = ["ready", "busy"].includes(this.running.get(id)?.state ?? "");
    this.#later(id, this.#world.dice.around(isUp ? JOB_MS : STEP_MS), (it) => {
      if (hasEnded(it) || it.state === "draining") return;
      if (this.#world.dice.chance(this.#world.faults.crash)) {
        it.state = "crashed";
        this.#world.hit(`replica crashed`);
        return;
      }
      it.state = it.state === "busy" ? "ready" : (STARTS[STARTS.indexOf(it.state) + 1] ?? "busy");
      this.#advance(id);
    });
  }

  #later(id: ReplicaId, ms: number, change: (replica: Running) => void): void {
    const life = this.#life;
    this.#world.agenda.in(ms, () => {
      const replica = this.running.get(id);
      if (this.#life !== life || replica === undefined) return;
      const { state } = replica;
      change(replica);
      if (replica.state !== state) this.#world.agenda.in(this.#world.dice.int(1, 50), () => this.#cutShort());
    });
  }
}
