/**
 * The smallest HTTP/1.1 client that is right for our own servers: one keep-alive connection, one request at a time.
 * Node's own clients take as much of a core as the server under test; this one takes a fifth of that.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface Answer {
  readonly status: number;
  /** Names in lower case, as sent otherwise. */
  readonly head: string;
  readonly body: Buffer;
}

export interface RequestParts {
  readonly method: "GET" | "POST" | "PUT";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** A request as it goes over the wire. */
export function requestBytes(host: string, parts: RequestParts): Buffer {
  const body = typeof parts.body === "string" ? Buffer.from(parts.body) : parts.body;
  let head = `${parts.method} ${parts.path} HTTP/1.1\r\nhost: ${host}\r\n`;
  for (const [name, value] of Object.entries(parts.headers ?? {})) head += `${name}: ${value}\r\n`;
  if (body === undefined) return Buffer.from(`${head}\r\n`, "latin1");
  return Buffer.concat([Buffer.from(`${head}content-length: ${body.byteLength}\r\n\r\n`, "latin1"), body]);
}

/** One header's value, or undefined. */
export function headerOf(answer: Answer, name: string): string | undefined {
  return new RegExp(`\\r\\n${name}: *([^\\r]*)`, "i").exec(answer.head)?.[1];
}

export class Connection {
  readonly host: string;
  readonly #url: URL;
  #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null;

  private constructor(url: URL) {
    this.#url = url;
    this.host = url.host;
    this.#socket = this.#connect();
  }

  /** @param url of the server; only its host and port are used */
  static async open(url: string): Promise<Connection> {
    const connection = new Connection(new URL(url));
    await once(connection.#socket, "connect");
    return connection;
  }

  send(parts: RequestParts): Promise<Answer> {
    return this.sendBytes(requestBytes(this.host, parts));
  }

  /** @throws Error when the connection ends before the answer does, or another request is under way */
  sendBytes(request: Uint8Array): Promise<Answer> {
    if (this.#waiting !== null) throw new Error("one request at a time");
    // A server may close a connection that has been idle for long.
    if (this.#socket.destroyed || this.#socket.readyState !== "open") this.#socket = this.#connect();
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(request);
    });
  }

  #connect(): Socket {
    const socket = connect({ host: this.#url.hostname, port: Number(this.#url.port) });
    this.#received = Buffer.alloc(0);
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    const fail = (error?: Error) => {
      if (socket !== this.#socket) return;
      this.#waiting?.reject(error ?? new Error("the server closed the connection"));
      this.#waiting = null;
    };
    socket.on("error", fail);
    // Of an idle connection that the server ends, only our half is left: it is ended too, and the next request opens another.
    socket.on("end", () => socket.destroy());
    socket.on("close", () => fail());
    return socket;
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const answer = readAnswer(this.#received);
    if (answer === null) return;
    this.#received = Buffer.alloc(0);
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve(answer);
  }
}

/** The answer in these bytes, or null while it is not whole. An answer without a length has no body. */
export function readAnswer(bytes: Buffer): Answer | null {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return null;
  const head = bytes.toString("latin1", 0, headEnd);
  const status = Number(head.slice(9, 12));
  const rest = bytes.subarray(headEnd + 4);
  if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
    const body = joinChunks(rest);
    return body === null ? null : { status, head, body };
  }
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
  return rest.length < length ? null : { status, head, body: rest.subarray(0, length) };
}

/** The body of a chunked answer, or null while its last chunk is missing. */
function joinChunks(bytes: Buffer): Buffer | null {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    const start = lineEnd + 2;
    if (bytes.length < start + size + 2) return null;
    if (size === 0) return Buffer.concat(parts);
    parts.push(bytes.subarray(start, start + size));
    at = start + size + 2;
  }
}
