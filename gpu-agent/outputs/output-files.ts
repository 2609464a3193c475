/** Getting at the bytes of an output: on this machine's disk, or through ComfyUI's /view. */
import { createHash, randomUUID } from "node:crypto";
import { openAsBlob } from "node:fs";
import { open, readdir, realpath, rm, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { OUTPUT_BYTES_MAX } from "#contract/limits";
import { type ComfyHttp, ComfyRefused, ComfyUnreachable, type FileReference } from "../comfy/comfy-http.ts";
import type { ComfyFolders } from "../comfy/comfy-server.ts";
import { JobFailure } from "../comfy/job-failure.ts";
import { pause } from "../control/backoff.ts";
import type { HttpAnswer } from "../http-request.ts";
import { messageOf } from "../log.ts";
import { freeBytes, isCode } from "../state-directory.ts";
import { sha256OfBlob } from "./hash-file.ts";

const VIEW_TRIES_MAX = 3;
const VIEW_STALL_MS = 60_000;
/** A file up to this size is held in memory on its way; several go up at once. */
const HELD_BYTES_MAX = 4 * 1024 * 1024;

/** Bytes whose hash is known, ready to be sent more than once. */
export interface ReadyFile {
  readonly body: Blob | Uint8Array<ArrayBuffer>;
  readonly size: number;
  readonly sha256: string;
  /** Removes the copy, where one was made. */
  discard(): Promise<void>;
}

export interface OutputSource {
  readonly http: ComfyHttp;
  readonly folders: ComfyFolders | null;
  /** Where copies are kept while they go up. */
  readonly spool: string;
  readonly freeBytesMin: number;
}

/**
 * Reads one file of a finished prompt.
 * @throws JobFailure output_failed when it is not there, too large, or the disk has no room for the copy
 */
export async function readyFile(source: OutputSource, file: FileReference, signal: AbortSignal): Promise<ReadyFile> {
  const path = source.folders === null ? null : await pathOnDisk(source.folders, file);
  if (path !== null) return fromDisk(path, file);
  for (let tries = 1; ; tries += 1) {
    try {
      return await fromView(source, file, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof JobFailure) || !(error.cause instanceof ComfyUnreachable) || tries >= VIEW_TRIES_MAX)
        throw error;
      await pause(500 * tries, signal);
    }
  }
}

/** @returns null when no such file lies inside that folder */
async function pathOnDisk(folders: ComfyFolders, file: FileReference): Promise<string | null> {
  const root = file.type === "temp" ? folders.temp : folders.output;
  try {
    const [realRoot, path] = await Promise.all([
      realpath(root),
      realpath(join(root, file.subfolder.replaceAll("\\", "/"), file.filename)),
    ]);
    // A link or a ".." must not reach other files of the machine.
    return path.startsWith(realRoot + sep) ? path : null;
  } catch {
    return null;
  }
}

async function fromDisk(path: string, file: FileReference): Promise<ReadyFile> {
  try {
    const body = await openAsBlob(path);
    refuseTooLarge(body.size, file);
    return { body, size: body.size, sha256: await sha256OfBlob(body), discard: () => Promise.resolve() };
  } catch (error) {
    if (error instanceof JobFailure) throw error;
    throw new JobFailure("output_failed", `${file.filename} cannot be read: ${messageOf(error)}`);
  }
}

async function fromView(source: OutputSource, file: FileReference, signal: AbortSignal): Promise<ReadyFile> {
  const path = join(source.spool, randomUUID());
  const discard = () => rm(path, { force: true });
  try {
    const answer = await source.http.view(file, signal);
    const length = Number(answer.header("content-length") ?? "0");
    if (length > 0 && length <= HELD_BYTES_MAX) return await held(answer, length);
    refuseTooLarge(length, file);
    if ((await freeBytes(source.spool)) < length + source.freeBytesMin / 2) {
      throw new JobFailure("output_failed", "The machine has no free disk space for the output.");
    }
    const hash = createHash("sha256");
    let size = 0;
    const copy = await open(path, "wx", 0o600);
    try {
      for await (const chunk of unbroken(answer, VIEW_STALL_MS)) {
        hash.update(chunk);
        size += chunk.byteLength;
        refuseTooLarge(size, file);
        await copy.write(chunk);
      }
    } finally {
      await copy.close();
    }
    return { body: await openAsBlob(path), size, sha256: hash.digest("hex"), discard };
  } catch (error) {
    await discard();
    signal.throwIfAborted();
    if (error instanceof JobFailure) throw error;
    if (error instanceof ComfyRefused && error.status === 404) {
      throw new JobFailure("output_failed", `ComfyUI reported ${file.filename}, and the file is not there.`);
    }
    const reason = isCode(error, "ENOSPC") ? "no free disk space" : messageOf(error);
    throw new JobFailure("output_failed", `${file.filename} could not be fetched from ComfyUI: ${reason}`, {
      cause: error,
    });
  }
}

/** The whole body in memory. @param length as the answer states it; HTTP lets no more through */
async function held(answer: HttpAnswer, length: number): Promise<ReadyFile> {
  const hash = createHash("sha256");
  const body = new Uint8Array(length);
  let size = 0;
  for await (const chunk of unbroken(answer, VIEW_STALL_MS)) {
    if (size + chunk.byteLength > length) throw new ComfyUnreachable(`more than ${length} bytes arrived`);
    hash.update(chunk);
    body.set(chunk, size);
    size += chunk.byteLength;
  }
  if (size !== length) throw new ComfyUnreachable(`${size} of ${length} bytes arrived`);
  return { body, size: length, sha256: hash.digest("hex"), discard: () => Promise.resolve() };
}

/** The body's chunks; a connection that breaks or stalls is ComfyUI out of reach, not a fault of the file. */
async function* unbroken({ body }: HttpAnswer, stallMs: number): AsyncGenerator<Buffer> {
  const timer = setTimeout(() => body.destroy(new Error(`no byte for ${stallMs} ms`)), stallMs);
  try {
    for await (const chunk of body) {
      yield chunk as Buffer;
      timer.refresh();
    }
  } catch (error) {
    throw new ComfyUnreachable(messageOf(error));
  } finally {
    clearTimeout(timer);
  }
}

function refuseTooLarge(size: number, file: FileReference): void {
  if (size > OUTPUT_BYTES_MAX) throw new JobFailure("output_failed", `${file.filename} is larger than 64 GiB.`);
}

/**
 * Files below a folder of the output folder: what a job saved without any node saying so.
 * @param below such as "jobs/job_…/1"
 */
export async function scanOutputs(folders: ComfyFolders, below: string): Promise<FileReference[]> {
  const root = join(folders.output, below);
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  const files: { file: FileReference; at: number }[] = [];
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const subfolder = relative(folders.output, entry.parentPath).replaceAll(sep, "/");
    const { mtimeMs } = await stat(join(entry.parentPath, entry.name));
    files.push({ file: { filename: entry.name, subfolder, type: "output" }, at: mtimeMs });
  }
  files.sort((a, b) => a.at - b.at || (a.file.filename < b.file.filename ? -1 : 1));
  return files.map(({ file }) => file);
}
