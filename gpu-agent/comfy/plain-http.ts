/**
 * HTTP/1.1 over plain connections that are kept, for a server that is near and asked several times for each job. Node's own
 * client takes half a millisecond more for a small request on a machine that was idle, and a job waits for two of them one
 * behind the other.
 */
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import type { HttpAnswer } from "../http-request.ts";
import { BodyReader } from "./plain-http-body.ts";

/** Connections that were idle for so long are not used again: servers close theirs after five seconds and more. */
const IDLE_MS = 4_000;
const HEAD_BYTES_MAX = 64 * 1024;
/** A body up to this size has arrived when the answer begins; a larger one is read as it comes. */
const WHOLE_BYTES_MAX = 1024 * 1024;
const HEAD_END = "\r\n\r\n";

export interface PlainRequest {
  readonly method: string;
  /** Path and query, as they stand in the request. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends the request, and the answer's body if that has begun. */
  readonly signal?: AbortSignal | undefined;
  readonly limitMs: number;
  /** The limit is for the beginning of the answer alone. */
  readonly isStream: boolean;
}

/** What is known of a connection while nobody uses it. */
interface Idle {
  readonly socket: Socket;
  readonly since: number;
  readonly drop: () => void;
}

/** The connections to one server. */
export class PlainHttp {
  readonly #host: string;
  readonly #address: { readonly host: string; readonly port: number };
  readonly #idle: Idle[] = [];

  /** @param url of the server, http: only its host and port are used */
  constructor(url: URL) {
    this.#host = url.host;
    this.#address = { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port === "" ? 80 : Number(url.port) };
  }

  /**
   * Sends once; a redirect is an answer like any other.
   * @throws Error when no answer begins, or it is not HTTP; the signal's reason when it fires first
   */
  send(request: PlainRequest): Promise<HttpAnswer> {
    const { signal, limitMs } = request;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const socket = this.#take();
      const exchange = new Exchange(socket, {
        isStream: request.isStream,
        began: resolve,
        failed: reject,
        over: (isReusable) => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", abort);
          if (isReusable) this.#keep(socket);
          else socket.destroy();
        },
        // A stream's reader watches over the rest.
        streams: () => clearTimeout(timer),
      });
      const abort = () => exchange.fail(asError(signal?.reason));
      const timer = setTimeout(() => exchange.fail(new Error(`no answer within ${limitMs} ms`)), limitMs);
      timer.unref();
      signal?.addEventListener("abort", abort, { once: true });
      socket.write(this.#textOf(request));
    });
  }

  #textOf({ method, target, headers, body }: PlainRequest): string {
    let head = `${method} ${target} HTTP/1.1\r\nhost: ${this.#host}\r\n`;
    for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`;
    return body === undefined ? `${head}\r\n` : `${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  }

  #take(): Socket {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      const { socket, since, drop } = idle;
      socket.off("data", drop).off("error", drop).off("close", drop);
      if (socket.readyState === "open" && performance.now() - since < IDLE_MS) return socket.ref();
      socket.destroy();
    }
    return connect({ ...this.#address, noDelay: true });
  }

  /** Until it is used again, whatever comes over it ends it. */
  #keep(socket: Socket): void {
    const drop = () => {
      socket.destroy();
      const at = this.#idle.findIndex((idle) => idle.socket === socket);
      if (at >= 0) this.#idle.splice(at, 1);
    };
    // One that nobody uses keeps no process alive.
    socket.on("data", drop).on("error", drop).on("close", drop).unref();
    const [oldest] = this.#idle;
    if (oldest !== undefined && performance.now() - oldest.since >= IDLE_MS) oldest.drop();
    this.#idle.push({ socket, since: performance.now(), drop });
  }
}

interface ExchangeEvents {
  readonly isStream: boolean;
  began(answer: HttpAnswer): void;
  failed(error: Error): void;
  /** The answer is not limited in time any more. */
  streams(): void;
  /** Called once. */
  over(isReusable: boolean): void;
}

/** One answer, from its first byte to its last. */
class Exchange {
  readonly #socket: Socket;
  readonly #events: ExchangeEvents;
  #received: Buffer = Buffer.alloc(0);
  #body: BodyReader | null = null;
  #parts: Buffer[] = [];
  #head: Head | null = null;
  /** Takes the body as it comes; null: it is gathered. */
  #stream: Readable | null = null;
  #isOver = false;

  constructor(socket: Socket, events: ExchangeEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on("data", this.#hear).on("error", this.#broke).on("close", this.#closed);
  }

  /** Ends it; who reads the body hears of it, once there is one. */
  fail(error: Error): void {
    if (this.#isOver) return;
    this.#end(false);
    if (this.#stream === null) this.#events.failed(error);
    else this.#stream.destroy(error);
  }

  readonly #broke = (error: Error): void => this.fail(error);

  readonly #closed = (): void => {
    if (this.#body?.endsWithConnection !== true) this.fail(new Error("the connection closed before the answer's end"));
    else this.#finish(false);
  };

  readonly #hear = (chunk: Buffer): void => {
    try {
      if (this.#body !== null) this.#read(this.#body, chunk);
      else {
        this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
        this.#begin();
      }
    } catch (error) {
      this.fail(asError(error));
    }
  };

  #begin(): void {
    for (;;) {
      const headEnd = this.#received.indexOf(HEAD_END);
      if ((headEnd < 0 ? this.#received.length : headEnd) > HEAD_BYTES_MAX)
        throw new Error("the answer's head is too long");
      if (headEnd < 0) return;
      const head = new Head(this.#received.toString("latin1", 0, headEnd));
      const rest = this.#received.subarray(headEnd + HEAD_END.length);
      this.#received = rest;
      // "Continue", and its like.
      if (head.status < 200) continue;
      this.#head = head;
      const body = new BodyReader(head.status, (name) => head.header(name));
      this.#body = body;
      if (body.size === null || body.size > WHOLE_BYTES_MAX) this.#streamTo(head);
      this.#read(body, rest);
      return;
    }
  }

  #streamTo(head: Head): void {
    this.#stream = new Readable({
      read: () => void this.#socket.resume(),
      destroy: (error, done) => {
        if (!this.#isOver) this.#end(false);
        done(error);
      },
    });
    // Who reads it hears of an error; that nobody does is no reason for the process to end.
    this.#stream.on("error", () => undefined);
    if (this.#events.isStream) this.#events.streams();
    this.#events.began(new PlainAnswer(head, null, this.#stream));
  }

  #read(body: BodyReader, chunk: Buffer): void {
    for (const part of body.read(chunk)) {
      if (this.#stream === null) this.#parts.push(part);
      else if (!this.#stream.push(part)) this.#socket.pause();
    }
    if (body.isWhole) this.#finish(this.#head?.isKept === true && !body.hasMore);
  }

  #finish(isReusable: boolean): void {
    if (this.#isOver) return;
    this.#end(isReusable);
    if (this.#stream !== null) this.#stream.push(null);
    else if (this.#head !== null) this.#events.began(new PlainAnswer(this.#head, joined(this.#parts), null));
  }

  #end(isReusable: boolean): void {
    this.#isOver = true;
    this.#socket.off("data", this.#hear).off("close", this.#closed).off("error", this.#broke);
    // A connection that is given up may still break.
    if (!isReusable) this.#socket.on("error", () => undefined);
    this.#socket.resume();
    this.#events.over(isReusable);
  }
}

/** The first lines of an answer. */
class Head {
  readonly status: number;
  /** The connection can be used again. */
  readonly isKept: boolean;
  readonly #lines: readonly string[];

  /** @throws Error when it is not HTTP */
  constructor(text: string) {
    const [first = "", ...lines] = text.split("\r\n");
    const [, minor, status] = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: |$)/.exec(first) ?? [];
    if (status === undefined) throw new Error("the answer is not HTTP");
    this.status = Number(status);
    this.#lines = lines;
    this.isKept = minor === "1" && !/(?:^|,)\s*close\s*(?:,|$)/i.test(this.header("connection") ?? "");
  }

  /** A header's value, several of one name joined by commas. @param name in lower case */
  header(name: string): string | null {
    const values: string[] = [];
    for (const line of this.#lines) {
      if (line[name.length] !== ":" || line.slice(0, name.length).toLowerCase() !== name) continue;
      values.push(line.slice(name.length + 1).trim());
    }
    return values.length === 0 ? null : values.join(", ");
  }
}

class PlainAnswer implements HttpAnswer {
  readonly status: number;
  readonly whole: Buffer | null;
  readonly #head: Head;
  readonly #stream: Readable | null;

  constructor(head: Head, whole: Buffer | null, stream: Readable | null) {
    this.status = head.status;
    this.whole = whole;
    this.#head = head;
    this.#stream = stream;
  }

  get isOk(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  header(name: string): string | null {
    return this.#head.header(name);
  }

  get body(): Readable {
    return this.#stream ?? Readable.from(this.whole === null || this.whole.length === 0 ? [] : [this.whole]);
  }

  async bytes(): Promise<Buffer> {
    if (this.whole !== null) return this.whole;
    const parts: Buffer[] = [];
    for await (const part of this.body) parts.push(part as Buffer);
    return joined(parts);
  }

  async text(): Promise<string> {
    return (await this.bytes()).toString("utf8");
  }
}

function joined(parts: readonly Buffer[]): Buffer {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
