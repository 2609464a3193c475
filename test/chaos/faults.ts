/** Does to a running cluster what a bad night does, in an order drawn from a seed. */
import { setTimeout as sleep } from "node:timers/promises";
import type { JobStreamEvent } from "#client/job-events";
import type { AgentProcess, JobInHand } from "./agent-process.ts";
import type { Callers } from "./callers.ts";
import type { Cluster } from "./cluster.ts";
import type { LateComplete } from "./evidence.ts";
import type { FaultCounts } from "./options.ts";
import type { SeededChance } from "./seeded-chance.ts";
import type { SmallDisk } from "./small-disk.ts";
import { isSlow } from "./workload.ts";

const LOOK_MS = 25;
/** No job to hit for so long: there is none any more. */
const VICTIM_MS_MAX = 60_000;
/** A job that is not given out again for so long is reported, and the run goes on. */
const AGAIN_MS_MAX = 120_000;
/** So many agents may be stopped at once: the others go on. */
const ZOMBIES_AT_ONCE = 2;
/** Jobs that are let in while a fault looks for one to hit. */
const BAIT = 10;
/** Ahead of what the faults' progress allows. */
const AHEAD = 8;
const STALL_MS_MAX = 6_000;
const ANSWER_MS_MAX = 10_000;
/** The disk stays full until so many submits have been turned away, or this long. */
const TURNED_AWAY = 3;
const FULL_MS_MAX = 20_000;
/** One more submit is let in at this pace while the disk is full. */
const FULL_SUBMIT_MS = 250;

export interface FaultReport {
  readonly done: Record<keyof FaultCounts, number>;
  /** From the death of an agent or a stand-in to its job's next lease, by the server's clock, ms. */
  readonly agentRecoveryMs: number[];
  /** The same where the server was killed as well meanwhile: it then gives every lease some time more. */
  readonly bothRecoveryMs: number[];
  /** From the death of workerd to the first 2xx, ms. */
  readonly workerdRecoveryMs: number[];
  readonly lateCompletes: LateComplete[];
  /** Submits that were answered 503 while the disk was full; null when it never was. */
  turnedAway: number | null;
  /** Jobs that were not given out again. */
  readonly stuck: string[];
}

interface FaultPlan {
  readonly cluster: Cluster;
  readonly callers: Callers;
  readonly counts: FaultCounts;
  readonly chance: SeededChance;
  readonly jobs: number;
  readonly disk: SmallDisk | null;
}

interface Victim {
  readonly agent: AgentProcess;
  readonly job: JobInHand;
}

export class Faults {
  readonly report: FaultReport = {
    done: { workerd: 0, agent: 0, standIn: 0, zombie: 0, cut: 0 },
    agentRecoveryMs: [],
    bothRecoveryMs: [],
    workerdRecoveryMs: [],
    lateCompletes: [],
    turnedAway: null,
    stuck: [],
  };
  readonly #plan: FaultPlan;
  readonly #busy = new Set<AgentProcess>();
  /** Faults that somebody waits for the right moment to do, or has done. */
  readonly #claimed: Record<keyof FaultCounts, number> = { workerd: 0, agent: 0, standIn: 0, zombie: 0, cut: 0 };
  readonly #begun: Record<keyof FaultCounts, number> = { workerd: 0, agent: 0, standIn: 0, zombie: 0, cut: 0 };
  #hungry = 0;
  /** Submits let in beyond the pace. */
  #extra = 0;
  /** How often the disk has become full or empty: odd while it is full. */
  #diskTurns = 0;
  #serverKills = 0;

  constructor(plan: FaultPlan) {
    this.#plan = plan;
  }

  /**
   * How many jobs may have been submitted: as many as the kind of fault that is furthest behind has come to, so that
   * there are some left for its next ones.
   */
  allowed(ended: number): number {
    const { counts, jobs, disk } = this.#plan;
    const shares = (Object.keys(counts) as (keyof FaultCounts)[])
      .filter((name) => counts[name] > 0)
      .map((name) => this.#tried(name) / counts[name]);
    // The full disk comes half way, and there must be jobs left to turn away.
    const progress = Math.min(disk === null || this.report.turnedAway !== null ? 1 : 0.5, ...shares);
    const paced = Math.ceil(jobs * progress) + AHEAD;
    const wanted = progress === 1 ? jobs : Math.max(paced, this.#hungry > 0 ? ended + BAIT : 0) + this.#extra;
    return disk === null || this.report.turnedAway !== null ? wanted : Math.min(wanted, this.#beforeFullDisk());
  }

  /**
   * Faults of a kind that have come so far. A stopped agent is one for half only until its job is somebody else's: that takes half a
   * minute and may miss (the job was canceled meanwhile), and then there must be jobs left for another.
   */
  #tried(name: keyof FaultCounts): number {
    return name === "zombie" ? (this.#begun[name] + this.report.done[name]) / 2 : this.#begun[name];
  }

  /** Of a few jobs, all would be submitted before the disk is full: so many are kept for it, one half at most. */
  #beforeFullDisk(): number {
    const { jobs } = this.#plan;
    return Math.max(Math.floor(jobs / 2), jobs - TURNED_AWAY) + this.#extra;
  }

  async run(): Promise<void> {
    await Promise.all([
      this.#lane("workerd", () => this.#killWorkerd()),
      this.#lane("agent", () => this.#killAgent()),
      this.#lane("standIn", () => this.#killStandIn()),
      ...Array.from({ length: ZOMBIES_AT_ONCE }, () => this.#lane("zombie", () => this.#makeZombie())),
      this.#lane("cut", () => this.#cut()),
      this.#fillDisk(),
    ]);
  }

  /** One kind of fault after the other, spread over the run. */
  async #lane(name: keyof FaultCounts, act: () => Promise<"done" | "missed" | "nobody">): Promise<void> {
    const { counts, jobs, callers } = this.#plan;
    while (this.#claimed[name] < counts[name]) {
      const number = this.#claimed[name];
      this.#claimed[name] += 1;
      const from = Math.floor((jobs * number) / counts[name]);
      while (callers.ended < from && !callers.isDone) await sleep(LOOK_MS);
      this.#begun[name] += 1;
      let outcome = await act();
      while (outcome === "missed") {
        // Whoever was missed must get the time to be noticed as gone.
        await sleep(LOOK_MS);
        outcome = await act();
      }
      if (outcome === "nobody") return;
      this.report.done[name] += 1;
    }
  }

  async #killWorkerd(): Promise<"done" | "missed"> {
    const { cluster, callers } = this.#plan;
    const pids = await cluster.workerd();
    if (pids.length === 0) {
      await cluster.healthy();
      return "missed";
    }
    const turns = this.#diskTurns;
    this.#serverKills += 1;
    for (const pid of pids) process.kill(pid, "SIGKILL");
    const tookMs = await cluster.healthy();
    if (this.#hadRoom(turns)) this.report.workerdRecoveryMs.push(tookMs);
    // The next one comes when work goes on again.
    const ended = callers.ended;
    while (callers.ended === ended && !callers.isDone && this.#othersWork("workerd")) await sleep(LOOK_MS);
    return "done";
  }

  /** Whether another kind of fault still has something to do: without, nothing may let further jobs in. */
  #othersWork(mine: keyof FaultCounts): boolean {
    const { counts } = this.#plan;
    return (Object.keys(counts) as (keyof FaultCounts)[]).some(
      (name) => name !== mine && this.report.done[name] < counts[name],
    );
  }

  async #killAgent(): Promise<"done" | "missed" | "nobody"> {
    return await this.#hit(({ agent }) => agent.signal("SIGKILL"));
  }

  async #killStandIn(): Promise<"done" | "missed" | "nobody"> {
    return await this.#hit(({ agent, job }) => agent.killComfy(job));
  }

  /** Kills in the middle of a job, and waits until somebody else has the job. */
  async #hit(kill: (victim: Victim) => boolean): Promise<"done" | "missed" | "nobody"> {
    const victim = await this.#victim();
    if (victim === null) return "nobody";
    try {
      const at = Date.now();
      try {
        if (!kill(victim)) return "missed";
      } catch {
        // It ended by itself in between.
        return "missed";
      }
      const again = await this.#leasedAgain(victim.job.jobId, at);
      if (again === null) return "missed";
      return "done";
    } finally {
      this.#busy.delete(victim.agent);
    }
  }

  /** Stops an agent in the moment in which it reports success, until its lease is somebody else's; then lets both go on. */
  async #makeZombie(): Promise<"done" | "missed" | "nobody"> {
    const agent = await this.#freeAgent();
    try {
      this.#hungry += 1;
      const caught = agent.proxy.holdNext(/^POST \S*\/leases\/lse_[0-9a-z-]+\/complete |"call":"complete"/);
      const message = await Promise.race([caught, this.#nobodyLeft()]).finally(() => {
        this.#hungry -= 1;
        agent.proxy.stopHolding();
      });
      if (message === null) return this.#plan.callers.isDone ? "nobody" : "missed";
      const leaseId = /lse_[0-9a-z-]+/.exec(message.text)?.[0] ?? "";
      const job = agent.jobsInHand().find((one) => one.leaseId === leaseId);
      const at = Date.now();
      agent.signal("SIGSTOP");
      try {
        const again = job === undefined ? null : await this.#leasedAgain(job.jobId, at);
        const status = await message.release(ANSWER_MS_MAX);
        // A job that was canceled meanwhile has no lease either: its success is as late.
        if (again === null) return "missed";
        this.report.lateCompletes.push({ leaseId, status });
        return "done";
      } finally {
        agent.signal("SIGCONT");
      }
    } finally {
      this.#busy.delete(agent);
    }
  }

  async #cut(): Promise<"done"> {
    const { cluster, chance } = this.#plan;
    const proxy = chance.pick([...cluster.agents.map((agent) => agent.proxy), cluster.callers]);
    if (chance.next() < 0.5) proxy.cut();
    else {
      proxy.stall();
      await sleep(1_000 + chance.below(STALL_MS_MAX - 1_000));
      proxy.flow();
    }
    return "done";
  }

  /** Half way, the server's disk is full until submits are turned away; then there is room again. */
  async #fillDisk(): Promise<void> {
    const { disk, callers, jobs, cluster } = this.#plan;
    if (disk === null) return;
    while (callers.ended < Math.floor(jobs / 2) && !callers.isDone) await sleep(LOOK_MS);
    const from = callers.answers.length;
    const turnedAway = () => callers.answers.slice(from).filter(({ status }) => status === 503).length;
    try {
      this.#diskTurns += 1;
      await disk.fill();
      const deadline = performance.now() + FULL_MS_MAX;
      while (turnedAway() < TURNED_AWAY && performance.now() < deadline && !callers.isDone) {
        this.#extra += 1;
        await sleep(FULL_SUBMIT_MS);
      }
    } finally {
      await disk.free();
    }
    await cluster.healthy();
    this.#diskTurns += 1;
    this.report.turnedAway = turnedAway();
  }

  /** Resolves when no job will come that a fault could hit. */
  async #nobodyLeft(): Promise<null> {
    const deadline = performance.now() + VICTIM_MS_MAX;
    while (!this.#plan.callers.isDone && performance.now() < deadline) await sleep(LOOK_MS);
    return null;
  }

  /** A job in the middle of its work, on an agent that nothing else happens to. */
  async #victim(): Promise<Victim | null> {
    const { callers, chance, cluster } = this.#plan;
    const deadline = performance.now() + VICTIM_MS_MAX;
    this.#hungry += 1;
    try {
      while (performance.now() < deadline) {
        for (const agent of chance.shuffled(cluster.agents)) {
          if (this.#busy.has(agent) || agent.pid === null) continue;
          const job = agent.jobsInHand().find(({ jobId }) => {
            const plan = callers.planOf(jobId);
            return plan !== undefined && isSlow(plan) && plan.kind !== "canceled";
          });
          if (job === undefined) continue;
          this.#busy.add(agent);
          return { agent, job };
        }
        if (callers.isDone) return null;
        await sleep(LOOK_MS);
      }
      return null;
    } finally {
      this.#hungry -= 1;
    }
  }

  /**
   * A batch job yields to every interactive one, and the few replicas of the small endpoint may all be on stopped
   * machines: how long those wait for their next lease says nothing of how soon the death was noticed.
   */
  #isMeasured(jobId: string): boolean {
    const plan = this.#plan.callers.planOf(jobId);
    return plan?.lane === "interactive" && plan.photo === null;
  }

  /** The disk was never full since: a server that cannot write gives nothing out, which is no agent's fault. */
  #hadRoom(turns: number): boolean {
    return turns % 2 === 0 && turns === this.#diskTurns;
  }

  async #freeAgent(): Promise<AgentProcess> {
    const { chance, cluster } = this.#plan;
    for (;;) {
      const agent = chance.shuffled(cluster.agents).find((one) => !this.#busy.has(one) && one.pid !== null);
      if (agent !== undefined) {
        this.#busy.add(agent);
        return agent;
      }
      await sleep(LOOK_MS);
    }
  }

  /**
   * Waits until the job is given out again.
   * @param since Unix ms
   * @returns when, by the server's clock; null when it ended without that
   */
  async #leasedAgain(jobId: string, since: number): Promise<number | null> {
    const { client } = this.#plan.cluster;
    const turns = this.#diskTurns;
    const kills = this.#serverKills;
    const signal = AbortSignal.timeout(AGAIN_MS_MAX);
    try {
      for await (const event of client.jobs.events(jobId, { signal })) {
        const at = startOf(event);
        if (at === null || at < since) continue;
        if (this.#hadRoom(turns) && this.#isMeasured(jobId)) {
          const isServersToo = this.#serverKills !== kills;
          (isServersToo ? this.report.bothRecoveryMs : this.report.agentRecoveryMs).push(at - since);
        }
        return at;
      }
      return null;
    } catch (error) {
      if (!signal.aborted) throw error;
      this.report.stuck.push(jobId);
      return null;
    }
  }
}

function startOf(event: JobStreamEvent): number | null {
  return event.type === "started" ? Date.parse(String(event.data.at)) : null;
}
