/** What happens to every model, uploaded or imported: it begins, goes on, is tried again, turns out to be another, fails. */
import type { WorkspaceId } from "#contract/ids";
import {
  MODEL_PART_BYTES,
  MODEL_PLACES_MAX,
  MODELS_BYTES_PER_WORKSPACE_MAX,
  MODELS_PER_WORKSPACE_MAX,
} from "#contract/limits";
import type { ModelPlace } from "#contract/model";
import { type Refusal, refusal } from "#contract/problems";
import { withPlaces } from "#durable-objects/models/model-places";
import type { ModelRecord } from "#durable-objects/models/model-store";
import type { ModelsState } from "#durable-objects/models/models-state";

/** Failures one after the other until an import or a check is given up; the pauses between them make ten minutes. */
const TRIES_MAX = 12;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 120_000;

/** A model at its beginning. @param failed in whose place it comes; null: it is new */
export function freshModel(
  state: ModelsState,
  workspaceId: WorkspaceId,
  failed: ModelRecord | null,
  place: ModelPlace,
  allowUnsafe: boolean,
): Omit<ModelRecord, "status" | "dueAt"> {
  const now = state.now();
  const id = failed?.id ?? state.freshId(workspaceId, now);
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

/**
 * Why so many more bytes cannot be taken; null when they can.
 * @param except a model that is counted already, or whose place is taken
 */
export function fullFor({ models }: ModelsState, bytes: number, except: ModelRecord | null): Refusal | null {
  const totals = models.totals(except?.id ?? null);
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
export function namedModel(state: ModelsState, model: ModelRecord, sha256: string | null): ModelRecord | null {
  const { models } = state;
  const other = sha256 === null || sha256 === model.sha256 ? null : models.byHash(sha256);
  if (other === null) return { ...model, sha256 };
  const isOnItsWay = other.status === "importing" || other.status === "verifying";
  const [kept, dropped] =
    other.status === "ready" || (isOnItsWay && model.status === "importing") ? [other, model] : [model, other];
  discardStored(state, dropped);
  models.alias(dropped.id, kept.id);
  models.remove(dropped.id);
  const merged = {
    ...kept,
    places: withPlaces(kept.places, dropped.places).slice(0, MODEL_PLACES_MAX),
    sources: [...new Set([...kept.sources, ...dropped.sources])],
  };
  if (kept === model) return { ...merged, sha256 };
  models.put(merged);
  return null;
}

/** Something of it went well: what it needs next is due now. */
export function progressed(state: ModelsState, model: ModelRecord): ModelRecord {
  const now = state.now();
  return { ...model, tries: 0, notice: null, dueAt: now, updatedAt: now };
}

/** Something of it did not go well and may the next time. @param reason a sentence for the caller */
export function retryModel(state: ModelsState, model: ModelRecord, reason: string): void {
  const tries = model.tries + 1;
  if (tries >= TRIES_MAX) {
    failModel(state, model, reason);
    return;
  }
  const now = state.now();
  const dueAt = now + Math.min(RETRY_MS * 2 ** model.tries, RETRY_MS_MAX);
  state.models.put({ ...model, tries, notice: reason, dueAt, updatedAt: now });
}

/** It cannot succeed any more. @param reason a sentence for the caller */
export function failModel(state: ModelsState, model: ModelRecord, reason: string): void {
  discardStored(state, model);
  state.models.forgetParts(model.id);
  state.models.put({
    ...model,
    status: "failed",
    reason,
    format: null,
    uploadId: null,
    source: null,
    notice: null,
    dueAt: null,
    updatedAt: state.now(),
  });
}

/** What the store has of a model is not needed any more. */
export function discardStored(state: ModelsState, { key, uploadId, status }: ModelRecord): void {
  if (status === "failed") return;
  const now = state.now();
  if (uploadId !== null) state.models.addLitter({ key, uploadId }, now);
  // Also where parts are awaited: they may have been joined by a call that was cut off.
  state.models.addLitter({ key, uploadId: null }, now);
}
