/**
 * ComfyUI's HTTP API, both generations of it: one method per call, each with a time limit.
 * JSON is read and written exactly: seeds go up to 2^64-1, and Python writes bare NaN.
 */
import { randomUUID } from "node:crypto";
import { isJsonObject, type Json, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { type HttpAnswer, sendHttp } from "../http-request.ts";
import { messageOf } from "../log.ts";
import { isCode } from "../state-directory.ts";

/** A graph of 10,000 nodes and its history fit many times over. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;
const DEPTH_MAX = 512;
/** ComfyUI is on this machine or beside it. */
const SLOWEST_BYTES_PER_MS = 1_000;

/** ComfyUI did not answer, or answered with what it never should. */
export class ComfyUnreachable extends Error {
  /** False: nobody listened, so that nothing of the request was sent. */
  get mayHaveArrived(): boolean {
    return !isCode(this.cause, "ECONNREFUSED");
  }
}

/** ComfyUI answered, and said no. */
export class ComfyRefused extends Error {
  readonly status: number;
  readonly body: Json;
  constructor(status: number, body: Json, path: string) {
    super(`ComfyUI answered ${status} to ${path}`);
    this.name = "ComfyRefused";
    this.status = status;
    this.body = body;
  }
}

export interface FileReference {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** Where a prompt stands in ComfyUI's queue. */
export type QueuePlace = "running" | "pending" | "absent";

export class ComfyHttp {
  readonly #base: string;
  readonly #authorization: string | null;
  readonly #timeoutMs: number;

  /** @param url may carry a path and credentials */
  constructor(url: string, timeoutMs: number) {
    const parsed = new URL(url);
    this.#authorization =
      parsed.username === ""
        ? null
        : `Basic ${btoa(`${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`)}`;
    parsed.username = "";
    parsed.password = "";
    this.#base = parsed.href.replace(/\/+$/, "");
    this.#timeoutMs = timeoutMs;
  }

  /** The WebSocket's address for a client id. */
  socketUrl(clientId: string): string {
    return `${this.#base.replace(/^http/, "ws")}/ws?clientId=${encodeURIComponent(clientId)}`;
  }

  get authorization(): string | null {
    return this.#authorization;
  }

  /** `version` is null where the server does not tell it. */
  async systemStats(signal?: AbortSignal): Promise<{ version: string | null; argv: string[] }> {
    const stats = await this.#json("GET", "/system_stats", { signal });
    const system = isJsonObject(stats) && isJsonObject(stats.system) ? stats.system : {};
    const version = system.comfyui_version;
    const argv = Array.isArray(system.argv) ? system.argv.map(String) : [];
    return { version: typeof version === "string" ? version : null, argv };
  }

  /** Newer servers have it, and with it a cancel that cannot hit another prompt. */
  async hasJobsApi(signal?: AbortSignal): Promise<boolean> {
    try {
      const answer = await this.#json("GET", "/api/jobs?limit=1", { signal });
      return isJsonObject(answer) && Array.isArray(answer.jobs);
    } catch (error) {
      if (error instanceof ComfyRefused) return false;
      throw error;
    }
  }

  /** How the server describes a node class, or null when it has none of that name. */
  async classInfo(name: string, signal?: AbortSignal): Promise<JsonObject | null> {
    const answer = await this.#json("GET", `/object_info/${encodeURIComponent(name)}`, { signal });
    const info = isJsonObject(answer) && Object.hasOwn(answer, name) ? answer[name] : undefined;
    return isJsonObject(info) ? info : null;
  }

  /** @throws ComfyRefused with the validation errors in its body */
  async submit(body: JsonObject, signal?: AbortSignal): Promise<{ nodeErrors: JsonObject }> {
    const answer = await this.#json("POST", "/prompt", { json: body, signal });
    const errors = isJsonObject(answer) ? answer.node_errors : null;
    return { nodeErrors: isJsonObject(errors) ? errors : {} };
  }

  /** The prompt's entry, or null while it has not ended (or was never there). */
  async history(promptId: string, signal?: AbortSignal): Promise<JsonObject | null> {
    const answer = await this.#json("GET", `/history/${encodeURIComponent(promptId)}`, { signal });
    const entry = isJsonObject(answer) ? answer[promptId] : undefined;
    return isJsonObject(entry) ? entry : null;
  }

  async deleteHistory(promptId: string, signal?: AbortSignal): Promise<void> {
    await this.#json("POST", "/history", { json: { delete: [promptId] }, signal });
  }

  async clearHistory(signal?: AbortSignal): Promise<void> {
    await this.#json("POST", "/history", { json: { clear: true }, signal });
  }

  /** Drops every cached result and unloads the models: done when the worker is idle. */
  async freeMemory(signal?: AbortSignal): Promise<void> {
    await this.#json("POST", "/free", { json: { unload_models: true, free_memory: true }, signal });
  }

  async queuePlace(promptId: string, signal?: AbortSignal): Promise<QueuePlace> {
    const queue = await this.#json("GET", "/queue", { signal });
    const has = (list: Json | undefined): boolean =>
      Array.isArray(list) && list.some((item) => Array.isArray(item) && item[1] === promptId);
    if (!isJsonObject(queue) || !Array.isArray(queue.queue_running)) {
      throw new ComfyUnreachable("the answer to /queue has no queue");
    }
    return has(queue.queue_running) ? "running" : has(queue.queue_pending) ? "pending" : "absent";
  }

  async deletePending(promptId: string): Promise<void> {
    await this.#json("POST", "/queue", { json: { delete: [promptId] } });
  }

  /** Older servers check and set in two steps, so ask the queue first. */
  async interrupt(promptId: string): Promise<void> {
    await this.#json("POST", "/interrupt", { json: { prompt_id: promptId } });
  }

  async cancelJob(promptId: string): Promise<void> {
    await this.#json("POST", `/api/jobs/${encodeURIComponent(promptId)}/cancel`, { json: {} });
  }

  /** Its last few hundred lines of log, which are for people and not part of the protocol. */
  async logs(signal?: AbortSignal): Promise<string> {
    const answer = await this.#json("GET", "/internal/logs", { signal });
    return typeof answer === "string" ? answer : "";
  }

  /** @returns the bytes as a stream without a time limit; @throws ComfyRefused 404 when the file is not there */
  async view(file: FileReference, signal?: AbortSignal): Promise<HttpAnswer> {
    const query = new URLSearchParams({ filename: file.filename, subfolder: file.subfolder, type: file.type });
    return this.#send("GET", `/view?${query}`, { signal, isStream: true });
  }

  /** @returns the name to put into the graph: ComfyUI may have changed it */
  async uploadInput(content: Blob, filename: string, subfolder: string, signal?: AbortSignal): Promise<string> {
    const form = multipart({ type: "input", subfolder }, { name: "image", filename, content });
    const timeoutMs = this.#timeoutMs + Math.ceil(content.size / SLOWEST_BYTES_PER_MS);
    const answer = await this.#json("POST", "/upload/image", { form, signal, timeoutMs });
    const name = isJsonObject(answer) ? answer.name : undefined;
    const folder = isJsonObject(answer) ? answer.subfolder : undefined;
    if (typeof name !== "string") throw new ComfyUnreachable("the answer to an upload has no name");
    return typeof folder === "string" && folder !== "" ? `${folder}/${name}` : name;
  }

  async #json(method: string, path: string, options: RequestOptions): Promise<Json> {
    const answer = await this.#send(method, path, options);
    try {
      return parseBody(await answer.text());
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new ComfyUnreachable(`${path}: ${messageOf(error)}`);
    }
  }

  async #send(method: string, path: string, options: RequestOptions): Promise<HttpAnswer> {
    const { json, form, signal } = options;
    const limitMs = options.timeoutMs ?? this.#timeoutMs;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error(`no answer within ${limitMs} ms`)), limitMs);
    timer.unref();
    const content =
      form ?? (json === undefined ? undefined : { type: "application/json", body: stringifyExactJson(json) });
    let answer: HttpAnswer;
    try {
      answer = await sendHttp(this.#base + path, {
        method,
        signal: signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
        headers: {
          ...(this.#authorization === null ? {} : { authorization: this.#authorization }),
          ...(content === undefined ? {} : { "content-type": content.type }),
        },
        ...(content === undefined ? {} : { body: content.body }),
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw new ComfyUnreachable(`${path}: ${messageOf(error)}`, { cause: error });
    } finally {
      // A stream's reader watches over the rest; everything else has to arrive as a whole in time.
      if (options.isStream === true) clearTimeout(timer);
    }
    if (answer.isOk) return answer;
    const text = await answer.text().catch(() => "");
    let body: Json = text.slice(0, 2_000);
    try {
      body = parseBody(text);
    } catch {
      // Not JSON: the text itself is all there is to show.
    }
    throw new ComfyRefused(answer.status, body, path);
  }
}

interface RequestOptions {
  readonly json?: JsonObject;
  /** A body that is written already, with its content type. */
  readonly form?: { readonly type: string; readonly body: Blob };
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  /** The limit is for the beginning of the answer alone: its body may be of any size. */
  readonly isStream?: boolean;
}

/** A form with one file, which stays where it is until it is sent. */
function multipart(
  fields: Readonly<Record<string, string>>,
  file: { readonly name: string; readonly filename: string; readonly content: Blob },
): { type: string; body: Blob } {
  const boundary = `pilotlight-${randomUUID()}`;
  const quoted = (text: string) => text.replaceAll('"', "%22").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  const head = (rest: string) => `--${boundary}\r\ncontent-disposition: form-data; ${rest}\r\n`;
  const parts = Object.entries(fields).map(([name, value]) => `${head(`name="${name}"`)}\r\n${value}\r\n`);
  const opening = `${head(`name="${file.name}"; filename="${quoted(file.filename)}"`)}content-type: application/octet-stream\r\n\r\n`;
  return {
    type: `multipart/form-data; boundary=${boundary}`,
    body: new Blob([...parts, opening, file.content, `\r\n--${boundary}--\r\n`]),
  };
}

/** Many successes have an empty body. */
function parseBody(text: string): Json {
  if (text.length > ANSWER_BYTES_MAX) throw new Error("answer too large");
  return text.trim() === "" ? null : parseExactJson(text, { depthMax: DEPTH_MAX, pythonNumbers: true });
}
