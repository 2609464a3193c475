/**
 * The smallest WebSocket client that is right for our own servers: whole text messages, no extensions. Node's own takes three
 * times as much of a core.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;
const FINAL = 0x80;
const MASKED = 0x80;
/** Lengths that say: the length is in the next 2, or 8, bytes. */
const LENGTH_16 = 126;
const LENGTH_64 = 127;
/** A client masks what it sends; what it masks with is its own choice. */
const NO_MASK = Buffer.alloc(4);

interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  /** Where the next frame begins. */
  readonly end: number;
}

export class TextSocket {
  readonly #socket: Socket;
  readonly #heard: (text: string) => void;
  #received: Buffer;

  private constructor(socket: Socket, received: Buffer, heard: (text: string) => void, closed: () => void) {
    this.#socket = socket;
    this.#received = received;
    this.#heard = heard;
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    socket.on("error", () => undefined);
    socket.on("close", closed);
    if (received.length > 0) this.#read(Buffer.alloc(0));
  }

  /** @throws Error when the server does not take the upgrade */
  static async open(
    url: URL,
    headers: Readonly<Record<string, string>>,
    heard: (text: string) => void,
    closed: () => void,
  ): Promise<TextSocket> {
    const socket = connect({ host: url.hostname, port: Number(url.port) });
    await once(socket, "connect");
    socket.setNoDelay(true);
    const lines = Object.entries({
      ...headers,
      host: url.host,
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": randomBytes(16).toString("base64"),
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`GET ${url.pathname} HTTP/1.1\r\n${lines.join("")}\r\n`);
    let received: Buffer = Buffer.alloc(0);
    let headEnd = -1;
    while (headEnd < 0) {
      const [bytes] = (await once(socket, "data")) as [Buffer];
      received = Buffer.concat([received, bytes]);
      headEnd = received.indexOf("\r\n\r\n");
    }
    const head = received.toString("latin1", 0, headEnd);
    if (!head.startsWith("HTTP/1.1 101 ")) {
      socket.destroy();
      throw new Error(`${url.pathname}: ${head.split("\r\n", 1)[0]}`);
    }
    return new TextSocket(socket, received.subarray(headEnd + 4), heard, closed);
  }

  send(text: string): void {
    this.#send(OPCODE.text, Buffer.from(text));
  }

  close(): void {
    this.#send(OPCODE.close, Buffer.alloc(0));
    this.#socket.end();
  }

  #send(opcode: number, payload: Buffer): void {
    this.#socket.write(Buffer.concat([headOf(opcode, payload.length), NO_MASK, payload]));
  }

  #read(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    for (let frame = readFrame(this.#received); frame !== null; frame = readFrame(this.#received)) {
      this.#received = this.#received.subarray(frame.end);
      if (frame.opcode === OPCODE.text) this.#heard(frame.payload.toString());
      else if (frame.opcode === OPCODE.ping) this.#send(OPCODE.pong, frame.payload);
      else if (frame.opcode === OPCODE.close) this.#socket.end();
    }
  }
}

function headOf(opcode: number, length: number): Buffer {
  if (length < LENGTH_16) return Buffer.from([FINAL | opcode, MASKED | length]);
  const isLong = length > 0xffff;
  const head = Buffer.alloc(isLong ? 10 : 4);
  head[0] = FINAL | opcode;
  head[1] = MASKED | (isLong ? LENGTH_64 : LENGTH_16);
  if (isLong) head.writeBigUInt64BE(BigInt(length), 2);
  else head.writeUInt16BE(length, 2);
  return head;
}

/** The first frame in these bytes, or null while it is not whole. @throws Error for a message in pieces: we send none */
function readFrame(bytes: Buffer): Frame | null {
  if (bytes.length < 2) return null;
  const first = bytes.readUInt8(0);
  if ((first & FINAL) === 0) throw new Error("a message came in pieces");
  const short = bytes.readUInt8(1);
  const at = short < LENGTH_16 ? 2 : short === LENGTH_16 ? 4 : 10;
  if (bytes.length < at) return null;
  const length = at === 2 ? short : at === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < at + length) return null;
  return { opcode: first & 0x0f, payload: bytes.subarray(at, at + length), end: at + length };
}
