import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ServerUnderTest, startServer } from "./server-under-test.ts";

let server: ServerUnderTest;
let raw: RawSocket;
beforeEach(async () => {
  server = await startServer();
  raw = await RawSocket.open(new URL(server.client.base));
});
afterEach(async () => {
  raw.socket.destroy();
  await server.close();
});

/** A client that writes bytes and reads whole frames, so that it can break the rules. */
class RawSocket {
  readonly socket: Socket;
  #bytes = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (part: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, part]);
      this.#wake();
    });
    socket.on("close", () => this.#wake());
    socket.on("error", () => this.#wake());
  }

  static async open(url: URL): Promise<RawSocket> {
    const raw = new RawSocket(connect(Number(url.port), url.hostname));
    const lines = [
      "GET /ws?clientId=raw HTTP/1.1",
      `Host: ${url.host}`,
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      "Sec-WebSocket-Version: 13",
    ];
    raw.socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    const head = await raw.#take((bytes) => {
      const end = bytes.indexOf("\r\n\r\n");
      return end < 0 ? undefined : end + 4;
    });
    expect(head.toString()).toContain("101 Switching Protocols");
    expect(head.toString()).toContain("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    await raw.frame();
    return raw;
  }

  /** Sends a frame; a mask of zeros leaves the payload readable. */
  send(first: number, payload: Buffer | string, isMasked = true): void {
    const bytes = Buffer.from(payload);
    const length = bytes.length < 126 ? [bytes.length] : [126, bytes.length >> 8, bytes.length & 255];
    length[0] = (length[0] ?? 0) | (isMasked ? 0x80 : 0);
    this.socket.write(Buffer.concat([Buffer.from([first, ...length]), ...(isMasked ? [Buffer.alloc(4)] : []), bytes]));
  }

  /** The next frame: its first byte and its payload. */
  async frame(): Promise<{ first: number; payload: Buffer }> {
    const frame = await this.#take((bytes) => {
      if (bytes.length < 2) return undefined;
      const short = bytes.readUInt8(1);
      const [head, length] =
        short < 126 ? [2, short] : [4, bytes.length < 4 ? Number.POSITIVE_INFINITY : bytes.readUInt16BE(2)];
      return bytes.length < head + length ? undefined : head + length;
    });
    return { first: frame.readUInt8(0), payload: frame.subarray(frame.readUInt8(1) < 126 ? 2 : 4) };
  }

  async untilClosed(): Promise<void> {
    while (!this.socket.closed) await this.#change();
  }

  async #take(size: (bytes: Buffer) => number | undefined): Promise<Buffer> {
    for (;;) {
      const end = size(this.#bytes);
      if (end !== undefined) {
        const taken = this.#bytes.subarray(0, end);
        this.#bytes = this.#bytes.subarray(end);
        return taken;
      }
      if (this.socket.closed) throw new Error("closed");
      await this.#change();
    }
  }

  async #change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

const FLAGS = JSON.stringify({ type: "feature_flags", data: {} });

describe("the frames of RFC 6455", () => {
  it("answers a ping with its own payload", async () => {
    raw.send(0x89, "hello");
    const { first, payload } = await raw.frame();
    expect([first, payload.toString()]).toEqual([0x8a, "hello"]);
  });

  it("puts a message together from fragments, with a ping in between", async () => {
    raw.send(0x01, FLAGS.slice(0, 5));
    raw.send(0x89, "");
    raw.send(0x00, FLAGS.slice(5, 20));
    raw.send(0x80, FLAGS.slice(20));
    expect((await raw.frame()).first).toBe(0x8a);
    expect((await raw.frame()).payload.toString()).toContain('"type": "feature_flags"');
  });

  it("reads a frame that arrives byte by byte", async () => {
    const bytes = Buffer.concat([Buffer.from([0x81, 0x80 | FLAGS.length]), Buffer.alloc(4), Buffer.from(FLAGS)]);
    for (const byte of bytes) raw.socket.write(Buffer.from([byte]));
    expect((await raw.frame()).payload.toString()).toContain("feature_flags");
  });

  it("unmasks", async () => {
    const mask = Buffer.from([1, 2, 3, 4]);
    const masked = Buffer.from(FLAGS).map((byte, index) => byte ^ mask.readUInt8(index & 3));
    raw.socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | FLAGS.length]), mask, masked]));
    expect((await raw.frame()).payload.toString()).toContain("feature_flags");
  });

  it("answers a close and ends", async () => {
    raw.send(0x88, Buffer.from([0x03, 0xe8]));
    const { first, payload } = await raw.frame();
    expect([first, payload.readUInt16BE(0)]).toEqual([0x88, 1000]);
    await raw.untilClosed();
  });

  it.each([
    ["a frame without a mask", () => raw.send(0x81, "x", false), 1002],
    ["reserved bits", () => raw.send(0xc1, "x"), 1002],
    ["an unknown opcode", () => raw.send(0x83, "x"), 1002],
    ["a continuation of nothing", () => raw.send(0x80, "x"), 1002],
    ["a fragmented ping", () => raw.send(0x09, "x"), 1002],
    [
      "a new message inside another",
      () => {
        raw.send(0x01, "a");
        raw.send(0x81, "b");
      },
      1002,
    ],
    ["a message of 5 MiB", () => raw.socket.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x50, 0, 0])), 1009],
  ])("closes on %s", async (_name, misbehave, code) => {
    misbehave();
    const { first, payload } = await raw.frame();
    expect([first, payload.readUInt16BE(0)]).toEqual([0x88, code]);
    await raw.untilClosed();
  });

  it("sends frames of every length form", async () => {
    const socket = await server.client.connect("long");
    const node = (length: number) => ({
      "1": { class_type: "Texts", inputs: { text: "x".repeat(length), amount: 1, flag: true, choice: "one", big: 0 } },
    });
    for (const length of [10, 1_000, 100_000]) {
      const id = await server.client.submit(node(length), { client_id: "long" });
      const frames = await socket.untilEnd(id);
      expect(JSON.stringify(frames)).toContain("x".repeat(length));
    }
  });
});
