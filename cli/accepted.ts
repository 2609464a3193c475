import { PilotlightError } from "#client/pilotlight-error";
import type { Refusal } from "#contract/problems";

/**
 * What a check on this machine gave, without its refusal.
 * @throws PilotlightError as if the service had refused: its code, its sentence, each wrong place; exit code 1
 */
export function accepted<T extends { readonly ok: true }>(result: T | Refusal): T {
  if (result.ok) return result;
  const { code, detail, errors } = result;
  throw new PilotlightError({ code, status: 422, detail, ...(errors === undefined ? {} : { errors }) });
}
