/** A ComfyUI that answers, whoever started it. */
import type { Log } from "../log.ts";

export interface ComfyFolders {
  readonly input: string;
  readonly output: string;
  readonly temp: string;
}

export interface ComfyServer {
  readonly url: string;
  /** Where its files are on this machine's disk; null when only its HTTP API can be reached. */
  readonly folders: ComfyFolders | null;
  /** What it writes, where that is a file of this machine. */
  readonly logFile?: string;
  /** Fires when the process has ended or can do no more; the reason is an Error with its last words. */
  readonly died: AbortSignal;
  /** Whether the process computes (GPU or CPU) right now; null when nobody can tell. */
  isBusy(): Promise<boolean | null>;
  /** Ends the process, if this agent started it. */
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly slot: number;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** The next phase of a start begins. */
  readonly onPhase: (phase: "booting") => void;
  /** A line that ComfyUI wrote before it answered; not redacted. What it writes later may hold what callers sent. */
  readonly onLine?: (line: string) => void;
}

/** A way to get a ComfyUI for a slot: start one, or use one that runs. */
export interface ComfyHost {
  /** What drives the jobs, for people: "spawned", "attached" or "stand-in", with its version once it is known. */
  readonly description: string;
  /**
   * Resolves when ComfyUI answers.
   * @throws StartFailed with the last lines it wrote
   */
  start(options: StartOptions): Promise<ComfyServer>;
}

export class StartFailed extends Error {}
