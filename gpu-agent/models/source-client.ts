/**
 * HTTP towards sources of models: each hop is judged by name, each connection by the address it is made to, and a token
 * goes to its own origin only. The agent's other client (http-request.ts) talks to the one server it works for and needs
 * none of this.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { ModelFailure } from "./model-failure.ts";
import type { HttpSource } from "./model-source.ts";
import { AddressRefused, guardedLookup, type Reach, type ResolveAddresses } from "./public-address.ts";

/** Hugging Face needs two, Civitai one; more than a few is a loop. */
const REDIRECTS_MAX = 8;
const REDIRECTING: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const USER_AGENT = "pilotlight-agent";

export interface SourceClientOptions {
  readonly reach: Reach;
  readonly resolve: ResolveAddresses;
  /** No byte for so long, before the answer or inside it: the connection is taken for dead. */
  readonly stallMs: number;
}

export interface SourceAnswer {
  readonly status: number;
  /** Where the answer came from in the end. */
  readonly url: URL;
  readonly body: IncomingMessage;
}

export class SourceClient {
  readonly #stallMs: number;
  readonly #agents: Readonly<Record<"guarded" | "trusted", { readonly http: HttpAgent; readonly https: HttpsAgent }>>;

  constructor({ reach, resolve, stallMs }: SourceClientOptions) {
    this.#stallMs = stallMs;
    const lookup = guardedLookup(resolve, reach);
    this.#agents = {
      guarded: {
        http: new HttpAgent({ keepAlive: true, lookup }),
        https: new HttpsAgent({ keepAlive: true, lookup }),
      },
      trusted: { http: new HttpAgent({ keepAlive: true }), https: new HttpsAgent({ keepAlive: true }) },
    };
  }

  /**
   * Asks for a URL of the source and follows redirects.
   * @param headers sent on every hop; the source's own are added where they belong
   * @returns the first answer that is no redirect; its body must be read or destroyed
   * @throws ModelFailure source_refused; Error when no answer begins; the signal's reason
   */
  async get(
    source: HttpSource,
    from: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<SourceAnswer> {
    let url = from;
    for (let hops = 0; hops <= REDIRECTS_MAX; hops += 1) {
      source.judge(url);
      const body = await this.#send(source, url, headers, signal);
      const status = body.statusCode ?? 0;
      const location = body.headers.location;
      if (!REDIRECTING.has(status) || location === undefined) return { status, url, body };
      // A redirect's body says nothing, and may never end.
      body.destroy();
      const next = URL.parse(location, url.href);
      if (next === null) throw new ModelFailure("source_refused", `${url.host} redirects to what is no address.`);
      url = next;
    }
    throw new ModelFailure("source_refused", `${source.host} redirects more than ${REDIRECTS_MAX} times.`);
  }

  /** Closes connections that wait for another request. */
  close(): void {
    for (const { http, https } of Object.values(this.#agents)) {
      http.destroy();
      https.destroy();
    }
  }

  #send(
    source: HttpSource,
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const { http, https } = this.#agents[source.isTrusted(url) ? "trusted" : "guarded"];
      const isSecure = url.protocol === "https:";
      const request = (isSecure ? httpsRequest : httpRequest)(url, {
        method: "GET",
        agent: isSecure ? https : http,
        timeout: this.#stallMs,
        headers: {
          accept: "*/*",
          // Ranges and sizes are those of the file, not of a packed copy.
          "accept-encoding": "identity",
          "user-agent": USER_AGENT,
          ...headers,
          ...source.headersFor(url),
        },
      });
      let answer: IncomingMessage | null = null;
      const end = (reason: Error) => (answer ?? request).destroy(reason);
      const abort = () => end(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
      signal.addEventListener("abort", abort, { once: true });
      request.on("close", () => signal.removeEventListener("abort", abort));
      request.on("timeout", () => end(new Error(`no byte for ${Math.round(this.#stallMs / 1_000)} s`)));
      request.on("error", (error) => {
        if (signal.aborted) reject(signal.reason);
        else if (error instanceof AddressRefused) {
          reject(new ModelFailure("source_refused", `The source is refused: ${error.message}.`, { cause: error }));
        } else reject(error);
      });
      request.on("response", (message) => {
        answer = message;
        resolve(message);
      });
      request.end();
    });
  }
}
