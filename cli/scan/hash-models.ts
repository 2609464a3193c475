/** Hashes of model files: gigabytes each, so that a file is read once and remembered by its path, size and time. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, realpath, rename, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import * as z from "zod";
import { CliError } from "#cli/errors";
import type { Output } from "#cli/output";
import { progressBar } from "#cli/progress-bar";
import { byteSize } from "#cli/text-table";
import { Sha256 } from "#contract/job";

export interface HashedFile {
  readonly sizeBytes: number;
  /** Null where it is not remembered and was not to be read. */
  readonly sha256: string | null;
}

const Remembered = z.object({
  schema: z.literal("model-hashes/1"),
  files: z.record(z.string(), z.object({ size: z.int(), mtime_ns: z.string(), sha256: Sha256 })),
});
type Memory = Map<string, { size: number; mtime_ns: string; sha256: string }>;

/** Files remembered; the oldest are forgotten first. */
const FILES_MAX = 10_000;
/** Steps of the bar over all files. */
const STEPS = 200;

export interface HashingOptions {
  /** Where hashes are remembered; a file that cannot be read or written is done without. */
  readonly memory: string;
  /** Read the files that are not remembered. */
  readonly hash: boolean;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/**
 * Sizes and hashes of files, in their order.
 * @param files with the names that people know them by
 * @throws CliError `scan_failed` where a file cannot be read, or changes while it is
 */
export async function hashFiles(
  files: readonly { readonly path: string; readonly name: string }[],
  { memory: place, hash, output, signal }: HashingOptions,
): Promise<HashedFile[]> {
  const memory = await remembered(place);
  const found = await Promise.all(files.map((file) => look(file.path, memory)));
  const missing = found.filter(({ sha256 }) => sha256 === null);
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const hashed: HashedFile[] = [];
  for (const [index, { real, size, mtimeNs, sha256 }] of found.entries()) {
    const name = files[index]?.name ?? real;
    if (sha256 !== null || !hash) {
      hashed.push({ sizeBytes: size, sha256 });
      continue;
    }
    let shown = -1;
    const counted = (bytes: number) => {
      done += bytes;
      const step = total === 0 ? STEPS : Math.floor((done / total) * STEPS);
      if (step === shown) return;
      shown = step;
      output.progress(
        `${progressBar(Math.min(1, step / STEPS))} ${byteSize(done)} of ${byteSize(total)}  ${name}`,
        name,
      );
    };
    const digest = await digestOf(real, counted, signal);
    const after = await look(real, new Map());
    if (after.size !== size || after.mtimeNs !== mtimeNs) {
      throw new CliError("scan_failed", `${name} changed while it was read`, "Scan again when nothing writes to it.");
    }
    memory.delete(real);
    memory.set(real, { size, mtime_ns: mtimeNs, sha256: digest });
    hashed.push({ sizeBytes: size, sha256: digest });
    // After each file: who stops halfway through a terabyte goes on where they were.
    await remember(place, memory);
  }
  return hashed;
}

async function look(path: string, memory: Memory) {
  try {
    const real = await realpath(path);
    const { size, mtimeNs } = await stat(real, { bigint: true });
    const known = memory.get(real);
    const isSame = known !== undefined && known.size === Number(size) && known.mtime_ns === String(mtimeNs);
    return { real, size: Number(size), mtimeNs: String(mtimeNs), sha256: isSame ? known.sha256 : null };
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

async function digestOf(path: string, counted: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) {
      hash.update(chunk);
      counted(chunk.length);
    }
  } catch (cause) {
    if (signal.aborted) throw new CliError("interrupted", "Interrupted");
    throw unreadable(path, cause);
  }
  return hash.digest("hex");
}

function unreadable(path: string, cause: unknown): CliError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new CliError("scan_failed", `${path} cannot be read: ${why}`, undefined, { cause });
}

async function remembered(place: string): Promise<Memory> {
  try {
    return new Map(Object.entries(Remembered.parse(JSON.parse(await readFile(place, "utf8"))).files));
  } catch {
    // None yet, or one that something broke: the files are read again.
    return new Map();
  }
}

async function remember(place: string, memory: Memory): Promise<void> {
  const files = Object.fromEntries([...memory].slice(-FILES_MAX));
  try {
    await mkdir(dirname(place), { recursive: true, mode: 0o700 });
    const draft = `${place}.${process.pid}.part`;
    await writeFile(draft, JSON.stringify({ schema: "model-hashes/1", files }), { mode: 0o600 });
    await rename(draft, place);
  } catch {
    // The hashes are right without being remembered.
  }
}
