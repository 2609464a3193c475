/** Files that are models, and the manifests' words for them. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BuildModel } from "#contract/build";
import { ModelStore, type ModelStoreOptions } from "#gpu-agent/models/model-store";

/**
 * A safetensors file of one tensor.
 * @param dataBytes of the tensor; the file has about 80 more
 * @param seed another one gives other bytes
 */
export function safetensors(dataBytes: number, seed = 1): Buffer {
  const header = Buffer.from(JSON.stringify({ w: { dtype: "U8", shape: [dataBytes], data_offsets: [0, dataBytes] } }));
  const data = Buffer.alloc(dataBytes);
  // A small generator, so that no two stretches of the file are alike.
  let state = seed * 2_654_435_761;
  for (let at = 0; at < dataBytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    data[at] = state >>> 24;
  }
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.byteLength));
  return Buffer.concat([length, header, data]);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A manifest's entry for a file's bytes. */
export function modelOf(bytes: Buffer, sources: readonly string[], more: Partial<BuildModel> = {}): BuildModel {
  return {
    type: "checkpoints",
    filename: "model.safetensors",
    sha256: sha256(bytes),
    sizeBytes: bytes.byteLength,
    sources: [...sources],
    ...more,
  };
}

const cleanups: (() => Promise<void>)[] = [];

/** Deletes what the tests have made; for afterEach. */
export async function cleanUp(): Promise<void> {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
}

export function onCleanUp(clean: () => Promise<void>): void {
  cleanups.push(clean);
}

export async function temporaryFolder(parent = tmpdir()): Promise<string> {
  const folder = await mkdtemp(join(parent, "pilotlight-models-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A store that reaches loopback, waits for nothing, and cuts files into small pieces. */
export async function testStore(folder: string, options: Partial<ModelStoreOptions> = {}): Promise<ModelStore> {
  const store = await ModelStore.open({
    folder,
    reach: "loopback",
    reserveBytes: 0,
    limits: SMALL_PIECES,
    chance: () => 0,
    ...options,
  });
  cleanups.push(async () => store.close());
  return store;
}

export const SMALL_PIECES = {
  pieceBytes: 10_000,
  connections: 4,
  triesMax: 3,
  progressBytes: 1_000,
  backoff: { retryBaseMs: 1, retryMaxMs: 1 },
};

/** A signal that never fires. */
export const never = (): AbortSignal => new AbortController().signal;

/** For conditions that come by themselves; a machine that is busy with other tests takes its time. */
export const SOON = { timeout: 30_000 };
