import * as z from "zod";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { ModelType } from "#contract/build";
import { ModelId } from "#contract/ids";
import { Sha256 } from "#contract/job";
import { MODEL_PART_BYTES, MODEL_PARTS_MAX } from "#contract/limits";
import { Model, ModelStatus, NewModel, NewModelImport } from "#contract/model";
import { wholeNumber } from "#contract/whole-number";

const tag = "Models";
/** A model goes by its sha256 or, while that is not known, by its id. */
export const ModelName = z.union([Sha256, ModelId]);
export type ModelName = z.infer<typeof ModelName>;
const ModelParams = z.object({ model: ModelName });

export const listModels = route({
  id: "listModels",
  tag,
  method: "get",
  path: "/v1/models",
  summary: "Models of the workspace, newest first",
  scope: "read",
  query: PageQuery.extend({ type: ModelType.optional(), status: ModelStatus.optional() }),
  status: 200,
  returns: page(Model),
  problems: ["invalid_cursor"],
});
export const beginModel = route({
  id: "beginModel",
  tag,
  method: "post",
  path: "/v1/models",
  summary: "Begin to upload a model, or go on with it",
  description:
    "Answers with the size of the parts to send and the numbers of those that are stored. The same sha256 again is the same model: it gets the new name as well, and nothing is sent twice.",
  scope: "deploy",
  body: NewModel,
  idempotent: "catalog",
  status: 201,
  returns: Model,
  alsoReturns: { 200: "The model was already there, or is on its way" },
  problems: ["invalid_model", "model_limit"],
});
export const importModel = route({
  id: "importModel",
  tag,
  method: "post",
  path: "/v1/model-imports",
  summary: "Fetch a model from an https address, Hugging Face or Civitai",
  description:
    "Goes on by itself, part by part; the model's record shows how far it is. The same source again is the same import.",
  scope: "deploy",
  body: NewModelImport,
  idempotent: "catalog",
  status: 202,
  returns: Model,
  alsoReturns: { 200: "The model was already there, or is on its way" },
  problems: ["invalid_model", "invalid_url", "model_limit", "model_conflict"],
});
export const getModel = route({
  id: "getModel",
  tag,
  method: "get",
  path: "/v1/models/{model}",
  summary: "A model, by its sha256 or id, with how far its upload or import is",
  scope: "read",
  params: ModelParams,
  status: 200,
  returns: Model,
  problems: ["model_not_found"],
});
export const putModelPart = route({
  id: "putModelPart",
  tag,
  method: "put",
  path: "/v1/models/{model}/parts/{part}",
  summary: "Send one part of a model; sent again, it takes the place of the first one",
  description: "Needs Content-Length and the part's sha256 in Pilotlight-Sha256.",
  scope: "deploy",
  params: ModelParams.extend({ part: wholeNumber(1, MODEL_PARTS_MAX) }),
  bodyTypes: ["application/octet-stream"],
  bodyBytesMax: MODEL_PART_BYTES,
  status: 204,
  problems: ["model_not_found", "model_conflict", "invalid_model", "length_required", "checksum_mismatch"],
});
export const completeModel = route({
  id: "completeModel",
  tag,
  method: "post",
  path: "/v1/models/{model}/complete",
  summary: "Every part is sent: join them and verify the whole",
  scope: "deploy",
  params: ModelParams,
  status: 202,
  returns: Model,
  problems: ["model_not_found", "model_conflict", "model_incomplete"],
});
export const deleteModel = route({
  id: "deleteModel",
  tag,
  method: "delete",
  path: "/v1/models/{model}",
  summary: "Delete a model and its bytes, or stop its upload or import",
  description: "A model that a build of an endpoint's active release names is kept, unless force=true.",
  scope: "deploy",
  params: ModelParams,
  query: z.object({ force: z.enum(["true", "false"]).default("false") }),
  status: 204,
  problems: ["model_not_found", "model_in_use"],
});
