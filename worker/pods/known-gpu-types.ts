/** Whether types of card that somebody names are known, and which ones were probably meant. */
import type { PodPatch } from "#contract/api/pods";
import { plainGpuName } from "#contract/gpu-types";
import { type FieldError, Problem } from "#contract/problems";
import { summary } from "#worker/http/json-body";
import { nearestName } from "#workflow/nearest-name";

/** So many are suggested. */
const NEAR_MAX = 5;

/**
 * @param known names of the types that the workspace knows
 * @throws Problem invalid_body that names each unknown one and those near it
 */
export function requireKnownGpuTypes(
  { gpu_types = [], prices = {} }: Pick<PodPatch, "gpu_types" | "prices">,
  known: readonly string[],
): void {
  const errors = [
    ...gpu_types.map((name, index) => unknownType(name, `/gpu_types/${index}`, known)),
    ...Object.keys(prices).map((name) => unknownType(name, `/prices/${name}`, known)),
  ].filter((error) => error !== undefined);
  if (errors.length > 0) throw new Problem("invalid_body", summary(errors), { errors });
}

function unknownType(name: string, path: string, known: readonly string[]): FieldError | undefined {
  if (known.includes(name)) return undefined;
  const near = nearTypes(name, known);
  const hint =
    near.length === 0 ? "GET /v1/gpu-types lists them; PUT adds one of your own" : `Did you mean ${near.join(" or ")}?`;
  return {
    path,
    reason: `There is no GPU type "${name}". ${hint}${hint.endsWith("?") ? "" : "."}`,
    ...(near.length === 0 ? {} : { allowed: { choices: near } }),
  };
}

/** Types whose names hold what was typed or are held by it: `4090`, `rtx4090`, `a100`; else the one spelled most alike. */
export function nearTypes(typed: string, known: readonly string[]): string[] {
  const squeezed = (name: string) => plainGpuName(name).replaceAll(" ", "");
  const wanted = squeezed(typed);
  const near = known.filter((name) => {
    const has = squeezed(name);
    return wanted !== "" && (has.includes(wanted) || wanted.includes(has));
  });
  if (near.length > 0) return near.toSorted((a, b) => a.length - b.length).slice(0, NEAR_MAX);
  const nearest = nearestName(typed, known);
  return nearest === undefined ? [] : [nearest];
}
