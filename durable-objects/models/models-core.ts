import type { ModelName } from "#contract/api/models";
import { ModelId, makeId, ownerKey, type WorkspaceId } from "#contract/ids";
import {
  MODEL_BYTES_MAX,
  MODEL_PART_BYTES,
  MODEL_PLACES_MAX,
  MODEL_STREAM_BYTES_MAX,
  MODEL_UPLOAD_IDLE_MS,
  MODELS_BYTES_PER_WORKSPACE_MAX,
  MODELS_PER_WORKSPACE_MAX,
} from "#contract/limits";
import {
  isSafetensorsName,
  type Model,
  type ModelFormat,
  type ModelPlace,
  type NewModel,
  type NewModelImport,
} from "#contract/model";
import { MODEL_SOURCE_FORMS, parseModelSource, shownSource } from "#contract/model-source";
import { type Refusal, refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { type LitterRecord, type ModelRecord, ModelStore, type PartRecord } from "#durable-objects/models/model-store";
import type { ModelPage, PartTarget, StoredModel, StoredPart } from "#durable-objects/models/rpc";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import { modelsMigrations } from "#migrations/models/all";

/** One thing to do outside. Its outcome is told to the core under the model's id and attempt. */
export type ModelWork =
  /** Ask an import's source how large its file is and whether it sends ranges. */
  | { readonly type: "probe"; readonly model: ModelRecord; readonly source: string }
  /** Begin R2's upload in parts. */
  | { readonly type: "open"; readonly model: ModelRecord }
  /** Fetch one part. */
  | { readonly type: "part"; readonly model: ModelRecord; readonly source: string; readonly part: PartPlan }
  /** Fetch all of a file whose server sends no ranges. */
  | { readonly type: "stream"; readonly model: ModelRecord; readonly source: string }
  | { readonly type: "join"; readonly model: ModelRecord; readonly parts: readonly PartRecord[] }
  | { readonly type: "verify"; readonly model: ModelRecord }
  | { readonly type: "sweep"; readonly litter: readonly LitterRecord[] };

export interface PartPlan {
  readonly uploadId: string;
  /** From 1. */
  readonly number: number;
  readonly offset: number;
  readonly size: number;
}

/** What a source says of its file. */
export interface Probed {
  readonly size: number | null;
  readonly sha256: string | null;
  readonly ranged: boolean;
  readonly validator: string | null;
}

/** Which beginning of which model a report is about. */
export type ModelRef = Pick<ModelRecord, "id" | "attempt">;

/** Parts of a file whose length nobody may have said are held in memory one at a time; above R2's 5 MiB minimum. */
export const STREAM_PART_BYTES = 8 * 1024 * 1024;
/** Six connections may be open at once, and each part takes two: one from its source, one into the store. */
const PARTS_AT_ONCE = 3;
/** Failures one after the other until an import or a check is given up; the pauses between them make ten minutes. */
const TRIES_MAX = 12;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 120_000;
/** Models looked at in one turn, so that none waits behind another that waits for its source. */
const LOOK_MAX = 20;
const SWEEP_MAX = 100;
/** What could not be removed from the store is tried again after this. */
const SWEEP_RETRY_MS = 60_000;
const DONE = { ok: true } as const;

/** A workspace's models as one synchronous machine: every method is one transaction; the shell moves the bytes. */
export class ModelsCore {
  readonly #db: SqlDatabase;
  readonly #world: World;
  readonly #models: ModelStore;
  #workspaceId: WorkspaceId | null = null;

  constructor(db: SqlDatabase, world: World) {
    this.#db = db;
    this.#world = world;
    this.#models = new ModelStore(db);
    if (!hasSchema(db)) return;
    migrate(db, modelsMigrations, world.now());
    this.#workspaceId = this.#models.workspace();
  }

  // --- what callers ask --------------------------------------------------------------------------------------------

  list(workspaceId: WorkspaceId, page: ModelPage): Reply<{ models: Model[]; next: ModelId | null }> {
    if (this.#workspaceId !== workspaceId) return { ok: true, models: [], next: null };
    const found = this.#models.page(page);
    const models = found.slice(0, page.limit);
    return {
      ok: true,
      models: models.map((model) => this.#view(model, false)),
      next: found.length > page.limit ? (models.at(-1)?.id ?? null) : null,
    };
  }

  get(workspaceId: WorkspaceId, name: ModelName): Reply<{ model: Model }> {
    const model = this.#find(workspaceId, name);
    return model === null ? unknown() : { ok: true, model: this.#view(model, true) };
  }

  stored(workspaceId: WorkspaceId, sha256: string): Reply<{ stored: StoredModel }> {
    const model = this.#workspaceId === workspaceId ? this.#models.byHash(sha256) : null;
    if (model?.status !== "ready" || model.size === null) return unknown();
    return { ok: true, stored: { key: model.key, size: model.size, sha256 } };
  }

  /** @returns `open`: R2's upload in parts must be begun before anybody sends a part */
  begin(
    workspaceId: WorkspaceId,
    wanted: NewModel,
  ): Reply<{ ref: ModelRef; created: boolean; open: ModelRecord | null }> {
    return this.#change(workspaceId, () => {
      const place = { type: wanted.type, filename: wanted.filename };
      const named = nameFits(place, wanted.allow_unsafe);
      if (!named.ok) return named;
      const known = this.#models.byHash(wanted.sha256);
      if (known !== null && known.status !== "failed") {
        if (known.status === "uploading" && known.size !== wanted.size) {
          return wrong("/size", `Was ${known.size} when the upload of this sha256 was begun; delete that one first.`);
        }
        const placed = this.#placed(known, place, wanted.allow_unsafe);
        if (!placed.ok) return placed;
        const mustOpen = known.status === "uploading" && known.uploadId === null;
        return { ok: true, ref: known, created: false, open: mustOpen ? known : null };
      }
      const full = this.#full(wanted.size, known);
      if (full !== null) return full;
      const now = this.#world.now();
      const model: ModelRecord = {
        ...this.#fresh(workspaceId, known, place, wanted.allow_unsafe),
        sha256: wanted.sha256,
        size: wanted.size,
        status: "uploading",
        dueAt: now + MODEL_UPLOAD_IDLE_MS,
      };
      this.#models.put(model);
      return { ok: true, ref: model, created: true, open: model };
    });
  }

  importFrom(workspaceId: WorkspaceId, wanted: NewModelImport): Reply<{ ref: ModelRef; created: boolean }> {
    return this.#change(workspaceId, () => {
      const place = { type: wanted.type, filename: wanted.filename };
      const named = nameFits(place, wanted.allow_unsafe);
      if (!named.ok) return named;
      if (parseModelSource(wanted.source) === null) return wrong("/source", `Must be ${MODEL_SOURCE_FORMS}.`);
      const known =
        wanted.sha256 === undefined ? this.#models.importingFrom(wanted.source) : this.#models.byHash(wanted.sha256);
      if (known !== null && known.status !== "failed") {
        if (known.status === "uploading") {
          return refusal("model_conflict", "The model is being uploaded; finish that or delete it first.");
        }
        const placed = this.#placed(known, place, wanted.allow_unsafe);
        return placed.ok ? { ok: true, ref: known, created: false } : placed;
      }
      const full = this.#full(0, known);
      if (full !== null) return full;
      const model: ModelRecord = {
        ...this.#fresh(workspaceId, known, place, wanted.allow_unsafe),
        sha256: wanted.sha256 ?? null,
        sources: [shownSource(wanted.source)],
        status: "importing",
        source: wanted.source,
        dueAt: this.#world.now(),
      };
      this.#models.put(model);
      return { ok: true, ref: model, created: true };
    });
  }

  partTarget(workspaceId: WorkspaceId, name: ModelName, number: number): Reply<{ target: PartTarget }> {
    const model = this.#find(workspaceId, name);
    if (model === null) return unknown();
    if (model.status !== "uploading" || model.uploadId === null || model.size === null) return notUploading(model);
    const count = partCount(model.size, model.partBytes);
    if (number > count) return refusal("invalid_model", `The model has ${count} parts; there is no part ${number}.`);
    const size = Math.min(model.partBytes, model.size - (number - 1) * model.partBytes);
    // The new bytes may replace the old ones and then turn out to be wrong: the part counts again when it is reported.
    this.#models.forgetPart(model.id, number);
    return { ok: true, target: { key: model.key, uploadId: model.uploadId, size, attempt: model.attempt } };
  }

  partStored(workspaceId: WorkspaceId, name: ModelName, part: StoredPart): Reply<object> {
    return this.#change(workspaceId, () => {
      const model = this.#find(workspaceId, name);
      if (model === null) return unknown();
      if (model.status !== "uploading" || model.attempt !== part.attempt) return notUploading(model);
      const now = this.#world.now();
      this.#models.putPart(model.id, part);
      this.#models.put({ ...model, updatedAt: now, dueAt: now + MODEL_UPLOAD_IDLE_MS });
      return DONE;
    });
  }

  /** @returns `join` is null when that was done before */
  complete(
    workspaceId: WorkspaceId,
    name: ModelName,
  ): Reply<{ ref: ModelRef; join: Extract<ModelWork, { type: "join" }> | null }> {
    const model = this.#find(workspaceId, name);
    if (model === null) return unknown();
    if (model.status === "verifying" || model.status === "ready") return { ok: true, ref: model, join: null };
    if (model.status !== "uploading" || model.uploadId === null || model.size === null) return notUploading(model);
    const parts = this.#models.parts(model.id);
    const there = new Set(parts.map(({ number }) => number));
    const missing = numbers(partCount(model.size, model.partBytes)).filter((number) => !there.has(number));
    if (missing.length > 0) {
      const some = missing.slice(0, 10).join(", ");
      return refusal(
        "model_incomplete",
        `${missing.length} parts are missing: ${some}${missing.length > 10 ? " …" : ""}.`,
      );
    }
    return { ok: true, ref: model, join: { type: "join", model, parts } };
  }

  remove(workspaceId: WorkspaceId, name: ModelName): Reply<object> {
    return this.#change(workspaceId, () => {
      const model = this.#find(workspaceId, name);
      if (model === null) return unknown();
      this.#discard(model);
      this.#models.remove(model.id);
      return DONE;
    });
  }

  // --- what is to be done ------------------------------------------------------------------------------------------

  /**
   * What can be started now. Uploads that nobody goes on with end here.
   * @param running names of the work under way, by {@link workName}
   */
  nextWork(running: ReadonlySet<string>): ModelWork[] {
    if (this.#workspaceId === null) return [];
    const now = this.#world.now();
    const found: ModelWork[] = [];
    let room = PARTS_AT_ONCE - [...running].filter((name) => /^(part|stream) /.test(name)).length;
    for (const model of this.#models.due(now, LOOK_MAX)) {
      if (model.status === "uploading") {
        this.#db.transaction(() => this.#fail(model, "No part of it came for three days, so its upload was ended."));
        continue;
      }
      for (const work of this.#workOf(model)) {
        if (running.has(workName(work))) continue;
        const isTransfer = work.type === "part" || work.type === "stream";
        if (isTransfer && room <= 0) break;
        // One check at a time: each takes a processor for as long as it lasts.
        const isSecondCheck = work.type === "verify" && [...running, ...found.map(workName)].some(isCheck);
        if (isSecondCheck) continue;
        if (isTransfer) room -= 1;
        found.push(work);
      }
    }
    const litter = running.has("sweep") ? [] : this.#models.litter(now, SWEEP_MAX);
    return litter.length === 0 ? found : [...found, { type: "sweep", litter }];
  }

  /** When the alarm is wanted, Unix ms; null: nothing is to be done. */
  nextDueAt(): number | null {
    return this.#workspaceId === null ? null : this.#models.nextDueAt();
  }

  isBusy(): boolean {
    return this.#workspaceId !== null && this.#models.isBusy();
  }

  #workOf(model: ModelRecord): ModelWork[] {
    if (model.status === "verifying") return [{ type: "verify", model }];
    const { source, uploadId, size } = model;
    if (model.status !== "importing" || source === null) return [];
    if (model.ranged === null) return [{ type: "probe", model, source }];
    if (uploadId === null) return [{ type: "open", model }];
    const parts = this.#models.parts(model.id);
    const storedBytes = parts.reduce((sum, part) => sum + part.size, 0);
    if (size !== null && storedBytes === size) return [{ type: "join", model, parts }];
    if (!model.ranged || size === null) return [{ type: "stream", model, source }];
    const there = new Set(parts.map(({ number }) => number));
    return numbers(partCount(size, model.partBytes))
      .filter((number) => !there.has(number))
      .slice(0, 2 * PARTS_AT_ONCE)
      .map((number) => {
        const offset = (number - 1) * model.partBytes;
        const part = { uploadId, number, offset, size: Math.min(model.partBytes, size - offset) };
        return { type: "part", model, source, part };
      });
  }

  // --- what became of it -------------------------------------------------------------------------------------------

  /** The source has answered. */
  probed(ref: ModelRef, { size, sha256, ranged, validator }: Probed): void {
    this.#report(ref, "importing", (model) => {
      if (sha256 !== null && model.sha256 !== null && sha256 !== model.sha256) {
        return this.#fail(model, `The source has the sha256 ${sha256}, not the stated ${model.sha256}.`);
      }
      if (size === 0) return this.#fail(model, "The file is empty.");
      if (size !== null && size > MODEL_BYTES_MAX) {
        return this.#fail(model, `The file has ${size} bytes; a model may have ${MODEL_BYTES_MAX}.`);
      }
      const expected = model.sha256 ?? sha256;
      const known = this.#named(model, expected);
      if (known === null) return;
      const full = this.#full(size ?? 0, known);
      if (full !== null) return this.#fail(known, full.detail);
      // Without a name for this version of the file, parts of two versions could be joined and nobody would know.
      const canJoin = size !== null && ranged && (validator !== null || expected !== null);
      if (!canJoin && (size ?? 0) > MODEL_STREAM_BYTES_MAX) {
        const why = ranged
          ? "Its server does not say which version of the file it sends: state the sha256"
          : "Its server sends no ranges";
        return this.#fail(known, `${why}; without that, a file may have at most ${MODEL_STREAM_BYTES_MAX} bytes.`);
      }
      const partBytes = canJoin ? MODEL_PART_BYTES : STREAM_PART_BYTES;
      this.#models.put({ ...this.#progressed(known), size, validator, ranged: canJoin, partBytes });
    });
  }

  /** R2's upload in parts is begun. One that came too late is litter. */
  opened(ref: ModelRef, key: string, uploadId: string): void {
    const isTaken = this.#report(ref, null, (model) => {
      const isWanted = (model.status === "uploading" || model.status === "importing") && model.uploadId === null;
      if (isWanted) this.#models.put({ ...model, uploadId });
      return isWanted;
    });
    if (isTaken !== true) this.#db.transaction(() => this.#models.addLitter({ key, uploadId }, this.#world.now()));
  }

  /** A stream begins at its first byte. */
  streamBegun(ref: ModelRef): void {
    this.#report(ref, "importing", (model) => this.#models.forgetParts(model.id));
  }

  /** One part of an import is stored. */
  partFetched(ref: ModelRef, part: PartRecord): void {
    this.#report(ref, "importing", (model) => {
      this.#models.putPart(model.id, part);
      if (model.tries > 0) this.#models.put(this.#progressed(model));
    });
  }

  /** A stream has come to its end. */
  streamed(ref: ModelRef, size: number): void {
    this.#report(ref, "importing", (model) => {
      if (model.size !== null && model.size !== size) return this.#retry(model, "The file broke off.");
      const full = this.#full(size, model);
      if (full !== null) return this.#fail(model, full.detail);
      this.#models.put({ ...this.#progressed(model), size });
    });
  }

  /** The parts are one object. Where nobody waits for it any more, it is litter: its key is this attempt's alone. */
  joined(ref: Pick<ModelRecord, "id" | "attempt" | "key">): void {
    const isWanted = this.#report(ref, null, (model) => {
      if (model.status !== "uploading" && model.status !== "importing") return model.status !== "failed";
      this.#models.forgetParts(model.id);
      this.#models.put({ ...this.#progressed(model), status: "verifying", uploadId: null, source: null });
      return true;
    });
    if (isWanted !== true) this.#models.addLitter({ key: ref.key, uploadId: null }, this.#world.now());
  }

  /** The whole was read back, and its form is one that may be taken. */
  verified(ref: ModelRef, sha256: string, format: ModelFormat): void {
    this.#report(ref, "verifying", (model) => {
      if (model.sha256 !== null && model.sha256 !== sha256) {
        return this.#fail(model, `The bytes hash to ${sha256}, not to the stated ${model.sha256}.`);
      }
      const named = this.#named(model, sha256);
      if (named === null) return;
      this.#models.put({ ...this.#progressed(named), format, status: "ready", dueAt: null });
    });
  }

  /** It can never succeed. @param reason a sentence for the caller */
  refused(ref: ModelRef, reason: string): void {
    this.#report(ref, null, (model) => {
      if (model.dueAt !== null) this.#fail(model, reason);
    });
  }

  /** It may succeed later. @param reason a sentence for the caller */
  failed(ref: ModelRef, reason: string): void {
    this.#report(ref, null, (model) => {
      if (model.status === "importing" || model.status === "verifying") this.#retry(model, reason);
    });
  }

  swept(litter: readonly LitterRecord[], gone: boolean): void {
    this.#db.transaction(() => {
      for (const one of litter) {
        if (gone) this.#models.removeLitter(one);
        else this.#models.addLitter(one, this.#world.now() + SWEEP_RETRY_MS);
      }
    });
  }

  // --- inside ------------------------------------------------------------------------------------------------------

  /** Runs a change of this workspace, whose tables are made at the first one. A refusal undoes what was written. */
  #change<T extends object>(workspaceId: WorkspaceId, work: () => Reply<T>): Reply<T> {
    return this.#db.transaction(() => {
      if (this.#workspaceId === null) {
        migrate(this.#db, modelsMigrations, this.#world.now());
        this.#models.putWorkspace(workspaceId);
        this.#workspaceId = workspaceId;
      }
      return this.#workspaceId === workspaceId ? work() : unknown();
    });
  }

  /** Applies a report if what it is about is still so; a late one changes nothing. */
  #report<T>(ref: ModelRef, status: ModelRecord["status"] | null, apply: (model: ModelRecord) => T): T | undefined {
    return this.#db.transaction(() => {
      const model = this.#models.get(ref.id);
      if (model === null || model.attempt !== ref.attempt) return undefined;
      return status === null || model.status === status ? apply(model) : undefined;
    });
  }

  #find(workspaceId: WorkspaceId, name: ModelName): ModelRecord | null {
    if (this.#workspaceId !== workspaceId) return null;
    if (!name.startsWith("mdl_")) return this.#models.byHash(name);
    return this.#models.get(name) ?? this.#models.byAlias(name);
  }

  /** A model at its beginning, in the place of one that failed. */
  #fresh(
    workspaceId: WorkspaceId,
    failed: ModelRecord | null,
    place: ModelPlace,
    allowUnsafe: boolean,
  ): Omit<ModelRecord, "status" | "dueAt"> {
    const now = this.#world.now();
    const id =
      failed?.id ?? makeId(ModelId, "mdl", now, (length) => this.#world.randomBytes(length), ownerKey(workspaceId));
    const attempt = (failed?.attempt ?? 0) + 1;
    return {
      id,
      sha256: null,
      size: null,
      format: null,
      reason: null,
      allowUnsafe,
      places: [place],
      sources: [],
      attempt,
      key: `models/${workspaceId}/${id}/${attempt}`,
      uploadId: null,
      partBytes: MODEL_PART_BYTES,
      source: null,
      validator: null,
      ranged: null,
      tries: 0,
      notice: null,
      createdAt: failed?.createdAt ?? now,
      updatedAt: now,
    };
  }

  /** Registers a model under one more name. */
  #placed(model: ModelRecord, place: ModelPlace, allowUnsafe: boolean): Refusal | typeof DONE {
    const format = model.format;
    if (format !== null && format !== "safetensors" && (!allowUnsafe || isSafetensorsName(place.filename))) {
      return wrong("/filename", `The bytes are of the format ${format}: name them so, and allow_unsafe.`);
    }
    const places = withPlaces(model.places, [place]);
    if (places.length > MODEL_PLACES_MAX) return wrong("/filename", `A model has at most ${MODEL_PLACES_MAX} names.`);
    if (places.length > model.places.length) {
      const isMoreAllowed = allowUnsafe && model.format === null;
      this.#models.put({
        ...model,
        places,
        allowUnsafe: model.allowUnsafe || isMoreAllowed,
        updatedAt: this.#world.now(),
      });
    }
    return DONE;
  }

  #full(bytes: number, except: ModelRecord | null): Refusal | null {
    const totals = this.#models.totals(except?.id ?? null);
    if (totals.models >= MODELS_PER_WORKSPACE_MAX) {
      return refusal("model_limit", `A workspace has at most ${MODELS_PER_WORKSPACE_MAX} models; delete some.`);
    }
    if (totals.bytes + bytes > MODELS_BYTES_PER_WORKSPACE_MAX) {
      return refusal(
        "model_limit",
        `The workspace's models have ${totals.bytes} bytes; with these ${bytes} it would be more than ${MODELS_BYTES_PER_WORKSPACE_MAX}. Delete some.`,
      );
    }
    return null;
  }

  /**
   * The model under a hash that has just been learnt. Another one of the same bytes takes it in when that one is further;
   * else it takes the other one in.
   * @returns null when the model is now the other one
   */
  #named(model: ModelRecord, sha256: string | null): ModelRecord | null {
    const other = sha256 === null || sha256 === model.sha256 ? null : this.#models.byHash(sha256);
    if (other === null) return { ...model, sha256 };
    const isOnItsWay = other.status === "importing" || other.status === "verifying";
    const [kept, dropped] =
      other.status === "ready" || (isOnItsWay && model.status === "importing") ? [other, model] : [model, other];
    this.#discard(dropped);
    this.#models.alias(dropped.id, kept.id);
    this.#models.remove(dropped.id);
    const merged = {
      ...kept,
      places: withPlaces(kept.places, dropped.places).slice(0, MODEL_PLACES_MAX),
      sources: [...new Set([...kept.sources, ...dropped.sources])],
    };
    if (kept === model) return { ...merged, sha256 };
    this.#models.put(merged);
    return null;
  }

  #progressed(model: ModelRecord): ModelRecord {
    const now = this.#world.now();
    return { ...model, tries: 0, notice: null, dueAt: now, updatedAt: now };
  }

  #retry(model: ModelRecord, reason: string): void {
    const tries = model.tries + 1;
    if (tries >= TRIES_MAX) {
      this.#fail(model, reason);
      return;
    }
    const now = this.#world.now();
    const dueAt = now + Math.min(RETRY_MS * 2 ** model.tries, RETRY_MS_MAX);
    this.#models.put({ ...model, tries, notice: reason, dueAt, updatedAt: now });
  }

  #fail(model: ModelRecord, reason: string): void {
    this.#discard(model);
    this.#models.forgetParts(model.id);
    this.#models.put({
      ...model,
      status: "failed",
      reason,
      format: null,
      uploadId: null,
      source: null,
      notice: null,
      dueAt: null,
      updatedAt: this.#world.now(),
    });
  }

  /** What the store has of a model is not needed any more. */
  #discard({ key, uploadId, status }: ModelRecord): void {
    if (status === "failed") return;
    const now = this.#world.now();
    if (uploadId !== null) this.#models.addLitter({ key, uploadId }, now);
    // Also where parts are awaited: they may have been joined by a call that was cut off.
    this.#models.addLitter({ key, uploadId: null }, now);
  }

  #view(model: ModelRecord, whole: boolean): Model {
    const { id, sha256, size, format, status, reason, notice, places, sources, partBytes } = model;
    const [first] = places;
    if (first === undefined) throw new Error(`${id} has no place`);
    const isStored = status === "ready" || status === "verifying";
    const upload =
      whole && status === "uploading" && size !== null
        ? {
            part_bytes: partBytes,
            part_count: partCount(size, partBytes),
            parts: this.#models.parts(id).map(({ number }) => number),
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
      bytes_done: isStored ? (size ?? 0) : this.#models.storedBytes(id),
      sources: [...sources],
      upload,
      created_at: new Date(model.createdAt).toISOString(),
      updated_at: new Date(model.updatedAt).toISOString(),
    };
  }
}

/** Names a piece of work, so that it is not begun twice. */
export function workName(work: ModelWork): string {
  if (work.type === "sweep") return "sweep";
  const name = `${work.type} ${work.model.id} ${work.model.attempt}`;
  return work.type === "part" ? `${name} ${work.part.number}` : name;
}

const isCheck = (name: string): boolean => name.startsWith("verify ");

function partCount(size: number, partBytes: number): number {
  return Math.ceil(size / partBytes);
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function withPlaces(places: readonly ModelPlace[], more: readonly ModelPlace[]): readonly ModelPlace[] {
  const isKnown = ({ type, filename }: ModelPlace) =>
    places.some((place) => place.type === type && place.filename === filename);
  return [...places, ...more.filter((place) => !isKnown(place))];
}

function nameFits({ filename }: ModelPlace, allowUnsafe: boolean): Refusal | typeof DONE {
  if (allowUnsafe || isSafetensorsName(filename)) return DONE;
  return wrong(
    "/filename",
    "Must end in .safetensors, the format that runs nothing when it is loaded; set allow_unsafe to take another one.",
  );
}

function wrong(path: string, reason: string): Refusal {
  return refusal("invalid_model", `${path}: ${reason}`, { errors: [{ path, reason }] });
}

function unknown(): Refusal {
  return refusal("model_not_found", "There is no such model in your workspace.");
}

function notUploading({ status }: ModelRecord): Refusal {
  const way = status === "uploading" || status === "failed" ? "begin it again with POST /v1/models" : `it is ${status}`;
  return refusal("model_conflict", `The model takes no parts: ${way}.`);
}
