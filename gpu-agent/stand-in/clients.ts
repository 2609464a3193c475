/** The open WebSockets by client id, and what is said to them. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { isJsonObject, type Json, parseExactJson } from "#contract/exact-json";
import { pythonJson } from "./python-json.ts";
import { acceptKey, WebSocketConnection } from "./websocket.ts";

/** The first four bytes of a binary frame. */
export const BINARY_EVENT = { preview: 1, text: 3, previewWithMetadata: 4 } as const;

export interface ClientSettings {
  /** What `feature_flags` and `GET /features` answer. */
  readonly features: Json;
  /** The number in every `status` frame. */
  queueRemaining(): number;
  /** The node shown to a client that reconnects while its prompt runs. */
  currentNode(clientId: string): string | undefined;
  /** True: sockets open, and nothing is ever sent. */
  isSilent(): boolean;
}

export class Clients {
  readonly #settings: ClientSettings;
  readonly #sockets = new Map<string, WebSocketConnection>();
  readonly #flags = new Map<string, Json>();
  /** Every open connection, including those whose id was taken over. */
  readonly #connections = new Set<WebSocketConnection>();

  constructor(settings: ClientSettings) {
    this.#settings = settings;
  }

  /** Opens a socket. False when the request is no handshake; then nothing was written. */
  connect(request: IncomingMessage, stream: Duplex, head: Buffer, givenId: string | null): boolean {
    const accept = acceptKey(request);
    if (accept === undefined) return false;
    const clientId = givenId === null || givenId === "" ? randomUUID().replaceAll("-", "") : givenId;
    let awaitsFlags = true;
    const connection = new WebSocketConnection(stream, accept, head, {
      text: (message) => {
        if (awaitsFlags) awaitsFlags = !this.#readFirst(clientId, message);
      },
      closed: () => {
        this.#connections.delete(connection);
        // Whoever closes takes the registration along, even when a newer socket holds it: ComfyUI does the same.
        this.#sockets.delete(clientId);
        this.#flags.delete(clientId);
      },
    });
    this.#connections.add(connection);
    this.#sockets.delete(clientId);
    this.#sockets.set(clientId, connection);
    this.#flags.set(clientId, {});
    this.send("status", { ...this.#queueStatus(), sid: clientId }, clientId);
    const node = this.#settings.currentNode(clientId);
    if (node !== undefined) this.send("executing", { node }, clientId);
    return true;
  }

  /** A frame `{type, data}` to one client, or to all of them. */
  send(type: string, data: object, clientId: string | undefined): void {
    if (this.#settings.isSilent()) return;
    const receivers = this.#receivers(clientId);
    if (receivers.length === 0) return;
    const message = pythonJson({ type, data });
    for (const socket of receivers) socket.sendText(message);
  }

  sendBinary(event: number, payload: Uint8Array, clientId: string | undefined): void {
    if (this.#settings.isSilent()) return;
    const header = Buffer.alloc(4);
    header.writeUInt32BE(event);
    const message = Buffer.concat([header, payload]);
    for (const socket of this.#receivers(clientId)) socket.sendBinary(message);
  }

  sendStatus(): void {
    this.send("status", this.#queueStatus(), undefined);
  }

  supports(clientId: string | undefined, feature: string): boolean {
    const flags = clientId === undefined ? undefined : this.#flags.get(clientId);
    return isJsonObject(flags) && flags[feature] === true;
  }

  closeAll(): void {
    for (const connection of this.#connections) connection.close(1001);
  }

  dropAll(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #queueStatus(): { status: { exec_info: { queue_remaining: number } } } {
    return { status: { exec_info: { queue_remaining: this.#settings.queueRemaining() } } };
  }

  #receivers(clientId: string | undefined): WebSocketConnection[] {
    if (clientId === undefined) return [...this.#sockets.values()];
    const socket = this.#sockets.get(clientId);
    return socket === undefined ? [] : [socket];
  }

  /** Feature flags count only as a client's first readable message. True once that message was there. */
  #readFirst(clientId: string, message: string): boolean {
    let data: Json;
    try {
      data = parseExactJson(message, { pythonNumbers: true });
    } catch {
      return false;
    }
    if (!isJsonObject(data)) return false;
    if (data.type === "feature_flags") {
      this.#flags.set(clientId, data.data ?? {});
      this.send("feature_flags", this.#settings.features as object, clientId);
    }
    return true;
  }
}
