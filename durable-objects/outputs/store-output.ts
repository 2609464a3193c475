/** One output on its way into R2: create-only, with the hash checked by R2. The same bytes again are fine. */
import { Problem } from "#contract/problems";
import { holdBytes } from "#durable-objects/outputs/held-bytes";
import { servedType } from "#durable-objects/outputs/served-type";
import { hashOf, rememberStored } from "#durable-objects/outputs/stored-outputs";

/** An output up to this size, bytes, is stored in one piece, while it is asked whether it may be. */
export const PIECE_BYTES_MAX = 1024 * 1024;

export interface OutputToStore {
  /** Where the lease's outputs belong; another lease's key has another token. */
  readonly key: string;
  readonly size: number;
  readonly sha256: string;
  /** As the agent stated it. */
  readonly contentType: string;
}

/**
 * Stores while the answer is on its way: each takes as long as the other.
 * @param granted rejects when the lease is over; what was stored meanwhile is removed again when it says so
 * @throws Problem output_conflict; R2's own error for bytes of another hash; what `granted` rejects with
 */
export async function storePiece(
  store: R2Bucket,
  output: OutputToStore,
  body: Promise<Uint8Array> | Uint8Array,
  granted: () => Promise<unknown>,
): Promise<void> {
  // First the bytes: what the object writes for its answer would hold them back until it is on the disk.
  const storing =
    body instanceof Uint8Array ? storeOnce(store, output, body) : body.then((whole) => storeOnce(store, output, whole));
  const [stored, grant] = await Promise.allSettled([storing, granted()]);
  if (grant.status === "rejected") {
    // Only of a lease that is certainly over: the same output may come twice at once, and the other one be granted.
    const isOver = grant.reason instanceof Problem && grant.reason.code === "lease_lost";
    if (isOver && stored.status === "fulfilled" && stored.value) await store.delete(output.key);
    throw grant.reason;
  }
  if (stored.status === "rejected") throw stored.reason;
  rememberStored(output.key, output.size, output.sha256);
  if (stored.value) holdBytes(output.key, await body, output.sha256, Date.now());
}

/** @returns false when it was there before @throws Problem output_conflict; R2's own error for bytes of another hash */
export async function storeOnce(
  store: R2Bucket,
  { key, size, sha256, contentType }: OutputToStore,
  body: ReadableStream | Uint8Array,
): Promise<boolean> {
  const written = await store.put(key, body, {
    sha256,
    onlyIf: { etagDoesNotMatch: "*" },
    httpMetadata: { contentType: servedType(contentType) },
  });
  if (written === null) {
    const before = await store.head(key);
    const same = before !== null && before.size === size && (await hashOf(store, before)) === sha256;
    if (!same) throw new Problem("output_conflict", "Another file is already stored for this output.");
  }
  return written !== null;
}
