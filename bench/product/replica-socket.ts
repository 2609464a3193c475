/** The smallest client of a replica's socket (contract/agent-socket.ts): what it costs is not what the bench measures. */
import { TextSocket } from "#bench/load/socket";
import type { Lease } from "#contract/agent";
import { SOCKET_PING, SOCKET_PING_MS, SOCKET_PONG, type SocketCall } from "#contract/agent-socket";

type Call = SocketCall extends infer Each ? (Each extends SocketCall ? Omit<Each, "n"> : never) : never;

/** The fields of an answer that the bench looks at; the server's own tests prove their shape. */
export interface Said {
  readonly lease?: Lease | null;
  readonly next?: Lease | null;
  readonly waits?: boolean;
  readonly stop?: boolean;
}

export interface Answered {
  readonly said: Said;
  /** Of the poll that a complete went on as; null: of none. */
  readonly poll: Promise<Answered> | null;
}

interface Waiting {
  readonly resolve: (answered: Answered) => void;
  readonly reject: (error: Error) => void;
}

export class ReplicaSocket {
  readonly #waiting = new Map<number, Waiting>();
  #socket: TextSocket | null = null;
  #ping: NodeJS.Timeout | undefined;
  #lastNumber = 0;

  /** @param url of the server @throws when it does not take sockets */
  static async open(url: string, replicaId: string, headers: Readonly<Record<string, string>>): Promise<ReplicaSocket> {
    const replica = new ReplicaSocket();
    const address = new URL(`/agent/v1/replicas/${replicaId}/socket`, url);
    const ended = () => replica.#end(new Error("the server closed the socket"));
    const socket = await TextSocket.open(address, headers, (text) => replica.#hear(text), ended);
    replica.#socket = socket;
    replica.#ping = setInterval(() => socket.send(SOCKET_PING), SOCKET_PING_MS);
    replica.#ping.unref();
    return replica;
  }

  /** @throws when the answer is a refusal, or the socket ends */
  call(call: Call): Promise<Answered> {
    this.#lastNumber += 1;
    const n = this.#lastNumber;
    this.#socket?.send(JSON.stringify({ n, ...call }));
    return this.#answer(n);
  }

  #answer(n: number): Promise<Answered> {
    return new Promise((resolve, reject) => this.#waiting.set(n, { resolve, reject }));
  }

  close(): void {
    this.#socket?.close();
    this.#end(new Error("closed"));
  }

  #hear(text: string): void {
    if (text === SOCKET_PONG) return;
    const message = JSON.parse(text) as { n: number; answer?: Said; poll?: Said };
    const waiting = this.#waiting.get(message.n);
    this.#waiting.delete(message.n);
    const said = message.answer ?? message.poll;
    if (said === undefined) {
      waiting?.reject(new Error(text));
      return;
    }
    // Both messages may have come at once: the second is waited for before anything else runs.
    const poll = said.waits === true ? this.#answer(message.n) : null;
    // Who takes it hears of its failure; a replica that is closed takes it no more.
    poll?.catch(() => undefined);
    waiting?.resolve({ said, poll });
  }

  #end(error: Error): void {
    clearInterval(this.#ping);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
