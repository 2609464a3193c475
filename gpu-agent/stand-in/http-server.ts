/**
 * HTTP as aiohttp serves it for ComfyUI: each route bare and under /api, plain texts for errors, a body limit, and the
 * check that keeps foreign web pages from posting to a server on this machine.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Json, parseExactJson } from "#contract/exact-json";
import { isForeignOrigin } from "./origin.ts";
import { pythonJson } from "./python-json.ts";

/** Python gives up at about a thousand levels. */
const JSON_DEPTH_MAX = 900;
/** aiohttp keeps an idle connection this long. */
const KEEP_ALIVE_MS = 75_000;

/** What a route answers. Without a body the answer is empty and has no content type. */
export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | Readable;
}

export type Handler = (request: Request) => Reply | Promise<Reply>;

export interface Route {
  readonly method: "GET" | "POST" | "DELETE";
  /** Segments in braces are parameters: `/history/{prompt_id}`. */
  readonly path: string;
  readonly handler: Handler;
  /** Newer routes exist in one place only; the others exist bare and under /api. */
  readonly isExact?: boolean;
}

/** Ends a request with a plain text, as aiohttp's HTTP exceptions do. */
export class HttpError extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: number, text: string, headers: Readonly<Record<string, string>> = {}) {
    super(text);
    this.name = "HttpError";
    this.status = status;
    this.headers = headers;
  }
}

/** An answer in JSON, in Python's spelling. */
export function json(value: unknown, status = 200): Reply {
  return { status, headers: { "Content-Type": "application/json; charset=utf-8" }, body: pythonJson(value) };
}

/** An answer without a body. */
export function empty(status: number): Reply {
  return { status };
}

export class Request {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  /** The values of the path's parameters, decoded. */
  params: Readonly<Record<string, string>> = {};
  readonly #message: IncomingMessage;
  readonly #bodyBytesMax: number;

  constructor(message: IncomingMessage, bodyBytesMax: number) {
    const [path = "/", query = ""] = splitAt(message.url ?? "/", "?");
    this.method = message.method ?? "GET";
    this.path = path;
    this.query = new URLSearchParams(query);
    this.headers = message.headers;
    this.#message = message;
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** @throws HttpError 413 when the body is too big */
  async bytes(): Promise<Buffer> {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of this.#message as AsyncIterable<Buffer>) {
      size += part.length;
      // Reading goes on after the limit, so that the client finishes sending and gets to hear the refusal.
      if (size <= this.#bodyBytesMax) parts.push(part);
    }
    if (size > this.#bodyBytesMax) {
      throw new HttpError(413, `Maximum request body size ${this.#bodyBytesMax} exceeded.`);
    }
    return Buffer.concat(parts);
  }

  /** @throws JsonSyntaxError or TypeError for a body that is not JSON; unhandled, it becomes a 500 */
  async json(): Promise<Json> {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await this.bytes());
    return parseExactJson(text, { pythonNumbers: true, depthMax: JSON_DEPTH_MAX });
  }
}

export interface HttpSettings {
  readonly bodyBytesMax: number;
  /** --enable-cors-header; undefined keeps the origin check instead. */
  readonly corsOrigin: string | undefined;
  log(line: string): void;
  /** Opens a WebSocket; false when the request is no handshake. */
  connect(message: IncomingMessage, socket: Socket, head: Buffer, clientId: string | null): boolean;
}

/** A server that is not listening yet. */
export function httpServer(routes: readonly Route[], settings: HttpSettings): Server {
  const matchers = routes.flatMap((route) =>
    (route.isExact === true ? [route.path] : [route.path, `/api${route.path}`]).map((path) => ({
      route,
      pattern: patternOf(path),
    })),
  );
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 }, (message, response) => {
    void answer(message, response);
  });
  server.on("upgrade", (message, socket, head) => {
    const request = new Request(message, 0);
    if (settings.corsOrigin === undefined && isForeignOrigin(message.headers))
      refuse(socket as Socket, "403 Forbidden");
    else if (request.path !== "/ws" && request.path !== "/api/ws") refuse(socket as Socket, "404 Not Found");
    else if (!settings.connect(message, socket as Socket, head, request.query.get("clientId"))) {
      refuse(socket as Socket, "400 Bad Request");
    }
  });

  async function answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = new Request(message, settings.bodyBytesMax);
    let reply: Reply;
    try {
      reply = await route(request);
    } catch (error) {
      reply = errorReply(error, settings.log);
    }
    if (!message.complete) message.resume();
    try {
      await write(message, response, reply, settings.corsOrigin);
    } catch {
      response.destroy(); // The client went away, or a file vanished while it was being sent.
    }
  }

  async function route(request: Request): Promise<Reply> {
    if (settings.corsOrigin === undefined && isForeignOrigin(request.headers)) return empty(403);
    if (request.method === "OPTIONS") return empty(200);
    const allowed = new Set<string>();
    for (const { route, pattern } of matchers) {
      const found = pattern.exec(request.path);
      if (found === null) continue;
      if (route.method === request.method || (route.method === "GET" && request.method === "HEAD")) {
        request.params = decoded(found.groups ?? {});
        return await route.handler(request);
      }
      for (const method of route.method === "GET" ? ["GET", "HEAD"] : [route.method]) allowed.add(method);
    }
    // Everything else belongs to the static files of the editor, of which there are none here.
    if (request.method === "HEAD") return empty(404);
    if (request.method === "GET") {
      const headers = { "Content-Type": "application/octet-stream" };
      return { status: 404, headers, body: Readable.from([]) };
    }
    for (const method of ["GET", "HEAD"]) allowed.add(method);
    throw new HttpError(405, "405: Method Not Allowed", { Allow: [...allowed].sort().join(",") });
  }

  return server;
}

function errorReply(error: unknown, log: (line: string) => void): Reply {
  if (error instanceof HttpError) {
    const headers = { "Content-Type": "text/plain; charset=utf-8", ...error.headers };
    return { status: error.status, headers, body: error.message };
  }
  log(`Error handling request\n${error instanceof Error ? error.stack : String(error)}`);
  return {
    status: 500,
    headers: { "Content-Type": "text/plain; charset=utf-8" },
    body: "500 Internal Server Error\n\nServer got itself in trouble",
  };
}

async function write(
  message: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  corsOrigin: string | undefined,
): Promise<void> {
  const headers: Record<string, string> = { ...reply.headers, Server: "Pilotlight stand-in for ComfyUI" };
  if (corsOrigin !== undefined) {
    headers["Access-Control-Allow-Origin"] = corsOrigin;
    headers["Access-Control-Allow-Methods"] = "POST, GET, DELETE, PUT, OPTIONS";
    headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization";
    headers["Access-Control-Allow-Credentials"] = "true";
  }
  const { body } = reply;
  if (body === undefined || typeof body === "string" || body instanceof Uint8Array) {
    const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(body);
    const hasLength = reply.status !== 304 && !(message.method === "HEAD" && body === undefined);
    if (hasLength) headers["Content-Length"] ??= String(bytes.length);
    response.writeHead(reply.status, headers).end(bytes);
    return;
  }
  response.writeHead(reply.status, headers);
  if (message.method === "HEAD") {
    body.destroy();
    response.end();
  } else await pipeline(body, response);
}

function refuse(socket: Socket, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

function patternOf(path: string): RegExp {
  const source = path.replace(/\{(\w+)\}/g, "(?<$1>[^/]+)");
  return new RegExp(`^${source}$`);
}

function decoded(groups: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(groups).map(([name, value]) => {
      try {
        return [name, decodeURIComponent(value)];
      } catch {
        return [name, value]; // A stray percent sign stands for itself.
      }
    }),
  );
}

function splitAt(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
