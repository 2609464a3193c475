import type * as z from "zod";
import { allPages } from "#client/paging";
import { PilotlightError } from "#client/pilotlight-error";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import { untilDone, type WaitOptions } from "#client/until-done";
import { SHA256_HEADER } from "#contract/agent";
import {
  beginModel,
  completeModel,
  deleteModel,
  getModel,
  importModel,
  listModels,
  putModelPart,
} from "#contract/api/models";
import type { Model, ModelStatus, NewModel, NewModelImport } from "#contract/model";

/** Which models; all filters given must hold. */
export interface ModelQuery extends PageOf {
  /** ComfyUI's folder, such as `checkpoints`. */
  readonly type?: string | undefined;
  readonly status?: ModelStatus | undefined;
}

export type ModelPage = AnswerOf<typeof listModels>;

export interface ModelUpload extends CallOptions {
  /** Hexadecimal. Web APIs hash no file in pieces, so whoever has the file says it. */
  readonly sha256: string;
  /** ComfyUI's folder. */
  readonly type: string;
  readonly filename: string;
  readonly allowUnsafe?: boolean | undefined;
  /** Hears how many bytes are stored. */
  readonly onProgress?: ((bytesDone: number) => void) | undefined;
}

/** A part may take so long to be sent, beside the time of any answer: 32 MiB over a slow line. */
const PART_SEND_MS = 600_000;
/** Parts on their way at once: one that waits for its answer leaves the line to the other. */
const PARTS_AT_ONCE = 2;

/** The workspace's models: by sha256, or by id while an import's hash is not known. */
export class Models {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get(model: string, options: CallOptions = {}): Promise<Model> {
    return this.#transport.call(getModel, { params: { model }, ...options });
  }

  /** One page, newest first. */
  page(query: ModelQuery = {}, options: CallOptions = {}): Promise<ModelPage> {
    return this.#transport.call(listModels, { query: query as z.input<typeof listModels.query>, ...options });
  }

  /** All of them, page by page. */
  list(query: ModelQuery = {}, options: CallOptions = {}): AsyncGenerator<Model, void, void> {
    return allPages((cursor) => this.page({ ...query, cursor }, options), query.cursor);
  }

  /** Begins an upload, or finds the model that these bytes are already. */
  begin(model: z.input<typeof NewModel>, options: CallOptions = {}): Promise<Model> {
    return this.#transport.call(beginModel, { body: model, repeatable: true, ...options });
  }

  /** Sends one part; sent again, it takes the place of the first one. @param part from 1 */
  async putPart(model: string, part: number, bytes: Uint8Array<ArrayBuffer>, options: CallOptions = {}): Promise<void> {
    await this.#transport.call(putModelPart, {
      params: { model, part },
      headers: { [SHA256_HEADER]: await sha256Of(bytes) },
      rawBody: { contentType: "application/octet-stream", content: bytes },
      repeatable: true,
      heldMs: PART_SEND_MS,
      ...options,
    });
  }

  /** Every part is sent: the whole is joined and verified. */
  complete(model: string, options: CallOptions = {}): Promise<Model> {
    return this.#transport.call(completeModel, { params: { model }, repeatable: true, ...options });
  }

  /**
   * Uploads a model. An upload that broke off goes on with the parts that are missing; what is there already is not sent.
   * @returns the model as it is verified, or ready, or on its way by an import of the same bytes; `wait` says what comes of it
   * @throws PilotlightError
   */
  async upload(content: Blob, upload: ModelUpload): Promise<Model> {
    const { sha256, type, filename, allowUnsafe = false, signal, onProgress } = upload;
    const wanted = { sha256, size: content.size, type, filename, allow_unsafe: allowUnsafe };
    const begun = await this.begin(wanted, { signal });
    if (begun.upload === null) return begun;
    const { part_bytes: partBytes, part_count: partCount, parts } = begun.upload;
    const there = new Set(parts);
    const missing = Array.from({ length: partCount }, (_, index) => index + 1).filter((part) => !there.has(part));
    let bytesDone = begun.bytes_done;
    onProgress?.(bytesDone);
    const sendNext = async (): Promise<void> => {
      for (let part = missing.shift(); part !== undefined; part = missing.shift()) {
        const bytes = new Uint8Array(await content.slice((part - 1) * partBytes, part * partBytes).arrayBuffer());
        await this.putPart(begun.id, part, bytes, { signal });
        bytesDone += bytes.byteLength;
        onProgress?.(bytesDone);
      }
    };
    await Promise.all(Array.from({ length: PARTS_AT_ONCE }, sendNext));
    return this.complete(begun.id, { signal });
  }

  /** Begins an import, which goes on by itself. */
  importFrom(wanted: z.input<typeof NewModelImport>, options: CallOptions = {}): Promise<Model> {
    return this.#transport.call(importModel, { body: wanted, repeatable: true, ...options });
  }

  /**
   * Waits until it is ready.
   * @throws PilotlightError `model_failed` with the reason when it has failed; `wait_timeout`, and it goes on
   */
  async wait(model: string, options: WaitOptions<Model> = {}): Promise<Model> {
    const ended = await untilDone(
      () => this.get(model, { signal: options.signal }),
      ({ status }) => status === "ready" || status === "failed",
      ({ status }) => `${model} is ${status}`,
      options,
    );
    if (ended.status === "ready") return ended;
    throw new PilotlightError({
      code: "model_failed",
      status: 200,
      detail: `${ended.filename}: ${ended.reason ?? "It failed."}`,
    });
  }

  /** Deletes it and its bytes, or stops its upload or import. @param more `force`: also when a release needs it */
  remove(model: string, { force = false }: { force?: boolean } = {}, options: CallOptions = {}): Promise<void> {
    const query = { force: force ? "true" : "false" } as const;
    return this.#transport.call(deleteModel, { params: { model }, query, ...options });
  }
}

async function sha256Of(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
