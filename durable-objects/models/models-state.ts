import { ModelId, makeId, ownerKey, type WorkspaceId } from "#contract/ids";
import { type Refusal, refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { type ModelRecord, ModelStore } from "#durable-objects/models/model-store";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import { modelsMigrations } from "#migrations/models/all";

/** Which beginning of which model a report is about. */
export type ModelRef = Pick<ModelRecord, "id" | "attempt">;

/** What a workspace's models remember, and how it changes: by callers' requests and by reports of the work under way. */
export class ModelsState {
  readonly models: ModelStore;
  readonly #db: SqlDatabase;
  readonly #world: World;
  #workspaceId: WorkspaceId | null = null;

  constructor(db: SqlDatabase, world: World) {
    this.#db = db;
    this.#world = world;
    this.models = new ModelStore(db);
    if (!hasSchema(db)) return;
    migrate(db, modelsMigrations, world.now());
    this.#workspaceId = this.models.workspace();
  }

  /** Null until something is first written. */
  get workspaceId(): WorkspaceId | null {
    return this.#workspaceId;
  }

  /** Unix ms. */
  now(): number {
    return this.#world.now();
  }

  freshId(workspaceId: WorkspaceId, now: number): ModelId {
    return makeId(ModelId, "mdl", now, (length) => this.#world.randomBytes(length), ownerKey(workspaceId));
  }

  /** A model of this workspace by its id, the id of one that was merged into it, or its sha256. */
  find(workspaceId: WorkspaceId, name: string): ModelRecord | null {
    if (this.#workspaceId !== workspaceId) return null;
    if (!name.startsWith("mdl_")) return this.models.byHash(name);
    return this.models.get(name) ?? this.models.byAlias(name);
  }

  transaction<T>(work: () => T): T {
    return this.#db.transaction(work);
  }

  /** Runs a change of this workspace, whose tables are made at the first one. A refusal undoes what was written. */
  change<T extends object>(workspaceId: WorkspaceId, work: () => Reply<T>): Reply<T> {
    return this.#db.transaction(() => {
      if (this.#workspaceId === null) {
        migrate(this.#db, modelsMigrations, this.#world.now());
        this.models.putWorkspace(workspaceId);
        this.#workspaceId = workspaceId;
      }
      return this.#workspaceId === workspaceId ? work() : unknownModel();
    });
  }

  /**
   * Applies a report if what it is about is still so; a late one changes nothing.
   * @param status that the model must have; null: any
   * @returns undefined when it was late
   */
  report<T>(ref: ModelRef, status: ModelRecord["status"] | null, apply: (model: ModelRecord) => T): T | undefined {
    return this.#db.transaction(() => {
      const model = this.models.get(ref.id);
      if (model === null || model.attempt !== ref.attempt) return undefined;
      return status === null || model.status === status ? apply(model) : undefined;
    });
  }
}

export function wrongModel(path: string, reason: string): Refusal {
  return refusal("invalid_model", `${path}: ${reason}`, { errors: [{ path, reason }] });
}

export function unknownModel(): Refusal {
  return refusal("model_not_found", "There is no such model in your workspace.");
}
