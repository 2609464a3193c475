/** ComfyUI servers that somebody else runs: reached over HTTP alone, never started, stopped or cleaned up behind. */
import { pause } from "../control/backoff.ts";
import { messageOf } from "../log.ts";
import type { Timings } from "../settings.ts";
import { ComfyHttp } from "./comfy-http.ts";
import { type ComfyHost, type ComfyServer, StartFailed, type StartOptions } from "./comfy-server.ts";

const ANSWER_POLL_MS = 500;

export class AttachHost implements ComfyHost {
  readonly #urls: readonly string[];
  readonly #timings: Timings;
  #version: string | null = null;

  /** @param urls one per slot */
  constructor(urls: readonly string[], timings: Timings) {
    this.#urls = urls;
    this.#timings = timings;
  }

  get description(): string {
    return this.#version === null ? "attached" : `attached ${this.#version}`;
  }

  async start(options: StartOptions): Promise<ComfyServer> {
    const url = this.#urls[options.slot];
    if (url === undefined) throw new StartFailed(`there is no ComfyUI for slot ${options.slot}`);
    options.onPhase("booting");
    const http = new ComfyHttp(url, this.#timings.comfyCallMs);
    const deadline = performance.now() + this.#timings.bootMs;
    for (;;) {
      try {
        this.#version = (await http.systemStats(options.signal)).version;
        options.log("comfy_ready", { slot: options.slot, version: this.#version });
        return server(url);
      } catch (error) {
        options.signal.throwIfAborted();
        if (performance.now() >= deadline) throw new StartFailed(`ComfyUI cannot be reached: ${messageOf(error)}`);
        await pause(ANSWER_POLL_MS, options.signal);
      }
    }
  }
}

function server(url: string): ComfyServer {
  return {
    url,
    folders: null,
    died: new AbortController().signal,
    isBusy: () => Promise.resolve(null),
    stop: () => Promise.resolve(),
  };
}
