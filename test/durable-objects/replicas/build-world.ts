import type { Lease, ReplicaPollAnswer } from "#contract/agent";
import { DEFAULT_SETTINGS, type EndpointSettings } from "#contract/endpoint";
import type { ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { EndpointConfig } from "#durable-objects/endpoint/rpc";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";

interface Machine {
  readonly replica: FakeReplica;
  /** Of the release that it runs, or starts with. */
  build: string | null;
  draining: boolean;
  working: boolean;
  ready: boolean;
}

export interface BuildWorldOptions {
  readonly settings: Partial<EndpointSettings>;
  readonly slots: number;
  readonly bootMs: number;
  readonly jobMs: number;
  /** By release. */
  readonly builds: Readonly<Record<number, string | null>>;
  /** Builds whose ComfyUI dies at its start. */
  readonly broken?: ReadonlySet<string>;
}

/** A core with one pod of a few slots, and agents that change their build as real ones do. Time is the test's. */
export class BuildWorld {
  readonly endpoint = new EndpointHarness();
  readonly #options: BuildWorldOptions;
  readonly #machines = new Map<ReplicaId, Machine>();
  readonly #agenda: { readonly at: number; readonly act: () => void }[] = [];
  #answersSeen = 0;
  #active = 1;
  /** Jobs done, by release. */
  readonly done: Record<number, number> = {};
  /** ComfyUIs started, whether a replica was placed for it or made itself another. */
  starts = 0;

  constructor(options: BuildWorldOptions) {
    this.#options = options;
    this.activate(1);
  }

  /** @param canary a release that gets a part of the new jobs */
  activate(release: number, canary?: number): void {
    const { endpointId, workspaceId, podId } = this.endpoint;
    const { builds, settings } = this.#options;
    this.#active = release;
    const config: EndpointConfig = {
      endpointId,
      workspaceId,
      podId,
      slug: "picture",
      release,
      settings: { ...DEFAULT_SETTINGS, ...settings },
      needs: { build: builds[release] ?? null, models: [] },
      ...(canary === undefined ? {} : { canary: { ...CANARY, release: canary, build: builds[canary] ?? null } }),
    };
    this.endpoint.call((core) => core.configure(config));
  }

  submit(release: number, jobs = 1, lane: Lane = "interactive"): void {
    for (let job = 0; job < jobs; job += 1) this.endpoint.submit({ release, lane, expiresInMs: 7 * 86_400_000 });
  }

  get doneInAll(): number {
    return Object.values(this.done).reduce((sum, jobs) => sum + jobs, 0);
  }

  /** Replicas by what they are at. */
  get replicas(): { readonly build: string | null; readonly at: "draining" | "working" | "idle" | "starting" }[] {
    return Array.from(this.#machines.values(), ({ build, draining, working, ready }) => ({
      build,
      at: draining ? "draining" : working ? "working" : ready ? "idle" : "starting",
    }));
  }

  run(ms: number): void {
    const until = this.endpoint.now + ms;
    this.#follow();
    for (;;) {
      const [next] = this.#agenda;
      const alarm = Math.max(this.endpoint.armedAt ?? Number.POSITIVE_INFINITY, this.endpoint.now);
      const at = Math.min(next?.at ?? Number.POSITIVE_INFINITY, alarm);
      if (at > until) break;
      this.endpoint.now = at;
      if (next !== undefined && next.at <= at) {
        this.#agenda.shift();
        next.act();
      } else this.endpoint.ring();
      this.#follow();
    }
    this.endpoint.now = until;
  }

  #later(ms: number, act: () => void): void {
    const at = this.endpoint.now + ms;
    const behind = this.#agenda.findIndex((other) => other.at > at);
    this.#agenda.splice(behind === -1 ? this.#agenda.length : behind, 0, { at, act });
  }

  #follow(): void {
    for (;;) {
      const answered = this.endpoint.answers[this.#answersSeen];
      if (answered !== undefined) {
        this.#answersSeen += 1;
        const machine = this.#machines.get(answered.replicaId);
        if (machine !== undefined) this.#take(machine, answered.answer);
      } else if (this.endpoint.demandsToSend > 0) this.#answerDemand();
      else return;
    }
  }

  #answerDemand(): void {
    const demand = this.endpoint.core.demand();
    if (demand === null) throw new Error("there is no demand");
    for (const id of demand.drain) {
      const machine = this.#machines.get(id);
      if (machine !== undefined) this.#drain(machine);
    }
    const living = () => [...this.#machines.values()].filter(({ draining }) => !draining).length;
    while (living() < demand.wanted && this.#machines.size < this.#options.slots) this.#place();
    this.endpoint.answerDemand(
      Array.from(this.#machines.values(), ({ replica }) => replica),
      {
        room: this.#options.slots - this.#machines.size,
        shortage: { code: living() < demand.wanted ? "all_slots_busy" : "none", error: null },
      },
    );
  }

  #place(): void {
    const replica = this.endpoint.replica();
    const machine = { replica, build: null, draining: false, working: false, ready: false };
    this.#machines.set(replica.id, machine);
    this.#start(machine, this.#active);
  }

  #start(machine: Machine, release: number): void {
    this.starts += 1;
    machine.ready = false;
    machine.build = this.#options.builds[release] ?? null;
    this.#report(machine, "preparing");
    this.#later(this.#options.bootMs, () => {
      if (!this.#machines.has(machine.replica.id)) return;
      if (machine.draining) this.#end(machine);
      else if (machine.build !== null && this.#options.broken?.has(machine.build) === true) {
        this.#machines.delete(machine.replica.id);
        this.#report(machine, "crashed");
        this.#later(BACKOFF_MS, () => this.#answerDemand());
      } else {
        machine.ready = true;
        this.#report(machine, "ready");
        this.#poll(machine);
      }
    });
  }

  #report(machine: Machine, state: "preparing" | "ready" | "draining" | "crashed"): void {
    // Before its build is there, an agent says nothing of it.
    const build = state === "preparing" ? {} : { build: machine.build };
    this.endpoint.call((core) =>
      core.reportReplica(machine.replica.node, machine.replica.id, { state, phases: [], ...build }),
    );
  }

  #drain(machine: Machine): void {
    if (machine.draining) return;
    machine.draining = true;
    this.#report(machine, "draining");
    if (!machine.working) this.#later(200, () => this.#end(machine));
  }

  #end(machine: Machine): void {
    if (!this.#machines.delete(machine.replica.id)) return;
    this.endpoint.call((core) => core.replicaGone(this.endpoint.podId, machine.replica.id, "stopped", false));
  }

  #poll(machine: Machine): void {
    if (machine.working || !machine.ready || machine.draining || !this.#machines.has(machine.replica.id)) return;
    const answer = this.endpoint.poll(machine.replica);
    if (answer === "refused") throw new Error("refused");
    if (answer === "waiting") this.#later(20_000, () => this.#poll(machine));
    else this.#take(machine, answer);
  }

  #take(machine: Machine, { lease, stop }: ReplicaPollAnswer): void {
    if (lease !== null) this.#begin(machine, lease);
    else if (stop) this.#drain(machine);
  }

  #begin(machine: Machine, lease: Lease): void {
    const needed = this.#options.builds[lease.release] ?? null;
    if (machine.build !== null && machine.build !== needed) {
      machine.ready = false;
      this.endpoint.release(machine.replica, lease);
      this.#start(machine, lease.release);
      return;
    }
    machine.working = true;
    this.endpoint.progress(machine.replica, lease);
    this.#later(this.#options.jobMs, () => {
      const reply = this.endpoint.complete(machine.replica, lease);
      if (!reply.ok) throw new Error(reply.detail);
      this.done[lease.release] = (this.done[lease.release] ?? 0) + 1;
      machine.working = false;
      if (machine.draining) this.#end(machine);
      else this.#poll(machine);
    });
  }
}

/** A pod waits before it starts another one in the place of one that crashed. */
const BACKOFF_MS = 60_000;
const CANARY = { id: 1, weight: 0.1, maxErrorRateIncrease: 0.05, maxLatencyRatio: 1.5, minJobs: 10_000 };
