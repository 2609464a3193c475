import type { Lease } from "#contract/agent";
import type { EndpointSettings } from "#contract/endpoint";
import type { JobId, ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";

export interface WorldOptions {
  readonly settings: Partial<EndpointSettings>;
  readonly slots: number;
  readonly bootMs: number;
  /** How long a job of each lane takes, ms. */
  readonly serviceMs: Readonly<Record<Lane, number>>;
  readonly seed: number;
}

interface Machine {
  readonly replica: FakeReplica;
  isReady: boolean;
  isDraining: boolean;
  isBusy: boolean;
}

/** An agent asks again long before it is taken for lost. */
const POLL_AGAIN_MS = 20_000;

/** An endpoint, a pod with so many slots and their replicas in virtual time: from one event to the next. */
export class ScaledWorld {
  readonly endpoint: EndpointHarness;
  /** How long each job waited until a replica had it, ms, in the order of their starts. */
  readonly waits: Record<Lane, number[]> = { interactive: [], batch: [] };
  /** Replica-ms from placement to end, those that still run included. */
  gpuMs = 0;
  rings = 0;
  readonly #options: WorldOptions;
  readonly #chance: () => number;
  readonly #machines = new Map<ReplicaId, Machine>();
  readonly #jobs = new Map<JobId, { readonly lane: Lane; readonly at: number }>();
  #agenda: { readonly at: number; readonly act: () => void }[] = [];
  #answersSeen = 0;
  #now: number;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#chance = seededChance(options.seed);
    this.endpoint = new EndpointHarness(options.settings, options.seed);
    this.#now = this.endpoint.now;
  }

  get now(): number {
    return this.#now;
  }

  get replicas(): number {
    return [...this.#machines.values()].filter(({ isDraining }) => !isDraining).length;
  }

  /** Does it in so many ms from now. */
  in(ms: number, act: () => void): void {
    const at = this.#now + ms;
    let index = this.#agenda.length;
    while (index > 0 && (this.#agenda[index - 1]?.at ?? 0) > at) index -= 1;
    this.#agenda.splice(index, 0, { at, act });
  }

  submit(lane: Lane): void {
    this.#jobs.set(this.endpoint.submit({ lane, expiresInMs: 7 * 86_400_000 }), { lane, at: this.#now });
  }

  submitBatch(count: number): void {
    const items = Array.from({ length: count }, () => ({ inputs: "{}", files: [] }));
    const { idempotency: _, batchId: __, retryOf: ___, ...request } = this.endpoint.request({ lane: "batch" });
    const reply = this.endpoint.call((core) => core.enqueueBatch({ ...request, items, expiresInMs: 7 * 86_400_000 }));
    if (!reply.ok) throw new Error(reply.code);
  }

  /** A stream of jobs of a lane from now on, so many ms apart on average, for so long. */
  arrivals(lane: Lane, meanMs: number, forMs: number): void {
    for (let at = this.#gap(meanMs); at < forMs; at += this.#gap(meanMs)) this.in(at, () => this.submit(lane));
  }

  #gap(meanMs: number): number {
    return Math.max(1, Math.round(-Math.log(1 - this.#chance()) * meanMs));
  }

  /** Lets the time pass, event by event. */
  run(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const next = this.#agenda[0];
      const ring = this.endpoint.armedAt ?? Number.POSITIVE_INFINITY;
      const at = Math.min(next?.at ?? Number.POSITIVE_INFINITY, Math.max(ring, this.#now));
      if (at > until) break;
      this.#pass(at);
      if (next !== undefined && next.at <= at) {
        this.#agenda.shift();
        next.act();
      } else {
        this.rings += 1;
        this.endpoint.ring();
      }
      this.#follow();
    }
    this.#pass(until);
  }

  #pass(at: number): void {
    this.gpuMs += (at - this.#now) * this.#machines.size;
    this.#now = at;
    this.endpoint.now = at;
  }

  /** The pod and the agents do what they were told, until nobody is told anything more. */
  #follow(): void {
    for (;;) {
      const { answers } = this.endpoint;
      const answer = answers[this.#answersSeen];
      if (answer !== undefined) {
        this.#answersSeen += 1;
        this.#answered(answer.replicaId, answer.answer);
      } else if (this.endpoint.demandsToSend > 0) this.#placeAndDrain();
      else return;
    }
  }

  #placeAndDrain(): void {
    const demand = this.endpoint.core.demand();
    if (demand === null) throw new Error("there is no endpoint");
    for (const id of demand.drain) {
      const machine = this.#machines.get(id);
      if (machine === undefined || machine.isDraining) continue;
      machine.isDraining = true;
      if (!machine.isBusy) this.in(200, () => this.#end(machine));
    }
    while (this.replicas < demand.wanted && this.#machines.size < this.#options.slots) this.#place();
    const code = this.replicas < demand.wanted ? ("all_slots_busy" as const) : ("none" as const);
    this.endpoint.answerDemand(
      [...this.#machines.values()].map(({ replica }) => replica),
      { room: this.#options.slots - this.#machines.size, shortage: { code, error: null } },
    );
  }

  #place(): void {
    const replica = this.endpoint.replica();
    const machine: Machine = { replica, isReady: false, isDraining: false, isBusy: false };
    this.#machines.set(replica.id, machine);
    this.in(this.#options.bootMs, () => {
      machine.isReady = true;
      if (!machine.isDraining) this.#poll(machine);
    });
  }

  #end({ replica }: Machine): void {
    if (!this.#machines.delete(replica.id)) return;
    this.endpoint.call((core) => core.replicaGone(this.endpoint.podId, replica.id, "It has stopped.", false));
  }

  #poll(machine: Machine): void {
    if (machine.isBusy || !this.#machines.has(machine.replica.id)) return;
    const answer = this.endpoint.poll(machine.replica);
    if (answer === "refused") throw new Error("a replica is refused");
    if (answer === "waiting") this.in(POLL_AGAIN_MS, () => this.#poll(machine));
    else this.#answered(machine.replica.id, answer);
  }

  #answered(id: ReplicaId, answer: { readonly lease: Lease | null; readonly stop: boolean }): void {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    if (answer.lease !== null) this.#begin(machine, answer.lease);
    else if (answer.stop && !machine.isDraining) {
      machine.isDraining = true;
      this.in(200, () => this.#end(machine));
    }
  }

  #begin(machine: Machine, lease: Lease): void {
    machine.isBusy = true;
    const job = this.#jobs.get(lease.job_id);
    const lane = job?.lane ?? "batch";
    if (job !== undefined) this.waits[lane].push(this.#now - job.at);
    this.endpoint.progress(machine.replica, lease);
    this.in(Math.round(this.#options.serviceMs[lane] * (0.5 + this.#chance())), () => {
      const done = this.endpoint.complete(machine.replica, lease);
      if (!done.ok) throw new Error(done.detail);
      machine.isBusy = false;
      if (machine.isDraining) this.#end(machine);
      else this.#poll(machine);
    });
  }
}

/** The smallest value that so much of the sample does not exceed. */
export function quantile(sample: readonly number[], share: number): number {
  const sorted = sample.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
