import type { NodePoll, NodePollAnswer } from "#contract/agent";
import { makeId, type NodeId, PodId, type ReplicaId, WorkspaceId } from "#contract/ids";
import { DEFAULT_POD_SETTINGS, type NodeSummary, type PodCapacity, type PodSettings } from "#contract/replica";
import { PodCore } from "#durable-objects/pod/pod-core";
import { type PodEffect, QUIET_NOTED_MS } from "#durable-objects/pod/pod-state";
import type { Farewell } from "#durable-objects/pod/pod-store";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import { Agenda } from "../agenda.ts";
import { Dice } from "../dice.ts";
import { type PlannedFailure, SimulatedDatabase, StorageFailure } from "../simulated-database.ts";
import { Trace } from "../trace.ts";
import { promise, Violation } from "../violation.ts";
import { PodChecks } from "./pod-checks.ts";
import { drawPodSwarm, NO_POD_FAULTS, type PodFaults, type PodSwarm } from "./pod-swarm.ts";
import { SimulatedDemand } from "./simulated-demand.ts";
import { LIES, SimulatedNode } from "./simulated-node.ts";

export interface PodSimulationOptions {
  /** Called after each turn, to break what must not break. */
  readonly meddle?: (world: PodSimulation, database: SimulatedDatabase) => void;
  /** Instead of one that the seed draws. */
  readonly swarm?: PodSwarm;
}

export interface PodSimulationResult {
  readonly seed: number;
  readonly operations: number;
  /** Of the whole trace. */
  readonly digest: string;
  /** How often each kind of trouble was met. */
  readonly hits: ReadonlyMap<string, number>;
  readonly violation: {
    readonly invariant: string;
    readonly message: string;
    readonly trace: readonly string[];
  } | null;
}

const EPOCH = 1_800_000_000_000;
/** Longer than any pause after a crash and any cut of a machine in here; the operator ends the quarantines. */
const CALM_MS = 15 * 60_000;
/** In which everything that was wanted is there and everything else is gone, once nothing goes wrong any more. */
const SETTLE_MS = 5 * 60_000;
/** Where several want one slot its turns move the floor, at the pace of turns. */
const TERMS_MAX = 10;
/** Once nothing goes wrong, capacity is counted right within this of any change. */
const AGREE_MS = 45_000;
/** Rings of the alarm in one minute that are more than work. */
const RINGS_MAX = 400;

/** One seed's world: a real PodCore over its SQL, and machines, endpoints and an operator who are played. */
export class PodSimulation {
  readonly dice: Dice;
  readonly agenda = new Agenda();
  readonly swarm: PodSwarm;
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  readonly nodes: SimulatedNode[] = [];
  readonly endpoints: SimulatedDemand[] = [];
  readonly trace = new Trace();
  readonly hits = new Map<string, number>();
  readonly #database = new SimulatedDatabase();
  readonly #checks: PodChecks;
  readonly #waiting = new Map<string, (answer: NodePollAnswer) => void>();
  readonly #seed: number;
  readonly #meddle: PodSimulationOptions["meddle"];
  readonly #operationsWanted: number;
  faults: PodFaults;
  operations = 0;
  #core: PodCore;
  #armedAt: number | null = null;
  #alarms = 0;
  #rings: number[] = [];
  #settingsVersion = 1;
  /** How often endpoints were told to ask again. */
  #termsTold = 0;

  constructor(seed: number, operations: number, options: PodSimulationOptions = {}) {
    this.#meddle = options.meddle;
    this.#seed = seed;
    this.#operationsWanted = operations;
    this.dice = new Dice(seed);
    this.swarm = options.swarm ?? drawPodSwarm(this.dice);
    this.faults = this.swarm.faults;
    const bytes = (length: number) => this.dice.bytes(length);
    this.workspaceId = makeId(WorkspaceId, "ws", EPOCH, bytes);
    this.podId = makeId(PodId, "pod", EPOCH, bytes);
    this.#core = this.#open();
    this.#checks = new PodChecks(this, this.#database);
  }

  get now(): number {
    return EPOCH + this.agenda.now;
  }

  /** For ids of things in this world. */
  get pod(): { readonly podId: PodId } {
    return this;
  }

  get settings(): PodSettings {
    const { containersMax, minReplicas, gpuTypes } = this.swarm;
    return {
      ...DEFAULT_POD_SETTINGS,
      containers_max: containersMax,
      min_replicas: minReplicas,
      gpu_types: [...gpuTypes],
    };
  }

  hit(what: string): void {
    this.hits.set(what, (this.hits.get(what) ?? 0) + 1);
  }

  run(): PodSimulationResult {
    let violation: PodSimulationResult["violation"] = null;
    try {
      this.begin();
      while (this.operations < this.#operationsWanted && this.agenda.step());
      this.#calmDown();
      this.pass(CALM_MS);
      // Whatever was wrong is over. What is wanted now must be there, and nothing else.
      for (const endpoint of this.endpoints) endpoint.rest(this.dice.int(0, 3));
      this.pass(SETTLE_MS);
      this.#comesTrue(() => this.#checks.atRest());
      // Who holds the floor is settled as well: two that take it from each other would ask without end.
      const told = this.#termsTold;
      this.pass(60_000);
      const again = this.#termsTold - told;
      promise("L2", again <= TERMS_MAX, () => `endpoints were told ${again} times in a minute to ask again`);
      this.#settle({ min_replicas: 0 });
      for (const endpoint of this.endpoints) endpoint.rest(0);
      this.pass(SETTLE_MS);
      this.#comesTrue(() => this.#checks.atNothing());
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = { invariant: error.invariant, message: error.message, trace: this.trace.last(60) };
    }
    return { seed: this.#seed, operations: this.operations, digest: this.trace.digest(), hits: this.hits, violation };
  }

  begin(): void {
    const { faults } = this;
    this.faults = NO_POD_FAULTS;
    this.turn("configure", (core) =>
      core.configure(this.podId, this.workspaceId, { version: 1, settings: this.settings }),
    );
    this.faults = faults;
    for (let index = 0; index < this.swarm.nodes; index += 1) {
      const lie = this.dice.chance(this.faults.liars) ? (this.dice.pick(LIES) ?? null) : null;
      const node = new SimulatedNode(this, `node-${index}`, lie);
      this.nodes.push(node);
      this.agenda.in(this.dice.int(0, 5_000), () => node.boot());
    }
    for (let index = 0; index < this.swarm.endpoints; index += 1) {
      const endpoint = new SimulatedDemand(this);
      this.endpoints.push(endpoint);
      this.agenda.in(this.dice.int(0, 5_000), () => endpoint.think());
    }
    this.#operate();
  }

  #calmDown(): void {
    this.faults = NO_POD_FAULTS;
    for (const node of this.nodes) node.becomeHonest();
    for (const { id } of this.listed()) {
      this.turn("trust", (core) =>
        core.changeNode(this.workspaceId, id, { cordoned: false, draining: false, quarantined: false }),
      );
    }
  }

  #settle(more: Partial<PodSettings>): void {
    this.#settingsVersion += 1;
    const version = this.#settingsVersion;
    this.turn("configure", (core) =>
      core.configure(this.podId, this.workspaceId, { version, settings: { ...this.settings, ...more } }),
    );
  }

  /** Lets so much time go by. */
  pass(ms: number): void {
    const end = this.agenda.now + ms;
    let isOver = false;
    this.agenda.at(end, () => {
      isOver = true;
    });
    while (!isOver && this.agenda.step());
  }

  /** What does not fit together at this moment; null: all parties and all counters agree. */
  disagreement(): string | null {
    try {
      this.#checks.atRest();
      return null;
    } catch (error) {
      if (error instanceof Violation) return error.message;
      throw error;
    }
  }

  /** Where several want one slot, turns go on for ever: everything agrees again and again, and not at each moment. */
  #comesTrue(check: () => void): void {
    for (const end = this.agenda.now + AGREE_MS; ; ) {
      try {
        check();
        return;
      } catch (error) {
        if (!(error instanceof Violation) || this.agenda.now >= end) throw error;
        this.pass(500);
      }
    }
  }

  /** An operator does this and that to nodes. */
  #operate(): void {
    this.agenda.in(this.dice.around(20_000), () => {
      if (this.faults === NO_POD_FAULTS) return;
      this.#operate();
      if (!this.dice.chance(this.faults.operator)) return;
      const node = this.dice.pick(this.listed());
      if (node === undefined) return;
      const what = this.dice.int(0, 5);
      this.hit("operator");
      this.turn("operator", (core) => {
        if (what === 0) return core.removeNode(this.workspaceId, node.id);
        if (what === 1) return core.changeNode(this.workspaceId, node.id, { cordoned: this.dice.chance(0.5) });
        if (what === 2) return core.changeNode(this.workspaceId, node.id, { draining: this.dice.chance(0.5) });
        if (what === 3) return core.changeNode(this.workspaceId, node.id, { quarantined: false });
        if (what === 4) return core.watchNode(this.workspaceId, node.id);
        this.#settingsVersion += 1;
        const containers_max = this.dice.pick([null, 1, 2, 4]) ?? this.swarm.containersMax;
        const settings = { ...this.settings, containers_max, min_replicas: this.dice.int(0, 3) };
        return core.configure(this.podId, this.workspaceId, { version: this.#settingsVersion, settings });
      });
    });
  }

  /** The nodes as the API shows them. */
  listed(): NodeSummary[] {
    const reply = this.#core.listNodes(this.workspaceId);
    if (!reply.ok) throw new Error(reply.code);
    return reply.nodes;
  }

  /** How the pod stands, as the API shows it. */
  capacity(): PodCapacity {
    const reply = this.#core.capacity(this.workspaceId);
    if (!reply.ok) throw new Error(reply.code);
    return reply.capacity;
  }

  // --- the network -------------------------------------------------------------------------------------------------

  /** One message; it may be lost, late, or come twice. */
  send(deliver: () => void): void {
    const { dice, faults, agenda } = this;
    if (dice.chance(faults.lost)) {
      this.hit("message lost");
      return;
    }
    const copies = dice.chance(faults.doubled) ? 2 : 1;
    if (copies > 1) this.hit("message doubled");
    for (let copy = 0; copy < copies; copy += 1) {
      const isLate = dice.chance(faults.late);
      if (isLate) this.hit("message late");
      agenda.in(isLate ? dice.int(1_000, 60_000) : dice.int(1, 200), deliver);
    }
  }

  /** A question and its answer. @param isUp whether the asker's network carries anything */
  exchange<T>(isUp: () => boolean, ask: (respond: (answer: T) => void) => void, take: (answer: T) => void): void {
    if (!isUp()) return;
    this.send(() => {
      if (!isUp()) return;
      ask((answer) => {
        this.send(() => {
          if (isUp()) take(answer);
        });
      });
    });
  }

  // --- the object --------------------------------------------------------------------------------------------------

  #open(): PodCore {
    const world = { now: () => this.now, randomBytes: (length: number) => this.dice.bytes(length) };
    return new PodCore(this.#database, world, this.#armedAt);
  }

  restart(): void {
    this.hit("object restarted");
    for (const state of this.#checks.states()) this.hit(`object restarted, replica ${state}`);
    this.#waiting.clear();
    this.#database.plan(null);
    this.#core = this.#open();
    this.#perform(this.#core.takeEffects());
  }

  /** One call into the core. @returns null when it came to nothing, as when the object dies over it */
  turn<T>(what: string, work: (core: PodCore) => T): T | null {
    const { dice, faults } = this;
    this.operations += 1;
    const failure: PlannedFailure | null = dice.chance(faults.undone)
      ? { atStatement: dice.int(1, 30), forGood: dice.chance(0.5) }
      : null;
    this.#database.plan(failure);
    let result: T;
    try {
      result = work(this.#core);
    } catch (error) {
      if (!(error instanceof StorageFailure)) throw error;
      this.hit("turn undone");
      this.trace.add(`${this.operations} ${this.agenda.now} ${what} undone`);
      this.#database.plan(null);
      this.#checks.afterTurn();
      // A process that lives on after one failed turn has forgotten nothing of before it, and knows nothing of it.
      if (failure?.forGood === true) this.restart();
      else this.#perform(this.#core.takeEffects());
      return null;
    }
    this.#database.plan(null);
    this.trace.add(`${this.operations} ${this.agenda.now} ${what} ${JSON.stringify(result) ?? ""}`);
    this.#meddle?.(this, this.#database);
    this.#checks.afterTurn();
    this.#perform(this.#core.takeEffects());
    if (dice.chance(faults.restart)) {
      this.restart();
      // The commit has happened, and nobody hears of it.
      if (dice.chance(0.5)) return null;
    }
    return result;
  }

  pollNode(nodeId: NodeId, poll: NodePoll, respond: (answer: NodePollAnswer | "unknown") => void): void {
    const identity = { workspaceId: this.workspaceId, podId: this.podId, nodeId };
    const outcome = this.turn(`poll ${poll.poll_id} ${JSON.stringify(poll.replicas)}`, (core) =>
      core.pollNode(identity, poll),
    );
    if (outcome === null) return;
    const ends = outcome.type === "answered" ? 0 : outcome.ms;
    this.agenda.in(ends + QUIET_NOTED_MS, () => this.#noteQuiet(nodeId));
    if (outcome.type === "answered") {
      const { reply } = outcome;
      if (reply.ok) respond(reply.answer);
      else if (reply.code === "node_not_found") respond("unknown");
      return;
    }
    const key = `${nodeId} ${poll.poll_id}`;
    this.#waiting.set(key, respond);
    this.agenda.in(outcome.ms, () => {
      if (!this.#waiting.delete(key)) return;
      const answer = this.turn("poll times out", (core) => core.pollTimedOut(nodeId, poll.poll_id));
      if (answer !== null) respond(answer);
    });
  }

  /** Where another poll is open meanwhile there is nothing to note, and no turn to count. */
  #noteQuiet(nodeId: NodeId): void {
    if ([...this.#waiting.keys()].some((key) => key.startsWith(nodeId))) return;
    this.turn("note quiet", (core) => core.noteQuiet());
  }

  /** The poll is open, and whoever sent it hears its heartbeats. */
  isWaiting(nodeId: NodeId, pollId: string): boolean {
    return this.#waiting.has(`${nodeId} ${pollId}`);
  }

  demand(demand: Demand): DemandReply | null {
    const { version, wanted, needed, drain } = demand;
    const reply = this.turn(`demand ${version} ${wanted}/${needed} ${drain.length}`, (core) => core.setDemand(demand));
    if (reply === null) return null;
    if (!reply.ok) throw new Error(reply.code);
    return reply;
  }

  #perform(effects: readonly PodEffect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case "poll_answered": {
          const key = `${effect.nodeId} ${effect.pollId}`;
          const respond = this.#waiting.get(key);
          this.#waiting.delete(key);
          respond?.(effect.answer);
          break;
        }
        case "arm":
          this.#arm(effect.at);
          break;
        case "tell_gone":
          this.#tellGone(effect.farewell);
          break;
        case "reclaim":
          this.#reclaim(effect.endpointId, effect.replicaId);
          break;
        case "ask_heard":
          this.#askHeard(effect.replicaId);
          break;
        case "terms_changed":
          this.#termsTold += 1;
          this.send(() => this.#endpoint(effect.endpointId)?.tell());
          break;
        default:
          throw new Error(`unhandled: ${JSON.stringify(effect satisfies never)}`);
      }
    }
  }

  #endpoint(id: string): SimulatedDemand | undefined {
    return this.endpoints.find((endpoint) => endpoint.id === id);
  }

  #tellGone({ endpointId, replicaId }: Farewell): void {
    this.send(() => {
      this.#endpoint(endpointId)?.gone(replicaId);
      this.send(() => this.turn("farewell taken", (core) => core.farewellTaken(replicaId)));
    });
  }

  /** Some replicas never ask their endpoint for work, and some that drain have none left. */
  #askHeard(replicaId: ReplicaId): void {
    this.send(() => {
      const isCalm = this.faults === NO_POD_FAULTS;
      const heard = { works: isCalm || this.dice.chance(0.8), leases: isCalm ? 0 : this.dice.int(0, 1) };
      this.hit(heard.works ? "replica vouched for" : "replica mute");
      this.send(() => this.turn("heard answered", (core) => core.heardAnswered(replicaId, heard)));
    });
  }

  #reclaim(endpointId: string, replicaId: ReplicaId): void {
    this.send(() => {
      const given = this.#endpoint(endpointId)?.reclaim(replicaId) ?? false;
      this.send(() => this.turn("reclaim answered", (core) => core.reclaimAnswered(replicaId, given)));
    });
  }

  #arm(at: number): void {
    this.#alarms += 1;
    const alarm = this.#alarms;
    this.#armedAt = at;
    if (this.dice.chance(this.faults.alarmLost)) {
      this.hit("alarm lost");
      return;
    }
    const late = this.dice.chance(this.faults.alarmLate) ? this.dice.int(500, 20_000) : 0;
    this.agenda.at(at - EPOCH + late, () => {
      if (this.#alarms !== alarm) return;
      this.#armedAt = null;
      this.#rings = [...this.#rings.filter((ring) => ring > this.agenda.now - 60_000), this.agenda.now];
      promise("I18", this.#rings.length <= RINGS_MAX, () => `the alarm rang ${this.#rings.length} times in a minute`);
      this.turn("alarm", (core) => core.wake());
    });
  }
}
