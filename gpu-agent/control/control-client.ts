/** HTTP to the server's agent API, and the beginning of its sockets: one request with a time limit, and the same request until it is answered. */
import type * as z from "zod";
import { AGENT_PROTOCOL, PROTOCOL_HEADER } from "#contract/agent";
import { ProblemBody } from "#contract/problems";
import { type HttpAnswer, sendHttp } from "../http-request.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../log.ts";
import type { Timings } from "../settings.ts";
import { backoffMs, pause } from "./backoff.ts";
import { ControlError, problemError, refusedError } from "./control-error.ts";

/** An answer to a poll or a call is a lease at most; this is far above it. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;

export interface ControlRequest {
  readonly method: "GET" | "POST" | "PUT";
  /** Below /agent/v1/, without a leading slash. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object is sent as JSON, bytes and blobs as they are. */
  readonly json?: unknown;
  readonly bytes?: Uint8Array<ArrayBuffer> | Blob;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Instead of the session: the join token. */
  readonly bearer?: string;
}

export interface ControlClientOptions {
  readonly url: string;
  /** The session of the moment; it may change while a request is being retried. */
  readonly session: () => string | null;
  readonly log: Log;
  readonly timings: Timings;
}

export class ControlClient {
  readonly #options: ControlClientOptions;
  readonly #base: string;
  readonly timings: Timings;

  constructor(options: ControlClientOptions) {
    this.#options = options;
    this.#base = `${options.url.replace(/\/+$/, "")}/agent/v1/`;
    this.timings = options.timings;
  }

  /**
   * Sends once.
   * @returns an answer of 2xx whose body is not read yet
   * @throws ControlError for any other answer and for none; the signal's reason when it fires
   */
  async send(request: ControlRequest): Promise<HttpAnswer> {
    const limit = AbortSignal.timeout(request.timeoutMs ?? this.timings.callMs);
    return this.#send(request, request.signal === undefined ? limit : AbortSignal.any([request.signal, limit]));
  }

  /** Begins to open a WebSocket, with the headers of every request. @param path as of a request */
  webSocket(path: string): WebSocket {
    const headers = this.#headers({}, this.#options.session());
    const url = this.#base.replace(/^http/, "ws") + path;
    // Headers are an extension of Node's WebSocket, which the web's type does not know.
    return new WebSocket(url, { headers } as unknown as string[]);
  }

  #headers(more: ControlRequest["headers"], bearer: string | null): Record<string, string> {
    return {
      ...more,
      [PROTOCOL_HEADER]: String(AGENT_PROTOCOL),
      ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
    };
  }

  async #send(request: ControlRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const headers = this.#headers(request.headers, request.bearer ?? this.#options.session());
    if (request.json !== undefined) headers["content-type"] = "application/json";
    const body = request.json === undefined ? request.bytes : JSON.stringify(request.json);
    let answer: HttpAnswer;
    try {
      answer = await sendHttp(this.#base + request.path, {
        method: request.method,
        headers,
        signal,
        ...(body === undefined ? {} : { body }),
      });
    } catch (error) {
      request.signal?.throwIfAborted();
      throw new ControlError(`no answer: ${messageOf(error)}`, { retryable: true, cause: error });
    }
    if (answer.isOk) return answer;
    throw await refusedError(answer);
  }

  /** Sends once. What the answer says does not matter; it may be empty. @throws as send */
  async done(request: ControlRequest): Promise<void> {
    const answer = await this.send(request);
    // Read to its end, so that the connection can be used again.
    await answer.bytes().catch(() => undefined);
  }

  /** Sends once and reads the answer's JSON. @throws as send; an answer that does not fit the schema is retryable */
  async json<Schema extends z.ZodType>(schema: Schema, request: ControlRequest): Promise<z.infer<Schema>> {
    const answer = await this.send(request);
    let text: string;
    try {
      text = await answer.text();
    } catch (error) {
      request.signal?.throwIfAborted();
      throw new ControlError(`answer cut off: ${messageOf(error)}`, { retryable: true, cause: error });
    }
    // 204: the server has nothing to say beyond "done".
    return parseAnswer(schema, text === "" ? "null" : text);
  }

  /**
   * A poll: 200 at once, newlines while it waits, one line of JSON at the end.
   * @throws ControlError also when no byte arrives for pollStallMs, because the connection is dead then
   */
  async poll<Schema extends z.ZodType>(schema: Schema, request: ControlRequest): Promise<z.infer<Schema>> {
    const stall = new AbortController();
    const limitMs = this.timings.pollStallMs;
    const startTimer = () => setTimeout(() => stall.abort(new Error(`no byte for ${limitMs} ms`)), limitMs);
    let timer = startTimer();
    try {
      const signal = request.signal === undefined ? stall.signal : AbortSignal.any([request.signal, stall.signal]);
      const answer = await this.#send(request, signal);
      const decoder = new TextDecoder("utf-8", { fatal: true });
      let text = "";
      for await (const chunk of answer.body) {
        clearTimeout(timer);
        timer = startTimer();
        text = (text + decoder.decode(chunk as Buffer, { stream: true })).trimStart();
        if (text.length > ANSWER_BYTES_MAX) throw new Error("answer too large");
      }
      return parseAnswer(schema, text);
    } catch (error) {
      if (error instanceof ControlError) throw error;
      request.signal?.throwIfAborted();
      throw new ControlError(`poll broken: ${messageOf(error)}`, { retryable: true, cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Tries until it works: for ever while the trouble is the network's or passes by itself.
   * @param what the name of the try, for the log
   * @param isFinal errors that the same request would meet again, although they pass by other means
   * @throws ControlError that is not retryable; the signal's reason when it fires
   */
  async persist<T>(
    what: string,
    attempt: () => Promise<T>,
    signal?: AbortSignal,
    isFinal: (error: ControlError) => boolean = () => false,
  ): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      signal?.throwIfAborted();
      try {
        const result = await attempt();
        if (tries > 1) this.#options.log("server_answers_again", { what, tries });
        return result;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ControlError) || !error.retryable || isFinal(error)) throw error;
        const waitMs = backoffMs(tries, Math.random(), this.timings, error.retryAfterMs);
        // The first failures one by one, a long outage only now and then.
        if (tries <= 3 || tries % 20 === 0) {
          this.#options.log("server_call_failed", { what, tries, waitMs, error: messageOf(error) });
        }
        await pause(waitMs, signal);
      }
    }
  }
}

function parseAnswer<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ControlError("the answer is not JSON", { retryable: true, cause: error });
  }
  if (typeof value === "object" && value !== null && "problem" in value) {
    const problem = ProblemBody.safeParse(value.problem);
    if (problem.success) throw problemError(problem.data);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new ControlError(`the answer does not fit at ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`, {
    retryable: true,
  });
}
