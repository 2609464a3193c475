/** Models that a caller uploads, part by part. */
import type { ModelName } from "#contract/api/models";
import type { WorkspaceId } from "#contract/ids";
import { MODEL_UPLOAD_IDLE_MS } from "#contract/limits";
import type { NewModel } from "#contract/model";
import { type Refusal, refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { freshModel, fullFor } from "#durable-objects/models/model-life";
import { addPlace, nameFits } from "#durable-objects/models/model-places";
import type { ModelRecord } from "#durable-objects/models/model-store";
import { type ModelWork, missingParts, partCount } from "#durable-objects/models/model-work";
import { type ModelRef, type ModelsState, unknownModel, wrongModel } from "#durable-objects/models/models-state";
import type { PartTarget, StoredPart } from "#durable-objects/models/rpc";

const DONE = { ok: true } as const;

/** @returns `open`: R2's upload in parts must be begun before anybody sends a part */
export function beginUpload(
  state: ModelsState,
  workspaceId: WorkspaceId,
  wanted: NewModel,
): Reply<{ ref: ModelRef; created: boolean; open: ModelRecord | null }> {
  return state.change(workspaceId, () => {
    const place = { type: wanted.type, filename: wanted.filename };
    const named = nameFits(place, wanted.allow_unsafe);
    if (!named.ok) return named;
    const known = state.models.byHash(wanted.sha256);
    if (known !== null && known.status !== "failed") {
      if (known.status === "uploading" && known.size !== wanted.size) {
        return wrongModel(
          "/size",
          `Was ${known.size} when the upload of this sha256 was begun; delete that one first.`,
        );
      }
      const placed = addPlace(state, known, place, wanted.allow_unsafe);
      if (!placed.ok) return placed;
      const mustOpen = known.status === "uploading" && known.uploadId === null;
      return { ok: true, ref: known, created: false, open: mustOpen ? known : null };
    }
    const full = fullFor(state, wanted.size, known);
    if (full !== null) return full;
    const now = state.now();
    const model: ModelRecord = {
      ...freshModel(state, workspaceId, known, place, wanted.allow_unsafe),
      sha256: wanted.sha256,
      size: wanted.size,
      status: "uploading",
      dueAt: now + MODEL_UPLOAD_IDLE_MS,
    };
    state.models.put(model);
    return { ok: true, ref: model, created: true, open: model };
  });
}

/** Where a part goes. */
export function partTarget(
  state: ModelsState,
  workspaceId: WorkspaceId,
  name: ModelName,
  number: number,
): Reply<{ target: PartTarget }> {
  const model = state.find(workspaceId, name);
  if (model === null) return unknownModel();
  if (model.status !== "uploading" || model.uploadId === null || model.size === null) return notUploading(model);
  const count = partCount(model.size, model.partBytes);
  if (number > count) return refusal("invalid_model", `The model has ${count} parts; there is no part ${number}.`);
  const size = Math.min(model.partBytes, model.size - (number - 1) * model.partBytes);
  // The new bytes may replace the old ones and then turn out to be wrong: the part counts again when it is reported.
  state.models.forgetPart(model.id, number);
  return { ok: true, target: { key: model.key, uploadId: model.uploadId, size, attempt: model.attempt } };
}

export function partStored(
  state: ModelsState,
  workspaceId: WorkspaceId,
  name: ModelName,
  part: StoredPart,
): Reply<object> {
  return state.change(workspaceId, () => {
    const model = state.find(workspaceId, name);
    if (model === null) return unknownModel();
    if (model.status !== "uploading" || model.attempt !== part.attempt) return notUploading(model);
    const now = state.now();
    state.models.putPart(model.id, part);
    state.models.put({ ...model, updatedAt: now, dueAt: now + MODEL_UPLOAD_IDLE_MS });
    return DONE;
  });
}

/** @returns `join` is null when that was done before */
export function completeUpload(
  state: ModelsState,
  workspaceId: WorkspaceId,
  name: ModelName,
): Reply<{ ref: ModelRef; join: Extract<ModelWork, { type: "join" }> | null }> {
  const model = state.find(workspaceId, name);
  if (model === null) return unknownModel();
  if (model.status === "verifying" || model.status === "ready") return { ok: true, ref: model, join: null };
  if (model.status !== "uploading" || model.uploadId === null || model.size === null) return notUploading(model);
  const parts = state.models.parts(model.id);
  const missing = missingParts(model.size, model.partBytes, parts);
  if (missing.length > 0) {
    const some = missing.slice(0, 10).join(", ");
    return refusal(
      "model_incomplete",
      `${missing.length} parts are missing: ${some}${missing.length > 10 ? " …" : ""}.`,
    );
  }
  return { ok: true, ref: model, join: { type: "join", model, parts } };
}

function notUploading({ status }: ModelRecord): Refusal {
  const way = status === "uploading" || status === "failed" ? "begin it again with POST /v1/models" : `it is ${status}`;
  return refusal("model_conflict", `The model takes no parts: ${way}.`);
}
