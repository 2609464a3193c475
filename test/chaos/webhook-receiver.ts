/** A receiver of webhooks that keeps everything it hears and does not always behave. */
import { once } from "node:events";
import { appendFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { ReceivedMessage } from "./evidence.ts";
import type { SeededChance } from "./seeded-chance.ts";

/** Of a thousand messages so many are refused when they first come, and so many get no answer at all. */
const REFUSED = 40;
const CUT = 20;
const BODY_BYTES_MAX = 64 * 1024;

export class WebhookReceiver {
  readonly url: string;
  readonly messages: ReceivedMessage[] = [];
  readonly #server: Server;
  readonly #chance: SeededChance;
  readonly #logFile: string;
  /** Messages that were treated badly once: the second time they are taken. */
  readonly #known = new Set<string>();

  static async start(chance: SeededChance, logFile: string): Promise<WebhookReceiver> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return new WebhookReceiver(server, address.port, chance, logFile);
  }

  private constructor(server: Server, port: number, chance: SeededChance, logFile: string) {
    this.#server = server;
    this.#chance = chance;
    this.#logFile = logFile;
    this.url = `http://127.0.0.1:${port}`;
    server.on("request", (request, response) => void this.#take(request, response));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    let size = 0;
    try {
      for await (const piece of request) {
        const bytes = Buffer.from(piece as Uint8Array);
        size += bytes.length;
        if (size <= BODY_BYTES_MAX) pieces.push(bytes);
      }
    } catch {
      // The sender was killed in the middle: nothing arrived.
      return;
    }
    const header = (name: string) => String(request.headers[name] ?? "");
    const path = request.url ?? "/";
    const id = header("webhook-id");
    const isNew = !this.#known.has(`${path} ${id}`);
    this.#known.add(`${path} ${id}`);
    const dice = this.#chance.below(1_000);
    const status = !isNew ? 204 : dice < CUT ? null : dice < CUT + REFUSED ? 503 : 204;
    const message: ReceivedMessage = {
      path,
      id,
      timestamp: header("webhook-timestamp"),
      signature: header("webhook-signature"),
      body: Buffer.concat(pieces).toString("utf8"),
      status,
    };
    this.messages.push(message);
    await appendFile(this.#logFile, `${JSON.stringify(message)}\n`);
    if (status === null) response.destroy();
    else response.writeHead(status).end();
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await Promise.resolve();
  }
}
