import type { Lease, LeaseProgress, LeaseProgressAnswer, ManifestEntry } from "#contract/agent";
import type { JobErrorCode } from "#contract/job";
import type { Completed, OutputGrant } from "#durable-objects/endpoint/rpc";
import { NO_ANSWER } from "./network.ts";
import { SimulatedAgent } from "./simulated-agent.ts";
import type { Simulation } from "./simulation.ts";

const CALL_MS = 30_000;
const BEAT_RETRY_MS = 1_000;
/** Uploads that take longer than this go on beside the next job. */
const UPLOAD_PATIENCE_MS = 150;
/** A manifest that the server finds incomplete is made again this often. */
const DELIVERIES_MAX = 2;
const HANG_MS = 120_000;
/** A job is held ahead for this share of the time to confirm its lease. */
const HELD_SHARE = 0.7;

/** One job on an agent, from its lease to its final report: beats at a steady pace, and the steps one after the other. */
export class SimulatedRun {
  readonly lease: Lease;
  readonly #agent: SimulatedAgent;
  readonly #world: Simulation;
  #phase: LeaseProgress["phase"] = "assigned";
  #stopped = false;
  /** The final report is on its way: what a beat hears no longer matters. */
  #settled = false;
  #deliveries = 0;
  /** It is held ahead, until the job before it is done. */
  #isHeld = false;
  /** Its inputs are there. */
  #isPrepared = false;
  /** What distinguishes this machine's bytes from a clone's. */
  readonly #flavour: number;

  constructor(agent: SimulatedAgent, lease: Lease) {
    this.#agent = agent;
    this.#world = agent.world;
    this.lease = lease;
    this.#flavour = this.#world.dice.int(0, 0xffff_ffff);
  }

  /** The same run on a copy of the machine, at the same place. */
  copyFor(agent: SimulatedAgent): SimulatedRun {
    const copy = new SimulatedRun(agent, this.lease);
    copy.#phase = this.#phase;
    return copy;
  }

  start(): void {
    this.#beat();
    const { dice, swarm } = this.#world;
    this.#enter("preparing");
    this.#fetchInputs(0, () => this.#then(dice.around(swarm.prepareMs), () => this.#execute()));
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Fetches the inputs, says nothing, and gives the lease back when its turn does not come soon. */
  hold(): void {
    this.#isHeld = true;
    this.#phase = "preparing";
    const { dice, swarm } = this.#world;
    this.#fetchInputs(0, () => this.#then(dice.around(swarm.prepareMs), () => this.#prepared()));
    this.#then(this.lease.confirm_within_ms * HELD_SHARE, () => {
      if (this.#isHeld) this.giveBack();
    });
  }

  /** The job before it is done. */
  begin(): void {
    if (!this.#isHeld || this.#stopped) return;
    this.#isHeld = false;
    this.#world.coverage.path("a job that was held ahead begins");
    this.#beat();
    if (this.#isPrepared) this.#execute();
  }

  giveBack(): void {
    if (this.#stopped || this.#settled) return;
    this.#settled = true;
    this.#agent.giveBack(this.lease, () => this.stop());
  }

  #prepared(): void {
    this.#isPrepared = true;
    if (!this.#isHeld) this.#execute();
  }

  /** A copy takes up where it was copied. */
  goOn(): void {
    this.#beat();
    this.#execute();
  }

  /** The lease is over: the prompt is interrupted, and nothing more is sent. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#agent.later(this.#world.dice.int(1, 500), () => this.#agent.ended(this, null, false));
  }

  #then(ms: number, step: () => void): void {
    this.#agent.later(ms, () => {
      if (!this.#stopped) step();
    });
  }

  #enter(phase: LeaseProgress["phase"]): void {
    this.#phase = phase;
    this.#beatOnce(() => undefined);
  }

  // --- the lease keeper --------------------------------------------------------------------------------------------

  #beat(): void {
    if (this.#stopped) return;
    this.#beatOnce((renewed) => {
      const { renewMs } = this.#world.swarm;
      this.#then(renewed ? renewMs : Math.min(renewMs, BEAT_RETRY_MS), () => this.#beat());
    });
  }

  #beatOnce(done: (renewed: boolean) => void): void {
    const { lease } = this;
    const proof = this.#agent.proof(lease);
    const message: LeaseProgress = { phase: this.#phase };
    this.#agent.once<{ answer: LeaseProgressAnswer }>(
      lease.job_id,
      (respond) =>
        this.#world.object.enter(
          { type: "message", what: "progress", proof, phase: message.phase },
          (core) => core.progress(proof, message),
          respond,
        ),
      Math.max(this.#world.swarm.renewMs, 1_000),
      (answer) => {
        if (this.#stopped) return;
        const over = answer !== NO_ANSWER && (answer.ok ? answer.answer.cancel : SimulatedAgent.isGone(answer));
        if (over && !this.#settled) return this.stop();
        done(answer !== NO_ANSWER && answer.ok);
      },
    );
  }

  // --- the steps ---------------------------------------------------------------------------------------------------

  #fetchInputs(index: number, then: () => void): void {
    const file = this.lease.files[index];
    if (file === undefined) {
      then();
      return;
    }
    const proof = this.#agent.proof(this.lease);
    this.#agent.persist<object>(
      this.lease.job_id,
      (respond) => respond(this.#world.object.message("input", proof, (core) => core.inputFile(proof, file.index))),
      CALL_MS,
      () => this.#stopped,
      (answer) => {
        if (!answer.ok) this.#refused(answer.code);
        else this.#fetchInputs(index + 1, then);
      },
    );
  }

  #execute(): void {
    this.#enter("executing");
    this.#agent.executes(this);
    const { dice, swarm, healed } = this.#world;
    const hangs = !healed && dice.chance(swarm.hangs);
    const ms = healed ? dice.int(100, 1_000) : hangs ? HANG_MS : dice.around(swarm.executeMs);
    this.#then(ms, () => {
      const fate = healed ? 1 : dice.float();
      if (fate < swarm.failsAlways) return this.#fail("execution_error");
      if (fate < swarm.failsAlways + swarm.failsOnce) return this.#fail("out_of_memory");
      if (fate < swarm.failsAlways + swarm.failsOnce + swarm.givesBack) {
        this.#settled = true;
        return this.#agent.giveBack(this.lease, () => this.stop());
      }
      const started = this.#world.agenda.now;
      this.#deliver();
      this.#agent.hasExecuted(this);
      this.#then(UPLOAD_PATIENCE_MS, () => {
        if (!this.#settled && this.#world.agenda.now - started >= UPLOAD_PATIENCE_MS) this.#agent.free(this);
      });
    });
  }

  #deliver(): void {
    this.#deliveries += 1;
    this.#enter("uploading");
    const { swarm } = this.#world;
    // How many files a job makes is the job's own, so that a clone's manifest has as many.
    const count =
      swarm.outputsMax === 0 ? 0 : Number.parseInt(this.lease.job_id.slice(-1), 32) % (swarm.outputsMax + 1);
    this.#upload([], count || 0);
  }

  #upload(done: readonly ManifestEntry[], count: number): void {
    const index = done.length;
    if (index >= count) {
      this.#complete(done);
      return;
    }
    const sha256 = this.#hash(index);
    const entry: ManifestEntry = {
      index,
      name: `picture-${index}.png`,
      output: "picture",
      kind: "image",
      filename: `picture_${index}.png`,
      content_type: "image/png",
      size: 1_000 + index,
      sha256,
    };
    const proof = this.#agent.proof(this.lease);
    const { object, store } = this.#world;
    this.#agent.persist<object>(
      this.lease.job_id,
      (respond) => {
        const granted = object.message<{ grant: OutputGrant }>("grant", proof, (core) => core.grantOutput(proof));
        if (granted === NO_ANSWER || !granted.ok) return respond(granted);
        store.put(`${granted.grant.keyPrefix}${index}`, { size: entry.size, sha256 }, (answer) => {
          if (answer === "stored") respond({ ok: true });
          else respond({ ok: false, code: answer === "failed" ? "unavailable" : "output_conflict" });
        });
      },
      CALL_MS,
      () => this.#stopped,
      (answer) => {
        if (!answer.ok) this.#refused(answer.code);
        else this.#upload([...done, entry], count);
      },
    );
  }

  /** 64 hexadecimal digits that differ between machines. */
  #hash(index: number): string {
    return (this.#flavour + index).toString(16).padStart(64, "0");
  }

  #complete(outputs: readonly ManifestEntry[]): void {
    this.#settled = true;
    const nextPoll = this.#agent.nextPoll(this);
    const message = { outputs: [...outputs], phases: [], ...nextPoll };
    const proof = this.#agent.proof(this.lease);
    this.#agent.persist<Completed>(
      this.lease.job_id,
      (respond) =>
        this.#world.object.complete(proof, message, respond, (answer) =>
          this.#world.network.send(this.lease.job_id, () => this.#agent.polled(nextPoll.next_poll_id, answer)),
        ),
      CALL_MS,
      () => this.#stopped,
      (answer) => {
        if (answer.ok) {
          this.#stopped = true;
          this.#agent.ended(this, answer.next, answer.waits !== null);
        } else if (answer.code === "output_missing" && this.#deliveries < DELIVERIES_MAX) {
          this.#world.coverage.path("a lost output is sent again");
          this.#settled = false;
          this.#deliver();
        } else this.#refused(answer.code);
      },
    );
  }

  #refused(code: string): void {
    if (code === "lease_lost") {
      this.stop();
      return;
    }
    this.#fail(code.startsWith("output") ? "output_failed" : "replica_failed");
  }

  #fail(code: JobErrorCode): void {
    this.#settled = true;
    const proof = this.#agent.proof(this.lease);
    const message = { error: { code, message: "it broke" }, phases: [] };
    this.#agent.persist<object>(
      this.lease.job_id,
      (respond) =>
        this.#world.object.enter(
          { type: "message", what: "fail", proof },
          (core) => core.fail(proof, message),
          respond,
        ),
      CALL_MS,
      () => this.#stopped,
      () => this.stop(),
    );
  }
}
