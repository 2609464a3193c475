/**
 * A ComfyUI whose every answer a test writes by hand, for what no faithful server does on demand: answers that are
 * lost, strange outputs, bare NaN, frames in odd orders. Runs nothing.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { acceptKey, WebSocketConnection } from "#gpu-agent/stand-in/websocket";

export interface FakePrompt {
  readonly id: string;
  readonly clientId: string;
  readonly body: Record<string, unknown>;
}

export class FakeComfy {
  readonly prompts: FakePrompt[] = [];
  /** "METHOD /path body" of every request but polls. */
  readonly requests: string[] = [];
  readonly sockets: { readonly clientId: string; readonly connection: WebSocketConnection; closed: boolean }[] = [];
  /** Prompt id → entry as JSON text, so that it may hold what JSON.stringify cannot write. */
  readonly history = new Map<string, string>();
  running: string[] = [];
  pending: string[] = [];
  jobsApi = false;
  greets = true;
  files = new Map<string, Buffer>();
  uploads: { readonly body: string }[] = [];
  /** Called for a submitted prompt; answers the request unless it returns true. */
  onPrompt: (prompt: FakePrompt, response: ServerResponse) => boolean = () => false;
  /** Called for an interrupt or cancel. */
  onStop: (promptId: string) => void = (promptId) => {
    this.running = this.running.filter((id) => id !== promptId);
    this.pending = this.pending.filter((id) => id !== promptId);
  };
  #server: Server | null = null;
  #port = 0;

  static async start(): Promise<FakeComfy> {
    const fake = new FakeComfy();
    await fake.listen();
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<void> {
    const server = createServer((request, response) => void this.#serve(request, response));
    server.on("upgrade", (request, stream, head) => {
      const accept = acceptKey(request);
      if (accept === undefined) {
        stream.destroy();
        return;
      }
      const clientId = new URL(request.url ?? "/", this.url).searchParams.get("clientId") ?? "";
      const closed = () => {
        socket.closed = true;
      };
      const connection = new WebSocketConnection(stream, accept, head, { closed });
      const socket = { clientId, connection, closed: false };
      this.sockets.push(socket);
      if (this.greets) this.send("status", { status: { exec_info: { queue_remaining: 0 } }, sid: clientId });
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address === "object" && address !== null) this.#port = address.port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    for (const socket of this.sockets) socket.connection.destroy();
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  /** A text frame to every open socket. */
  send(type: string, data: object): void {
    for (const socket of this.sockets) if (!socket.closed) socket.connection.sendText(JSON.stringify({ type, data }));
  }

  sendBinary(bytes: Uint8Array): void {
    for (const socket of this.sockets) if (!socket.closed) socket.connection.sendBinary(bytes);
  }

  /** Ends a prompt as ComfyUI does: history first, then the end marker. */
  finish(promptId: string, outputs: object = {}, entry: object = {}): void {
    const status = { status_str: "success", completed: true, messages: [] };
    this.running = this.running.filter((id) => id !== promptId);
    this.history.set(promptId, JSON.stringify({ prompt: [], outputs, status, meta: {}, ...entry }));
    this.send("executing", { node: null, prompt_id: promptId });
  }

  fail(promptId: string, event: string, data: object): void {
    this.finish(promptId, {}, { status: { status_str: "error", completed: false, messages: [[event, data]] } });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const path = url.pathname;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString("latin1");
    if (request.method === "POST") this.requests.push(`POST ${path} ${path === "/prompt" ? "" : body}`.trim());
    const json = (value: unknown, status = 200) =>
      void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    const fields = () => JSON.parse(body) as Record<string, unknown>;

    if (path === "/system_stats") return json({ system: { comfyui_version: "9.9.9", argv: [] }, devices: [] });
    if (path === "/api/jobs") return this.jobsApi ? json({ jobs: [], pagination: {} }) : json({}, 404);
    if (path.startsWith("/object_info/")) return json({ [decodeURIComponent(path.slice(13))]: {} });
    if (path === "/queue" && request.method === "GET") {
      const tuples = (ids: string[]) => ids.map((id, index) => [index, id, {}, {}, []]);
      return json({ queue_running: tuples(this.running), queue_pending: tuples(this.pending) });
    }
    if (path === "/queue") {
      for (const id of fields().delete as string[]) this.onStop(id);
      return void response.end();
    }
    if (path === "/interrupt") {
      this.onStop(String(fields().prompt_id));
      return void response.end();
    }
    const cancel = /^\/api\/jobs\/([^/]+)\/cancel$/.exec(path);
    if (cancel !== null) {
      this.onStop(cancel[1] ?? "");
      return json({ cancelled: true });
    }
    if (path === "/history") return void response.end();
    if (path.startsWith("/history/")) {
      const id = path.slice("/history/".length);
      const entry = this.history.get(id);
      return void response.end(entry === undefined ? "{}" : `{${JSON.stringify(id)}: ${entry}}`);
    }
    if (path === "/view") {
      const { filename, subfolder, type } = Object.fromEntries(url.searchParams);
      const bytes = this.files.get(`${type}/${subfolder}/${filename}`);
      return void (bytes === undefined ? response.writeHead(404).end() : response.end(bytes));
    }
    if (path === "/upload/image") {
      this.uploads.push({ body });
      const name = /filename="([^"]*)"/.exec(body)?.[1] ?? "";
      const subfolder = /name="subfolder"\r\n\r\n([^\r]*)/.exec(body)?.[1] ?? "";
      return json({ name: `renamed ${name}`, subfolder, type: "input" });
    }
    if (path === "/prompt") {
      const fieldsOfPrompt = fields();
      const prompt = {
        id: String(fieldsOfPrompt.prompt_id),
        clientId: String(fieldsOfPrompt.client_id),
        body: fieldsOfPrompt,
      };
      this.prompts.push(prompt);
      if (this.onPrompt(prompt, response)) return;
      this.running.push(prompt.id);
      return json({ prompt_id: prompt.id, number: 1, node_errors: {} });
    }
    response.writeHead(404).end();
  }
}
