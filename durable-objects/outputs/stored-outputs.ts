/** What is known to lie in R2: a manifest is believed only after every output of it was found there. */
import type { ManifestEntry } from "#contract/agent";
import { jobIdOf } from "#contract/ids";
import { outputPrefix } from "#contract/output-keys";
import { type FieldError, Problem } from "#contract/problems";
import type { LeaseProof, StoredOutput } from "#durable-objects/endpoint/rpc";
import { ExpiringCache } from "#durable-objects/expiring-cache";

/** A Worker may hold six connections at a time. */
const CHECKS_AT_ONCE = 6;

/** Outputs are reported within moments of being stored; one that is not is looked up. */
const STORED_MS = 60_000;
const STORED_MAX = 10_000;
/** The hash of what R2 has confirmed to this isolate as stored, by key. Such keys are written once and live for days. */
const stored = new ExpiringCache<{ readonly size: number; readonly sha256: string }>(STORED_MS, STORED_MAX);

/** R2 has just confirmed that it keeps these bytes. */
export function rememberStored(key: string, size: number, sha256: string): void {
  stored.set(key, { size, sha256 }, Date.now());
}

/** Whether R2 has just confirmed to this isolate that it keeps these bytes. False says nothing: ask R2. */
export function isJustStored(key: string, size: number, sha256: string): boolean {
  const known = stored.get(key, Date.now());
  return known !== undefined && known.size === size && known.sha256 === sha256;
}

/** The hash of a stored object, hexadecimal: R2's own, or of the bytes read back. */
export async function hashOf(store: R2Bucket, object: R2Object): Promise<string | undefined> {
  const native = object.checksums.toJSON().sha256;
  if (native !== undefined) return native;
  const whole = await store.get(object.key);
  if (whole === null) return undefined;
  const digest = new crypto.DigestStream("SHA-256");
  await whole.body.pipeTo(digest);
  return Array.from(new Uint8Array(await digest.digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The manifest's outputs, checked against R2, where an attempt of this lease and token has stored them; the object takes
 * no other. What a lease that is over stored may be gone; a repeated complete still has to get its first answer, which
 * the object gives without looking at outputs, and a late one its refusal.
 * @param isLive asks the object whether the lease still is
 * @throws Problem as {@link verifyManifest} does
 */
export async function reportedOutputs(
  store: R2Bucket,
  { workspaceId, leaseId, token }: LeaseProof,
  manifest: readonly ManifestEntry[],
  isLive: () => Promise<boolean>,
): Promise<StoredOutput[]> {
  if (manifest.length === 0) return [];
  try {
    return await verifyManifest(store, outputPrefix(workspaceId, jobIdOf(leaseId), token), manifest);
  } catch (error) {
    if ((error instanceof Problem && error.code === "invalid_body") || (await isLive())) throw error;
    return [];
  }
}

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
  if (errors.length > 0) {
    throw new Problem("invalid_body", "Two entries of the manifest share an index or a name.", { errors });
  }
}
