/** A small ComfyUI client for tests: requests as they are, and every WebSocket frame kept in order. */
import { isJsonObject, type Json, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";

/** Nothing in these tests takes longer, on the slowest machine they meet. */
const DEADLINE_MS = 60_000;

export interface TextFrame {
  readonly type: string;
  readonly data: JsonObject;
}

export interface BinaryFrame {
  readonly event: number;
  readonly payload: Buffer;
}

export type Frame = TextFrame | BinaryFrame;

export function isText(frame: Frame): frame is TextFrame {
  return "type" in frame;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string | null;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; null when it is not. */
  readonly json: Json;
}

export class ComfySocket {
  readonly frames: Frame[] = [];
  readonly socket: WebSocket;
  #waiting: (() => void)[] = [];

  constructor(url: string) {
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", ({ data }) => {
      this.frames.push(typeof data === "string" ? textFrame(data) : binaryFrame(data as ArrayBuffer));
      this.#wake();
    });
    this.socket.addEventListener("close", () => this.#wake());
  }

  get isClosed(): boolean {
    return this.socket.readyState === WebSocket.CLOSED;
  }

  /** The first frame from position `from` on that fits; waits for it. */
  async until(fits: (frame: Frame) => boolean, from = 0): Promise<Frame> {
    const deadline = Date.now() + DEADLINE_MS;
    for (;;) {
      const found = this.frames.slice(from).find(fits);
      if (found !== undefined) return found;
      if (this.isClosed) throw new Error("the socket closed before the frame came");
      if (Date.now() > deadline) throw new Error(`no such frame; got ${this.frames.map(frameName).join(" ")}`);
      await this.#change(deadline);
    }
  }

  /** Waits until the prompt's end marker, and gives the frames before and with it. */
  async untilEnd(promptId: string, from = 0): Promise<Frame[]> {
    const end = await this.until((frame) => isText(frame) && isEndOf(frame, promptId), from);
    return this.frames.slice(from, this.frames.indexOf(end) + 1);
  }

  async untilClosed(): Promise<void> {
    const deadline = Date.now() + DEADLINE_MS;
    while (!this.isClosed) {
      if (Date.now() > deadline) throw new Error("the socket stayed open");
      await this.#change(deadline);
    }
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  close(): void {
    this.socket.close();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #change(deadline: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      timer = setTimeout(resolve, Math.max(1, deadline - Date.now()));
    });
    clearTimeout(timer);
  }
}

export class ComfyClient {
  readonly base: string;
  readonly #sockets: ComfySocket[] = [];

  constructor(base: string) {
    this.base = base.replace(/\/$/, "");
  }

  async request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const isRaw =
      typeof body === "string" || body instanceof Uint8Array || body instanceof FormData || body === undefined;
    const response = await fetch(this.base + path, {
      method,
      headers: isRaw ? headers : { "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: isRaw ? (body as string) : stringifyExactJson(body) }),
      redirect: "manual",
    });
    const text = Buffer.from(await response.arrayBuffer()).toString("utf8");
    let json: Json = null;
    try {
      json = parseExactJson(text, { pythonNumbers: true, depthMax: 500 });
    } catch {
      json = null; // Pictures and plain texts are read as text.
    }
    return {
      status: response.status,
      contentType: response.headers.get("content-type"),
      headers: response.headers,
      text,
      json,
    };
  }

  get(path: string, headers?: Record<string, string>): Promise<Answer> {
    return this.request("GET", path, undefined, headers);
  }

  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> {
    return this.request("POST", path, body, headers);
  }

  /** Opens a socket and waits for its first frame. */
  async connect(clientId?: string, flags?: JsonObject): Promise<ComfySocket> {
    const socket = this.open(clientId);
    await socket.until((frame) => isText(frame) && frame.type === "status");
    if (flags !== undefined) {
      socket.send({ type: "feature_flags", data: flags });
      await socket.until((frame) => isText(frame) && frame.type === "feature_flags");
    }
    return socket;
  }

  /** Opens a socket without waiting for anything. */
  open(clientId?: string): ComfySocket {
    const query = clientId === undefined ? "" : `?clientId=${encodeURIComponent(clientId)}`;
    const socket = new ComfySocket(`${this.base.replace(/^http/, "ws")}/ws${query}`);
    this.#sockets.push(socket);
    return socket;
  }

  /** Submits and expects success. @returns the prompt id */
  async submit(prompt: object, fields: object = {}): Promise<string> {
    const answer = await this.post("/prompt", { prompt, ...fields });
    if (answer.status !== 200 || !isJsonObject(answer.json)) throw new Error(`refused: ${answer.text}`);
    return String(answer.json.prompt_id);
  }

  /** The history entry of a prompt, as soon as there is one. */
  async finished(promptId: string): Promise<JsonObject> {
    const entry = await this.poll(async () => {
      const { json } = await this.get(`/history/${promptId}`);
      const found = isJsonObject(json) ? json[promptId] : undefined;
      return isJsonObject(found) ? found : undefined;
    });
    return entry;
  }

  /** Asks again and again until there is an answer. */
  async poll<T>(ask: () => Promise<T | undefined>): Promise<T> {
    const deadline = Date.now() + DEADLINE_MS;
    for (;;) {
      const answer = await ask();
      if (answer !== undefined) return answer;
      if (Date.now() > deadline) throw new Error("waited in vain");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

function textFrame(text: string): TextFrame {
  const parsed = parseExactJson(text, { pythonNumbers: true, depthMax: 500 });
  if (!isJsonObject(parsed) || typeof parsed.type !== "string" || !isJsonObject(parsed.data)) {
    throw new Error(`not a frame: ${text.slice(0, 200)}`);
  }
  return { type: parsed.type, data: parsed.data };
}

function binaryFrame(data: ArrayBuffer): BinaryFrame {
  const bytes = Buffer.from(data);
  return { event: bytes.readUInt32BE(0), payload: bytes.subarray(4) };
}

function isEndOf(frame: TextFrame, promptId: string): boolean {
  return frame.type === "executing" && frame.data.node === null && frame.data.prompt_id === promptId;
}

/** A frame in a word or two: enough to compare orders. */
export function frameName(frame: Frame): string {
  if (!isText(frame)) return `binary ${frame.event}`;
  const { type, data } = frame;
  switch (type) {
    case "executing":
      return `executing ${data.node === null ? "null" : String(data.node)}`;
    case "executed":
      return `executed ${String(data.node)}`;
    case "progress":
      return `progress ${String(data.value)}/${String(data.max)}`;
    case "progress_state": {
      const nodes = Object.entries(isJsonObject(data.nodes) ? data.nodes : {});
      const parts = nodes.map(([id, node]) => `${id}=${isJsonObject(node) ? String(node.state) : "?"}`);
      return `progress_state ${parts.join(",")}`;
    }
    default:
      return type;
  }
}
