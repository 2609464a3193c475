/** The names under which a model lies on a machine, and which names its bytes may have. */
import { MODEL_PLACES_MAX } from "#contract/limits";
import { isSafetensorsName, type ModelPlace } from "#contract/model";
import type { Refusal } from "#contract/problems";
import type { ModelRecord } from "#durable-objects/models/model-store";
import { type ModelsState, wrongModel } from "#durable-objects/models/models-state";

const DONE = { ok: true } as const;

export function withPlaces(places: readonly ModelPlace[], more: readonly ModelPlace[]): readonly ModelPlace[] {
  const isKnown = ({ type, filename }: ModelPlace) =>
    places.some((place) => place.type === type && place.filename === filename);
  return [...places, ...more.filter((place) => !isKnown(place))];
}

/** Whether a file of that name may be taken at all. */
export function nameFits({ filename }: ModelPlace, allowUnsafe: boolean): Refusal | typeof DONE {
  if (allowUnsafe || isSafetensorsName(filename)) return DONE;
  return wrongModel(
    "/filename",
    "Must end in .safetensors, the format that runs nothing when it is loaded; set allow_unsafe to take another one.",
  );
}

/** Part of a change: registers a model under one more name. */
export function addPlace(
  state: ModelsState,
  model: ModelRecord,
  place: ModelPlace,
  allowUnsafe: boolean,
): Refusal | typeof DONE {
  const format = model.format;
  if (format !== null && format !== "safetensors" && (!allowUnsafe || isSafetensorsName(place.filename))) {
    return wrongModel("/filename", `The bytes are of the format ${format}: name them so, and allow_unsafe.`);
  }
  const places = withPlaces(model.places, [place]);
  if (places.length > MODEL_PLACES_MAX) {
    return wrongModel("/filename", `A model has at most ${MODEL_PLACES_MAX} names.`);
  }
  if (places.length > model.places.length) {
    const isMoreAllowed = allowUnsafe && model.format === null;
    state.models.put({ ...model, places, allowUnsafe: model.allowUnsafe || isMoreAllowed, updatedAt: state.now() });
  }
  return DONE;
}
