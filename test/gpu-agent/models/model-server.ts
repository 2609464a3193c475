/** A server of model files that can be told to be slow, to break off, to know no ranges, to change its files. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";

export interface SeenRequest {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** Of the range asked for, the end exclusive; null without one. */
  readonly range: readonly [start: number, end: number] | null;
  /** Requests for this path before this one. */
  readonly nth: number;
}

/** How one request is answered; what is left out is as a good server does it. */
export interface Behaviour {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent instead of the file's own. */
  readonly body?: Buffer;
  /** Ends the connection after so many bytes of the body. */
  readonly dropAfter?: number;
  /** Waits for the promise after so many bytes of the body. */
  readonly hold?: { readonly after: number; readonly until: Promise<void> };
}

export interface ServedFile {
  bytes: Buffer;
  /** Null: none is sent. */
  etag?: string | null;
  ranges?: boolean;
  behave?: (request: SeenRequest) => Behaviour | undefined | Promise<Behaviour | undefined>;
}

export class ModelServer {
  readonly files = new Map<string, ServedFile>();
  readonly seen: SeenRequest[] = [];
  readonly #server: Server;
  readonly #scheme: "http" | "https";

  /** @param identity serves over TLS */
  constructor(identity?: { readonly key: string; readonly cert: string }) {
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch(() => response.destroy());
    };
    this.#scheme = identity === undefined ? "http" : "https";
    this.#server = identity === undefined ? createServer(answer) : createTlsServer(identity, answer);
  }

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  get origin(): string {
    const address = this.#server.address();
    const host = this.#scheme === "https" ? "localhost" : "127.0.0.1";
    return `${this.#scheme}://${host}:${typeof address === "object" && address !== null ? address.port : 0}`;
  }

  /** Serves a file. @returns its address */
  serve(path: string, file: ServedFile): string {
    this.files.set(path, file);
    return `${this.origin}${path}`;
  }

  /** Bodies' bytes that were asked for by ranges of a path. */
  requests(path: string): SeenRequest[] {
    return this.seen.filter((request) => request.path === path);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? "";
    const found = /^bytes=([0-9]+)-([0-9]+)$/.exec(request.headers.range ?? "");
    const range = found === null ? null : ([Number(found[1]), Number(found[2]) + 1] as const);
    const seen: SeenRequest = { path, headers: request.headers, range, nth: this.requests(path).length };
    this.seen.push(seen);
    const file = this.files.get(path);
    if (file === undefined) {
      response.writeHead(404).end();
      return;
    }
    const behaviour = (await file.behave?.(seen)) ?? {};
    const { bytes, ranges = true, etag = '"one"' } = file;
    const isSame = request.headers["if-range"] === undefined || request.headers["if-range"] === etag;
    const isPart = ranges && range !== null && isSame && behaviour.status === undefined && behaviour.body === undefined;
    const end = Math.min(range?.[1] ?? bytes.byteLength, bytes.byteLength);
    const body = behaviour.body ?? (isPart ? bytes.subarray(range[0], end) : bytes);
    const headers: Record<string, string> = { "content-length": String(body.byteLength), ...behaviour.headers };
    if (etag !== null) headers.etag = etag;
    if (isPart) headers["content-range"] = `bytes ${range[0]}-${end - 1}/${bytes.byteLength}`;
    response.writeHead(behaviour.status ?? (isPart ? 206 : 200), { ...headers, ...behaviour.headers });
    if (behaviour.hold !== undefined) {
      await written(response, body.subarray(0, behaviour.hold.after));
      await behaviour.hold.until;
      response.end(body.subarray(behaviour.hold.after));
    } else if (behaviour.dropAfter !== undefined) {
      await written(response, body.subarray(0, behaviour.dropAfter));
      response.destroy();
    } else response.end(body);
  }
}

/** Writes and waits until the bytes have left the process, so that ending the connection does not take them along. */
async function written(response: ServerResponse, bytes: Buffer): Promise<void> {
  response.flushHeaders();
  if (bytes.byteLength === 0) return;
  await new Promise<void>((resolve) => response.write(bytes, () => resolve()));
}
