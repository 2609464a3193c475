/**
 * The releases that a replica tries before they take another one's place, one after the other: at once in the ComfyUI at
 * hand, or in one of the release's own build, which is made while jobs go on.
 */
import type { ReleaseForAgent } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import type { ReleaseHosts } from "./builds/release-hosts.ts";
import { isFinal, reasonOf } from "./builds/try-release.ts";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { PromptStuck } from "./comfy/drive-prompt.ts";
import { JobFailure } from "./comfy/job-failure.ts";
import type { AgentCalls } from "./control/agent-calls.ts";
import { Errand } from "./errand.ts";
import { type Log, messageOf } from "./log.ts";
import type { ReleaseCache } from "./release-cache.ts";
import type { AskedErrand } from "./replica-leases.ts";

/** What an errand needs of its replica. */
export interface TryingReplica {
  /** The one build whose releases the ComfyUI at hand runs; null: it runs what there is. */
  readonly build: string | null;
  /** What it is at, in words; null: nothing to speak of. */
  doing(text: string | null): void;
  /** A line of its log, and of that of the errand. */
  line(text: string): void;
  /** Tries a release in the ComfyUI at hand. @throws as tryRelease does, or the signal's reason */
  tryHere(release: number, errand: Errand, comfy: ComfySession, signal: AbortSignal): Promise<void>;
  /** Resolves when no job and no lease is in hand any more, nor will come. */
  handBack(reason: string): Promise<void>;
  /** Ends the ComfyUI at hand, and becomes a replica of a release that is only tried. @throws as tryHere does */
  becomeTrial(release: number, errand: Errand): Promise<void>;
  /** Ends what is left of that, and becomes a replica of the endpoint's release again. */
  becomeItself(): Promise<void>;
  /** The ComfyUI at hand has to be restarted. */
  breakComfy(): void;
  /** The errand is over. */
  tried(): void;
}

export interface ErrandsOptions {
  readonly replicaId: ReplicaId;
  readonly replica: TryingReplica;
  readonly calls: AgentCalls;
  readonly hosts: ReleaseHosts;
  readonly releases: ReleaseCache;
  readonly log: Log;
  /** Takes out of text what must not leave the machine. */
  readonly redacted: (text: string) => string;
  /** The replica drains, which ends the errand as well. */
  readonly drain: AbortSignal;
  /** The agent must go now. */
  readonly hurry: AbortSignal;
}

/** An errand: a release to try, and how far its build is. */
interface Beside extends AskedErrand {
  readonly errand: Errand;
  /** Null: its build is at hand. Else it resolves when it has been made, with what went wrong; never rejects. */
  readonly prepared: Promise<{ readonly error: unknown } | null> | null;
  /** Fires when it has resolved. */
  readonly over: AbortSignal;
  /** Gives it up. */
  readonly stop: AbortController;
}

export class Errands {
  readonly #options: ErrandsOptions;
  /** The one that the replica is on. */
  #errand: Errand | null = null;
  /** One whose build is made while jobs go on. */
  #beside: Beside | null = null;

  constructor(options: ErrandsOptions) {
    this.#options = options;
  }

  /** The poll that was answered with the errand whose build is made while jobs go on; null: there is none. */
  get preparing(): string | null {
    return this.#beside?.id ?? null;
  }

  /** Fires when that build has been made, or cannot be: `goOn` is next. Null: there is none. */
  get prepared(): AbortSignal | null {
    return this.#beside?.over ?? null;
  }

  /** A line for the log of the release that is tried, if one is. */
  line(text: string): void {
    this.#errand?.line(text);
  }

  /**
   * Tries a release that is to take another one's place: at once in the ComfyUI at hand, or when its build is there, which
   * is made while jobs go on.
   * @returns resolves when it has been tried, or its build is being made
   * @throws what ends the replica: it drains, or cannot become what it was
   */
  async begin({ id, release: number }: AskedErrand, comfy: ComfySession): Promise<void> {
    const { replicaId, replica, calls, releases, log, redacted, drain, hurry } = this.#options;
    log("errand_begins", { release: number });
    const errand = new Errand({
      id,
      release: number,
      send: (report, signal) => calls.reportVerification(replicaId, report, signal),
      redacted,
      onRefused: (error) => log("verification_report_refused", { error: messageOf(error) }),
      signal: AbortSignal.any([drain, hurry]),
    });
    this.#errand = errand;
    const stop = new AbortController();
    const over = new AbortController();
    const signal = AbortSignal.any([drain, errand.stopped, stop.signal]);
    // One that cannot be fetched is said below, as everything else that goes wrong.
    const release = await releases.get(number, signal).catch(() => null);
    const { build } = replica;
    const asked = { id, release: number, errand, over: over.signal, stop };
    if (release === null || build === null || build === release.build?.digest) {
      await this.#try({ ...asked, prepared: null }, comfy);
      return;
    }
    const prepared = this.#prepareBeside(release, signal)
      .then(
        () => null,
        (error: unknown) => ({ error }),
      )
      .finally(() => over.abort());
    this.#beside = { ...asked, prepared };
  }

  /** Tries the release whose build has been made. @throws as `begin` does */
  async goOn(comfy: ComfySession): Promise<void> {
    if (this.#beside !== null) await this.#try(this.#beside, comfy);
  }

  /** The replica ends: whoever gave the errand takes it back. */
  async drop(): Promise<void> {
    const beside = this.#beside;
    if (beside === null) return;
    this.#beside = null;
    beside.errand.close();
    beside.stop.abort(new Error("the replica stops"));
    await beside.prepared;
  }

  /**
   * Runs what an errand asks for, and says what came of it. What goes wrong is the release's, or this machine's, and no
   * reason to end: the replica goes back to what it can run.
   */
  async #try({ release: number, errand, prepared }: Beside, comfy: ComfySession): Promise<void> {
    const { replica, log, redacted, drain } = this.#options;
    this.#beside = null;
    const signal = AbortSignal.any([drain, errand.stopped]);
    let isElsewhere = false;
    try {
      if (prepared !== null) {
        const failure = await prepared;
        if (failure !== null) throw failure.error;
        await replica.handBack("the replica tries another release first");
        signal.throwIfAborted();
        isElsewhere = true;
        await replica.becomeTrial(number, errand);
      } else {
        await replica.tryHere(number, errand, comfy, signal);
      }
      log("errand_done", { release: number });
      await errand.end({ state: "ready" });
    } catch (error) {
      drain.throwIfAborted();
      const { died } = comfy.server;
      const cause = died.aborted && !isElsewhere ? died.reason : error;
      const reason = redacted(reasonOf(cause));
      log("errand_failed", { release: number, error: reason.split("\n", 1)[0] });
      await errand.end({ state: "failed", error: reason, final: cause === error && isFinal(error) });
      if (isElsewhere) {
        this.#errand = null;
        await replica.becomeItself();
      } else if (needsRestart(error)) replica.breakComfy();
    } finally {
      errand.close();
      this.#errand = null;
      replica.tried();
    }
  }

  /** Makes the build of another release while its own ComfyUI goes on: one that cannot be made costs no start. */
  async #prepareBeside(release: ReleaseForAgent, signal: AbortSignal): Promise<void> {
    const { hosts, replica } = this.#options;
    replica.line("The release has another build, which is being prepared.");
    const prepared = await hosts.prepareHost(release, {
      signal,
      onStep: (step) => replica.line(`${step}: begins`),
      onDoing: (doing) => replica.doing(doing),
      onLine: (step, line) => replica.line(`${step}: ${line}`),
    });
    prepared.release();
  }
}

/** After this, the ComfyUI at hand takes no other prompt. */
function needsRestart(error: unknown): boolean {
  return error instanceof PromptStuck || (error instanceof JobFailure && error.comfy === "restart");
}
