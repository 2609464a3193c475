import { holdBytes } from "#durable-objects/outputs/held-bytes";

/** Fills the isolate's memory of stored outputs with others: what is asked for next comes from R2. */
export function pushOutHeldBytes(): void {
  const bytes = new Uint8Array(1024 * 1024);
  for (let at = 0; at < 16; at += 1) holdBytes(`held/other-${at}`, bytes, "hash", Date.now());
}
