/** What the store has of a model: an upload that is begun, one object of its parts, a checked file, litter. */
import type { ModelFormat } from "#contract/model";
import { failModel, namedModel, progressed } from "#durable-objects/models/model-life";
import type { LitterRecord, ModelRecord } from "#durable-objects/models/model-store";
import type { ModelRef, ModelsState } from "#durable-objects/models/models-state";

/** What could not be removed from the store is tried again after this. */
const SWEEP_RETRY_MS = 60_000;

/** R2's upload in parts is begun. One that came too late is litter. */
export function opened(state: ModelsState, ref: ModelRef, key: string, uploadId: string): void {
  const isTaken = state.report(ref, null, (model) => {
    const isWanted = (model.status === "uploading" || model.status === "importing") && model.uploadId === null;
    if (isWanted) state.models.put({ ...model, uploadId });
    return isWanted;
  });
  if (isTaken !== true) state.transaction(() => state.models.addLitter({ key, uploadId }, state.now()));
}

/** The parts are one object. Where nobody waits for it any more, it is litter: its key is this attempt's alone. */
export function joined(state: ModelsState, ref: Pick<ModelRecord, "id" | "attempt" | "key">): void {
  const isWanted = state.report(ref, null, (model) => {
    if (model.status !== "uploading" && model.status !== "importing") return model.status !== "failed";
    state.models.forgetParts(model.id);
    state.models.put({ ...progressed(state, model), status: "verifying", uploadId: null, source: null });
    return true;
  });
  if (isWanted !== true) state.models.addLitter({ key: ref.key, uploadId: null }, state.now());
}

/** The whole was read back, and its form is one that may be taken. */
export function verified(state: ModelsState, ref: ModelRef, sha256: string, format: ModelFormat): void {
  state.report(ref, "verifying", (model) => {
    if (model.sha256 !== null && model.sha256 !== sha256) {
      return failModel(state, model, `The bytes hash to ${sha256}, not to the stated ${model.sha256}.`);
    }
    const named = namedModel(state, model, sha256);
    if (named === null) return;
    state.models.put({ ...progressed(state, named), format, status: "ready", dueAt: null });
  });
}

/** @param gone the store has it no more; else it is tried again later */
export function swept(state: ModelsState, litter: readonly LitterRecord[], gone: boolean): void {
  state.transaction(() => {
    for (const one of litter) {
      if (gone) state.models.removeLitter(one);
      else state.models.addLitter(one, state.now() + SWEEP_RETRY_MS);
    }
  });
}
