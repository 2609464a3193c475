/**
 * Replays conversations recorded with a real ComfyUI 0.3.64: each request again, each frame awaited in turn. The
 * recordings are reference data outside the repository; without them there is nothing to replay.
 */
import { existsSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject, parseExactJson } from "#contract/exact-json";
import { nodeImplementations } from "#gpu-agent/stand-in/nodes/registry";
import { type ComfySocket, type Frame, isText } from "../comfy-contract/comfy-client.ts";
import { type ServerUnderTest, startServer } from "./server-under-test.ts";
import { testLibrary } from "./test-nodes.ts";

const FOLDER = new URL("../../../../shared/comfyui/transcripts/", import.meta.url);

function transcript(name: string): JsonObject[] {
  const parsed = parseExactJson(readFileSync(new URL(`${name}.json`, FOLDER), "utf8"), { pythonNumbers: true });
  return Array.isArray(parsed) ? parsed.filter(isJsonObject) : [];
}

/** Every string of a value, changed. */
function mapStrings(value: Json, change: (text: string) => string): Json {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [change(key), mapStrings(item, change)]));
}

/** What two runs of one conversation cannot share: times, tracebacks, random letters, and the order of sets. */
function comparable(value: Json): Json {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value === "string") return value.replace(/ComfyUI_temp_[a-z]{5}_/, "ComfyUI_temp_xxxxx_");
  if (!isJsonObject(value)) return value;
  const fields: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    if (key === "timestamp") fields[key] = 0;
    else if (key === "traceback") fields[key] = [];
    else if (key === "tooltip") continue;
    else if (key === "current_inputs" && isJsonObject(item)) fields[key] = Object.keys(item).sort();
    else if (["executed", "current_outputs", "dependent_outputs"].includes(key) && Array.isArray(item)) {
      fields[key] = item.map(String).sort();
    } else fields[key] = comparable(item);
  }
  return fields;
}

function bodyOf(entry: JsonObject): unknown {
  const { body } = entry;
  const raw = typeof body === "string" ? /^b'(.*)'$/.exec(body)?.[1] : undefined;
  return raw ?? (body === null ? undefined : body);
}

function request(entry: JsonObject): { method: string; path: string } {
  const [method = "", path = ""] = String(entry.http).split(" ");
  return { method, path };
}

/** A frame the way the recordings keep it. */
function recorded(frame: Frame): Json {
  if (isText(frame)) return { type: frame.type, data: frame.data };
  const { event, payload } = frame;
  if (event === 1) return { bin: 1, imgtype: payload.readUInt32BE(0), magic: payload.subarray(4, 6).toString("hex") };
  const length = payload.readUInt32BE(0);
  const head = payload.subarray(4, 4 + length).toString();
  const rest = payload.subarray(4 + length);
  if (event === 3) return { bin: 3, node: head, text: rest.toString() };
  return { bin: event, meta: JSON.parse(head) as Json, magic: rest.subarray(0, 2).toString("hex") };
}

function expectedFrame(message: Json): Json {
  if (!isJsonObject(message) || !("bin" in message)) return message;
  const { len: _length, magic, ...rest } = message;
  return magic === undefined ? rest : { ...rest, magic: String(magic).slice(0, 4) };
}

function isProgress(message: Json): boolean {
  return isJsonObject(message) && (message.type === "progress" || message.type === "progress_state");
}

/** One recorded conversation, going on with this server. */
class Replay {
  readonly #server: ServerUnderTest;
  readonly #sockets = new Map<string, { socket: ComfySocket; read: number }>();
  /** Recorded ids and what they are called this time. */
  readonly #names = new Map<string, string>();

  constructor(server: ServerUnderTest) {
    this.#server = server;
  }

  async play(entries: readonly JsonObject[]): Promise<void> {
    let skipped = false;
    for (const entry of entries) {
      if (typeof entry.note === "string" && entry.note.startsWith("===")) skipped = entry.note.includes("expand");
      if ("http" in entry) await this.#request(entry, skipped);
      else if ("msg" in entry && !skipped) await this.#frame(String(entry.ws), entry.msg ?? null);
    }
  }

  async #request(entry: JsonObject, isSkipped: boolean): Promise<void> {
    if (isSkipped) {
      await this.#runInstead(entry);
      return;
    }
    const { method, path } = request(entry);
    const body = mapStrings((bodyOf(entry) ?? null) as Json, (text) => this.#rename(text));
    const answer = await this.#server.client.request(method, this.#rename(path), body ?? undefined);
    const response = entry.resp ?? null;
    if (path === "/prompt" && isJsonObject(response) && isJsonObject(answer.json)) {
      this.#names.set(String(response.prompt_id), String(answer.json.prompt_id));
    }
    const expected = comparable(mapStrings(response, (text) => this.#rename(text)));
    const received = isJsonObject(answer.json) ? comparable(answer.json) : answer.text;
    expect([entry.http, answer.status, received]).toEqual([entry.http, entry.status, expected]);
  }

  /** Expansion is not something the stand-in does; what the recording cached with it, it caches without. */
  async #runInstead(entry: JsonObject): Promise<void> {
    if (entry.http !== "POST /prompt") return;
    const body = mapStrings(entry.body ?? null, (text) => (text === "ExpandTest" ? "ImageInvert" : text));
    const states = [...this.#sockets.values()];
    const from = states.map(({ socket }) => socket.frames.length);
    const { json } = await this.#server.client.post("/prompt", body);
    const id = isJsonObject(json) ? String(json.prompt_id) : "";
    const isOver = (frame: Frame) => JSON.stringify(recorded(frame)).includes('"queue_remaining":0');
    for (const [index, { socket }] of states.entries()) await socket.until(isOver, from[index]);
    const clientId = isJsonObject(body) ? String(body.client_id) : "";
    await states.find(({ socket }) => socket.socket.url.includes(clientId))?.socket.untilEnd(id);
    for (const state of states) state.read = state.socket.frames.length;
  }

  async #frame(name: string, message: Json): Promise<void> {
    const expected = comparable(mapStrings(expectedFrame(message), (text) => this.#rename(text)));
    const state = this.#sockets.get(name) ?? (await this.#open(name, message));
    for (;;) {
      const next = await state.socket.until(() => true, state.read);
      state.read += 1;
      const received = comparable(recorded(next));
      // An interrupt lands a step sooner or later; steps that the recording does not have are passed over.
      if (isProgress(received) && !isProgress(expected)) continue;
      expect([name, received]).toEqual([name, expected]);
      return;
    }
  }

  async #open(name: string, message: Json): Promise<{ socket: ComfySocket; read: number }> {
    const data = isJsonObject(message) && isJsonObject(message.data) ? message.data : {};
    const socket = await this.#server.client.connect(String(data.sid));
    // The first recorded socket sent its feature flags; its second frame answers them.
    if (name === "A") socket.send({ type: "feature_flags", data: { supports_preview_metadata: true } });
    const state = { socket, read: 0 };
    this.#sockets.set(name, state);
    return state;
  }

  #rename(text: string): string {
    let renamed = text;
    for (const [before, after] of this.#names) renamed = renamed.replaceAll(before, after);
    return renamed;
  }
}

describe.skipIf(!existsSync(FOLDER))("a recorded conversation", () => {
  let server: ServerUnderTest | undefined;
  const start = async (...flags: string[]): Promise<ServerUnderTest> => {
    const { specs, implementations } = testLibrary();
    const library = { specs, implementations: { ...implementations, ...nodeImplementations }, models: {} };
    server = await startServer(["--preview-method", "auto", ...flags], library);
    return server;
  };
  afterEach(async () => await server?.close());

  it("of refused and accepted prompts goes the same way", async () => {
    const { client } = await start();
    const entries = transcript("prompt_validation_errors").filter((entry) => "http" in entry);
    // The recorded server had counted ten prompts before.
    const before = 10;
    for (const entry of entries) {
      const { method, path } = request(entry);
      const answer = await client.request(method, path, bodyOf(entry));
      const response = comparable(entry.resp ?? null);
      if (isJsonObject(response) && typeof response.number === "number") {
        response.number -= Math.sign(response.number) * before;
        if (isJsonObject(entry.body) && !("prompt_id" in entry.body))
          response.prompt_id = expect.any(String) as unknown as string;
      }
      const received = isJsonObject(answer.json) ? comparable(answer.json) : answer.text;
      expect([entry.body, answer.status, answer.contentType, received]).toEqual([
        entry.body,
        entry.status,
        entry.ctype,
        response,
      ]);
    }
  });

  it("of running, cached, failing and interrupted prompts goes the same way", async () => {
    const entries = transcript("run_cached_progress_error_interrupt_expand");
    await new Replay(await start()).play(entries);
  });

  it("of views and other requests goes the same way", async () => {
    const { client } = await start("--max-upload-size", "1");
    const entries = transcript("upload_view_queue_history_reconnect");
    const until = entries.findIndex((entry) => entry.note === "=== queue ops");
    const requests = entries.slice(0, until);
    const bytesOf = (path: string) => {
      const found = requests.find((entry) => entry.http === `GET ${path}`);
      return Buffer.from(String(found?.resp), "latin1");
    };
    const upload = async (name: string, bytes: Buffer, fields: Record<string, string> = {}) => {
      const form = new FormData();
      for (const [key, value] of Object.entries(fields)) form.set(key, value);
      form.set("image", new File([new Uint8Array(bytes)], name));
      const { json } = await client.post("/upload/image", form);
      return json;
    };
    const a = bytesOf("/view?filename=a.png&type=input");
    const b = bytesOf("/view?filename=b.png&type=input&subfolder=sub/dir&channel=a");
    const uploads = [
      await upload("a.png", a),
      await upload("a.png", a),
      await upload("a.png", b),
      await upload("a.png", a, { overwrite: "true" }),
      await upload("b.png", b, { subfolder: "sub/dir" }),
      await upload("c.png", a, { type: "temp" }),
      await upload("c.png", a, { type: "output" }),
    ];
    const recordedUploads = requests.filter((entry) => entry.http === "POST /upload/image").slice(0, uploads.length);
    expect(uploads).toEqual(recordedUploads.map((entry) => entry.resp));
    await upload("data.txt", Buffer.from("hello"));

    let note = "";
    for (const entry of requests) {
      if (typeof entry.note === "string") note = entry.note;
      if (!("http" in entry) || String(entry.http).includes("/upload/")) continue;
      if (note === "origin mismatch" && entry.status === 403) continue;
      const { method, path } = request(entry);
      const headers: Record<string, string> = note === "range" ? { range: "bytes=0-9" } : {};
      const answer = await client.request(method, path, bodyOf(entry), headers);
      const expectedHeaders = isJsonObject(entry.hdr) ? entry.hdr : {};
      const isEncoded = /preview=|channel=/.test(path);
      const checked = Object.keys(expectedHeaders).filter(
        (name) => !["Etag", "Last-Modified", ...(isEncoded ? ["Content-Length"] : [])].includes(name),
      );
      expect([entry.http, answer.status, answer.contentType]).toEqual([entry.http, entry.status, entry.ctype]);
      expect([entry.http, ...checked.map((name) => answer.headers.get(name))]).toEqual([
        entry.http,
        ...checked.map((name) => expectedHeaders[name]),
      ]);
    }
  });
});
