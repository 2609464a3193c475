import { EndpointId, makeId, type ReplicaId } from "#contract/ids";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import type { PodSimulation } from "./pod-simulation.ts";

const THINK_MS = 8_000;
const REPEAT_MS = 3_000;
const REFRESH_MS = 20_000;
const TYPES = ["rtx-4090", "l40s", null] as const;

/** An endpoint as its pod knows it: it wants more and less, lets replicas go, and hears of their ends. */
export class SimulatedDemand {
  readonly #world: PodSimulation;
  readonly id: EndpointId;
  /** Replicas as the pod has told of them. */
  readonly known = new Set<ReplicaId>();
  /** When it heard of the end of each. */
  readonly #ended = new Map<ReplicaId, number>();
  readonly #drain = new Set<ReplicaId>();
  #version = 0;
  #own = 0;
  #needed = 0;
  #trials: Demand["trials"] = [];
  floor = 0;
  #answered = 0;
  #isAtRest = false;

  constructor(world: PodSimulation) {
    this.#world = world;
    this.id = makeId(EndpointId, "ep", world.now, (length) => world.dice.bytes(length));
  }

  get wanted(): number {
    return Math.max(this.#own, this.floor);
  }

  get needed(): number {
    return this.#needed;
  }

  get trials(): Demand["trials"] {
    return this.#trials;
  }

  /** The pod has answered the latest demand. */
  get isAnswered(): boolean {
    return this.#answered === this.#version;
  }

  think(): void {
    const { dice, agenda } = this.#world;
    if (this.#isAtRest) return;
    if (dice.chance(0.6)) {
      this.#own = dice.int(0, 4);
      this.#needed = dice.int(0, this.#own);
      this.#trials = dice.chance(0.1) ? [dice.pick(TYPES) ?? null] : [];
      if (dice.chance(0.5)) {
        const victim = dice.pick([...this.known]);
        if (victim !== undefined && this.known.size > this.#needed) this.#drain.add(victim);
      }
      this.tell();
    }
    agenda.in(dice.around(THINK_MS), () => this.think());
  }

  /** From now on it wants just so much, lets go what it has beyond that, and asks again now and then. */
  rest(wanted: number): void {
    this.#own = wanted;
    this.#needed = wanted;
    this.#trials = [];
    if (!this.#isAtRest) this.#settle();
    this.#isAtRest = true;
  }

  #settle(): void {
    this.#world.agenda.in(REFRESH_MS, () => this.#settle());
    const kept = [...this.known].filter((id) => !this.#drain.has(id));
    for (const id of kept.slice(0, Math.max(0, kept.length - this.wanted))) this.#drain.add(id);
    this.tell();
  }

  /** Sends the whole of what it wants, until it is answered. */
  tell(): void {
    this.#version += 1;
    this.#send(this.#version);
  }

  #send(version: number): void {
    const world = this.#world;
    if (version !== this.#version || this.#answered >= version) return;
    const demand: Demand = {
      podId: world.podId,
      workspaceId: world.workspaceId,
      endpointId: this.id,
      version,
      wanted: this.wanted,
      needed: this.#needed,
      warm: 0,
      calls: this.#needed > 0,
      drain: [...this.#drain].sort(),
      regions: [],
      build: null,
      models: [],
      trials: this.#trials,
    };
    world.agenda.in(REPEAT_MS, () => this.#send(version));
    const sentAt = world.now;
    world.exchange<DemandReply>(
      () => true,
      (respond) => {
        const reply = world.demand(demand);
        if (reply !== null) respond(reply);
      },
      (reply) => this.#take(version, reply, sentAt),
    );
  }

  #take(version: number, reply: DemandReply, sentAt: number): void {
    if (version <= this.#answered) return;
    this.#answered = version;
    if (version !== this.#version) return;
    this.known.clear();
    for (const { replicaId } of reply.replicas) {
      // What was asked after the news of an end knows better.
      if ((this.#ended.get(replicaId) ?? 0) < sentAt) this.known.add(replicaId);
    }
    for (const id of this.#drain) if (!this.known.has(id)) this.#drain.delete(id);
    if (reply.floor !== this.floor) {
      this.floor = reply.floor;
      this.tell();
    }
  }

  /** The pod says that it is gone. */
  gone(id: ReplicaId): void {
    this.#ended.set(id, this.#world.now);
    this.known.delete(id);
    this.#drain.delete(id);
  }

  /** The pod asks for it. */
  reclaim(id: ReplicaId): boolean {
    if (!this.known.has(id)) return false;
    if (this.#drain.has(id)) return true;
    const kept = [...this.known].filter((each) => !this.#drain.has(each));
    if (kept.length <= this.#needed || this.#world.dice.chance(0.3)) return false;
    this.#drain.add(id);
    this.#own = Math.min(this.#own, kept.length - 1);
    this.tell();
    return true;
  }
}
