/** The servers the protocol tests run against, and prompts for them. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { ComfyClient } from "./comfy-client.ts";

const MAIN = fileURLToPath(new URL("../../../gpu-agent/stand-in/main.ts", import.meta.url));

export interface Spawned {
  readonly url: string;
  readonly process: ChildProcess;
  /** Everything said on stderr so far. */
  stderr(): string;
  /** Resolves with the exit code, or null for a signal. */
  readonly exited: Promise<number | null>;
}

/** Starts the stand-in as a program and waits until it listens. */
export async function spawnStandIn(flags: readonly string[]): Promise<Spawned> {
  const child = spawn(process.execPath, [MAIN, "--port", "0", ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  const lines: string[] = [];
  child.stderr.on("data", (text: Buffer) => lines.push(text.toString()));
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const first = createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  const line = await Promise.race([first, exited]);
  if (typeof line !== "object" || line === null || line.done === true) {
    throw new Error(`the stand-in did not start: ${lines.join("")}`);
  }
  const { port } = JSON.parse(line.value) as { port: number };
  return { url: `http://127.0.0.1:${port}`, process: child, stderr: () => lines.join(""), exited };
}

/** One server under test; its fields are set before the tests of the suite run. */
export class Contract {
  #client: ComfyClient | undefined;
  /** True for servers with `GET /api/jobs`. */
  isNewer = false;
  isStandIn = false;

  get client(): ComfyClient {
    if (this.#client === undefined) throw new Error("the server is not there yet");
    return this.#client;
  }

  async meet(url: string): Promise<void> {
    this.#client = new ComfyClient(url);
    const { json } = await this.#client.get("/system_stats");
    const system = isJsonObject(json) && isJsonObject(json.system) ? json.system : {};
    this.isStandIn = system.pilotlight_stand_in === true;
    this.isNewer = (await this.#client.get("/api/jobs")).status === 200;
  }

  /**
   * A prompt that runs for a second or more and can be interrupted between its nodes. Real servers blur big pictures;
   * the stand-in blurs small ones and waits.
   */
  async slowPrompt(): Promise<JsonObject> {
    if (this.isStandIn) await this.client.post("/stand-in/faults", { slow_node_ms: 60 });
    const side = this.isStandIn ? 8 : 640;
    const nodes: JsonObject = { "1": emptyImage(side, side) };
    const count = 30;
    for (let index = 2; index < count; index += 1) {
      nodes[String(index)] = {
        class_type: "ImageBlur",
        inputs: { image: [String(index - 1), 0], blur_radius: this.isStandIn ? 1 : 31, sigma: 1.0 },
      };
    }
    nodes[String(count)] = { class_type: "PreviewImage", inputs: { images: [String(count - 1), 0] } };
    return nodes;
  }

  close(): void {
    this.#client?.close();
  }
}

let colours = Math.floor(Math.random() * 0xff_ff00);

/** A node that no earlier prompt has computed: its colour is new. */
export function emptyImage(width = 64, height = 48): JsonObject {
  colours = (colours + 1) % 0x100_0000;
  return { class_type: "EmptyImage", inputs: { width, height, batch_size: 1, color: colours } };
}

/** EmptyImage → ImageInvert → SaveImage, with a prefix of its own. */
export function picture(prefix = uniqueName()): JsonObject {
  return {
    "1": emptyImage(),
    "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] }, _meta: { title: "Invert" } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: prefix } },
  };
}

export function uniqueName(): string {
  return `contract_${crypto.randomUUID().slice(0, 8)}`;
}
