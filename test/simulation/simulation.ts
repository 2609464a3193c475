import type { ManifestEntry } from "#contract/agent";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import {
  type AnyId,
  EndpointId,
  type JobId,
  KeyId,
  makeId,
  type NodeId,
  type OwnerKey,
  PodId,
  WorkspaceId,
} from "#contract/ids";
import { IDEMPOTENCY_KEY_MS, JOB_RETENTION_DAYS, OUTPUT_RETENTION_DAYS } from "#contract/limits";
import type { QueueSummary } from "#contract/queue";
import type { NodeIdentity, StoredOutput } from "#durable-objects/endpoint/rpc";
import { Agenda } from "./agenda.ts";
import type { Coverage } from "./coverage.ts";
import { Dice } from "./dice.ts";
import { Network } from "./network.ts";
import { Oracle } from "./oracle.ts";
import { SimulatedCallers } from "./simulated-callers.ts";
import type { SimulatedDatabase } from "./simulated-database.ts";
import { SimulatedObject } from "./simulated-object.ts";
import { SimulatedOperators } from "./simulated-operators.ts";
import { SimulatedPod } from "./simulated-pod.ts";
import { SimulatedStore } from "./simulated-store.ts";
import { SimulatedWebhooks } from "./simulated-webhooks.ts";
import { drawSwarm, type FaultRates, NO_FAULTS, type Swarm } from "./swarm.ts";
import { Trace } from "./trace.ts";
import { promise, Violation } from "./violation.ts";

const DAY_MS = 86_400_000;
/** The Worker's own check of a manifest against R2. */
export type VerifyManifest = (
  bucket: SimulatedStore["bucket"],
  keyPrefix: string,
  manifest: readonly ManifestEntry[],
) => Promise<StoredOutput[]>;

export interface SimulationOptions {
  readonly seed: number;
  /** Operations under faults, about; those of healing come on top. */
  readonly operations: number;
  readonly database: SimulatedDatabase;
  readonly coverage: Coverage;
  readonly verifyManifest: VerifyManifest;
  /** Called between any two events. */
  readonly meddle?: (world: Simulation) => void;
}

export interface SimulationResult {
  readonly seed: number;
  readonly operations: number;
  /** How long the run was in its own time, ms. */
  readonly simulatedMs: number;
  /** sha256 over all that happened. */
  readonly hash: string;
  readonly violation: {
    readonly invariant: string;
    readonly message: string;
    readonly trace: readonly string[];
  } | null;
}

/** One seed's run: a world drawn from the seed, first under faults, then healed, then audited. */
export class Simulation {
  readonly swarm: Swarm;
  readonly dice: Dice;
  /** The core's own chance, apart, so that it does not shift everything else. */
  readonly coreDice: Dice;
  /** Whether agents hold one job ahead; thrown apart as well. */
  readonly holdsAhead: boolean;
  readonly agenda = new Agenda();
  readonly trace = new Trace();
  readonly coverage: Coverage;
  readonly database: SimulatedDatabase;
  readonly verifyManifest: VerifyManifest;
  readonly oracle: Oracle;
  readonly network: Network;
  readonly store: SimulatedStore;
  readonly object: SimulatedObject;
  readonly pod: SimulatedPod;
  readonly webhooks: SimulatedWebhooks;
  readonly callers: SimulatedCallers;
  readonly operators: SimulatedOperators;
  readonly workspaceId: WorkspaceId;
  readonly strangerId: WorkspaceId;
  readonly podId: PodId;
  readonly endpointId: EndpointId;
  readonly keyId: KeyId;
  readonly keyRetentionMs = IDEMPOTENCY_KEY_MS;
  readonly jobRetentionMs = JOB_RETENTION_DAYS * DAY_MS;
  readonly outputRetentionMs = OUTPUT_RETENTION_DAYS * DAY_MS;
  /** No more faults: from here on everything must come to its end. */
  healed = false;
  /** An operator has paused the queue, as far as that was answered. */
  paused = false;
  faults: FaultRates;
  readonly #options: SimulationOptions;
  #number = 0;
  #awaited: Promise<void> | null = null;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.dice = new Dice(options.seed);
    this.coreDice = new Dice(options.seed ^ 0x5bd1e995);
    this.swarm = drawSwarm(this.dice);
    this.holdsAhead = new Dice(options.seed ^ 0x27d4eb2f).chance(0.6);
    this.faults = this.swarm.faults;
    this.coverage = options.coverage;
    this.database = options.database;
    this.verifyManifest = options.verifyManifest;
    this.workspaceId = this.id(WorkspaceId, "ws");
    this.strangerId = this.id(WorkspaceId, "ws");
    this.podId = this.id(PodId, "pod");
    this.endpointId = this.id(EndpointId, "ep");
    this.keyId = this.id(KeyId, "key");
    this.oracle = new Oracle(this);
    this.network = new Network(this);
    this.store = new SimulatedStore(this);
    this.object = new SimulatedObject(this);
    this.pod = new SimulatedPod(this);
    this.webhooks = new SimulatedWebhooks(this);
    this.callers = new SimulatedCallers(this);
    this.operators = new SimulatedOperators(this);
  }

  async run(): Promise<SimulationResult> {
    this.database.clear();
    let violation: SimulationResult["violation"] = null;
    try {
      await this.#faulty();
      await this.#heal();
      await this.#afterwards();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.trace.add(error.message);
      violation = { invariant: error.invariant, message: error.message, trace: this.trace.last(400) };
    }
    return {
      seed: this.#options.seed,
      operations: this.object.operations,
      simulatedMs: this.agenda.now,
      hash: this.trace.digest(),
      violation,
    };
  }

  // --- phases ------------------------------------------------------------------------------------------------------

  async #faulty(): Promise<void> {
    this.faults = NO_FAULTS;
    this.configure(this.swarm.minReplicas);
    this.database.watchJobs();
    this.faults = this.swarm.faults;
    this.callers.start();
    this.operators.start();
    await this.#until(() => this.object.operations >= this.#options.operations);
  }

  /** Sets the bounds of how many replicas there are. */
  configure(minReplicas: number, maxReplicas = this.swarm.maxReplicas): void {
    const { swarm, endpointId, workspaceId, podId } = this;
    const settings = {
      ...DEFAULT_SETTINGS,
      min_replicas: minReplicas,
      max_replicas: maxReplicas,
      policy: swarm.policy,
      idle_timeout_s: swarm.idleTimeoutS,
      batch_target_wait_s: swarm.batchTargetWaitS,
      attempts_max: swarm.attemptsMax,
      queue_depth_max: swarm.queueDepthMax,
    };
    const config = { endpointId, workspaceId, podId, slug: "picture", release: 1, settings };
    this.object.turn({ type: "configure" }, (core) => core.configure(config));
  }

  /** The faults stop: every job must end, within a bounded time. */
  async #heal(): Promise<void> {
    this.trace.add("the faults stop");
    this.faults = NO_FAULTS;
    this.healed = true;
    for (const agent of [...this.pod.agents]) {
      if (agent.isClone) agent.kill();
      else agent.resume();
    }
    const healedAt = this.agenda.now;
    this.configure(this.swarm.minReplicas);
    // Whatever was paused is resumed, also what a late message pauses.
    this.operators.resume();
    this.agenda.in(61_500, () => this.operators.resume());
    // What was under way takes a minute to arrive, a lease at most 45 s to end, a backoff at most a minute.
    const eachMs = 2 * (this.swarm.prepareMs * 8 + this.swarm.uploadMs * 8 + 10_000);
    // Batch jobs may leave the last replicas alone until there has been no interactive one for ten minutes.
    const boundMs = 1_000_000 + 8 * this.swarm.bootMs + this.oracle.living.size * eachMs;
    const isDone = () => this.oracle.living.size === 0 && this.agenda.now >= healedAt + 61_000;
    await this.#until(() => {
      promise(
        "L1",
        this.agenda.now <= healedAt + boundMs || this.oracle.living.size === 0,
        () => `${this.oracle.living.size} jobs still live ${boundMs} ms after the faults stopped`,
      );
      return isDone();
    });
    this.oracle.audit();
    // What failed to be handed over is repeated within a minute.
    const endedAt = this.agenda.now;
    await this.#until(() => this.agenda.now >= endedAt + 130_000);
    this.webhooks.check();
  }

  async #afterwards(): Promise<void> {
    if (this.swarm.afterwards === "nothing") return;
    if (this.swarm.afterwards === "removal") return this.#remove();
    if (this.swarm.afterwards === "starvation") return this.#starve();
    // A month passes: outputs go after a week, records after a month, and nothing before.
    const from = this.agenda.now;
    // Nobody works meanwhile: a month of polls would say nothing new.
    this.configure(0);
    await this.#until(() => this.pod.agents.size === 0);
    await this.#until(() => this.agenda.now >= from + this.outputRetentionMs - 3_600_000);
    this.oracle.audit();
    await this.#until(() => this.agenda.now >= from + this.jobRetentionMs + DAY_MS || this.oracle.jobs.size === 0);
    promise("I1", this.oracle.jobs.size === 0, () => `${this.oracle.jobs.size} records outlive their retention`);
    promise("I6", this.store.objects.size === 0 || this.swarm.outputsMax > 0, () => "outputs outlive their retention");
    this.oracle.audit();
  }

  /** No GPU for longer than jobs wait by default: each one says so in time, whatever happens to the object meanwhile. */
  async #starve(): Promise<void> {
    const from = this.agenda.now;
    this.pod.goOnStrike();
    // One after the other, so that each of them expires in a turn of its own.
    for (let count = 1; count <= 15; count += 1) this.agenda.in(count * 7_000, () => this.callers.submitOne());
    await this.#until(() => this.agenda.now >= from + 120_000);
    this.faults = {
      ...NO_FAULTS,
      storageError: 0.1,
      crashInside: 0.05,
      crashAfter: 0.05,
      deploy: 0.02,
      alarmTwice: 0.1,
    };
    await this.#until(() => this.agenda.now >= from + DAY_MS - 60_000);
    // Just as they expire, hardly anything succeeds at once.
    this.faults = { ...this.faults, storageError: 0.6, deploy: 0 };
    await this.#until(() => this.agenda.now >= from + DAY_MS + 180_000);
    this.faults = NO_FAULTS;
    await this.#until(() => this.agenda.now >= from + DAY_MS + 300_000);
    promise(
      "L1",
      this.oracle.living.size === 0,
      () => `${this.oracle.living.size} jobs have waited for more than a day`,
    );
    this.oracle.audit();
    this.coverage.path("a day without a GPU");
  }

  async #remove(): Promise<void> {
    const from = this.agenda.now;
    for (let count = 0; count < 3; count += 1) this.callers.submitOne();
    await this.#until(() => this.agenda.now >= from + 2_000);
    this.oracle.removed = true;
    this.object.turn({ type: "remove" }, (core) => core.remove(this.workspaceId));
    await this.#until(() => {
      promise(
        "L1",
        this.agenda.now <= from + 600_000 || this.oracle.living.size === 0,
        () => "a deleted endpoint's jobs live on",
      );
      return this.oracle.living.size === 0 && this.agenda.now >= from + 30_000;
    });
    this.oracle.audit();
  }

  async #until(isDone: () => boolean): Promise<void> {
    let idle = 0;
    while (!isDone()) {
      const before = this.object.operations;
      promise("L1", this.agenda.step(), () => "nothing is planned any more");
      if (this.#awaited !== null) {
        const awaited = this.#awaited;
        this.#awaited = null;
        await awaited;
      }
      this.#options.meddle?.(this);
      // Time must pass: operations that never end would otherwise hold up the run.
      idle = this.object.operations === before ? idle + 1 : 0;
      promise("L5", idle < 1_000_000, () => "nothing reaches the object any more");
    }
  }

  /** Work of the Worker that must be done before anything else happens. */
  await(work: Promise<void>): void {
    this.#awaited = this.#awaited === null ? work : Promise.all([this.#awaited, work]).then(() => undefined);
  }

  // --- what everybody needs ----------------------------------------------------------------------------------------

  id<Id extends AnyId>(schema: { parse(value: unknown): Id }, prefix: string, owner?: OwnerKey): Id {
    return makeId(schema, prefix, 1_800_000_000_000, (length) => this.dice.bytes(length), owner);
  }

  nextNumber(): string {
    this.#number += 1;
    return String(this.#number).padStart(8, "0");
  }

  /** A fault has struck: in which states of jobs, for the account. */
  hit(fault: string, about: JobId | null): void {
    if (about !== null) {
      this.coverage.fault(fault, this.oracle.stateOf(about));
      return;
    }
    const states = new Set<string>();
    for (const id of this.oracle.living.keys()) states.add(this.oracle.stateOf(id));
    for (const state of states) this.coverage.fault(fault, state);
  }

  nodeOf(nodeId: string): NodeIdentity {
    return { workspaceId: this.workspaceId, podId: this.podId, nodeId: nodeId as NodeId };
  }

  /** What the core counts; null while nothing has woken it. */
  summary(): QueueSummary | null {
    const reply = this.object.core?.queueSummary(this.workspaceId);
    return reply?.ok ? reply.summary : null;
  }

  /** Whether the endpoint has capacity on a node that is not this one. */
  hasOtherNode(nodeId: string): boolean {
    return this.database
      .look("SELECT node_id FROM replicas WHERE draining = 0 AND state NOT IN ('stopped', 'crashed', 'draining')")
      .some((row) => row.node_id !== nodeId);
  }

  /** The same as it may have been a moment ago: what the scaler lets go at the end of a turn counted when jobs were granted. */
  hadOtherNode(nodeId: string): boolean {
    return this.database
      .look("SELECT node_id FROM replicas WHERE state NOT IN ('stopped', 'crashed', 'draining')")
      .some((row) => row.node_id !== nodeId);
  }
}
