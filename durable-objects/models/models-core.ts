import type { ModelName } from "#contract/api/models";
import type { ModelId, WorkspaceId } from "#contract/ids";
import type { Model, ModelFormat, NewModel, NewModelImport } from "#contract/model";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { beginImport, type Probed, partFetched, probed, streamBegun, streamed } from "#durable-objects/models/imports";
import { discardStored, failModel, retryModel } from "#durable-objects/models/model-life";
import type { LitterRecord, ModelRecord, PartRecord } from "#durable-objects/models/model-store";
import { type ModelWork, nextWork, partCount } from "#durable-objects/models/model-work";
import { type ModelRef, ModelsState, unknownModel } from "#durable-objects/models/models-state";
import type { ModelPage, PartTarget, StoredModel, StoredPart } from "#durable-objects/models/rpc";
import { joined, opened, swept, verified } from "#durable-objects/models/stored-models";
import { beginUpload, completeUpload, partStored, partTarget } from "#durable-objects/models/uploads";
import type { SqlDatabase, World } from "#durable-objects/sql/database";

const DONE = { ok: true } as const;

/** A workspace's models as one synchronous machine: every method is one transaction; the shell moves the bytes. */
export class ModelsCore {
  readonly #state: ModelsState;

  constructor(db: SqlDatabase, world: World) {
    this.#state = new ModelsState(db, world);
  }

  // --- what callers ask --------------------------------------------------------------------------------------------

  list(workspaceId: WorkspaceId, page: ModelPage): Reply<{ models: Model[]; next: ModelId | null }> {
    if (this.#state.workspaceId !== workspaceId) return { ok: true, models: [], next: null };
    const found = this.#state.models.page(page);
    const models = found.slice(0, page.limit);
    return {
      ok: true,
      models: models.map((model) => this.#view(model, false)),
      next: found.length > page.limit ? (models.at(-1)?.id ?? null) : null,
    };
  }

  get(workspaceId: WorkspaceId, name: ModelName): Reply<{ model: Model }> {
    const model = this.#state.find(workspaceId, name);
    return model === null ? unknownModel() : { ok: true, model: this.#view(model, true) };
  }

  stored(workspaceId: WorkspaceId, sha256: string): Reply<{ stored: StoredModel }> {
    const model = this.#state.workspaceId === workspaceId ? this.#state.models.byHash(sha256) : null;
    if (model?.status !== "ready" || model.size === null) return unknownModel();
    return { ok: true, stored: { key: model.key, size: model.size, sha256 } };
  }

  /** @returns `open`: R2's upload in parts must be begun before anybody sends a part */
  begin(
    workspaceId: WorkspaceId,
    wanted: NewModel,
  ): Reply<{ ref: ModelRef; created: boolean; open: ModelRecord | null }> {
    return beginUpload(this.#state, workspaceId, wanted);
  }

  importFrom(workspaceId: WorkspaceId, wanted: NewModelImport): Reply<{ ref: ModelRef; created: boolean }> {
    return beginImport(this.#state, workspaceId, wanted);
  }

  partTarget(workspaceId: WorkspaceId, name: ModelName, number: number): Reply<{ target: PartTarget }> {
    return partTarget(this.#state, workspaceId, name, number);
  }

  partStored(workspaceId: WorkspaceId, name: ModelName, part: StoredPart): Reply<object> {
    return partStored(this.#state, workspaceId, name, part);
  }

  /** @returns `join` is null when that was done before */
  complete(
    workspaceId: WorkspaceId,
    name: ModelName,
  ): Reply<{ ref: ModelRef; join: Extract<ModelWork, { type: "join" }> | null }> {
    return completeUpload(this.#state, workspaceId, name);
  }

  remove(workspaceId: WorkspaceId, name: ModelName): Reply<object> {
    const state = this.#state;
    return state.change(workspaceId, () => {
      const model = state.find(workspaceId, name);
      if (model === null) return unknownModel();
      discardStored(state, model);
      state.models.remove(model.id);
      return DONE;
    });
  }

  // --- what is to be done ------------------------------------------------------------------------------------------

  /**
   * What can be started now. Uploads that nobody goes on with end here.
   * @param running names of the work under way, by `workName`
   */
  nextWork(running: ReadonlySet<string>): ModelWork[] {
    return nextWork(this.#state, running);
  }

  /** When the alarm is wanted, Unix ms; null: nothing is to be done. */
  nextDueAt(): number | null {
    return this.#state.workspaceId === null ? null : this.#state.models.nextDueAt();
  }

  isBusy(): boolean {
    return this.#state.workspaceId !== null && this.#state.models.isBusy();
  }

  // --- what became of it -------------------------------------------------------------------------------------------

  /** The source has answered. */
  probed(ref: ModelRef, answer: Probed): void {
    probed(this.#state, ref, answer);
  }

  /** R2's upload in parts is begun. */
  opened(ref: ModelRef, key: string, uploadId: string): void {
    opened(this.#state, ref, key, uploadId);
  }

  /** A stream begins at its first byte. */
  streamBegun(ref: ModelRef): void {
    streamBegun(this.#state, ref);
  }

  /** One part of an import is stored. */
  partFetched(ref: ModelRef, part: PartRecord): void {
    partFetched(this.#state, ref, part);
  }

  /** A stream has come to its end. */
  streamed(ref: ModelRef, size: number): void {
    streamed(this.#state, ref, size);
  }

  /** The parts are one object. */
  joined(ref: Pick<ModelRecord, "id" | "attempt" | "key">): void {
    joined(this.#state, ref);
  }

  /** The whole was read back, and its form is one that may be taken. */
  verified(ref: ModelRef, sha256: string, format: ModelFormat): void {
    verified(this.#state, ref, sha256, format);
  }

  /** It can never succeed. @param reason a sentence for the caller */
  refused(ref: ModelRef, reason: string): void {
    this.#state.report(ref, null, (model) => {
      if (model.dueAt !== null) failModel(this.#state, model, reason);
    });
  }

  /** It may succeed later. @param reason a sentence for the caller */
  failed(ref: ModelRef, reason: string): void {
    this.#state.report(ref, null, (model) => {
      if (model.status === "importing" || model.status === "verifying") retryModel(this.#state, model, reason);
    });
  }

  swept(litter: readonly LitterRecord[], gone: boolean): void {
    swept(this.#state, litter, gone);
  }

  #view(model: ModelRecord, whole: boolean): Model {
    const { id, sha256, size, format, status, reason, notice, places, sources, partBytes } = model;
    const [first] = places;
    if (first === undefined) throw new Error(`${id} has no place`);
    const isStored = status === "ready" || status === "verifying";
    const { models } = this.#state;
    const upload =
      whole && status === "uploading" && size !== null
        ? {
            part_bytes: partBytes,
            part_count: partCount(size, partBytes),
            parts: models.parts(id).map(({ number }) => number),
          }
        : null;
    return {
      id,
      sha256,
      type: first.type,
      filename: first.filename,
      places: [...places],
      size,
      format,
      status,
      reason,
      notice,
      bytes_done: isStored ? (size ?? 0) : models.storedBytes(id),
      sources: [...sources],
      upload,
      created_at: new Date(model.createdAt).toISOString(),
      updated_at: new Date(model.updatedAt).toISOString(),
    };
  }
}
