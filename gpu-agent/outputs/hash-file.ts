/** sha256 of bytes on disk or in memory, without holding more than a chunk. */
import { createHash } from "node:crypto";

export async function sha256OfBlob(blob: Blob): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of blob.stream()) hash.update(chunk);
  return hash.digest("hex");
}
