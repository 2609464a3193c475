/**
 * The one WebSocket to a ComfyUI process.
 *
 * ComfyUI forgets the new socket when an old one with the same client id closes after it, and the new one is then silent
 * for ever. So there is one socket and one id per process, and a new one is opened only after the old one has closed.
 * Frames are hints: they make progress visible and the end seen early. The truth is the history.
 */
import { randomUUID } from "node:crypto";
import { backoffMs, pause, settlesWithin } from "../control/backoff.ts";
import { type Log, messageOf } from "../log.ts";
import type { ComfyHttp } from "./comfy-http.ts";
import { type Frame, readFrame } from "./frames.ts";

export interface SocketTimings {
  readonly socketOpenMs: number;
  readonly retryBaseMs: number;
}

/** A server that never answers our close is not waited for longer. */
const CLOSE_MS = 5_000;
const RECONNECT_MS_MAX = 5_000;
const GIVEN_UP = "given-up";

export class ComfySocket {
  readonly clientId = randomUUID();
  readonly #http: ComfyHttp;
  readonly #timings: SocketTimings;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #socket: WebSocket | null = null;
  readonly #listeners = new Set<(frame: Frame) => void>();
  #lastFrameAt = performance.now();
  #open: Promise<void> | null = null;
  /** It is open, and registered there. */
  #isGreeted = false;

  constructor(http: ComfyHttp, timings: SocketTimings, log: Log) {
    this.#http = http;
    this.#timings = timings;
    this.#log = log;
  }

  /**
   * Frames go to the prompt that runs, and to the one that is queued behind it.
   * @returns ends that
   */
  listen(listener: (frame: Frame) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Milliseconds since the last frame of any kind, or since the socket was opened. */
  get quietMs(): number {
    return performance.now() - this.#lastFrameAt;
  }

  /**
   * Resolves once ComfyUI has greeted the socket, which is when it has registered it.
   * @throws when it does not within socketOpenMs; the socket goes on trying by itself
   */
  async ready(signal?: AbortSignal): Promise<void> {
    if (this.#isGreeted) return;
    this.#open ??= this.#connect();
    const limit = AbortSignal.timeout(this.#timings.socketOpenMs);
    const signals = signal === undefined ? [limit] : [limit, signal];
    await withSignal(this.#open, AbortSignal.any([...signals, this.#closing.signal]));
  }

  /** Closes the socket, waits until it is closed, and opens a new one. */
  reopen(): void {
    const socket = this.#socket;
    this.#lastFrameAt = performance.now();
    // When it has closed, a new one is opened.
    if (socket !== null) closeWithin(socket);
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("socket closed"));
    const socket = this.#socket;
    if (socket === null || socket.readyState === WebSocket.CLOSED) return;
    const closed = new Promise<void>((resolve) => socket.addEventListener("close", () => resolve(), { once: true }));
    socket.close();
    await settlesWithin(closed, 1_000);
  }

  /** Connects until it works. */
  async #connect(): Promise<void> {
    const { signal } = this.#closing;
    for (let tries = 1; !signal.aborted; tries += 1) {
      try {
        await this.#attempt();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (tries === 1) this.#log("comfy_socket_failed", { error: messageOf(error) });
        const bounds = { retryBaseMs: this.#timings.retryBaseMs, retryMaxMs: RECONNECT_MS_MAX };
        await pause(backoffMs(tries, Math.random(), bounds), signal).catch(() => undefined);
      }
    }
  }

  #attempt(): Promise<void> {
    return new Promise((resolve, reject) => {
      const authorization = this.#http.authorization;
      const url = this.#http.socketUrl(this.clientId);
      // Headers are an extension of Node's WebSocket, which the web's type does not know.
      const options = authorization === null ? {} : { headers: { authorization } };
      const socket = new WebSocket(url, options as unknown as string[]);
      socket.binaryType = "arraybuffer";
      this.#socket = socket;
      let greeted = false;
      const limit = setTimeout(() => closeWithin(socket), this.#timings.socketOpenMs);
      socket.addEventListener("open", () => {
        // Honoured only as the first message: previews then say which prompt they belong to.
        socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }));
      });
      socket.addEventListener("message", (event) => {
        this.#lastFrameAt = performance.now();
        if (!greeted) {
          greeted = true;
          this.#isGreeted = this.#socket === socket;
          clearTimeout(limit);
          resolve();
        }
        const frame = readFrame(event.data as string | ArrayBuffer);
        if (frame !== null) for (const listener of this.#listeners) listener(frame);
      });
      let ended = false;
      const end = () => {
        if (ended) return;
        ended = true;
        clearTimeout(limit);
        if (this.#socket === socket) {
          this.#socket = null;
          this.#isGreeted = false;
        }
        if (!greeted) reject(new Error("the socket closed before ComfyUI greeted it"));
        else if (!this.#closing.signal.aborted) this.#open = this.#connect();
      };
      socket.addEventListener("close", end);
      socket.addEventListener(GIVEN_UP, end);
      // An error is always followed by a close; without a handler it would be unhandled.
      socket.addEventListener("error", () => undefined);
    });
  }
}

/** Closes a socket. One whose close is never confirmed counts as closed after a while. */
function closeWithin(socket: WebSocket): void {
  socket.close();
  setTimeout(() => socket.dispatchEvent(new Event(GIVEN_UP)), CLOSE_MS).unref();
}

/** The promise, or the signal's reason when it fires first. */
function withSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}
