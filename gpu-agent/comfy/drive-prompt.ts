/**
 * One prompt, from its submission to its history entry.
 *
 * The socket tells of progress and of the end early; the history decides. So a socket that is silent, broken or was
 * never there costs latency, never a job.
 */
import { randomUUID } from "node:crypto";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import type { JobProgress } from "#contract/job";
import { settlesWithin } from "../control/backoff.ts";
import type { Preview } from "../control/lease-keeper.ts";
import { type Log, messageOf } from "../log.ts";
import type { Timings } from "../settings.ts";
import { ComfyRefused, ComfyUnreachable, type QueuePlace } from "./comfy-http.ts";
import type { ComfySession } from "./comfy-session.ts";
import { explainExecutionError, explainRefusal } from "./explain-errors.ts";
import type { Frame } from "./frames.ts";
import { ComfyDiedFirst, JobFailure } from "./job-failure.ts";
import { stopPrompt } from "./stop-prompt.ts";
import { jobProgress, startProgress, trackProgress } from "./track-progress.ts";

/** Base64 of a preview stays below 300 kB. */
const PREVIEW_BYTES_MAX = 225_000;
const FIRST_HISTORY_POLL_MS = 250;
/** A small output is fetched first: its way to the server is longer than the history's to us. */
const FINISHED_WAIT_MS = 20;
/** Longest doubling of the pace at which a silent socket is opened anew. */
const SILENT_DOUBLINGS_MAX = 4;

export interface DriveOptions {
  readonly session: ComfySession;
  readonly graph: JsonObject;
  readonly timings: Timings;
  /** How long the prompt may execute, ms, counted from its start. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Makes ComfyUI's words fit for callers. */
  readonly redacted: (text: string) => string;
  /** Called when ComfyUI starts executing. */
  readonly onStart?: () => void;
  readonly onProgress?: (progress: JobProgress) => void;
  readonly onPreview?: (preview: Preview) => void;
  /**
   * Called when the socket says that every node has run, or that the prompt has ended, however it did, with what its nodes
   * showed: a hint, and not always all of it. Called more than once. What the prompt really made, the result says: the
   * history is asked for it when this resolves, or a moment later. Never rejects.
   */
  readonly onFinished?: (shown: JsonObject) => Promise<void>;
  /** Called once, when the prompt no longer runs: sooner than its result is known. */
  readonly onEnded?: () => void;
  /**
   * Resolves when the prompt before it no longer runs. Until then this one waits in ComfyUI's queue, or here where a
   * ComfyUI might interrupt it in place of the other. Never rejects.
   */
  readonly turn?: Promise<unknown>;
  /** It waits for its turn here: nothing of it may run before. */
  readonly waitsHere?: boolean;
  readonly promptId?: string;
}

export interface PromptResult {
  readonly promptId: string;
  /** Node id → what the node showed: files and texts under any key. */
  readonly outputs: JsonObject;
  readonly meta: JsonObject;
}

/**
 * Runs a prompt.
 * @throws JobFailure when it fails, ComfyDiedFirst when it did not even begin; the signal's reason when that fires, after the prompt has been stopped
 */
export async function drivePrompt(options: DriveOptions): Promise<PromptResult> {
  const prompt = new DrivenPrompt(options);
  return prompt.run();
}

class DrivenPrompt {
  readonly #options: DriveOptions;
  readonly #session: ComfySession;
  readonly #promptId: string;
  /** Fires with the prompt's own signal, and when ComfyUI dies. */
  readonly #either = new AbortController();
  #progress;
  #place: QueuePlace = "pending";
  #startedAt: number | null = null;
  #submittedAt = 0;
  #lastMoveAt = 0;
  #lastQueueAt = 0;
  #absences = 0;
  #unreachableSince: number | null = null;
  #reopened = 0;
  #finished = false;
  #hasEnded = false;
  /** ComfyUI may have the prompt. */
  #mayHaveArrived = false;
  #silence: () => void = () => undefined;
  /** Node id → what it showed. */
  readonly #shown: JsonObject = Object.create(null) as JsonObject;
  #wake: () => void = () => undefined;

  constructor(options: DriveOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#promptId = options.promptId ?? randomUUID();
    this.#progress = startProgress(options.graph);
  }

  async run(): Promise<PromptResult> {
    const { signal, log, timings } = this.#options;
    const { socket, server } = this.#session;
    const wake = () => {
      this.#either.abort(signal.aborted ? signal.reason : server.died.reason);
      this.#wake();
    };
    if (signal.aborted || server.died.aborted) wake();
    signal.addEventListener("abort", wake, { once: true });
    server.died.addEventListener("abort", wake, { once: true });
    try {
      signal.throwIfAborted();
      await socket.ready(this.#either.signal).catch((error: unknown) => {
        signal.throwIfAborted();
        this.#refuseDead();
        log("comfy_socket_late", { error: messageOf(error) });
      });
      this.#silence = socket.listen((frame) => this.#hear(frame));
      // An interrupt that is not exact may hit what comes next: nothing does.
      if (!this.#session.jobsApi || this.#options.waitsHere === true) await this.#turn();
      this.#begin();
      await this.#submit();
      await this.#turn();
      this.#begin();
      return await this.#follow();
    } catch (error) {
      if (signal.aborted && !server.died.aborted) {
        const stopped = await stopPrompt(this.#session, this.#promptId, timings.interruptMs, log);
        if (!stopped) throw new PromptStuck();
      }
      throw error;
    } finally {
      this.#silence();
      signal.removeEventListener("abort", wake);
      server.died.removeEventListener("abort", wake);
    }
  }

  /** Until it is this prompt's turn: nothing can be said of it before, but that it waits. */
  async #turn(): Promise<void> {
    const { turn, signal } = this.#options;
    if (turn === undefined) return;
    let isOver = false;
    const over = turn.then(() => {
      isOver = true;
      this.#wake();
    });
    while (!isOver && this.#startedAt === null) {
      signal.throwIfAborted();
      this.#refuseDead();
      await Promise.race([over, this.#sleep(FIRST_HISTORY_POLL_MS)]);
    }
  }

  /** From now on ComfyUI has to show that it works on the prompt. */
  #begin(): void {
    this.#submittedAt = performance.now();
    this.#lastMoveAt = this.#submittedAt;
    this.#lastQueueAt = this.#submittedAt;
  }

  /** Submits once: after an answer that was lost, the queue and the history say whether it arrived. */
  async #submit(): Promise<void> {
    const { graph, signal, timings, redacted, log } = this.#options;
    const { http, socket, jobsApi } = this.#session;
    const body: JsonObject = {
      prompt: graph,
      prompt_id: this.#promptId,
      client_id: socket.clientId,
      // Never null: older servers accept that and their worker dies of it.
      extra_data: jobsApi ? { preview_method: "auto" } : {},
    };
    for (;;) {
      this.#refuseDead();
      const mightBefore = this.#mayHaveArrived;
      this.#mayHaveArrived = true;
      try {
        const { nodeErrors } = await http.submit(body, this.#either.signal);
        if (Object.keys(nodeErrors).length === 0) return;
        // Accepted in part: what would run is not what was asked for.
        await stopPrompt(this.#session, this.#promptId, timings.interruptMs, log);
        throw explainRefusal({ node_errors: nodeErrors }, redacted);
      } catch (error) {
        if (error instanceof ComfyUnreachable && !error.mayHaveArrived) this.#mayHaveArrived = mightBefore;
        if (signal.aborted) throw error;
        this.#refuseDead();
        if (error instanceof ComfyRefused) {
          if (error.status === 400) throw explainRefusal(error.body, redacted);
          if (error.status === 413) {
            throw new JobFailure("invalid_workflow", "The filled workflow is larger than ComfyUI takes.");
          }
          throw new JobFailure("replica_failed", `ComfyUI answered ${error.status} to the workflow.`);
        }
        if (!(error instanceof ComfyUnreachable)) throw error;
        log("comfy_submit_unanswered", { promptId: this.#promptId, error: messageOf(error) });
        if (await this.#arrived()) return;
      }
    }
  }

  /** After a lost answer. @throws JobFailure when ComfyUI stays unreachable */
  async #arrived(): Promise<boolean> {
    const { signal } = this.#options;
    for (;;) {
      this.#refuseDead();
      try {
        const place = await this.#session.http.queuePlace(this.#promptId, signal);
        this.#unreachableSince = null;
        return place !== "absent" || (await this.#session.http.history(this.#promptId, signal)) !== null;
      } catch (error) {
        this.#noteUnreachable(error);
        await this.#sleep(FIRST_HISTORY_POLL_MS);
        signal.throwIfAborted();
      }
    }
  }

  async #follow(): Promise<PromptResult> {
    const { signal, timings } = this.#options;
    const { http } = this.#session;
    for (let polls = 0; ; polls += 1) {
      if (!this.#finished) await this.#sleep(Math.min(timings.historyPollMs, FIRST_HISTORY_POLL_MS * 2 ** polls));
      this.#finished = false;
      signal.throwIfAborted();
      this.#refuseDead();
      try {
        const queueDue =
          performance.now() - this.#lastQueueAt >= timings.queuePollMs && this.#quietMs() > timings.queuePollMs / 2;
        if (queueDue) await this.#lookAtQueue();
        const entry = await http.history(this.#promptId, this.#either.signal);
        this.#unreachableSince = null;
        if (entry !== null) return this.#result(entry);
        // Gone from the queue before the history was asked, twice, and still no entry: it is not coming back.
        if (this.#absences >= 2) {
          throw new JobFailure("replica_failed", "ComfyUI lost the job: it was restarted, or its queue was cleared.");
        }
      } catch (error) {
        if (signal.aborted) throw error;
        this.#refuseDead();
        this.#noteUnreachable(error);
      }
      await this.#watch();
    }
  }

  async #lookAtQueue(): Promise<void> {
    const { http, server } = this.#session;
    const place = await http.queuePlace(this.#promptId, this.#either.signal);
    this.#lastQueueAt = performance.now();
    this.#place = place;
    if (place === "running") this.#start();
    // Others' prompts may be before ours; in a ComfyUI of our own there are none.
    if (place === "pending" && server.folders === null) this.#lastMoveAt = performance.now();
    if (place === "absent") {
      this.#absences += 1;
      // Ask again at once instead of a pace later.
      this.#lastQueueAt = Number.NEGATIVE_INFINITY;
    } else this.#absences = 0;
  }

  /** Time limits, and the two ways in which nothing comes any more. */
  async #watch(): Promise<void> {
    const { timeoutMs, timings, log } = this.#options;
    const now = performance.now();
    if (this.#startedAt !== null && now - this.#startedAt > timeoutMs) {
      throw await this.#stopped(
        new JobFailure("execution_timeout", `The workflow ran longer than its ${Math.round(timeoutMs / 1_000)} s.`),
      );
    }
    if (this.#startedAt === null && now - this.#submittedAt > Math.max(timeoutMs, timings.hangMs)) {
      throw await this.#stopped(
        new JobFailure("replica_failed", "ComfyUI never started the job: others keep it busy."),
      );
    }
    if (this.#place === "absent" || this.#quietMs() < timings.socketSilentMs) return;

    const doublings = Math.min(this.#reopened, SILENT_DOUBLINGS_MAX);
    if (this.#session.socket.quietMs > timings.socketSilentMs * 2 ** doublings) {
      this.#reopened += 1;
      log("comfy_socket_silent", { promptId: this.#promptId, ms: Math.round(this.#quietMs()) });
      this.#session.socket.reopen();
    }
    if (this.#quietMs() < timings.hangMs) return;
    if ((await this.#session.server.isBusy()) === true) {
      // One long computation is not a hang; the job's own time limit bounds it.
      this.#lastMoveAt = performance.now();
      return;
    }
    log("comfy_hangs", { promptId: this.#promptId, ms: Math.round(this.#quietMs()) });
    await stopPrompt(this.#session, this.#promptId, timings.interruptMs, log);
    throw new JobFailure("replica_failed", `ComfyUI did nothing for ${Math.round(timings.hangMs / 1_000)} s.`, {
      comfy: "restart",
    });
  }

  /** Stops the prompt; if it cannot be stopped, ComfyUI has to go. */
  async #stopped(failure: JobFailure): Promise<JobFailure> {
    const { timings, log } = this.#options;
    if (await stopPrompt(this.#session, this.#promptId, timings.interruptMs, log)) return failure;
    const { code, message } = failure.jobError;
    return new JobFailure(code, message, { comfy: "restart" });
  }

  #hear(frame: Frame): void {
    if (frame.promptId !== null && frame.promptId !== this.#promptId) return;
    if (frame.kind === "preview") {
      this.#lastMoveAt = performance.now();
      if (this.#startedAt === null || this.#hasEnded || frame.bytes.byteLength > PREVIEW_BYTES_MAX) return;
      // Where nobody wants to see it, it is not encoded either.
      this.#options.onPreview?.({
        content_type: frame.contentType,
        data: Buffer.from(frame.bytes).toString("base64"),
      });
      return;
    }
    if (frame.promptId === null) return;
    this.#lastMoveAt = performance.now();
    if (frame.type === "execution_start" || frame.type === "executing") this.#start();
    // The history is written before this frame is sent.
    if (frame.type === "executing" && frame.data.node === null) {
      this.#end();
      void this.#finish();
      return;
    }
    if (frame.type === "executed" && typeof frame.data.node === "string" && isJsonObject(frame.data.output)) {
      this.#shown[frame.data.node] = frame.data.output;
    }
    const progress = trackProgress(this.#progress, frame.type, frame.data);
    if (progress !== this.#progress) {
      this.#progress = progress;
      // While a node is still to come, a file may be written again.
      if (progress.done.size === progress.classes.size) void this.#options.onFinished?.(this.#shown);
      this.#options.onProgress?.(jobProgress(progress));
    }
  }

  /** The history is asked for. */
  async #finish(): Promise<void> {
    const ready = this.#options.onFinished?.(this.#shown);
    if (ready !== undefined) await settlesWithin(ready, FINISHED_WAIT_MS);
    this.#finished = true;
    this.#wake();
  }

  #start(): void {
    if (this.#startedAt !== null) return;
    this.#startedAt = performance.now();
    this.#place = "running";
    this.#wake();
    this.#options.onStart?.();
  }

  /** Milliseconds since the prompt last showed that it lives. */
  #quietMs(): number {
    return performance.now() - this.#lastMoveAt;
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#options.onEnded?.();
  }

  #result(entry: JsonObject): PromptResult {
    this.#start();
    const status = isJsonObject(entry.status) ? entry.status : {};
    if (status.status_str === "success") {
      return {
        promptId: this.#promptId,
        outputs: isJsonObject(entry.outputs) ? entry.outputs : {},
        meta: isJsonObject(entry.meta) ? entry.meta : {},
      };
    }
    const messages = Array.isArray(status.messages) ? status.messages : [];
    for (const message of messages.toReversed()) {
      if (!Array.isArray(message) || !isJsonObject(message[1])) continue;
      if (message[0] === "execution_error") throw explainExecutionError(message[1], this.#options.redacted);
      if (message[0] === "execution_interrupted") {
        throw new JobFailure("replica_failed", "Somebody else interrupted the job in ComfyUI.");
      }
    }
    throw new JobFailure("execution_error", "ComfyUI says that the workflow failed, and not why.");
  }

  #refuseDead(): void {
    const { died } = this.#session.server;
    if (!died.aborted) return;
    const words = `ComfyUI died: ${this.#options.redacted(messageOf(died.reason))}`;
    if (!this.#mayHaveArrived) throw new ComfyDiedFirst(words);
    throw new JobFailure("replica_failed", words, { comfy: "restart" });
  }

  /** @throws what is not about reaching ComfyUI; JobFailure when it has been out of reach too long */
  #noteUnreachable(error: unknown): void {
    if (error instanceof ComfyRefused && error.status >= 500) return;
    if (!(error instanceof ComfyUnreachable)) throw error;
    this.#unreachableSince ??= performance.now();
    // A process of our own that has not ended is only busy: Python answers nobody while it unpickles a model.
    const { unreachableMs, hangMs } = this.#options.timings;
    const patienceMs = this.#session.server.folders === null ? unreachableMs : hangMs;
    if (performance.now() - this.#unreachableSince < patienceMs) return;
    throw new JobFailure("replica_failed", "ComfyUI does not answer.", { comfy: "restart", cause: error });
  }

  /** Waits, but not beyond the next thing that happens. */
  #sleep(ms: number): Promise<void> {
    if (this.#options.signal.aborted || this.#session.server.died.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      const wake = done;
      this.#wake = wake;
      function done() {
        clearTimeout(timer);
        resolve();
      }
    });
  }
}

/** The prompt was to be stopped, and goes on: only ending ComfyUI would end it. */
export class PromptStuck extends Error {}
