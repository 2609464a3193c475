/**
 * What the Worker may ask of a ModelsObject, one per workspace: its models, and what is on its way to become one. Same rules
 * as durable-objects/endpoint/rpc.ts. Bytes pass by the object: it says where they go and hears that they are there.
 */
import type { ModelName } from "#contract/api/models";
import type { ModelId, WorkspaceId } from "#contract/ids";
import type { Model, ModelStatus, NewModel, NewModelImport } from "#contract/model";
import type { Reply } from "#durable-objects/endpoint/rpc";

export interface ModelPage {
  readonly type?: string;
  readonly status?: ModelStatus;
  /** Only models with an id below this one (older). */
  readonly before?: ModelId;
  readonly limit: number;
}

/** Where a part goes. */
export interface PartTarget {
  /** The R2 key of the object that is made. */
  readonly key: string;
  /** R2's name of the upload in parts. */
  readonly uploadId: string;
  /** Bytes that the part must have. */
  readonly size: number;
  /** Which beginning of the upload it is; the report of the part names it. */
  readonly attempt: number;
}

export interface StoredPart {
  readonly attempt: number;
  readonly number: number;
  readonly etag: string;
  readonly size: number;
}

export interface StoredModel {
  readonly key: string;
  readonly size: number;
  readonly sha256: string;
}

export interface ModelsRpc {
  list(workspaceId: WorkspaceId, page: ModelPage): Promise<Reply<{ models: Model[]; next: ModelId | null }>>;
  get(workspaceId: WorkspaceId, name: ModelName): Promise<Reply<{ model: Model }>>;
  /** Begins an upload, or answers with the model that these bytes are already. */
  begin(workspaceId: WorkspaceId, wanted: NewModel): Promise<Reply<{ model: Model; created: boolean }>>;
  /** Begins an import, or answers with the model that it leads to. */
  importFrom(workspaceId: WorkspaceId, wanted: NewModelImport): Promise<Reply<{ model: Model; created: boolean }>>;
  /** A part is about to be written: what was known of it is forgotten. */
  partTarget(workspaceId: WorkspaceId, name: ModelName, part: number): Promise<Reply<{ target: PartTarget }>>;
  partStored(workspaceId: WorkspaceId, name: ModelName, part: StoredPart): Promise<Reply<object>>;
  complete(workspaceId: WorkspaceId, name: ModelName): Promise<Reply<{ model: Model }>>;
  remove(workspaceId: WorkspaceId, name: ModelName): Promise<Reply<object>>;
  /** Where a model that is ready lies, for machines. */
  stored(workspaceId: WorkspaceId, sha256: string): Promise<Reply<{ stored: StoredModel }>>;
}
