/** From the inputs a caller sent to what a job holds: checked values, and files that lie in R2. */
import type { JsonObject } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import type { Refusal } from "#contract/problems";
import { guardUrl } from "#contract/public-url";
import type { InputSpec, MediaKind } from "#contract/workflow";
import type { StoredInputFile } from "#durable-objects/endpoint/rpc";
import type { Arrival } from "#worker/http/call";
import type { Alone } from "#worker/http/idempotent";
import { inputFile, resolveFiles } from "#worker/inputs/resolve-files";
import { problemOf } from "#worker/placement/objects";
import { type ValidInputs, validateInputs } from "#workflow/validate-inputs";

export interface ResolvedInputs {
  /** Normalised values; a file input's value is its file id. */
  readonly values: JsonObject;
  readonly files: readonly StoredInputFile[];
}

/**
 * Checks everything first, then fetches and stores files, so that a bad request costs nothing and its answer names
 * every wrong field.
 * @param alone around what fetches files
 * @throws Problem invalid_inputs; invalid_url, url_fetch_failed, invalid_file, file_not_found for files
 */
export async function resolveInputs(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  specs: readonly InputSpec[],
  sent: JsonObject,
  alone?: Alone,
): Promise<ResolvedInputs> {
  const valid = checkInputs(arrival, specs, sent);
  if (!valid.ok) throw problemOf(valid);
  if (valid.files.length === 0) return { values: valid.values, files: [] };
  const found = await resolveFiles(
    arrival,
    workspaceId,
    valid.files.map(({ name }) => ({
      path: `/inputs/${name}`,
      value: String(sent[name]),
      media: mediaOf(specs, name),
    })),
    alone,
  );
  const values: JsonObject = Object.assign(Object.create(null), valid.values);
  const files = found.map((file, index) => inputFile(file, valid.files[index]?.name ?? "", index));
  for (const { input, file_id } of files) values[input] = file_id;
  return { values, files };
}

/** Checks and completes the values; files are only named. */
export function checkInputs({ env }: Arrival, specs: readonly InputSpec[], sent: JsonObject): ValidInputs | Refusal {
  const allowLoopback = env.ALLOW_LOOPBACK_URLS === "true";
  return validateInputs(specs, allowLoopback ? withLoopbackAsHttps(sent, specs) : sent, { randomSeed });
}

/** What a file input takes. */
export function mediaOf(specs: readonly InputSpec[], name: string): MediaKind {
  const spec = specs.find((one) => one.name === name);
  return spec?.type === "file" ? spec.media : "file";
}

/**
 * The values with http addresses on this machine written as https, for a check that rightly knows only https. What is
 * fetched is the address that was sent.
 */
function withLoopbackAsHttps(sent: JsonObject, specs: readonly InputSpec[]): JsonObject {
  const values: JsonObject = Object.assign(Object.create(null), sent);
  for (const { name, type } of specs) {
    const value = values[name];
    if (type !== "file" || typeof value !== "string" || !/^http:/i.test(value)) continue;
    if (guardUrl(value, { allowLoopback: true, ownHosts: [] }).ok) values[name] = value.replace(/^http:/i, "https:");
  }
  return values;
}

/** Uniform over 0 to 2^53-1. */
function randomSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 11) * 2 ** 32 + low;
}
