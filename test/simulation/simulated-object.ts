import type { CompleteLease, ReplicaPoll, ReplicaPollAnswer, ReplicaReport } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { EndpointEffect } from "#durable-objects/endpoint/endpoint-state";
import type { Completed, LeaseProof, NodeIdentity, StoredOutput } from "#durable-objects/endpoint/rpc";
import type { World } from "#durable-objects/sql/database";
import type { Interest } from "#durable-objects/webhooks/rpc";
import { type Answer, NO_ANSWER } from "./network.ts";
import { inWords, type LeaseMessage, type Operation } from "./operation.ts";
import { SimulatedAlarm, type Woken } from "./simulated-alarm.ts";
import { type PlannedFailure, StorageFailure } from "./simulated-database.ts";
import type { Simulation } from "./simulation.ts";
import { promise, Violation } from "./violation.ts";

/** A refusal as it reaches the asker. */
export interface Refused {
  readonly ok: false;
  readonly code: string;
}
export type Said<T> = Answer<({ readonly ok: true } & T) | Refused>;

/** The object's clock when a run begins, Unix ms. */
const EPOCH = 1_800_000_000_000;
/** As the shell has it. */
const ALARM_RETRY_MS = 10_000;
const PURGE_JOBS = 50;
const STATEMENTS_MAX = 40;
/** Groups are rare among turns, so that failures strike them so much more often. */
const GROUP_FAILURES = 20;
const EMPTY: ReplicaPollAnswer = { lease: null, ended: [], stop: false };

/** A call that waits for its group. */
interface Gathered {
  readonly operation: Operation;
  readonly work: (core: EndpointCore) => unknown;
  readonly respond: (answer: Answer<unknown>) => void;
}

interface PollAnswer {
  readonly poll: OpenPoll;
  readonly answer: ReplicaPollAnswer;
}

interface OpenPoll {
  readonly pollId: string;
  readonly respond: (answer: Said<{ answer: ReplicaPollAnswer }>) => void;
}

/**
 * What is around the core in production, the shell and the platform, with all that can befall them: hands each message to
 * the core as one turn, performs the effects, rings the alarm, and dies.
 */
export class SimulatedObject {
  readonly #world: Simulation;
  readonly #coreWorld: World;
  readonly alarm: SimulatedAlarm;
  #core: EndpointCore | null = null;
  /** The object's clock against true time, ms. */
  #skew = 0;
  readonly #polls = new Map<ReplicaId, OpenPoll>();
  #gathered: Gathered[] = [];
  #sendingDemand = false;
  #demandChanged = false;
  #handingOver = false;
  #erased = false;
  /** Turns so far: messages, alarms and faults that reached the core. */
  operations = 0;
  constructor(world: Simulation) {
    this.#world = world;
    this.alarm = new SimulatedAlarm(
      world,
      () => this.now,
      () => this.#wake(),
    );
    this.#coreWorld = { now: () => this.now, randomBytes: (length) => world.coreDice.bytes(length) };
  }

  /** The object's clock, Unix ms. */
  get now(): number {
    return EPOCH + this.#world.agenda.now + this.#skew;
  }

  get erased(): boolean {
    return this.#erased;
  }

  /** Polls that wait at the object for work. */
  waitingPoll(replicaId: ReplicaId): string | null {
    return this.#polls.get(replicaId)?.pollId ?? null;
  }

  /** The core as it is, for looking without being a turn; null while nothing has woken the object. */
  get core(): EndpointCore | null {
    return this.#core;
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** One message into the core: what it answers, or nothing when the object dies over it. */
  turn<T>(operation: Operation, work: (core: EndpointCore) => T): Answer<T> {
    if (this.#world.dice.chance(this.#world.faults.deploy)) this.deploy();
    if (this.#world.dice.chance(this.#world.faults.clockJump)) this.#jump();
    const core = this.#awake();
    return core === null ? NO_ANSWER : this.#attempt(operation, () => work(core));
  }

  /** All memory is gone; the next message wakes the object from its tables. */
  deploy(): void {
    if (this.#core === null) return;
    this.#world.hit("deploy", null);
    this.#world.trace.add(`${this.#stamp()} deploy`);
    this.#die();
  }

  #awake(): EndpointCore | null {
    if (this.#core !== null) return this.#core;
    const { database } = this.#world;
    const operation: Operation = { type: "restart" };
    this.alarm.remember();
    const opened = this.#attempt(operation, () => {
      const core = new EndpointCore(database, this.#coreWorld, this.alarm.at);
      this.#core = core;
      return true;
    });
    return opened === NO_ANSWER ? null : this.#core;
  }

  #attempt<T>(operation: Operation, work: () => T): Answer<T> {
    const { database, oracle, trace } = this.#world;
    this.operations += 1;
    const failure = this.#drawFailure();
    oracle.before(operation, this.now);
    database.plan(failure);
    let value: T;
    try {
      value = work();
    } catch (error) {
      database.plan(null);
      if (!(error instanceof StorageFailure)) {
        if (error instanceof Violation) throw error;
        throw new Violation("I15", `the core threw at ${inWords(operation)}: ${String(error)}`);
      }
      const dies = failure?.forGood === true || operation.type === "restart";
      this.#world.hit(dies ? "crash inside a turn" : "storage error", oracle.jobOf(operation));
      trace.add(`${this.#stamp()} ${inWords(operation)} -> undone${dies ? ", and the object died" : ""}`);
      if (dies) this.#die();
      oracle.undone(operation);
      return NO_ANSWER;
    }
    // Where the planned statement was never reached, the process dies between the commit and the answer.
    const dies = failure?.forGood === true || this.#world.dice.chance(this.#world.faults.crashAfter);
    database.plan(null);
    const effects = this.#core?.takeEffects() ?? [];
    trace.add(`${this.#stamp()} ${inWords(operation)} -> ${shortly(value)}`);
    const answers = this.#commit(effects);
    oracle.after(operation, value, effects);
    if (dies) {
      this.#world.hit("crash after a commit", oracle.jobOf(operation));
      this.#die();
      for (const { poll } of answers) poll.respond(NO_ANSWER);
      return NO_ANSWER;
    }
    for (const { poll, answer } of answers) poll.respond({ ok: true, answer });
    for (const effect of effects) this.#perform(effect);
    return value;
  }

  /** Setting the alarm is part of the turn's own commit, and polls that it answers wait no longer. */
  #commit(effects: readonly EndpointEffect[]): PollAnswer[] {
    const answers: PollAnswer[] = [];
    for (const effect of effects) {
      if (effect.type === "arm") this.alarm.set(effect.at);
      else if (effect.type === "poll_answered") {
        const poll = this.#polls.get(effect.replicaId);
        if (poll?.pollId !== effect.pollId) continue;
        this.#polls.delete(effect.replicaId);
        answers.push({ poll, answer: effect.answer });
      }
    }
    return answers;
  }

  // --- groups ------------------------------------------------------------------------------------------------------

  /**
   * A call that may share its commit with others: in some worlds it waits a moment for them.
   * @param respond hears what `turn` would return, after the commit
   */
  enter<T>(operation: Operation, work: (core: EndpointCore) => T, respond: (answer: Answer<T>) => void): void {
    const { dice, swarm, agenda } = this.#world;
    if (!dice.chance(swarm.groups)) {
      respond(this.turn(operation, work));
      return;
    }
    this.#gathered.push({ operation, work, respond: respond as (answer: Answer<unknown>) => void });
    if (this.#gathered.length === 1) agenda.in(dice.int(1, 30), () => this.#flush());
  }

  #flush(): void {
    const calls = this.#gathered;
    this.#gathered = [];
    const core = this.#awake();
    const [only] = calls;
    if (calls.length === 1 && only !== undefined) {
      only.respond(this.turn(only.operation, only.work));
      return;
    }
    const answers = core === null ? calls.map(() => NO_ANSWER) : this.#together(core, calls);
    for (const [at, { respond }] of calls.entries()) respond(answers[at] ?? NO_ANSWER);
  }

  #together(core: EndpointCore, calls: readonly Gathered[]): Answer<unknown>[] {
    const { database, oracle, trace, dice, faults, coverage } = this.#world;
    this.operations += calls.length;
    coverage.path("calls share one commit");
    const failure = this.#drawFailure(GROUP_FAILURES);
    if (failure !== null && (failure.forGood || dice.chance(0.5))) {
      this.#undoneTogether(core, calls, failure);
      return calls.map(() => NO_ANSWER);
    }
    const done: { readonly effects: readonly EndpointEffect[]; readonly answers: readonly PollAnswer[] }[] = [];
    // One call throws. All are undone and done again, that one with a failure of its storage somewhere in it.
    const thrower = failure === null ? null : dice.int(0, calls.length - 1);
    let isFirstTry = thrower !== null;
    const outcomes = core.group(
      calls.map(({ operation, work }, at) => (machine: EndpointCore) => {
        if (isFirstTry) {
          const value = work(machine);
          isFirstTry = at !== thrower;
          if (!isFirstTry) throw new StorageFailure("a call of the group gave way");
          return value;
        }
        if (thrower !== null && at === 0) {
          oracle.now = this.now;
          for (const undone of calls.slice(0, thrower + 1)) oracle.undone(undone.operation);
        }
        if (failure !== null && at === thrower) database.plan({ ...failure, atCommit: "holds" });
        oracle.before(operation, this.now);
        let value: unknown;
        try {
          value = work(machine);
        } catch (error) {
          if (error instanceof StorageFailure) {
            this.#world.hit("storage error in a group", oracle.jobOf(operation));
            trace.add(`${this.#stamp()} in a group: ${inWords(operation)} -> undone`);
            oracle.undone(operation);
          }
          throw error;
        }
        const effects = machine.takeEffects();
        trace.add(`${this.#stamp()} in a group: ${inWords(operation)} -> ${shortly(value)}`);
        const answers = this.#commit(effects);
        oracle.after(operation, value, effects);
        done.push({ effects, answers });
        return value;
      }),
    );
    database.plan(null);
    for (const outcome of outcomes) {
      if (!outcome.ok && !(outcome.error instanceof StorageFailure)) throw outcome.error;
    }
    // What follows from all of them comes with the last one.
    const effects = outcomes.flatMap((outcome) => [...outcome.effects]);
    if (effects.length > 0) {
      const answers = this.#commit(effects);
      oracle.after({ type: "demand" }, undefined, effects);
      done.push({ effects, answers });
    }
    if (dice.chance(faults.crashAfter)) {
      for (const { answers } of done) for (const { poll } of answers) poll.respond(NO_ANSWER);
      return this.#dieAfter(calls);
    }
    for (const { effects, answers } of done) {
      for (const { poll, answer } of answers) poll.respond({ ok: true, answer });
      for (const effect of effects) this.#perform(effect);
    }
    return outcomes.map((outcome) => (outcome.ok ? outcome.result : NO_ANSWER));
  }

  /** The commit fails, or the process dies before it: none of the calls has happened. */
  #undoneTogether(core: EndpointCore, calls: readonly Gathered[], failure: PlannedFailure): void {
    const { database, oracle, trace } = this.#world;
    const { forGood } = failure;
    database.plan({ forGood, atStatement: forGood ? failure.atStatement : Number.MAX_SAFE_INTEGER, atCommit: "fails" });
    let error: unknown = null;
    try {
      const outcomes = core.group(calls.map(({ work }) => work));
      error = outcomes.find((outcome) => !outcome.ok)?.error ?? null;
    } catch (thrown) {
      error = thrown;
    }
    database.plan(null);
    promise("I1", error !== null, () => "a group was answered whose commit had failed");
    if (!(error instanceof StorageFailure)) throw error;
    this.#world.hit(forGood ? "crash inside a group" : "commit of a group fails", null);
    trace.add(`${this.#stamp()} a group of ${calls.length} -> undone${forGood ? ", and the object died" : ""}`);
    if (forGood) this.#die();
    else {
      oracle.now = this.now;
      for (const { operation } of calls) oracle.perhapsHeard(operation);
    }
    oracle.undone({ type: "demand" });
  }

  #dieAfter(calls: readonly Gathered[]): Answer<unknown>[] {
    this.#world.hit("crash after a commit", null);
    this.#die();
    return calls.map(() => NO_ANSWER);
  }

  /** @param times how much more often than for one call */
  #drawFailure(times = 1): PlannedFailure | null {
    const { dice, faults } = this.#world;
    if (dice.chance(times * faults.crashInside)) return { atStatement: dice.int(1, STATEMENTS_MAX), forGood: true };
    if (dice.chance(times * faults.storageError)) return { atStatement: dice.int(1, STATEMENTS_MAX), forGood: false };
    return null;
  }

  #die(): void {
    this.#core = null;
    this.#sendingDemand = false;
    this.#demandChanged = false;
    this.#handingOver = false;
    const polls = [...this.#polls.values()];
    this.#polls.clear();
    for (const poll of polls) poll.respond(NO_ANSWER);
  }

  #jump(): void {
    const ms = this.#world.dice.int(-20_000, 20_000);
    this.#skew += ms;
    // An alarm set before the clock stepped back rings that much later by it, and all that was due before waits for it.
    if (ms < 0) this.#world.oracle.alarmIsLate = true;
    this.#world.hit(ms < 0 ? "clock jumps back" : "clock jumps forward", null);
    this.#world.trace.add(`${this.#stamp()} the clock jumps ${ms} ms`);
    this.alarm.planAnew();
  }

  #stamp(): string {
    return `${this.operations} ${this.now - EPOCH}`;
  }

  #perform(effect: EndpointEffect): void {
    switch (effect.type) {
      case "send_demand":
        this.#sendDemand();
        return;
      case "hand_over":
        this.#handOver();
        return;
      case "erase":
        this.#erased = true;
        this.alarm.clear();
        return;
      default:
        return;
    }
  }

  #wake(): Woken {
    if (this.#erased) return "done";
    const alive = this.#core;
    const woke = this.turn({ type: "wake" }, (core) => core.wake());
    if (woke !== NO_ANSWER) {
      this.#deleteOldOutputs();
      return "done";
    }
    // An alarm whose process died is run again; one whose turn failed is set anew by the shell.
    if (this.#core === null || this.#core !== alive) return "died";
    this.alarm.set(this.now + ALARM_RETRY_MS);
    return "failed";
  }

  // --- what the shell does -----------------------------------------------------------------------------------------

  poll(
    node: NodeIdentity,
    replicaId: ReplicaId,
    poll: ReplicaPoll,
    respond: (answer: Said<{ answer: ReplicaPollAnswer }>) => void,
  ): void {
    const operation: Operation = { type: "poll", replicaId, poll };
    const ask = () => this.turn(operation, (core) => core.pollReplica(node, replicaId, poll));
    let outcome = ask();
    if (outcome !== NO_ANSWER && outcome.type === "unverified") {
      const vouched = this.#vouched(node, replicaId);
      if (vouched !== "admitted") {
        respond(vouched);
        return;
      }
      outcome = ask();
    }
    if (outcome === NO_ANSWER) {
      respond(NO_ANSWER);
      return;
    }
    if (outcome.type === "unverified") {
      respond({ ok: false, code: "replica_not_found" });
      return;
    }
    if (outcome.type === "answered") {
      respond(outcome.reply);
      return;
    }
    this.#open(replicaId, { pollId: poll.poll_id, respond }, outcome.ms);
  }

  /** The poll waits for its answer, so long at most. */
  #open(replicaId: ReplicaId, poll: OpenPoll, ms: number): void {
    this.#polls.set(replicaId, poll);
    this.#world.agenda.in(ms, () => {
      if (this.#polls.get(replicaId) === poll) this.#abandon(replicaId, poll);
    });
  }

  #abandon(replicaId: ReplicaId, poll: OpenPoll): void {
    this.#polls.delete(replicaId);
    this.turn({ type: "abandon", replicaId, pollId: poll.pollId }, (core) => core.abandonPoll(replicaId, poll.pollId));
    poll.respond({ ok: true, answer: EMPTY });
  }

  /** The socket closed on which a complete went on as this poll. */
  closed(replicaId: ReplicaId, pollId: string): void {
    const poll = this.#polls.get(replicaId);
    if (poll?.pollId === pollId) this.#abandon(replicaId, poll);
  }

  report(
    node: NodeIdentity,
    replicaId: ReplicaId,
    report: ReplicaReport,
    respond: (answer: Said<object>) => void,
  ): void {
    const operation: Operation = { type: "report", replicaId, state: report.state };
    const ask = () => this.turn(operation, (core) => core.reportReplica(node, replicaId, report));
    let outcome = ask();
    if (outcome !== NO_ANSWER && "type" in outcome) {
      const vouched = this.#vouched(node, replicaId);
      if (vouched !== "admitted") {
        respond(vouched);
        return;
      }
      outcome = ask();
    }
    if (outcome !== NO_ANSWER && "type" in outcome) {
      respond({ ok: false, code: "replica_not_found" });
      return;
    }
    respond(outcome);
  }

  /** Asks the pod for a replica that the object does not know. */
  #vouched(node: NodeIdentity, replicaId: ReplicaId): "admitted" | Said<never> {
    const { dice, faults, pod } = this.#world;
    if (dice.chance(faults.podDown)) return { ok: false, code: "unavailable" };
    if (!pod.has(replicaId, node.nodeId)) return { ok: false, code: "replica_not_found" };
    const admitted = this.turn({ type: "admit", replicaId }, (core) => core.admitReplica(node, replicaId));
    return admitted === NO_ANSWER ? NO_ANSWER : "admitted";
  }

  message<T extends object>(
    what: LeaseMessage["what"],
    proof: LeaseProof,
    work: (core: EndpointCore) => ({ readonly ok: true } & T) | Refused,
    more: Pick<LeaseMessage, "phase" | "nextPollId" | "nextWaitMs"> = {},
  ): Said<T> {
    return this.turn({ type: "message", what, proof, ...more }, work);
  }

  /**
   * As the shell does it: the grant, then each output of the manifest against R2, then the completion.
   * @param polled hears the answer of the poll that the complete goes on as
   */
  complete(
    proof: LeaseProof,
    message: CompleteLease,
    respond: (answer: Said<Completed>) => void,
    polled: (answer: ReplicaPollAnswer) => void,
  ): void {
    const { agenda, dice, store, verifyManifest } = this.#world;
    const { next_poll_id: pollId, next_wait_ms: nextWaitMs } = message;
    const apply = (outputs: readonly StoredOutput[]): void => {
      const reply: Said<Completed> = this.message("complete", proof, (core) => core.complete(proof, message, outputs), {
        ...(pollId === undefined ? {} : { nextPollId: pollId }),
        ...(nextWaitMs === undefined ? {} : { nextWaitMs }),
      });
      if (reply !== NO_ANSWER && reply.ok && reply.waits !== null && pollId !== undefined) {
        const hear = (answer: Said<{ answer: ReplicaPollAnswer }>): void => {
          if (answer !== NO_ANSWER && answer.ok) polled(answer.answer);
        };
        this.#open(reply.waits.replicaId, { pollId, respond: hear }, reply.waits.ms);
      }
      respond(reply);
    };
    const granted = this.message("grant", proof, (core) => core.grantOutput(proof));
    if (granted === NO_ANSWER) {
      respond(NO_ANSWER);
      return;
    }
    // A lease that is over has no grant; the object answers a repeated complete without looking at outputs.
    if (!granted.ok) {
      granted.code === "lease_lost" ? apply([]) : respond(granted);
      return;
    }
    const checked = verifyManifest(store.bucket, granted.grant.keyPrefix, message.outputs).then(
      (outputs) => agenda.in(dice.int(1, 50), () => apply(outputs)),
      (error: unknown) => {
        const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : null;
        if (code === null) throw error;
        respond({ ok: false, code });
      },
    );
    this.#world.await(checked);
  }

  #sendDemand(): void {
    this.#demandChanged = true;
    if (this.#sendingDemand) return;
    this.#sendingDemand = true;
    this.#demandChanged = false;
    const core = this.#core;
    const demand = core?.demand() ?? null;
    if (demand === null) return;
    const sentAt = this.now;
    this.#world.network.call<ReturnType<Simulation["pod"]["demand"]>>(
      null,
      (respond) => respond(this.#world.pod.demand(demand)),
      30_000,
      (reply) => {
        // The object that asked may be gone.
        if (this.#core !== core || core === null) return;
        this.#sendingDemand = false;
        if (reply !== NO_ANSWER) {
          this.turn({ type: "demand" }, (alive) => alive.demandAnswered(demand, reply, sentAt));
        }
        if (this.#demandChanged && this.#core === core) this.#sendDemand();
      },
    );
  }

  /** One hand-over at a time, until nothing is left. */
  #handOver(): void {
    const core = this.#core;
    if (this.#handingOver || core === null) return;
    const next = core.handOver();
    if (next === null) return;
    this.#handingOver = true;
    const { webhooks, network } = this.#world;
    network.call<Interest>(
      null,
      (respond) => respond(next.register ? webhooks.register() : webhooks.accept(next.events)),
      30_000,
      (interest) => {
        if (this.#core !== core) return;
        this.#handingOver = false;
        if (interest === NO_ANSWER) {
          this.turn({ type: "hand over" }, (alive) => alive.handOverFailed());
          return;
        }
        const told = this.turn({ type: "hand over" }, (alive) =>
          alive.handedOver(next.register ? 0 : next.last, interest),
        );
        if (told !== NO_ANSWER) this.#handOver();
      },
    );
  }

  #deleteOldOutputs(): void {
    for (;;) {
      const core = this.#core;
      const ended = core?.outputsDue(PURGE_JOBS) ?? [];
      const last = ended.at(-1);
      if (core === null || last === undefined) return;
      for (const { jobId, keys } of ended) {
        this.#world.oracle.outputsDeleted(jobId, this.now);
        this.#world.store.delete(keys ?? this.#world.store.keysUnder(core.jobPrefix(jobId)));
      }
      const told = this.turn({ type: "outputs" }, (alive) =>
        alive.outputsDeleted({ finishedAt: last.finishedAt, jobId: last.jobId }),
      );
      if (told === NO_ANSWER) return;
      this.alarm.worked();
    }
  }
}

/** An answer in a few words. */
function shortly(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const text = JSON.stringify(value, (key, part: unknown) =>
    key === "inputs" || key === "timeline" || key === "boot" || key === "phases" ? undefined : part,
  );
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
