/**
 * The server side of RFC 6455: handshake, frames, fragments, ping and close. No extensions, no limit on what waits to
 * be sent, because ComfyUI has none: a slow reader costs memory, never a frame.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** aiohttp's limit for one message. */
export const MESSAGE_BYTES_MAX = 4 * 1024 * 1024;
const CONTROL_BYTES_MAX = 125;
/** After a close frame the peer has this long to answer before the connection is cut. */
const CLOSE_WAIT_MS = 2_000;

const PROTOCOL_ERROR = 1002;
const MESSAGE_TOO_BIG = 1009;
const REFUSALS = { unmasked: PROTOCOL_ERROR, reserved: PROTOCOL_ERROR, "too big": MESSAGE_TOO_BIG } as const;

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface SocketEvents {
  text?(message: string): void;
  binary?(message: Buffer): void;
  closed?(): void;
}

/** The Sec-WebSocket-Accept value for a handshake; undefined when the request is not one. */
export function acceptKey(request: IncomingMessage): string | undefined {
  const key = request.headers["sec-websocket-key"];
  const isUpgrade = request.headers.upgrade?.toLowerCase() === "websocket";
  if (!isUpgrade || typeof key !== "string" || request.headers["sec-websocket-version"] !== "13") return undefined;
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

export class WebSocketConnection {
  readonly #stream: Duplex;
  readonly #events: SocketEvents;
  #unread: Buffer = Buffer.alloc(0);
  #fragments: Buffer[] = [];
  #fragmentOpcode: number | undefined;
  #isClosing = false;
  #isClosed = false;

  /** Answers the handshake and takes the connection over. */
  constructor(stream: Duplex, accept: string, head: Buffer, events: SocketEvents) {
    this.#stream = stream;
    this.#events = events;
    stream.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    stream.on("data", (bytes: Buffer) => this.#receive(bytes));
    stream.on("error", () => this.#ended());
    stream.on("end", () => this.#ended());
    stream.on("close", () => this.#ended());
    if (head.length > 0) this.#receive(head);
  }

  sendText(message: string): void {
    this.#send(OPCODE.text, Buffer.from(message));
  }

  sendBinary(message: Uint8Array): void {
    this.#send(OPCODE.binary, message);
  }

  /** Says goodbye and waits for the answer, but not for ever. */
  close(code = 1000): void {
    if (this.#isClosing || this.#isClosed) return;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#send(OPCODE.close, payload);
    this.#isClosing = true;
    setTimeout(() => this.#stream.destroy(), CLOSE_WAIT_MS).unref();
  }

  /** Cuts the connection without a word, as a dying process does. */
  destroy(): void {
    this.#stream.destroy();
  }

  #send(opcode: number, payload: Uint8Array): void {
    if (this.#isClosing || this.#isClosed || this.#stream.writableEnded) return;
    this.#stream.write(frameHeader(opcode, payload.length));
    this.#stream.write(payload);
  }

  #receive(bytes: Buffer): void {
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    for (;;) {
      if (this.#isClosed) return;
      const frame = readFrame(this.#unread);
      if (frame === undefined) return;
      const refusal = typeof frame === "string" ? REFUSALS[frame] : this.#take(frame);
      if (refusal !== undefined) {
        this.close(refusal);
        this.#stream.end(); // Nothing sensible can follow from this client.
        return;
      }
      if (typeof frame !== "string") this.#unread = this.#unread.subarray(frame.end);
    }
  }

  /** Acts on one frame. @returns the close code for a frame that breaks the protocol */
  #take(frame: Frame): number | undefined {
    switch (frame.opcode) {
      case OPCODE.ping:
        this.#send(OPCODE.pong, frame.payload);
        return undefined;
      case OPCODE.pong:
        return undefined;
      case OPCODE.close:
        if (!this.#isClosing) this.#send(OPCODE.close, frame.payload.subarray(0, 2));
        this.#isClosing = true;
        this.#stream.end();
        return undefined;
      case OPCODE.text:
      case OPCODE.binary:
        if (this.#fragmentOpcode !== undefined) return PROTOCOL_ERROR;
        this.#fragmentOpcode = frame.opcode;
        this.#fragments = [frame.payload];
        break;
      case OPCODE.continuation:
        if (this.#fragmentOpcode === undefined) return PROTOCOL_ERROR;
        this.#fragments.push(frame.payload);
        break;
      default:
        return PROTOCOL_ERROR;
    }
    const size = this.#fragments.reduce((sum, part) => sum + part.length, 0);
    if (size > MESSAGE_BYTES_MAX) return MESSAGE_TOO_BIG;
    if (frame.isLast) this.#deliver();
    return undefined;
  }

  #deliver(): void {
    const isText = this.#fragmentOpcode === OPCODE.text;
    const message = Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#fragmentOpcode = undefined;
    if (isText) this.#events.text?.(message.toString("utf8"));
    else this.#events.binary?.(message);
  }

  #ended(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stream.destroy();
    this.#events.closed?.();
  }
}

interface Frame {
  readonly isLast: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
  /** Where the next frame starts. */
  readonly end: number;
}

function frameHeader(opcode: number, length: number): Buffer {
  if (length < 126) return Buffer.from([0x80 | opcode, length]);
  if (length < 65_536) {
    const header = Buffer.from([0x80 | opcode, 126, 0, 0]);
    header.writeUInt16BE(length, 2);
    return header;
  }
  const header = Buffer.alloc(10);
  header[0] = 0x80 | opcode;
  header[1] = 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

/** One client frame, unmasked; undefined while bytes are missing. */
function readFrame(bytes: Buffer): Frame | "unmasked" | "reserved" | "too big" | undefined {
  if (bytes.length < 2) return undefined;
  const first = bytes.readUInt8(0);
  const second = bytes.readUInt8(1);
  const opcode = first & 0x0f;
  const isLast = (first & 0x80) !== 0;
  let length = second & 0x7f;
  if ((first & 0x70) !== 0) return "reserved";
  if (opcode >= 8 && (length > CONTROL_BYTES_MAX || !isLast)) return "reserved";
  if ((second & 0x80) === 0) return "unmasked";
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return undefined;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return undefined;
    const long = bytes.readBigUInt64BE(2);
    if (long > BigInt(MESSAGE_BYTES_MAX)) return "too big";
    length = Number(long);
    at = 10;
  }
  if (length > MESSAGE_BYTES_MAX) return "too big";
  if (bytes.length < at + 4 + length) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
  for (let index = 0; index < payload.length; index += 1) {
    payload[index] = payload.readUInt8(index) ^ mask.readUInt8(index & 3);
  }
  return { isLast, opcode, payload, end: at + 4 + length };
}
