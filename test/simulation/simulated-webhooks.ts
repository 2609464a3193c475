import type { JobId } from "#contract/ids";
import type { Interest, OutboxEvent } from "#durable-objects/webhooks/rpc";
import { type Answer, NO_ANSWER } from "./network.ts";
import type { Simulation } from "./simulation.ts";
import { promise } from "./violation.ts";

/**
 * The workspace's webhooks as the endpoint knows them: takes events, each once by its id, and says which are wanted.
 * The oracle's account of I14 and L4 is kept here, because here is where a message counts as told.
 */
export class SimulatedWebhooks {
  readonly #world: Simulation;
  readonly #interest: Interest;
  readonly #taken = new Map<string, string>();
  /** The message that told of each job's end. */
  readonly #ends = new Map<JobId, string>();

  constructor(world: Simulation) {
    this.#world = world;
    this.#interest = { version: 1, events: world.swarm.interest };
  }

  register(): Answer<Interest> {
    return this.#isDown() ? NO_ANSWER : this.#interest;
  }

  accept(events: readonly OutboxEvent[]): Answer<Interest> {
    if (this.#isDown()) return NO_ANSWER;
    for (const event of events) this.#take(event);
    return this.#interest;
  }

  #isDown(): boolean {
    const { dice, faults } = this.#world;
    if (!dice.chance(faults.webhooksDown)) return false;
    this.#world.hit("webhooks do not answer", null);
    return true;
  }

  #take(event: OutboxEvent): void {
    const { messageId, type, jobId, data } = event;
    const text = JSON.stringify([type, jobId, data]);
    const before = this.#taken.get(messageId);
    // I14: an id is a function of its event.
    promise("I14", before === undefined || before === text, () => `${messageId} came with two contents`);
    if (before !== undefined) this.#world.coverage.path("an event is handed over twice");
    this.#taken.set(messageId, text);
    if (jobId === null) return;
    const record = this.#world.oracle.jobs.get(jobId)?.record;
    promise("I14", record !== undefined, () => `${messageId} tells of ${jobId}, which does not exist`);
    const state = type.slice("job.".length);
    if (!["succeeded", "failed", "canceled", "expired"].includes(state)) return;
    promise("I14", record.state === state, () => `${messageId} says that ${jobId} ${state}, it is ${record.state}`);
    const told = this.#ends.get(jobId);
    promise(
      "I14",
      told === undefined || told === messageId,
      () => `the end of ${jobId} is told as ${told} and ${messageId}`,
    );
    this.#ends.set(jobId, messageId);
  }

  /** L4: every end that somebody wants to hear of has been told. */
  check(): void {
    for (const [id, { record }] of this.#world.oracle.jobs) {
      if (!this.#interest.events.some((event) => event === `job.${record.state}`)) continue;
      promise("L4", this.#ends.has(id), () => `nobody was told that ${id} ${record.state}`);
    }
  }
}
