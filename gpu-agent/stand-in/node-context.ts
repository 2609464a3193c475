/** What a running node can do besides computing: say how far it is, show pictures and texts, wait, and be interrupted. */
import { setImmediate, setTimeout as wait } from "node:timers/promises";
import { isJsonObject } from "#contract/exact-json";
import { BINARY_EVENT } from "./clients.ts";
import { type ImageBatch, InterruptedError, type NodeContext } from "./node.ts";
import { previewJpeg, previewPayload, previewWithMetadataPayload } from "./previews.ts";
import type { Progress } from "./progress.ts";
import type { PromptToRun, RunSettings } from "./prompt-run.ts";
import { pythonJson } from "./python-json.ts";

/** A waiting node looks this often whether it was interrupted. */
const INTERRUPT_CHECK_MS = 20;

/** Makes the contexts of one prompt's nodes. */
export class NodeContexts {
  readonly #settings: RunSettings;
  readonly #prompt: PromptToRun;
  readonly #progress: Progress;
  #metadata: Readonly<Record<string, string>> | undefined;

  constructor(settings: RunSettings, prompt: PromptToRun, progress: Progress) {
    this.#settings = settings;
    this.#prompt = prompt;
    this.#progress = progress;
  }

  contextOf(nodeId: string): NodeContext {
    const checkInterrupt = (): void => {
      if (this.#prompt.takeInterrupt()) throw new InterruptedError();
    };
    const metadata = (): Readonly<Record<string, string>> => this.#savedMetadata();
    return {
      nodeId,
      promptId: this.#prompt.promptId,
      folders: this.#settings.catalog.folders,
      get metadata() {
        return metadata();
      },
      checkInterrupt,
      progress: async (value, max, preview) => {
        await setImmediate();
        checkInterrupt();
        await this.#sendProgress(nodeId, value, max, preview);
      },
      sendText: (text) => this.#sendText(nodeId, text),
      sleep: async (ms) => {
        const until = performance.now() + ms;
        for (let left = ms; left > 0; left = until - performance.now()) {
          checkInterrupt();
          await wait(Math.min(left, INTERRUPT_CHECK_MS));
        }
        checkInterrupt();
      },
    };
  }

  async #sendProgress(nodeId: string, value: number, max: number, preview: ImageBatch | undefined): Promise<void> {
    const { clients, previewSizeMax } = this.#settings;
    const { clientId, promptId: prompt_id } = this.#prompt;
    const isShown = preview !== undefined && this.#showsPreviews();
    const jpeg = isShown ? await previewJpeg(preview, previewSizeMax) : undefined;
    const withMetadata = clients.supports(clientId, "supports_preview_metadata");
    this.#progress.update(nodeId, value, max);
    if (jpeg !== undefined && withMetadata) {
      const ids = { node_id: nodeId, prompt_id, display_node_id: nodeId, parent_node_id: null, real_node_id: nodeId };
      clients.sendBinary(BINARY_EVENT.previewWithMetadata, previewWithMetadataPayload(jpeg, ids), clientId);
    }
    clients.send("progress", { value, max, prompt_id, node: nodeId }, clientId);
    if (jpeg !== undefined && !withMetadata) clients.sendBinary(BINARY_EVENT.preview, previewPayload(jpeg), clientId);
  }

  /** To every socket, whoever's prompt it is: a length, the node's id of that many bytes, then the text. */
  #sendText(nodeId: string, text: string): void {
    const id = Buffer.from(nodeId);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(id.length);
    this.#settings.clients.sendBinary(BINARY_EVENT.text, Buffer.concat([length, id, Buffer.from(text)]), undefined);
  }

  #showsPreviews(): boolean {
    const asked = this.#settings.generation.previewMethodPerPrompt ? this.#prompt.extraData.preview_method : undefined;
    if (typeof asked !== "string" || asked === "default") return this.#settings.previews;
    return asked !== "none";
  }

  /** Built on first use: most prompts are big, and few nodes write them down. */
  #savedMetadata(): Readonly<Record<string, string>> {
    if (this.#settings.disableMetadata) return {};
    if (this.#metadata !== undefined) return this.#metadata;
    const info = this.#prompt.extraData.extra_pnginfo;
    const given = Object.entries(isJsonObject(info) ? info : {}).map(([key, value]) => [key, pythonJson(value)]);
    const metadata: Record<string, string> = { prompt: pythonJson(this.#prompt.nodes), ...Object.fromEntries(given) };
    this.#metadata = metadata;
    return metadata;
  }
}
