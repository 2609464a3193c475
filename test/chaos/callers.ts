/** The callers of a chaos run: they submit what was planned, repeat what got lost, cancel, and note every answer. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Pilotlight } from "#client/pilotlight";
import { PilotlightError } from "#client/pilotlight-error";
import { isTerminal, type Job, type JobState, type TERMINAL_STATES } from "#contract/job";
import { type PlannedJob, slugOf } from "./workload.ts";

const CALLERS = 6;
const PACE_MS = 25;
const LOOK_MS = 250;
const PAGE = 100;
/** A caller that got no answer for so long repeats its submit under the same key for ever; this bounds the run. */
const PATIENCE_MS = 600_000;

/** What callers know of a job that they submitted. */
export interface SubmittedJob {
  readonly plan: PlannedJob;
  readonly acknowledged: string[];
  cancelAnswer: JobState | null;
}

export interface CallersPlan {
  readonly jobs: readonly PlannedJob[];
  /** Through the wire that is cut. */
  readonly caller: (options: { fetch: typeof fetch }) => Pilotlight;
  /** Directly, for looking. */
  readonly client: Pilotlight;
  readonly photoIds: readonly string[];
  /** Where the webhooks of single jobs go; null for none. */
  readonly webhookUrl: string | null;
  /** How many jobs may have been submitted by now, given how many have ended. */
  readonly allowed: (ended: number) => number;
}

export class Callers {
  readonly jobs: SubmittedJob[] = [];
  readonly statuses: Record<number, number> = {};
  readonly refused: string[] = [];
  /** Statuses of submits in the order of their answers, for a look at a stretch of the run. */
  readonly answers: { readonly status: number; readonly at: number }[] = [];
  readonly #plan: CallersPlan;
  readonly #byId = new Map<string, SubmittedJob>();
  readonly #open = new Set<string>();
  readonly #states = new Map<string, JobState>();
  #next = 0;
  #settled = 0;
  #gaveUp = false;

  constructor(plan: CallersPlan) {
    this.#plan = plan;
  }

  /** Jobs that have ended. */
  get ended(): number {
    return this.#states.size;
  }

  /** All are submitted and have ended. */
  get isDone(): boolean {
    return this.#settled === this.#plan.jobs.length && this.#open.size === 0;
  }

  planOf(id: string): PlannedJob | undefined {
    return this.#byId.get(id)?.plan;
  }

  /** How many ended in each state. */
  counts(): Record<(typeof TERMINAL_STATES)[number], number> {
    const counts = { succeeded: 0, failed: 0, canceled: 0, expired: 0 };
    for (const state of this.#states.values()) if (isTerminal(state)) counts[state] += 1;
    return counts;
  }

  /** Submits everything and follows it to its end. */
  async run(): Promise<void> {
    const watching = this.#watch();
    await Promise.all(Array.from({ length: CALLERS }, () => this.#submitAll()));
    await watching;
  }

  /** Ends the run early: what is open stays open. */
  giveUp(): void {
    this.#gaveUp = true;
  }

  async #submitAll(): Promise<void> {
    const client = this.#plan.caller({ fetch: this.#noting });
    while (!this.#gaveUp) {
      if (this.#next >= this.#plan.jobs.length) return;
      if (this.#next >= this.#plan.allowed(this.ended)) {
        await sleep(PACE_MS);
        continue;
      }
      const plan = this.#plan.jobs[this.#next];
      this.#next += 1;
      if (plan === undefined) return;
      await this.#submit(client, plan);
      this.#settled += 1;
    }
  }

  async #submit(client: Pilotlight, plan: PlannedJob): Promise<void> {
    const job: SubmittedJob = { plan, acknowledged: [], cancelAnswer: null };
    this.jobs.push(job);
    for (let times = 0; times <= plan.repeats; times += 1) {
      const answer = await this.#accepted(client, plan);
      if (answer === null) return;
      job.acknowledged.push(answer.id);
      if (times === 0) {
        this.#byId.set(answer.id, job);
        this.#open.add(answer.id);
        if (plan.kind === "canceled") void this.#cancel(client, job, answer.id);
      }
    }
  }

  /** Repeats under the same key until there is an answer; what is refused for good is noted. */
  async #accepted(client: Pilotlight, plan: PlannedJob): Promise<Job | null> {
    const { webhookUrl, photoIds } = this.#plan;
    const photo = plan.photo === null ? {} : { image: photoIds[plan.photo] };
    const body = {
      inputs: { color: plan.color, prompt: plan.prompt, ...photo },
      lane: plan.lane,
      priority: plan.priority,
      ...(webhookUrl === null || !plan.hasWebhook ? {} : { webhook: { url: webhookUrl } }),
    };
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await client.jobs.submit(slugOf(plan), body, { idempotencyKey: plan.idempotencyKey });
      } catch (error) {
        const mayRepeat = error instanceof PilotlightError && (error.retryable || error.status === 0);
        if (mayRepeat && performance.now() < deadline && !this.#gaveUp) continue;
        this.refused.push(`job ${plan.index}: ${error instanceof Error ? error.message : String(error)}`);
        return null;
      }
    }
  }

  async #cancel(client: Pilotlight, job: SubmittedJob, id: string): Promise<void> {
    await sleep(job.plan.cancelAfterMs);
    try {
      job.cancelAnswer = (await client.jobs.cancel(id)).state;
    } catch {
      // Nothing was promised: the job may end either way.
    }
  }

  /** Sends a request and notes how a submit was answered. */
  readonly #noting: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    if (init?.method === "POST" && String(input).endsWith("/jobs")) {
      this.statuses[response.status] = (this.statuses[response.status] ?? 0) + 1;
      this.answers.push({ status: response.status, at: performance.now() });
    }
    return response;
  };

  /** Looks at the newest jobs, and at each older one that is still open, until all have ended. */
  async #watch(): Promise<void> {
    while (!this.#gaveUp && !this.isDone) {
      try {
        const page = await this.#plan.client.jobs.page({ limit: PAGE });
        for (const job of page.data) this.#see(job);
        const seen = new Set<string>(page.data.map(({ id }) => id));
        for (const id of this.#open) if (!seen.has(id)) this.#see(await this.#plan.client.jobs.get(id));
      } catch {
        // The server is down: look again.
      }
      await sleep(LOOK_MS);
    }
  }

  #see({ id, state }: { readonly id: string; readonly state: JobState }): void {
    if (!this.#open.has(id) || !isTerminal(state)) return;
    this.#open.delete(id);
    this.#states.set(id, state);
  }
}
