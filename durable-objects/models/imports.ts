/** Models that are fetched from where a caller says: how an import begins, and what its source and its bytes turn out to be. */
import type { WorkspaceId } from "#contract/ids";
import { MODEL_BYTES_MAX, MODEL_PART_BYTES, MODEL_STREAM_BYTES_MAX } from "#contract/limits";
import type { NewModelImport } from "#contract/model";
import { MODEL_SOURCE_FORMS, parseModelSource, shownSource } from "#contract/model-source";
import { refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { failModel, freshModel, fullFor, namedModel, progressed, retryModel } from "#durable-objects/models/model-life";
import { addPlace, nameFits } from "#durable-objects/models/model-places";
import type { ModelRecord, PartRecord } from "#durable-objects/models/model-store";
import { type ModelRef, type ModelsState, wrongModel } from "#durable-objects/models/models-state";

/** What a source says of its file. */
export interface Probed {
  readonly size: number | null;
  readonly sha256: string | null;
  readonly ranged: boolean;
  readonly validator: string | null;
}

/** Parts of a file whose length nobody may have said are held in memory one at a time; above R2's 5 MiB minimum. */
export const STREAM_PART_BYTES = 8 * 1024 * 1024;

export function beginImport(
  state: ModelsState,
  workspaceId: WorkspaceId,
  wanted: NewModelImport,
): Reply<{ ref: ModelRef; created: boolean }> {
  return state.change(workspaceId, () => {
    const place = { type: wanted.type, filename: wanted.filename };
    const named = nameFits(place, wanted.allow_unsafe);
    if (!named.ok) return named;
    if (parseModelSource(wanted.source) === null) return wrongModel("/source", `Must be ${MODEL_SOURCE_FORMS}.`);
    const known =
      wanted.sha256 === undefined ? state.models.importingFrom(wanted.source) : state.models.byHash(wanted.sha256);
    if (known !== null && known.status !== "failed") {
      if (known.status === "uploading") {
        return refusal("model_conflict", "The model is being uploaded; finish that or delete it first.");
      }
      const placed = addPlace(state, known, place, wanted.allow_unsafe);
      return placed.ok ? { ok: true, ref: known, created: false } : placed;
    }
    const full = fullFor(state, 0, known);
    if (full !== null) return full;
    const model: ModelRecord = {
      ...freshModel(state, workspaceId, known, place, wanted.allow_unsafe),
      sha256: wanted.sha256 ?? null,
      sources: [shownSource(wanted.source)],
      status: "importing",
      source: wanted.source,
      dueAt: state.now(),
    };
    state.models.put(model);
    return { ok: true, ref: model, created: true };
  });
}

/** The source has answered. */
export function probed(state: ModelsState, ref: ModelRef, { size, sha256, ranged, validator }: Probed): void {
  state.report(ref, "importing", (model) => {
    if (sha256 !== null && model.sha256 !== null && sha256 !== model.sha256) {
      return failModel(state, model, `The source has the sha256 ${sha256}, not the stated ${model.sha256}.`);
    }
    if (size === 0) return failModel(state, model, "The file is empty.");
    if (size !== null && size > MODEL_BYTES_MAX) {
      return failModel(state, model, `The file has ${size} bytes; a model may have ${MODEL_BYTES_MAX}.`);
    }
    const expected = model.sha256 ?? sha256;
    const known = namedModel(state, model, expected);
    if (known === null) return;
    const full = fullFor(state, size ?? 0, known);
    if (full !== null) return failModel(state, known, full.detail);
    // Without a name for this version of the file, parts of two versions could be joined and nobody would know.
    const canJoin = size !== null && ranged && (validator !== null || expected !== null);
    if (!canJoin && (size ?? 0) > MODEL_STREAM_BYTES_MAX) {
      const why = ranged
        ? "Its server does not say which version of the file it sends: state the sha256"
        : "Its server sends no ranges";
      const most = `${why}; without that, a file may have at most ${MODEL_STREAM_BYTES_MAX} bytes.`;
      return failModel(state, known, most);
    }
    const partBytes = canJoin ? MODEL_PART_BYTES : STREAM_PART_BYTES;
    state.models.put({ ...progressed(state, known), size, validator, ranged: canJoin, partBytes });
  });
}

/** A stream begins at its first byte. */
export function streamBegun(state: ModelsState, ref: ModelRef): void {
  state.report(ref, "importing", (model) => state.models.forgetParts(model.id));
}

/** One part of an import is stored. */
export function partFetched(state: ModelsState, ref: ModelRef, part: PartRecord): void {
  state.report(ref, "importing", (model) => {
    state.models.putPart(model.id, part);
    if (model.tries > 0) state.models.put(progressed(state, model));
  });
}

/** A stream has come to its end. */
export function streamed(state: ModelsState, ref: ModelRef, size: number): void {
  state.report(ref, "importing", (model) => {
    if (model.size !== null && model.size !== size) return retryModel(state, model, "The file broke off.");
    const full = fullFor(state, size, model);
    if (full !== null) return failModel(state, model, full.detail);
    state.models.put({ ...progressed(state, model), size });
  });
}
