import type { JsonObject } from "#contract/exact-json";
import { stringifyExactJson } from "#contract/exact-json";
import type { InputSpec } from "#contract/workflow";
import type { EnqueueRequest, StoredInputFile } from "#durable-objects/endpoint/rpc";
import type { ReleaseSummary } from "#worker/catalog/releases";
import type { Arrival } from "#worker/http/call";
import { checkInputs, type ResolvedInputs } from "#worker/inputs/resolve-inputs";

/**
 * A request as the endpoint's canary takes it, should the job be drawn for it: with that release's own defaults and bounds.
 * @param resolved the same inputs as the active release takes them; their files are not fetched again
 * @returns undefined when the canary does not take them: then the job stays with the active release
 */
export function canaryOffer(
  arrival: Arrival,
  active: readonly InputSpec[],
  canary: ReleaseSummary | undefined,
  sent: JsonObject,
  resolved: ResolvedInputs,
): EnqueueRequest["canary"] {
  if (canary === undefined) return undefined;
  const byInput = new Map(resolved.files.map((file) => [file.input, file]));
  const known: JsonObject = Object.assign(Object.create(null), sent);
  for (const [input, { file_id }] of byInput) known[input] = file_id;
  const valid = checkInputs(arrival, canary.inputs, known);
  if (!valid.ok) return undefined;
  const files: StoredInputFile[] = [];
  for (const { name } of valid.files) {
    const file = byInput.get(name);
    // What a file input of another kind takes was not looked at.
    if (file === undefined || mediaIn(active, name) !== mediaIn(canary.inputs, name)) return undefined;
    files.push({ ...file, index: files.length });
  }
  const values: JsonObject = Object.assign(Object.create(null), valid.values);
  for (const { input, file_id } of files) values[input] = file_id;
  return { release: canary.number, inputs: stringifyExactJson(values), files };
}

function mediaIn(specs: readonly InputSpec[], name: string): string | undefined {
  const spec = specs.find((one) => one.name === name);
  return spec?.type === "file" ? spec.media : undefined;
}
