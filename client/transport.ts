/** One HTTP call of a contract route: address, headers, retries, and an answer checked against the route's schema. */
import type * as z from "zod";
import { errorOfAnswer, PilotlightError } from "#client/pilotlight-error";
import { retrying } from "#client/retry";
import type { Route } from "#contract/api/route";
import { parseExactJson, stringifyExactJson } from "#contract/exact-json";

export interface PilotlightOptions {
  /** Where the service is, such as https://pilotlight.example.workers.dev. */
  readonly baseUrl: string;
  /** An API key (`pl_…`). Without one only health and signed links work. */
  readonly token?: string | undefined;
  /** Sends the requests; the platform's own when left out. */
  readonly fetch?: typeof fetch | undefined;
  /** How long a call that may be repeated is repeated, ms. 0 turns retries off. */
  readonly retryForMs?: number | undefined;
  /** Told why before a call is repeated, so that a wait is not a silent one. */
  readonly onRetry?: ((error: PilotlightError) => void) | undefined;
  /** An answer's headers must arrive within this, ms, besides the time a call asks the server to wait. */
  readonly answerTimeoutMs?: number | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Of calls that make something. */
export interface CreateOptions extends CallOptions {
  /** A fresh one is drawn when left out. Send the same one to repeat a call of which the answer got lost. */
  readonly idempotencyKey?: string | undefined;
}

type InputOf<R extends Route, Key extends "params" | "query" | "body"> = R extends {
  readonly [K in Key]: infer Schema extends z.ZodType;
}
  ? z.input<Schema>
  : undefined;
export type AnswerOf<R extends Route> = R extends { readonly returns: infer Schema extends z.ZodType }
  ? z.output<Schema>
  : undefined;

/** A body that is not JSON. Streams cannot be sent twice, so a call with one is never repeated. */
export interface RawBody {
  readonly contentType: string;
  readonly content: Blob | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
}

export interface CallInput<R extends Route> extends CallOptions {
  readonly params?: InputOf<R, "params">;
  readonly query?: InputOf<R, "query">;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: InputOf<R, "body">;
  readonly rawBody?: RawBody;
  readonly idempotencyKey?: string | undefined;
  /**
   * Doing it twice is doing it once: lost answers may be retried. True for GET, HEAD and DELETE without saying so, and
   * for routes that take an Idempotency-Key, which is always sent.
   */
  readonly repeatable?: boolean;
  /** Ms the server was asked to hold the answer. */
  readonly heldMs?: number;
}

const RETRY_FOR_MS_DEFAULT = 60_000;
const ANSWER_TIMEOUT_MS_DEFAULT = 60_000;
/** Jobs may carry deep inputs inside their own record. */
const ANSWER_DEPTH_MAX = 96;

export class Transport {
  readonly baseUrl: string;
  readonly retryForMs: number;
  readonly #onRetry: PilotlightOptions["onRetry"];
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;
  readonly #answerTimeoutMs: number;

  constructor(options: PilotlightOptions) {
    this.baseUrl = options.baseUrl.replace(/\/+$/, "");
    this.retryForMs = options.retryForMs ?? RETRY_FOR_MS_DEFAULT;
    this.#onRetry = options.onRetry;
    this.#token = options.token;
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#answerTimeoutMs = options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS_DEFAULT;
  }

  /**
   * Calls a route that answers JSON (or nothing).
   * @throws PilotlightError; the signal's reason when it is aborted
   */
  async call<const R extends Route>(route: R, input: CallInput<R> = {}): Promise<AnswerOf<R>> {
    return this.read(route, await this.open(route, input));
  }

  /** The JSON of an answer that `open` gave, of the route's own form. @throws PilotlightError `invalid_answer` */
  async read<const R extends Route>(route: R, response: Response): Promise<AnswerOf<R>> {
    if (route.returns === undefined) {
      await response.body?.cancel();
      return undefined as AnswerOf<R>;
    }
    const parsed = route.returns.safeParse(await readJson(response));
    if (!parsed.success) throw invalidAnswer(response, parsed.error);
    return parsed.data as AnswerOf<R>;
  }

  /** Calls a route and gives its answer unread, a success for certain. */
  open<const R extends Route>(route: R, input: CallInput<R> = {}): Promise<Response> {
    const isStream = input.rawBody?.content instanceof ReadableStream;
    const takesKey = route.idempotent !== undefined || route.headers?.shape["idempotency-key"] !== undefined;
    // One key for all tries of this call.
    const key = takesKey ? { "idempotency-key": input.idempotencyKey ?? crypto.randomUUID() } : {};
    const sent = { ...input, headers: { ...key, ...input.headers } };
    const isSafe = route.method === "get" || route.method === "delete";
    const repeatable = !isStream && (input.repeatable ?? (isSafe || takesKey));
    return retrying(
      {
        forMs: this.retryForMs,
        signal: input.signal,
        onRetry: this.#onRetry,
        // What the server refused it did not do; only a lost answer is dangerous to repeat.
        isRetryable: (error) => !isStream && error.retryable && (repeatable || error.status === 429),
      },
      () => this.#once(route, sent),
    );
  }

  async #once(route: Route, input: CallInput<Route>): Promise<Response> {
    const headers = new Headers(input.headers);
    if (this.#token !== undefined) headers.set("authorization", `Bearer ${this.#token}`);
    if (!headers.has("accept")) headers.set("accept", "application/json");
    const init: RequestInit & { duplex?: "half" } = { method: route.method.toUpperCase(), headers };
    if (input.body !== undefined) {
      headers.set("content-type", "application/json");
      init.body = stringifyExactJson(input.body);
    } else if (input.rawBody !== undefined) {
      headers.set("content-type", input.rawBody.contentType);
      init.body = input.rawBody.content;
      if (input.rawBody.content instanceof ReadableStream) init.duplex = "half";
    }
    const response = await this.#fetchHeaders(this.address(route, input), init, input);
    // 304 and 206 are successes of downloads.
    if (response.ok || response.status === 304) return response;
    throw await errorOfAnswer(response);
  }

  /** Fetches; gives up when no headers arrive in time, but lets the body take as long as it needs. */
  async #fetchHeaders(url: string, init: RequestInit, input: CallInput<Route>): Promise<Response> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), this.#answerTimeoutMs + (input.heldMs ?? 0));
    const signals = input.signal === undefined ? [deadline.signal] : [deadline.signal, input.signal];
    try {
      return await this.#fetch(url, { ...init, signal: AbortSignal.any(signals) });
    } catch (cause) {
      input.signal?.throwIfAborted();
      const why = deadline.signal.aborted ? "No answer in time" : reasonOf(cause);
      throw networkError(`${why} from ${this.baseUrl}`, cause);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The full address of a call. */
  address(route: Route, input: Pick<CallInput<Route>, "params" | "query">): string {
    const params = (input.params ?? {}) as Record<string, unknown>;
    const path = route.path.replace(/\{([a-z_]+)\}/g, (_, name: string) => {
      const value = String(params[name] ?? "");
      // A dot segment would climb out of the route once the address is normalised.
      if (value === "" || value === "." || value === "..") throw new TypeError(`${route.id} needs a ${name}`);
      return encodeURIComponent(value);
    });
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(input.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    return `${this.baseUrl}${path}${query.size === 0 ? "" : `?${query}`}`;
  }
}

/** An error for a connection that broke; safe to retry where the call is. */
export function networkError(detail: string, cause: unknown): PilotlightError {
  return new PilotlightError({ code: "network_error", status: 0, detail, retryable: true, cause });
}

/** The innermost message of a failed fetch: Node wraps the useful one ("connect ECONNREFUSED …"). */
export function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause instanceof Error && cause.cause.message !== "" ? cause.cause.message : cause.message;
}

async function readJson(response: Response): Promise<unknown> {
  let text: string;
  try {
    text = await response.text();
  } catch (cause) {
    throw networkError(`The answer broke off: ${reasonOf(cause)}`, cause);
  }
  try {
    return parseExactJson(text, { depthMax: ANSWER_DEPTH_MAX });
  } catch (cause) {
    throw invalidAnswer(response, cause);
  }
}

function invalidAnswer(response: Response, cause: unknown): PilotlightError {
  return new PilotlightError({
    code: "invalid_answer",
    status: response.status,
    detail: "The server's answer is not of the form this client knows; is this a Pilotlight service of its version?",
    requestId: response.headers.get("request-id") ?? undefined,
    cause,
  });
}
