/** How the fake control plane answers: to an HTTP request, or to a call that came over a replica's socket. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ReplicaId } from "#contract/ids";
import { problemBody, problems, type Refusal } from "#contract/problems";
import type { WebSocketConnection } from "#gpu-agent/stand-in/websocket";

/** What came, and the way back. */
export interface Call {
  readonly url: URL;
  readonly token: string | undefined;
  /** @throws SyntaxError */
  readonly json: () => unknown;
  /** Over which it came; null for HTTP. */
  readonly socket: FakeSocket | null;
  readonly isGone: boolean;
  onceGone(listener: () => void): void;
  offGone(listener: () => void): void;
  answer(body: object): undefined;
  refuse(refused: Refusal): undefined;
  /** Says that a poll waits, again and again. @returns ends that */
  wait(heartbeatMs: number): () => void;
  answerPoll(body: object): void;
}

export class HttpCall implements Call {
  readonly socket = null;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly body: Buffer;
  readonly token: string | undefined;
  /** The answer never arrives. */
  readonly #loseAnswer: boolean;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    parts: { url: URL; body: Buffer; token: string | undefined; loseAnswer: boolean },
  ) {
    this.request = request;
    this.response = response;
    this.url = parts.url;
    this.body = parts.body;
    this.token = parts.token;
    this.#loseAnswer = parts.loseAnswer;
  }

  readonly json = (): unknown => (this.body.length === 0 ? undefined : JSON.parse(this.body.toString("utf8")));

  get isGone(): boolean {
    return this.response.destroyed;
  }

  onceGone(listener: () => void): void {
    this.response.once("close", listener);
  }

  offGone(listener: () => void): void {
    this.response.off("close", listener);
  }

  answer(body: object): undefined {
    if (this.#loseAnswer) this.response.destroy();
    else if (Object.keys(body).length === 0) this.response.writeHead(204).end();
    else this.response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  }

  refuse(refused: Refusal): undefined {
    this.response
      .writeHead(problems[refused.code].status, {
        "content-type": "application/problem+json",
        ...(refused.retryAfterS === undefined ? {} : { "retry-after": String(refused.retryAfterS) }),
      })
      .end(JSON.stringify(problemOf(refused)));
  }

  /** 200 at once, newlines while nothing is to be said. */
  wait(heartbeatMs: number): () => void {
    this.response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
    const heartbeat = setInterval(() => this.response.write("\n"), heartbeatMs);
    return () => clearInterval(heartbeat);
  }

  /** One line of JSON at the end. */
  answerPoll(body: object): void {
    if (this.#loseAnswer) this.response.destroy();
    else this.response.end(`${JSON.stringify(body)}\n`);
  }
}

/** A replica's socket, with what can happen to it. */
export class FakeSocket {
  readonly replicaId: ReplicaId;
  readonly #connection: WebSocketConnection;
  readonly #goneListeners = new Set<() => void>();
  isGone = false;
  /** Nothing is heard and nothing said any more, as over a connection whose other end vanished. */
  isMute = false;

  constructor(replicaId: ReplicaId, connection: WebSocketConnection) {
    this.replicaId = replicaId;
    this.#connection = connection;
  }

  say(message: object): void {
    this.sendText(JSON.stringify(message));
  }

  sendText(text: string): void {
    if (!this.isMute) this.#connection.sendText(text);
  }

  close(code: number): void {
    this.#connection.close(code);
    this.gone();
  }

  /** Ends the connection without a word. */
  cut(): void {
    this.#connection.destroy();
    this.gone();
  }

  /** Calls that are not answered yet go unanswered. */
  gone(): void {
    this.isGone = true;
    for (const listener of [...this.#goneListeners]) listener();
    this.#goneListeners.clear();
  }

  onceGone(listener: () => void): void {
    this.#goneListeners.add(listener);
  }

  offGone(listener: () => void): void {
    this.#goneListeners.delete(listener);
  }
}

export class SocketCallReply implements Call {
  readonly socket: FakeSocket;
  readonly url: URL;
  readonly token: string | undefined;
  readonly json: () => unknown;
  readonly #n: number;
  /** The connection ends instead of the answer. */
  readonly #loseAnswer: boolean;
  /** The answer to a poll that was asked for, and not what a complete went on as. */
  readonly #isPoll: boolean;

  constructor(
    socket: FakeSocket,
    parts: { n: number; url: URL; token: string | undefined; body: unknown; loseAnswer: boolean; isPoll: boolean },
  ) {
    this.socket = socket;
    this.url = parts.url;
    this.token = parts.token;
    this.json = () => parts.body;
    this.#n = parts.n;
    this.#loseAnswer = parts.loseAnswer;
    this.#isPoll = parts.isPoll;
  }

  get isGone(): boolean {
    return this.socket.isGone;
  }

  onceGone(listener: () => void): void {
    this.socket.onceGone(listener);
  }

  offGone(listener: () => void): void {
    this.socket.offGone(listener);
  }

  answer(body: object): undefined {
    if (this.#loseAnswer) this.socket.cut();
    else if (!this.isGone) this.socket.say({ n: this.#n, answer: body });
  }

  refuse(refused: Refusal): undefined {
    if (!this.isGone) this.socket.say({ n: this.#n, problem: problemOf(refused) });
  }

  wait(): () => void {
    return () => undefined;
  }

  answerPoll(body: object): void {
    if (this.#isPoll) this.answer(body);
    else if (!this.isGone) this.socket.say({ n: this.#n, poll: body });
  }
}

function problemOf(refused: Refusal): object {
  return problemBody(refused.code, refused.detail, "req_test", refused.errors);
}
