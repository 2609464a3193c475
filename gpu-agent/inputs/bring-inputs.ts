/** A job's input files: from the server, checked, into ComfyUI's input folder. */
import { createHash, randomUUID } from "node:crypto";
import { openAsBlob } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Lease, LeaseFile } from "#contract/agent";
import { type ComfyHttp, ComfyRefused, ComfyUnreachable } from "../comfy/comfy-http.ts";
import { JobFailure } from "../comfy/job-failure.ts";
import type { AgentCalls } from "../control/agent-calls.ts";
import { pause } from "../control/backoff.ts";
import { ControlError, isGone } from "../control/control-error.ts";
import { messageOf } from "../log.ts";
import { extensionOf } from "../outputs/content-types.ts";
import { leaseFolder } from "../outputs/job-prefix.ts";
import { freeBytes, isCode } from "../state-directory.ts";

/** The slowest link that is still waited for, bytes per ms. */
const SLOWEST_BYTES_PER_MS = 64;
/** ComfyUI may be busy decoding; a dead one is noticed elsewhere. */
const COMFY_TRIES_MAX = 3;
/** Bytes that arrive wrong this often were stored wrong. */
const WRONG_BYTES_MAX = 3;

export interface BringOptions {
  readonly calls: AgentCalls;
  readonly lease: Lease;
  readonly http: ComfyHttp;
  readonly spool: string;
  readonly freeBytesMin: number;
  readonly signal: AbortSignal;
}

/**
 * Brings every file of a lease to ComfyUI. Names are the content's hash, in a folder of the job's own: two jobs'
 * `photo.png` never meet.
 * @returns input name → what the graph must say
 * @throws JobFailure input_failed; ControlError when the lease is lost
 */
export async function bringInputs(options: BringOptions): Promise<Record<string, string>> {
  const names: Record<string, string> = Object.create(null) as Record<string, string>;
  const uploaded = new Map<string, string>();
  for (const file of options.lease.files) {
    const filename = hashName(file);
    const name = uploaded.get(filename) ?? (await bring(file, filename, options));
    uploaded.set(filename, name);
    names[file.input] = name;
  }
  return names;
}

/** ComfyUI tells a file's kind by its extension. */
function hashName(file: LeaseFile): string {
  const extension = extensionOf(file.filename);
  return `${file.sha256.slice(0, 32)}${extension === "" ? "" : `.${extension}`}`;
}

async function bring(file: LeaseFile, filename: string, options: BringOptions): Promise<string> {
  const path = join(options.spool, randomUUID());
  const { calls, signal } = options;
  try {
    if ((await freeBytes(options.spool)) < file.size + options.freeBytesMin / 2) {
      throw new JobFailure("input_failed", "The machine has no free disk space for the input files.");
    }
    let wrong = 0;
    await calls.client.persist(
      "input",
      async () => {
        if (await fetchTo(path, file, options)) return;
        wrong += 1;
        const retryable = wrong < WRONG_BYTES_MAX;
        throw new ControlError("its bytes are not the promised ones", { retryable });
      },
      signal,
    );
    return await hand(path, filename, options);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof JobFailure || isGone(error)) throw error;
    const reason = isCode(error, "ENOSPC") ? "no free disk space" : messageOf(error);
    throw new JobFailure("input_failed", `The file for ${file.input} did not arrive: ${reason}`, { cause: error });
  } finally {
    await rm(path, { force: true });
  }
}

/** One try. @returns whether the bytes are the promised ones */
async function fetchTo(path: string, file: LeaseFile, options: BringOptions): Promise<boolean> {
  const { calls, lease, signal } = options;
  const timeoutMs = calls.client.timings.callMs + Math.ceil(file.size / SLOWEST_BYTES_PER_MS);
  const answer = await calls.input(lease, file.index, timeoutMs, signal);
  const hash = createHash("sha256");
  let size = 0;
  const copy = await open(path, "w", 0o600);
  try {
    for await (const part of answer.body) {
      const chunk = part as Buffer;
      size += chunk.byteLength;
      if (size > file.size) break;
      hash.update(chunk);
      await copy.write(chunk);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (isCode(error, "ENOSPC")) throw error;
    throw new ControlError(`input cut off: ${messageOf(error)}`, { retryable: true, cause: error });
  } finally {
    await copy.close();
  }
  return size === file.size && hash.digest("hex") === file.sha256;
}

async function hand(path: string, filename: string, options: BringOptions): Promise<string> {
  const { http, lease, signal } = options;
  for (let tries = 1; ; tries += 1) {
    try {
      return await http.uploadInput(await openAsBlob(path), filename, leaseFolder(lease), signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ComfyRefused && error.status === 413) {
        throw new JobFailure("input_failed", "The file is larger than this machine's ComfyUI takes.");
      }
      if (!(error instanceof ComfyUnreachable) || tries >= COMFY_TRIES_MAX) throw error;
      await pause(500 * tries, signal);
    }
  }
}
