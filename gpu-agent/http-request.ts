/**
 * HTTP by Node's own client. `fetch` takes twice as long for a small request, half a millisecond more on a machine that
 * was idle, and a job waits for several of them.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { Readable } from "node:stream";

/** Connections that were idle for so long are not used again: servers close theirs after five seconds and more. */
const IDLE_MS = 4_000;
const agents = {
  "http:": new HttpAgent({ keepAlive: true, timeout: IDLE_MS }),
  "https:": new HttpsAgent({ keepAlive: true, timeout: IDLE_MS }),
} as const;

export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | Blob;
  /** Ends the request, and the answer's body if that has begun. */
  readonly signal: AbortSignal;
}

/** An answer whose body is still to be read. */
export class HttpAnswer {
  readonly status: number;
  readonly body: IncomingMessage;

  constructor(body: IncomingMessage) {
    this.status = body.statusCode ?? 0;
    this.body = body;
  }

  get isOk(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** A header's value, several of one name joined by commas. @param name in lower case */
  header(name: string): string | null {
    const value = this.body.headers[name];
    return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
  }

  /** The whole body. @throws Error when it breaks off */
  async bytes(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.body) chunks.push(chunk as Buffer);
    const [only] = chunks;
    return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
  }

  /** The whole body as UTF-8. @throws Error when it breaks off */
  async text(): Promise<string> {
    return (await this.bytes()).toString("utf8");
  }
}

/**
 * Sends once; a redirect is an answer like any other.
 * @throws Error when no answer begins; the signal's reason when it fires first
 */
export function sendHttp(url: string, { method, headers, body, signal }: HttpRequest): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const address = new URL(url);
    const { protocol } = address;
    if (protocol !== "http:" && protocol !== "https:") throw new Error(`${protocol} is not HTTP`);
    const content = typeof body === "string" ? Buffer.from(body) : body;
    const length = content === undefined ? undefined : content instanceof Blob ? content.size : content.byteLength;
    const request = (protocol === "https:" ? httpsRequest : httpRequest)(address, {
      method,
      agent: agents[protocol],
      headers: length === undefined ? headers : { ...headers, "content-length": length },
    });
    let answer: IncomingMessage | null = null;
    // Once the answer has begun, its reader hears the reason.
    const abort = () => (answer ?? request).destroy(asError(signal.reason));
    signal.addEventListener("abort", abort, { once: true });
    request.on("close", () => signal.removeEventListener("abort", abort));
    request.on("error", (error) => reject(signal.aborted ? signal.reason : error));
    request.on("response", (message) => {
      answer = message;
      resolve(new HttpAnswer(message));
    });
    if (content instanceof Blob) {
      const stream = Readable.fromWeb(content.stream());
      stream.on("error", (error) => request.destroy(error));
      stream.pipe(request);
    } else request.end(content);
  });
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
