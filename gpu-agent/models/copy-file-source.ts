/** A model from a disk of the machine: a `file:` source. */
import { open } from "node:fs/promises";
import { ModelFailure } from "./model-failure.ts";
import type { PartialFile } from "./partial-file.ts";
import type { ProgressMeter } from "./progress-meter.ts";

const CHUNK_BYTES = 1024 * 1024;

/**
 * @throws ModelFailure source_denied when it is no readable file, wrong_size; the signal's reason; Error with the
 *   system's code when writing fails
 */
export async function copyFileSource(
  path: string,
  partial: PartialFile,
  meter: ProgressMeter,
  signal: AbortSignal,
): Promise<void> {
  const file = await open(path, "r").catch((error: unknown) => {
    throw new ModelFailure("source_denied", "The file of a file: source cannot be opened.", { cause: error });
  });
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new ModelFailure("source_denied", "What a file: source names is no file.");
    if (found.size !== partial.sizeBytes) {
      const what = `The file of a file: source has ${found.size} bytes; the build says ${partial.sizeBytes} bytes.`;
      throw new ModelFailure("wrong_size", what);
    }
    // Copying a disk is quick; what an earlier source gave is not worth being mixed with it.
    await partial.startOver();
    await partial.begin({ source: "file", host: "this machine", servedBy: "this machine", validator: null });
    meter.startAt(0);
    const buffer = new Uint8Array(CHUNK_BYTES);
    let at = 0;
    while (at < partial.sizeBytes) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK_BYTES, partial.sizeBytes - at), at);
      if (bytesRead === 0) {
        throw new ModelFailure("source_changed", "The file of a file: source became shorter while it was read.");
      }
      await partial.write([buffer.subarray(0, bytesRead)], at);
      at += bytesRead;
      meter.addBytes(bytesRead);
    }
    await partial.finish([0, at]);
  } finally {
    await file.close();
  }
}
