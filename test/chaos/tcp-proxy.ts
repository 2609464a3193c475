/** A wire between two programs that can be cut, stalled, and held back in the middle of a message. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A message that was held back. */
export interface HeldMessage {
  /** The first bytes of the request, as text. */
  readonly text: string;
  /** Lets it go on to the server. @returns the status of the answer, null when none came within the time */
  release(waitMs: number): Promise<number | null>;
}

interface Wire {
  readonly client: Socket;
  readonly upstream: Socket;
}

interface Hold {
  readonly pattern: RegExp;
  readonly caught: (message: HeldMessage) => void;
}

export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #target: () => { host: string; port: number };
  readonly #wires = new Set<Wire>();
  #stalled = false;
  #closed = false;
  #hold: Hold | null = null;

  /** @param target where it leads, asked for each connection */
  static async start(target: () => { host: string; port: number }): Promise<TcpProxy> {
    // The side that ends first must not end the other way too: clients may half-close.
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return new TcpProxy(server, address.port, target);
  }

  private constructor(server: Server, port: number, target: () => { host: string; port: number }) {
    this.#server = server;
    this.port = port;
    this.#target = target;
    server.on("connection", (client) => this.#join(client));
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Breaks every connection, without a goodbye. @returns how many there were */
  cut(): number {
    const count = this.#wires.size;
    for (const { client, upstream } of this.#wires) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
    return count;
  }

  /** Nothing passes in either direction, and nobody is told. */
  stall(): void {
    this.#stalled = true;
    for (const { client, upstream } of this.#wires) {
      client.pause();
      upstream.pause();
    }
  }

  flow(): void {
    this.#stalled = false;
    for (const { client, upstream } of this.#wires) {
      client.resume();
      upstream.resume();
    }
  }

  /** Holds back the next request that matches; its connection stands still from then on. */
  holdNext(pattern: RegExp): Promise<HeldMessage> {
    return new Promise((resolve) => {
      this.#hold = { pattern, caught: resolve };
    });
  }

  /** Holds back nothing more. */
  stopHolding(): void {
    this.#hold = null;
  }

  async stop(): Promise<void> {
    this.#closed = true;
    this.#server.close();
    this.cut();
    await Promise.resolve();
  }

  #join(client: Socket): void {
    const upstream = connect({ ...this.#target(), allowHalfOpen: true });
    const wire = { client, upstream };
    this.#wires.add(wire);
    const end = () => {
      this.#wires.delete(wire);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      socket.on("error", end);
      socket.on("close", end);
    }
    if (this.#closed) {
      end();
      return;
    }
    client.on("data", (bytes: Buffer) => this.#toServer(wire, bytes));
    client.on("end", () => upstream.end());
    upstream.on("data", (bytes: Buffer) => {
      if (!client.write(bytes)) {
        upstream.pause();
        client.once("drain", () => this.#resume(upstream));
      }
    });
    upstream.on("end", () => client.end());
    if (this.#stalled) {
      client.pause();
      upstream.pause();
    }
  }

  #toServer(wire: Wire, bytes: Buffer): void {
    const hold = this.#hold;
    if (hold !== null) {
      const text = bytes.toString("latin1");
      if (hold.pattern.test(text)) {
        this.#hold = null;
        hold.caught(this.#caught(wire, bytes, text));
        return;
      }
    }
    if (!wire.upstream.write(bytes)) {
      wire.client.pause();
      wire.upstream.once("drain", () => this.#resume(wire.client));
    }
  }

  /** The connection leaves the proxy's care: its bytes lie here until they are released, on a connection of their own. */
  #caught(wire: Wire, bytes: Buffer, text: string): HeldMessage {
    const { client, upstream } = wire;
    const kept = [bytes];
    this.#wires.delete(wire);
    // The sender may give up meanwhile; what it wrote still counts as sent.
    for (const name of ["data", "end", "close", "error"]) client.removeAllListeners(name);
    client.on("error", () => undefined);
    client.on("data", (more: Buffer) => kept.push(more));
    upstream.removeAllListeners().on("error", () => undefined);
    upstream.destroy();
    return {
      text,
      release: async (waitMs) => {
        const way = connect(this.#target());
        way.on("error", () => undefined);
        way.write(Buffer.concat(kept));
        const status = await answeredStatus(way, waitMs);
        client.destroy();
        way.destroy();
        return status;
      },
    };
  }

  #resume(socket: Socket): void {
    if (!this.#stalled) socket.resume();
  }
}

/** The status line of the next answer on a connection. */
function answeredStatus(socket: Socket, waitMs: number): Promise<number | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), waitMs);
    let text = "";
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString("latin1");
      const status = /^HTTP\/1\.1 ([0-9]{3}) /.exec(text)?.[1];
      if (status === undefined) return;
      clearTimeout(timer);
      resolve(Number(status));
    });
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(null);
    });
  });
}
