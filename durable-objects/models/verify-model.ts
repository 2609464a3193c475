/** Whether the bytes in the store are what they are said to be, and of a form that may be taken. */
import { isSafetensorsName, type ModelFormat } from "#contract/model";
import { checkSafetensorsHeader, SAFETENSORS_PREFIX_BYTES, safetensorsHeaderLength } from "#contract/safetensors";
import type { ModelRecord } from "#durable-objects/models/model-store";

export type ModelCheck =
  | { readonly ok: true; readonly sha256: string; readonly format: ModelFormat }
  /** `reason` is a sentence for the caller. */
  | { readonly ok: false; readonly reason: string };

/**
 * Reads the header, then the whole.
 * @throws Error when the store does not answer, which may pass
 */
export async function verifyModel(
  store: R2Bucket,
  { key, size, places, allowUnsafe }: Pick<ModelRecord, "key" | "size" | "places" | "allowUnsafe">,
): Promise<ModelCheck> {
  const found = await store.head(key);
  if (found === null) return { ok: false, reason: "Its bytes are not in the store." };
  if (found.size !== size) return { ok: false, reason: `It has ${found.size} bytes, not the stated ${size}.` };
  const form = await formOf(store, key, found.size);
  const mustBeSafe = !allowUnsafe || places.some(({ filename }) => isSafetensorsName(filename));
  if (form.format !== "safetensors" && mustBeSafe) {
    return { ok: false, reason: `It is not taken as safetensors. ${form.reason}` };
  }
  const object = await store.get(key);
  if (object === null) throw new Error("the object went away");
  const digest = new crypto.DigestStream("SHA-256");
  await object.body.pipeTo(digest);
  const sha256 = Array.from(new Uint8Array(await digest.digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { ok: true, sha256, format: form.format };
}

/** What the first bytes say. `reason`: why it is no safetensors file. */
async function formOf(store: R2Bucket, key: string, size: number): Promise<{ format: ModelFormat; reason: string }> {
  const prefix = await bytesAt(store, key, 0, Math.min(size, SAFETENSORS_PREFIX_BYTES));
  const length = safetensorsHeaderLength(prefix, size);
  if (length.ok) {
    const header = await bytesAt(store, key, SAFETENSORS_PREFIX_BYTES, length.headerBytes);
    const verdict = checkSafetensorsHeader(header, size);
    return verdict.ok ? { format: "safetensors", reason: "" } : { format: "other", reason: verdict.reason };
  }
  return { format: otherFormat(prefix), reason: length.reason };
}

function otherFormat(prefix: Uint8Array): ModelFormat {
  const text = String.fromCharCode(...prefix.subarray(0, 4));
  if (text === "GGUF") return "gguf";
  // PyTorch writes zip archives of pickles, and wrote plain ones of protocol 2 before.
  return text === "PK\u0003\u0004" || /^\u0080[\u0002-\u0005]/.test(text) ? "pickle" : "other";
}

async function bytesAt(store: R2Bucket, key: string, offset: number, length: number): Promise<Uint8Array> {
  const object = await store.get(key, { range: { offset, length } });
  if (object === null) throw new Error("the object went away");
  return new Uint8Array(await object.arrayBuffer());
}
