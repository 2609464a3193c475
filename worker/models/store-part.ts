import { Problem } from "#contract/problems";
import type { PartTarget } from "#durable-objects/models/rpc";
import { isProblem } from "#worker/http/is-problem";
import { statedLength } from "#worker/http/read-body";
import { putPart } from "#worker/outputs/upload";

/**
 * Streams one part of a model into R2.
 * @param sha256 what the sender says of its bytes; needed, because a part that was damaged on its way would only be found
 *   when all of them are there
 * @returns R2's name of the part
 * @throws Problem malformed_request, length_required, invalid_model for another length, checksum_mismatch, model_conflict
 */
export async function storeModelPart(
  store: R2Bucket,
  target: PartTarget,
  part: number,
  request: Request,
  sha256: string | undefined,
): Promise<string> {
  if (sha256 === undefined) throw new Problem("malformed_request", "Send the part's sha256 in Pilotlight-Sha256.");
  const length = statedLength(request);
  if (length === undefined) throw new Problem("length_required", "Send the part with a Content-Length.");
  if (length !== target.size) {
    throw new Problem("invalid_model", `Part ${part} has ${target.size} bytes, not ${length}.`);
  }
  try {
    return await putPart(store, target.key, target.uploadId, part, request, sha256);
  } catch (error) {
    if (isProblem(error, "output_missing")) {
      throw new Problem("model_conflict", "The upload is over; begin it again with POST /v1/models.", { cause: error });
    }
    throw error;
  }
}
