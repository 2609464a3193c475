/** A wire between two programs that can be cut, stalled, and held back in the middle of a message. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A message that was held back. */
export interface HeldMessage {
  /** The first bytes of the request, or the message that came over a WebSocket, as text. */
  readonly text: string;
  /**
   * Lets it go on to the server.
   * @returns the status of the answer, null when none came within the time; of an answer over a WebSocket that is no
   *   problem, 200
   */
  release(waitMs: number): Promise<number | null>;
}

interface Wire {
  readonly client: Socket;
  readonly upstream: Socket;
  /** What its client wrote to make it a WebSocket; null: it has made it none. */
  upgrade: Buffer | null;
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

  /** Holds back the next request, or message over a WebSocket, that matches; its connection stands still from then on. */
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
    const wire: Wire = { client, upstream, upgrade: null };
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
      const texts = wire.upgrade === null ? [bytes.toString("latin1")] : unmasked(bytes);
      const text = texts.find((one) => hold.pattern.test(one));
      if (text !== undefined) {
        this.#hold = null;
        hold.caught(this.#caught(wire, bytes, text));
        return;
      }
    }
    if (wire.upgrade === null && UPGRADE.test(bytes.toString("latin1"))) wire.upgrade = bytes;
    if (!wire.upstream.write(bytes)) {
      wire.client.pause();
      wire.upstream.once("drain", () => this.#resume(wire.client));
    }
  }

  /** The connection leaves the proxy's care: its bytes lie here until they are released, on a connection of their own. */
  #caught({ client, upstream, ...wire }: Wire, bytes: Buffer, text: string): HeldMessage {
    const kept = [bytes];
    for (const known of this.#wires) if (known.client === client) this.#wires.delete(known);
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
        let pattern = STATUS_LINE;
        if (wire.upgrade !== null) {
          way.write(wire.upgrade);
          const isOpen = (await answeredStatus(way, waitMs)) === 101;
          const number = isOpen ? /"n":([0-9]+)/.exec(text)?.[1] : undefined;
          pattern = new RegExp(`"n":${number},(?:"answer"|"problem":.*?"status":([0-9]{3}))`);
        }
        way.write(Buffer.concat(kept));
        const status = await answeredStatus(way, waitMs, pattern);
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

const UPGRADE = /^GET [^\r]*\r\n(?:[^\r]+\r\n)*upgrade: websocket\r\n/i;
const STATUS_LINE = /^HTTP\/1\.1 ([0-9]{3}) /;

/** What a client's frames say, each by itself: those that begin in these bytes. A busy client sends several at once. */
function unmasked(bytes: Buffer): string[] {
  const texts: string[] = [];
  for (let at = 0; at + 6 <= bytes.length; ) {
    const short = bytes.readUInt8(at + 1) & 0x7f;
    const more = short === 126 ? 2 : short === 127 ? 8 : 0;
    const start = at + 2 + more + 4;
    if (start > bytes.length) break;
    const length = more === 0 ? short : bytes.readUIntBE(at + 2 + (more === 8 ? 2 : 0), more === 8 ? 6 : 2);
    const payload = Buffer.from(bytes.subarray(start, start + length));
    const mask = bytes.subarray(start - 4, start);
    for (let index = 0; index < payload.length; index += 1) {
      payload[index] = payload.readUInt8(index) ^ mask.readUInt8(index & 3);
    }
    texts.push(payload.toString("latin1"));
    at = start + length;
  }
  return texts;
}

/** The status of the next answer on a connection: what the pattern's group says, 200 where it says nothing. */
function answeredStatus(socket: Socket, waitMs: number, pattern = STATUS_LINE): Promise<number | null> {
  return new Promise((resolve) => {
    let text = "";
    const end = (status: number | null) => {
      clearTimeout(timer);
      socket.off("data", read);
      resolve(status);
    };
    const timer = setTimeout(() => end(null), waitMs);
    const read = (bytes: Buffer) => {
      text += bytes.toString("latin1");
      const answer = pattern.exec(text);
      if (answer !== null) end(Number(answer[1] ?? 200));
    };
    socket.on("data", read);
    socket.on("close", () => end(null));
  });
}
