/**
 * A receiver of webhooks that keeps every request byte by byte, and behaves as its URL says, so that whoever subscribes
 * it chooses:
 *
 *     /any/path?fail=2&status=503&retry_after=1   the first 2 tries of each message are answered 503, the others 204
 *     …?delay_ms=500      answers only then           …?redirect=1   answers 307 to /redirected
 *     …?gone=1            answers 410                 …?hang=1       takes the request and never answers
 *     …?reset=1           cuts the connection         …?trickle=1    headers at once, and a body that never ends
 *     …?body=thanks       is the body of its answers
 *
 * As a process: `node test/fakes/webhook-receiver.ts [--log FILE]` prints `{"url":…}`, then each request as a line.
 */
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";

/** One request as it came; `status` is what was answered, null when nothing was. */
export interface ReceivedRequest {
  readonly at: number;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly id: string;
  readonly timestamp: string;
  readonly signature: string;
  readonly body: string;
  readonly status: number | null;
}

const BODY_BYTES_MAX = 1024 * 1024;

export class WebhookReceiver {
  readonly url: string;
  /** In the order of their arrival. */
  readonly requests: ReceivedRequest[] = [];
  readonly #server: Server;
  readonly #onRequest: (request: ReceivedRequest) => void;
  /** Tries so far, by path and message. */
  readonly #tries = new Map<string, number>();
  readonly #stopped = new AbortController();

  private constructor(server: Server, port: number, onRequest: (request: ReceivedRequest) => void) {
    this.#server = server;
    this.#onRequest = onRequest;
    this.url = `http://127.0.0.1:${port}`;
    server.on("request", (request, response) => void this.#take(request, response).catch(() => response.destroy()));
  }

  /** @param onRequest is told of each request once it is answered */
  static async start(onRequest: (request: ReceivedRequest) => void = () => {}): Promise<WebhookReceiver> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("The receiver has no port");
    return new WebhookReceiver(server, address.port, onRequest);
  }

  /** Requests to a path, oldest first. */
  at(path: string): ReceivedRequest[] {
    return this.requests.filter((request) => request.path === path);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#server.close();
    this.#server.closeAllConnections();
    await Promise.resolve();
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await wholeBody(request);
    const { pathname, searchParams } = new URL(request.url ?? "/", this.url);
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const id = headers["webhook-id"] ?? "";
    const tries = (this.#tries.get(`${pathname} ${id}`) ?? 0) + 1;
    this.#tries.set(`${pathname} ${id}`, tries);
    const asked = (name: string) => Number(searchParams.get(name) ?? 0);

    const keep = (status: number | null) => {
      const kept: ReceivedRequest = {
        at: Date.now(),
        method: request.method ?? "",
        path: pathname,
        headers,
        id,
        timestamp: headers["webhook-timestamp"] ?? "",
        signature: headers["webhook-signature"] ?? "",
        body,
        status,
      };
      this.requests.push(kept);
      this.#onRequest(kept);
    };
    if (asked("delay_ms") > 0) await delay(asked("delay_ms"), undefined, { signal: this.#stopped.signal });
    if (asked("hang") === 1) return keep(null);
    if (asked("reset") === 1) {
      keep(null);
      response.destroy();
      return;
    }
    if (asked("trickle") === 1) {
      keep(200);
      response.writeHead(200);
      while (!response.destroyed) {
        response.write("…");
        await delay(200, undefined, { signal: this.#stopped.signal });
      }
      return;
    }
    const status = this.#statusOf(asked, tries);
    const answer: Record<string, string> = {};
    if (status === 307) answer.location = `${this.url}/redirected`;
    const retryAfter = searchParams.get("retry_after");
    if (retryAfter !== null && status >= 400) answer["retry-after"] = retryAfter;
    keep(status);
    response.writeHead(status, answer).end(status === 204 ? undefined : (searchParams.get("body") ?? ""));
  }

  #statusOf(asked: (name: string) => number, tries: number): number {
    if (asked("redirect") === 1) return 307;
    if (asked("gone") === 1) return 410;
    if (tries <= asked("fail")) return asked("status") || 500;
    return asked("fail") === 0 && asked("status") > 0 ? asked("status") : 204;
  }
}

async function wholeBody(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request) {
    const bytes = Buffer.from(piece as Uint8Array);
    size += bytes.length;
    if (size > BODY_BYTES_MAX) throw new Error("the body is too large");
    pieces.push(bytes);
  }
  return Buffer.concat(pieces).toString("utf8");
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { log: { type: "string" } } });
  const say = (line: string) => {
    process.stdout.write(`${line}\n`);
    if (values.log !== undefined) appendFileSync(values.log, `${line}\n`);
  };
  const receiver = await WebhookReceiver.start((request) => say(JSON.stringify(request)));
  say(JSON.stringify({ url: receiver.url }));
  process.once("SIGTERM", () => void receiver.stop());
}
