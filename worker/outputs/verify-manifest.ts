import type { ManifestEntry } from "#contract/agent";
import { type FieldError, Problem } from "#contract/problems";
import type { StoredOutput } from "#durable-objects/endpoint/rpc";
import { summary } from "#worker/http/json-body";
import { hashOf, isJustStored } from "#worker/outputs/upload";

/** A Worker may hold six connections at a time. */
const CHECKS_AT_ONCE = 6;

/**
 * Checks every output of a manifest against R2: it is there, of that size, with that hash.
 * @returns the outputs with the keys where they are
 * @throws Problem invalid_body when two entries share an index or a name; output_missing; output_conflict
 */
export async function verifyManifest(
  store: R2Bucket,
  keyPrefix: string,
  manifest: readonly ManifestEntry[],
): Promise<StoredOutput[]> {
  refuseRepeats(manifest);
  const outputs = manifest.map((entry) => ({ ...entry, key: `${keyPrefix}${entry.index}` }));
  const queue = [...outputs];
  const checkers = Array.from({ length: CHECKS_AT_ONCE }, async () => {
    for (let output = queue.shift(); output !== undefined; output = queue.shift()) await verify(store, output);
  });
  await Promise.all(checkers);
  return outputs;
}

async function verify(store: R2Bucket, output: StoredOutput): Promise<void> {
  if (isJustStored(output.key, output.size, output.sha256)) return;
  const object = await store.head(output.key);
  if (object === null) {
    throw new Problem("output_missing", `Output ${output.index} (${output.name}) is not stored; send it again.`);
  }
  if (object.size !== output.size || (await hashOf(store, object)) !== output.sha256) {
    throw new Problem("output_conflict", `Output ${output.index} (${output.name}) is stored with other bytes.`);
  }
}

function refuseRepeats(manifest: readonly ManifestEntry[]): void {
  const errors: FieldError[] = [];
  for (const field of ["index", "name"] as const) {
    const seen = new Set<string | number>();
    manifest.forEach((entry, at) => {
      if (seen.has(entry[field]))
        errors.push({ path: `/outputs/${at}/${field}`, reason: "Must be unique in the list." });
      seen.add(entry[field]);
    });
  }
  if (errors.length > 0) throw new Problem("invalid_body", summary(errors), { errors });
}
