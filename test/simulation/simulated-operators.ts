import type { BatchId, JobId } from "#contract/ids";
import type { JobPatch } from "#contract/job";
import type { OperationKind } from "#contract/queue";
import type { EnqueueBatchRequest, OperationRequest } from "#durable-objects/endpoint/rpc";
import { NO_ANSWER } from "./network.ts";
import type { Operation } from "./operation.ts";
import type { Simulation } from "./simulation.ts";

const CALL_MS = 30_000;
const BATCH_JOBS = 6;

/** Those who pause, purge, patch, retry and redrive, and submit by the batch, in the middle of everything. */
export class SimulatedOperators {
  readonly #world: Simulation;
  readonly #batches: BatchId[] = [];

  constructor(world: Simulation) {
    this.#world = world;
  }

  /** Acts now and then until the faults stop. */
  start(): void {
    const { agenda, dice, swarm } = this.#world;
    agenda.in(1_000, () => {
      if (this.#world.healed) return;
      if (dice.chance(swarm.commands)) this.#act();
      this.start();
    });
  }

  #act(): void {
    const { dice, workspaceId, keyId, oracle } = this.#world;
    const ids = [...oracle.jobs.keys()];
    const id = dice.pick(ids);
    const living = dice.pick([...oracle.living.keys()]);
    const deeds: (() => void)[] = [
      () => this.#pause(),
      () => this.resume(),
      () => this.#resize(),
      () => this.#batch(),
      () => this.#operate("purge", {}),
      () => this.#operate("purge", { state: "retrying" }),
      () => this.#operate("purge", { state: "dead" }),
      () => this.#operate("cancel", { state: "running" }),
      () => this.#operate("redrive", {}),
      () => this.#operate("retry", { state: "canceled" }, ids.slice(-5)),
    ];
    const batchId = dice.pick(this.#batches);
    if (batchId !== undefined) {
      deeds.push(() => this.#send({ type: "cancel batch", batchId }, (core) => core.cancelBatch(workspaceId, batchId)));
    }
    if (id !== undefined) {
      deeds.push(() => this.#send({ type: "retry", jobId: id }, (core) => core.retryJob(workspaceId, id, keyId, null)));
    }
    if (living !== undefined)
      deeds.push(
        () => this.#patch(living),
        () => this.#patch(living),
      );
    dice.pick(deeds)?.();
  }

  #send(
    operation: Operation,
    work: Parameters<Simulation["object"]["enter"]>[1],
    done: (reply: unknown) => void = () => undefined,
  ): void {
    const { network, object } = this.#world;
    const about = "jobId" in operation ? operation.jobId : null;
    network.call<object>(
      about,
      (respond) => {
        object.enter(operation, work, (reply) => respond(reply === NO_ANSWER ? NO_ANSWER : (reply as object)));
      },
      CALL_MS,
      (reply) => {
        if (reply !== NO_ANSWER) done(reply);
      },
    );
  }

  #pause(): void {
    const refuseNew = this.#world.dice.chance(0.3);
    const { workspaceId, agenda, dice } = this.#world;
    this.#send({ type: "pause" }, (core) => core.pauseQueue(workspaceId, { reason: null, refuseNew }));
    // Whoever pauses also resumes, or nothing would come of the rest of the run.
    agenda.in(dice.around(15_000), () => this.resume());
  }

  resume(): void {
    const { workspaceId } = this.#world;
    this.#send({ type: "resume" }, (core) => core.resumeQueue(workspaceId));
  }

  /** Other bounds for the replicas: whoever is one too many is let go, also while it works. */
  #resize(): void {
    const { dice, swarm } = this.#world;
    const most = dice.int(1, swarm.maxReplicas);
    this.#world.configure(Math.min(swarm.minReplicas, most), most);
  }

  #patch(jobId: JobId): void {
    const { dice, workspaceId } = this.#world;
    const patch: JobPatch = dice.chance(0.3)
      ? { position: "front" }
      : { priority: dice.int(0, 9), ...(dice.chance(0.3) ? { lane: "batch" as const } : {}) };
    this.#send({ type: "patch", jobId }, (core) => core.patchJob(workspaceId, jobId, patch));
  }

  #operate(kind: OperationKind, selection: OperationRequest["selection"], jobs?: readonly JobId[]): void {
    const { workspaceId, keyId } = this.#world;
    const request: OperationRequest = { kind, keyId, selection, ...(jobs === undefined ? {} : { jobs }) };
    this.#send({ type: "operate", request }, (core) => core.startOperation(workspaceId, request));
  }

  #batch(): void {
    const { dice, workspaceId, keyId } = this.#world;
    const number = this.#world.nextNumber();
    const request: EnqueueBatchRequest = {
      workspaceId,
      keyId,
      release: 1,
      items: Array.from({ length: dice.int(1, BATCH_JOBS) }, (_, at) => ({ inputs: `{"seed":${at}}`, files: [] })),
      lane: "batch",
      priority: 5,
      tags: [],
      expiresInMs: 86_400_000,
      timeoutMs: 60_000,
      idempotency: { key: `batch-${number}`, fingerprint: "body-0" },
    };
    const send = (): void =>
      this.#send(
        { type: "batch", request },
        (core) => core.enqueueBatch(request),
        (reply) => {
          const { batch } = reply as { batch?: { id: BatchId } };
          if (batch !== undefined) this.#batches.push(batch.id);
        },
      );
    send();
    // The same request again makes no second batch.
    if (dice.chance(0.5)) this.#world.agenda.in(dice.int(1, 5_000), send);
  }
}
