import type { JobId } from "#contract/ids";
import type { EnqueueRequest, JobSnapshot, StoredInputFile, WatchReply } from "#durable-objects/endpoint/rpc";
import { NO_ANSWER } from "./network.ts";
import type { Said } from "./simulated-object.ts";
import type { Simulation } from "./simulation.ts";
import { promise } from "./violation.ts";

const CALL_MS = 30_000;
const RETRY_MS = 2_000;
/** A caller that hears nothing asks again at most so often. */
const TRIES_MAX = 30;
const ASK_EVERY_MS = 20_000;
const REMEMBERED = 50;

interface Sent {
  readonly request: EnqueueRequest;
}

/** What a caller has seen of a job's story. */
interface Seen {
  seq: number;
  version: number;
  ended: boolean;
}

/** Those who submit, repeat, watch and cancel; and those who have no business here. */
export class SimulatedCallers {
  readonly #world: Simulation;
  readonly #sent: Sent[] = [];
  readonly #accepted: JobId[] = [];
  readonly #seen = new Map<JobId, Seen>();

  constructor(world: Simulation) {
    this.#world = world;
  }

  /** Submits at the seed's pace until the faults stop. */
  start(): void {
    const { agenda, dice, swarm } = this.#world;
    agenda.in(dice.around(swarm.arrivalMs), () => {
      if (this.#world.healed) return;
      this.#act();
      this.start();
    });
  }

  submitOne(): void {
    this.submit(this.#newRequest());
  }

  #act(): void {
    const { dice, swarm } = this.#world;
    this.submitOne();
    if (dice.chance(swarm.keyReuse)) this.#repeat();
    if (dice.chance(swarm.cancelShare)) this.#cancel();
    if (dice.chance(swarm.watchShare)) this.#watch();
    if (dice.chance(swarm.strangers)) this.#strange();
  }

  #newRequest(): EnqueueRequest {
    const { dice, swarm, workspaceId, keyId } = this.#world;
    const number = this.#world.nextNumber();
    const files: StoredInputFile[] = dice.chance(swarm.filesShare)
      ? [
          {
            index: 0,
            key: `in/${number}`,
            name: "a.png",
            sha256: "0".repeat(64),
            size: 10,
          } as unknown as StoredInputFile,
        ]
      : [];
    return {
      workspaceId,
      keyId,
      release: 1,
      inputs: `{"seed":${number}}`,
      files,
      lane: dice.chance(swarm.batchShare) ? "batch" : "interactive",
      priority: Math.min(9, Math.max(0, 5 + dice.int(-swarm.prioritySpread, swarm.prioritySpread))),
      tags: dice.chance(0.1) ? ["a", "b"] : [],
      expiresInMs: dice.pick(swarm.expiresInMs) ?? 86_400_000,
      timeoutMs: dice.pick(swarm.timeoutMs) ?? 60_000,
      ...(dice.chance(swarm.keyShare) ? { idempotency: { key: `key-${number}`, fingerprint: "body-0" } } : {}),
    };
  }

  /** With a key the same request is sent until it is answered. */
  submit(request: EnqueueRequest, tries = 1): void {
    const { network, object, agenda } = this.#world;
    if (tries === 1) this.#sent.push({ request });
    if (this.#sent.length > REMEMBERED) this.#sent.shift();
    network.call<Exclude<Said<{ job: JobSnapshot; replayed: boolean }>, typeof NO_ANSWER>>(
      null,
      (respond) => object.enter({ type: "enqueue", request }, (core) => core.enqueue(request), respond),
      CALL_MS,
      (answer) => {
        if (answer === NO_ANSWER) {
          if (request.idempotency === undefined || tries >= TRIES_MAX) return;
          agenda.in(RETRY_MS, () => this.submit(request, tries + 1));
        } else if (answer.ok) {
          this.#accepted.push(answer.job.id);
          this.#ask(answer.job.id);
        }
      },
    );
  }

  /** An older request comes again, the same or, under the same key, with another body. */
  #repeat(): void {
    const { dice } = this.#world;
    const sent = dice.pick(this.#sent);
    if (sent?.request.idempotency === undefined) return;
    const { key } = sent.request.idempotency;
    const fingerprint = dice.chance(0.3) ? "body-1" : sent.request.idempotency.fingerprint;
    this.submit({ ...sent.request, idempotency: { key, fingerprint } });
  }

  /** Whoever waits for a job asks for it now and then. */
  #ask(id: JobId): void {
    const { agenda, network, object, workspaceId, oracle } = this.#world;
    agenda.in(ASK_EVERY_MS, () => {
      // Nobody asks for a whole day.
      if (!oracle.living.has(id) || this.#world.pod.isOnStrike) return;
      network.call<true>(
        id,
        (respond) => {
          const operation = { type: "read", what: "get", jobId: id } as const;
          const reply = object.turn(operation, (core) => core.getJob(workspaceId, id));
          respond(reply === NO_ANSWER ? NO_ANSWER : true);
        },
        CALL_MS,
        () => this.#ask(id),
      );
    });
  }

  #cancel(): void {
    const { dice, network, object, workspaceId } = this.#world;
    const id = dice.pick(this.#accepted.slice(-10));
    if (id === undefined) return;
    const state = this.#world.oracle.stateOf(id);
    network.call<true>(
      id,
      (respond) => {
        this.#world.coverage.path(`a cancel meets a job that is ${state}`);
        object.enter(
          { type: "cancel", jobId: id },
          (core) => core.cancelJob(workspaceId, id),
          (reply) => respond(reply === NO_ANSWER ? NO_ANSWER : true),
        );
      },
      CALL_MS,
      () => undefined,
    );
  }

  /** Follows a job's story: no event is missing, none comes twice, nothing comes after the end. */
  #watch(): void {
    const { dice, object, workspaceId } = this.#world;
    const id = dice.pick(this.#accepted.slice(-10));
    if (id === undefined) return;
    const seen = this.#seen.get(id) ?? { seq: 0, version: 0, ended: false };
    const after = { seq: seen.seq, version: seen.version };
    const reply = object.turn({ type: "read", what: "watch", jobId: id }, (core) =>
      core.watchJob(workspaceId, id, after),
    );
    if (reply === NO_ANSWER || !reply.ok) return;
    const news: WatchReply = reply;
    news.events.forEach(({ seq }, index) => {
      promise(
        "I19",
        seq === seen.seq + 1 + index,
        () => `a watcher of ${id} gets event ${seq} after ${seen.seq + index}`,
      );
    });
    promise("I19", !seen.ended || news.events.length === 0, () => `a watcher of ${id} hears more after the end`);
    this.#seen.set(id, { seq: seen.seq + news.events.length, version: news.version, ended: news.ended });
  }

  /** Another workspace's caller and node try their luck. */
  #strange(): void {
    const { dice, object, strangerId, oracle } = this.#world;
    const id = dice.pick(this.#accepted);
    const lease = dice.pick([...oracle.leases.values()].slice(-5));
    if (id === undefined) return;
    object.turn({ type: "stranger", what: "get" }, (core) => core.getJob(strangerId, id));
    object.turn({ type: "stranger", what: "cancel" }, (core) => core.cancelJob(strangerId, id));
    object.turn({ type: "stranger", what: "summary" }, (core) => core.queueSummary(strangerId));
    if (lease === undefined) return;
    // One who guesses tokens, on the very node that the lease is on.
    const guess = { ...this.#world.nodeOf(lease.nodeId), leaseId: lease.id, token: `${lease.token}0` };
    const error = { code: "execution_error", message: "" } as const;
    object.message("fail", guess, (core) => core.fail(guess, { error, phases: [] }));
    object.message("complete", guess, (core) => core.complete(guess, { outputs: [], phases: [] }, []));
    const { podId, nodeId } = this.#world.nodeOf(lease.nodeId);
    const proof = { workspaceId: strangerId, podId, nodeId, leaseId: lease.id, token: lease.token };
    object.turn({ type: "stranger", what: "fail" }, (core) =>
      core.fail(proof, { error: { code: "out_of_memory", message: "" }, phases: [] }),
    );
  }
}
