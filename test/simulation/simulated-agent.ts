import type { CompleteLease, Lease, ReplicaPollAnswer } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import type { ReplicaState } from "#contract/replica";
import type { LeaseProof, NodeIdentity } from "#durable-objects/endpoint/rpc";
import { type Answer, NO_ANSWER } from "./network.ts";
import type { Refused, Said } from "./simulated-object.ts";
import { SimulatedRun } from "./simulated-run.ts";
import type { Simulation } from "./simulation.ts";

/** As the real agent's settings have them, ms. */
const POLL_WAIT_MS = 25_000;
const POLL_TIMEOUT_MS = POLL_WAIT_MS + 15_000;
const CALL_MS = 30_000;
const RETRY_BASE_MS = 500;
const RETRY_MS_MAX = 15_000;
const IDLE_ANSWER_MS = 250;
/** How long a machine stands still that is a zombie afterwards. */
const STANDSTILL_MS = 100_000;

const GONE = ["lease_lost", "replica_not_found", "endpoint_not_found", "node_not_found"];
/** With so many jobs in hand no other is asked for. */
const IN_HAND_MAX = 3;
const RETRYABLE = ["unavailable"];

/** One replica with its agent, as gpu-agent/replica.ts and run-job.ts behave: polls, works, uploads, reports, and stops. */
export class SimulatedAgent {
  readonly world: Simulation;
  readonly replicaId: ReplicaId;
  readonly node: NodeIdentity;
  #alive = true;
  #pausedUntil = 0;
  #draining = false;
  #pollId = "";
  #polling = false;
  /** What the socket brought for the poll that a complete goes on as; it may overtake the complete's own answer. */
  #early: { readonly pollId: string; readonly answer: ReplicaPollAnswer } | null = null;
  /** The poll that a complete has gone on as. */
  #standing: string | null = null;
  #current: SimulatedRun | null = null;
  /** A job that waits for the current one to end. */
  #ahead: SimulatedRun | null = null;
  /** The current job is far enough for the next one to be asked for. */
  #asksAhead = false;
  /** The job whose complete asks for the next lease. */
  #carries: SimulatedRun | null = null;
  /** Jobs whose outputs go up while the next one runs. */
  readonly #sending = new Set<SimulatedRun>();
  readonly #isClone: boolean;

  constructor(world: Simulation, replicaId: ReplicaId, node: NodeIdentity, isClone = false) {
    this.world = world;
    this.replicaId = replicaId;
    this.node = node;
    this.#isClone = isClone;
    world.pod.agents.add(this);
    this.#newPoll();
    this.#misfortune();
  }

  get isClone(): boolean {
    return this.#isClone;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  // --- life --------------------------------------------------------------------------------------------------------

  boot(): void {
    this.#start(["preparing", "booting", "loading", "ready"]);
  }

  /** One state after the other; each is told once the one before it was heard. */
  #start(states: readonly ReplicaState[]): void {
    const [state, ...rest] = states;
    if (state === undefined) {
      this.#takeJobs();
      return;
    }
    this.later(this.world.dice.around(this.world.swarm.bootMs), () => {
      if (!this.#draining) this.#report(state, () => this.#start(rest));
    });
  }

  /** Finish the job in hand, take no other, stop. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.#ahead?.isHeld === true) this.#ahead.giveBack();
    this.later(dice100(this.world), () => this.#stopIfIdle());
  }

  /** The machine is dead. */
  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.world.pod.agents.delete(this);
    if (!this.#isClone) this.world.pod.fellSilent(this.replicaId);
  }

  /** Stands still, and goes on as if nothing had been. */
  pause(): void {
    this.#pausedUntil = this.world.agenda.now + STANDSTILL_MS;
  }

  /** Goes on at once. */
  resume(): void {
    this.#pausedUntil = 0;
  }

  /** The same machine a second time: same replica, same leases, its own bytes. */
  clone(): void {
    const copy = new SimulatedAgent(this.world, this.replicaId, this.node, true);
    if (this.#current !== null) {
      copy.#current = this.#current.copyFor(copy);
      copy.#current.goOn();
    } else copy.#takeJobs();
  }

  /** Once a while something befalls it. */
  #misfortune(): void {
    const { dice, faults, pod } = this.world;
    this.later(dice.int(500, 1_500), () => {
      const held = this.#current?.lease.job_id ?? null;
      if (dice.chance(faults.agentKilled)) {
        this.world.hit("agent killed", held);
        this.kill();
        return;
      }
      if (dice.chance(faults.agentPaused)) {
        this.world.hit("agent stands still", held);
        this.pause();
      }
      if (dice.chance(faults.agentCloned) && !this.#isClone && pod.agents.size < 8) {
        this.world.hit("agent cloned", held);
        this.clone();
      }
      if (dice.chance(faults.replicaGone) && !this.#isClone) {
        this.world.hit("replica said to be gone", held);
        pod.misjudge(this.replicaId, dice.chance(0.5));
      }
      this.#misfortune();
    });
  }

  /** Does it then, unless the machine is dead; later if it stands still then. */
  later(ms: number, work: () => void): void {
    this.world.agenda.in(ms, () => this.#when(work));
  }

  #when(work: () => void): void {
    if (!this.#alive) return;
    if (this.#pausedUntil > this.world.agenda.now) this.world.agenda.at(this.#pausedUntil, () => this.#when(work));
    else work();
  }

  // --- calls -------------------------------------------------------------------------------------------------------

  /** One request. `done` hears nothing after the machine's death, and late while it stands still. */
  once<T>(
    about: Lease["job_id"] | null,
    handle: (respond: (answer: Said<T>) => void) => void,
    timeoutMs: number,
    done: (answer: Said<T>) => void,
  ): void {
    this.world.network.call<Exclude<Said<T>, typeof NO_ANSWER>>(
      about,
      handle as (respond: (answer: Answer<Exclude<Said<T>, typeof NO_ANSWER>>) => void) => void,
      timeoutMs,
      (answer) => this.#when(() => done(answer)),
    );
  }

  /** The same request until it is answered; `given` up while it is asked. */
  persist<T>(
    about: Lease["job_id"] | null,
    handle: (respond: (answer: Said<T>) => void) => void,
    timeoutMs: number,
    isOver: () => boolean,
    done: (answer: ({ readonly ok: true } & T) | Refused) => void,
    tries = 1,
  ): void {
    if (isOver()) return;
    this.once<T>(about, handle, timeoutMs, (answer) => {
      if (isOver()) return;
      if (answer !== NO_ANSWER && (answer.ok || !RETRYABLE.includes(answer.code))) return done(answer);
      const bound = Math.min(RETRY_MS_MAX, RETRY_BASE_MS * 2 ** Math.min(tries - 1, 10));
      this.later(1 + Math.floor(this.world.dice.float() * bound), () =>
        this.persist(about, handle, timeoutMs, isOver, done, tries + 1),
      );
    });
  }

  proof(lease: Lease): LeaseProof {
    return { ...this.node, leaseId: lease.lease_id, token: lease.token };
  }

  static isGone(answer: { readonly ok: boolean; readonly code?: string }): boolean {
    return !answer.ok && answer.code !== undefined && GONE.includes(answer.code);
  }

  #report(state: ReplicaState, then: () => void = () => undefined): void {
    const report = { state, phases: [] };
    this.persist<object>(
      null,
      (respond) => this.world.object.report(this.node, this.replicaId, report, respond),
      CALL_MS,
      () => false,
      (answer) => {
        if (SimulatedAgent.isGone(answer)) this.drain();
        then();
      },
    );
  }

  // --- work --------------------------------------------------------------------------------------------------------

  #newPoll(): void {
    this.#pollId = `poll-${this.world.nextNumber()}`;
  }

  #takeJobs(): void {
    if (this.#polling || this.#carries !== null || this.#standing !== null) return;
    if (this.#current !== null && !this.#mayAskAhead()) return;
    if (this.#sending.size + (this.#current === null ? 0 : 1) >= IN_HAND_MAX) return;
    if (this.#draining) {
      this.#stopIfIdle();
      return;
    }
    this.#polling = true;
    const pollId = this.#pollId;
    const startedAt = this.world.agenda.now;
    const held = [...this.#sending, ...(this.#current === null ? [] : [this.#current])];
    const leases = held.map(({ lease: { lease_id, token } }) => ({ lease_id, token }));
    const poll = { poll_id: pollId, leases, wait_ms: POLL_WAIT_MS };
    this.persist<{ answer: ReplicaPollAnswer }>(
      null,
      (respond) => this.world.object.poll(this.node, this.replicaId, poll, respond),
      POLL_TIMEOUT_MS,
      () => this.#draining && this.#letGo(),
      (answer) => {
        this.#polling = false;
        this.#newPoll();
        if (!answer.ok) {
          if (SimulatedAgent.isGone(answer)) this.drain();
          return this.later(IDLE_ANSWER_MS, () => this.#takeJobs());
        }
        this.#answered(answer.answer, startedAt);
      },
    );
  }

  #answered({ lease, ended, stop }: ReplicaPollAnswer, startedAt: number): void {
    const others = [...this.#sending, ...(this.#ahead === null ? [] : [this.#ahead])];
    for (const run of others) if (ended.includes(run.lease.lease_id)) run.stop();
    if (stop) this.drain();
    if (lease === null) {
      const quick = this.world.agenda.now - startedAt < IDLE_ANSWER_MS;
      this.later(quick ? IDLE_ANSWER_MS : 0, () => this.#takeJobs());
    } else this.#work(lease);
  }

  // --- a poll that a complete goes on as ---------------------------------------------------------------------------

  /** Its answer came over the socket; one that nobody waits for any more comes again for a poll of its name. */
  polled(pollId: string | undefined, answer: ReplicaPollAnswer): void {
    this.#when(() => {
      if (pollId === undefined || pollId !== this.#pollId) return;
      this.#early = { pollId, answer };
      if (this.#standing === pollId) this.#takeEarly();
    });
  }

  /** The complete's answer says that its poll waits. */
  #await(): void {
    const pollId = this.#pollId;
    this.#standing = pollId;
    if (this.#early?.pollId === pollId) {
      this.#takeEarly();
      return;
    }
    const { dice, faults, network, object } = this.world;
    const closes = dice.chance(faults.socketCloses);
    this.later(closes ? dice.int(1, POLL_WAIT_MS) : POLL_TIMEOUT_MS, () => {
      if (this.#standing !== pollId) return;
      if (closes) this.world.hit("socket closed", null);
      network.send(null, () => object.closed(this.replicaId, pollId));
      // The same poll goes on over HTTP: the lease in an answer that was lost comes again.
      this.#standing = null;
      this.#takeJobs();
    });
  }

  #takeEarly(): void {
    const early = this.#early;
    if (early === null) return;
    this.#early = null;
    this.#standing = null;
    this.#newPoll();
    this.world.coverage.path(early.answer.lease === null ? "a complete waits in vain" : "a complete waits for a job");
    this.#answered(early.answer, 0);
  }

  /** A draining agent gives up its poll. */
  #letGo(): boolean {
    this.#polling = false;
    this.#stopIfIdle();
    return true;
  }

  #mayAskAhead(): boolean {
    return this.#asksAhead && this.#ahead === null && !this.#draining;
  }

  /** The current job executes: the next one is asked for. */
  executes(run: SimulatedRun): void {
    if (this.#current !== run || !this.world.holdsAhead) return;
    this.#asksAhead = true;
    this.#takeJobs();
  }

  /** ComfyUI is done with the current job, and begins the one behind it at once. */
  hasExecuted(run: SimulatedRun): void {
    if (this.#current !== run || this.#ahead === null) return;
    this.#sending.add(run);
    this.#next();
  }

  /** The job that was held ahead is the current one. */
  #next(): void {
    const ahead = this.#ahead;
    this.#ahead = null;
    this.#asksAhead = false;
    this.#current = ahead;
    ahead?.begin();
  }

  #work(lease: Lease): void {
    if (this.#draining) {
      this.giveBack(lease, () => this.#stopIfIdle());
      return;
    }
    if (this.#current !== null) {
      this.#ahead = new SimulatedRun(this, lease);
      this.#ahead.hold();
      return;
    }
    this.#asksAhead = false;
    this.#current = new SimulatedRun(this, lease);
    this.#current.start();
  }

  giveBack(lease: Lease, then: () => void): void {
    this.persist<object>(
      lease.job_id,
      (respond) => {
        const proof = this.proof(lease);
        respond(this.world.object.message("release", proof, (core) => core.release(proof, "the agent gives it back")));
      },
      CALL_MS,
      () => false,
      then,
    );
  }

  /** With it the answer to a completion may carry the next lease. */
  nextPoll(run: SimulatedRun): Pick<CompleteLease, "next_poll_id" | "next_wait_ms"> {
    const isTaken = this.#polling || this.#carries !== null || this.#ahead !== null;
    if (this.#draining || isTaken || (this.#sending.has(run) && !this.world.holdsAhead)) return {};
    const { dice, swarm } = this.world;
    this.#carries = run;
    const holdsOther = [...this.#sending, this.#current].some((other) => other !== null && other !== run);
    const waits = !holdsOther && dice.chance(swarm.sockets);
    return { next_poll_id: this.#pollId, ...(waits ? { next_wait_ms: POLL_WAIT_MS } : {}) };
  }

  /** ComfyUI is free while the run's outputs go up. */
  free(run: SimulatedRun): void {
    if (this.#current !== run || this.#sending.size > 0 || this.#draining) return;
    this.#sending.add(run);
    this.#next();
    if (!this.#polling && this.#carries === null) this.#newPoll();
    this.#takeJobs();
  }

  /**
   * The run is over.
   * @param next the lease that came with its answer
   * @param waits the next one comes by itself
   */
  ended(run: SimulatedRun, next: Lease | null, waits: boolean): void {
    if (this.#carries === run) this.#carries = null;
    if (this.#ahead === run) this.#ahead = null;
    else if (this.#current === run) this.#next();
    else if (!this.#sending.delete(run)) return;
    if (next !== null) {
      this.#newPoll();
      this.#work(next);
      return;
    }
    if (this.#current !== null) {
      this.#takeJobs();
      return;
    }
    if (waits && !this.#draining) this.#await();
    else this.later(this.#draining ? 0 : 1, () => this.#takeJobs());
  }

  #stopIfIdle(): void {
    const isBusy = this.#current !== null || this.#sending.size > 0 || this.#ahead !== null;
    if (!this.#draining || isBusy || !this.#alive) return;
    if (this.#isClone) {
      this.kill();
      return;
    }
    this.#report("stopped");
    this.later(200, () => {
      this.#alive = false;
      this.world.pod.agents.delete(this);
      this.world.pod.ended(this.replicaId, "the replica stopped");
    });
  }
}

function dice100(world: Simulation): number {
  return world.dice.int(1, 100);
}
