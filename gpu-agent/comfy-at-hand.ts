/** The ComfyUI that a replica drives: made for a release, started, and ended when it can do no more. One at a time. */
import type { ReleaseForAgent } from "#contract/agent";
import type { BuildListener } from "./builds/make-build.ts";
import type { PreparedHost, ReleaseHosts } from "./builds/release-hosts.ts";
import { type ComfySession, closeSession, openSession } from "./comfy/comfy-session.ts";
import { stopPrompt } from "./comfy/stop-prompt.ts";
import { type Log, messageOf } from "./log.ts";
import type { Timings } from "./settings.ts";

export interface ComfyAtHandOptions {
  readonly slot: number;
  readonly hosts: ReleaseHosts;
  readonly timings: Timings;
  readonly log: Log;
  /** Resolves when the jobs so far left nothing behind in it. */
  readonly cleaned: () => Promise<void>;
}

/** Who hears how far a start is. */
export interface StartListener extends Required<Pick<BuildListener, "onStep" | "onDoing">> {
  readonly onPhase: (phase: "booting" | "loading") => void;
  /** A line of a step's log, or one that ComfyUI wrote before it answered. */
  readonly onLine: (line: string) => void;
}

export class ComfyAtHand {
  readonly #options: ComfyAtHandOptions;
  #prepared: PreparedHost | null = null;
  #session: ComfySession | null = null;
  /** It lives, and has to be ended. */
  #broke = new AbortController();
  #stuckPrompt: string | undefined;

  constructor(options: ComfyAtHandOptions) {
    this.#options = options;
  }

  /** Null: there is none. */
  get session(): ComfySession | null {
    return this.#session;
  }

  /** The one build whose releases it runs; null: it runs what there is. undefined: there is none yet. */
  get build(): string | null | undefined {
    return this.#prepared?.build;
  }

  /** Fires when it has to be restarted, though it lives. */
  get broke(): AbortSignal {
    return this.#broke.signal;
  }

  /**
   * Makes what the release needs, and starts a ComfyUI of it. The one before has been closed.
   * @param release null: the server does not say which
   * @throws BuildFailed, StartFailed; the signal's reason
   */
  async start(release: ReleaseForAgent | null, listener: StartListener, signal: AbortSignal): Promise<ComfySession> {
    const { hosts, slot, timings, log } = this.#options;
    const { onStep, onDoing, onPhase, onLine } = listener;
    this.#prepared = await hosts.prepareHost(release, {
      signal,
      onStep,
      onDoing,
      onLine: (step, line) => onLine(`${step}: ${line}`),
    });
    const server = await this.#prepared.host.start({ slot, log, signal, onPhase, onLine });
    try {
      onPhase("loading");
      this.#session = await openSession(server, timings, log, signal);
      return this.#session;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  /** It has to be restarted: nothing else is run in it. */
  break(): void {
    this.#broke.abort(new Error("ComfyUI has to be restarted"));
  }

  /** The same, for a job. @param stuckPrompt that it may still be running */
  breakAfterJob(session: ComfySession, stuckPrompt: string | undefined): void {
    this.#stuckPrompt = stuckPrompt;
    if (this.#session === session) this.break();
  }

  /** The next one is not broken. */
  forgetBreak(): void {
    this.#broke = new AbortController();
    this.#stuckPrompt = undefined;
  }

  /** Ends it, and gives back its build. Never rejects. */
  async close(): Promise<void> {
    const session = this.#session;
    const prepared = this.#prepared;
    this.#session = null;
    this.#prepared = null;
    if (session !== null) {
      const { cleaned, log } = this.#options;
      await cleaned();
      await closeSession(session).catch((error: unknown) => log("comfy_not_closed", { error: messageOf(error) }));
    }
    prepared?.release();
  }

  /**
   * Closes one that does not end its prompt; one that is not ours can only be waited for.
   * @throws when it does not let go of the prompt
   */
  async closeBroken(session: ComfySession): Promise<void> {
    const { timings, log } = this.#options;
    if (session.server.folders === null && this.#stuckPrompt !== undefined) {
      const isFree = await stopPrompt(session, this.#stuckPrompt, timings.hangMs, log);
      if (!isFree) throw new Error("the attached ComfyUI does not let go of a prompt");
    }
    await this.close();
  }
}
