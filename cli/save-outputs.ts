import { createHash } from "node:crypto";
import { link, mkdir, open, rename, rm } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { CliError } from "#cli/errors";
import { fileReason } from "#cli/file-reason";
import type { Output } from "#cli/output";
import { byteSize } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import type { Job, JobOutput } from "#contract/job";

export interface SavedOutput {
  readonly name: string;
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
  readonly content_type: string;
}

export interface SaveOptions {
  readonly folder: string;
  /** Another file of that name is replaced; otherwise the new one is called `name-2`. */
  readonly replace: boolean;
  readonly fileName?: (output: JobOutput) => string;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** Names tried before giving up on a folder full of earlier results. */
const NAMES_TRIED = 10_000;

/**
 * Downloads a job's outputs into a folder and checks each against its size and sha256 before it gets its name.
 * @throws CliError `output_unwritable`, `output_damaged`; PilotlightError
 */
export async function saveOutputs(
  client: Pilotlight,
  job: Pick<Job, "id" | "outputs">,
  options: SaveOptions,
): Promise<SavedOutput[]> {
  await mkdir(options.folder, { recursive: true }).catch((cause) => {
    throw unwritable(options.folder, cause);
  });
  const saved: SavedOutput[] = [];
  for (const output of job.outputs) {
    const path = await saveOutput(client, job.id, output, options);
    const { name, size, sha256, content_type } = output;
    saved.push({ name, path, size, sha256, content_type });
  }
  return saved;
}

async function saveOutput(client: Pilotlight, job: string, output: JobOutput, options: SaveOptions): Promise<string> {
  const name = options.fileName?.(output) ?? output.name;
  const draft = join(options.folder, `.${name}.${process.pid}.part`);
  const hash = createHash("sha256");
  try {
    const file = await open(draft, "w").catch((cause) => {
      throw unwritable(draft, cause);
    });
    try {
      let received = 0;
      for await (const piece of client.outputs.download({ job, output }, { signal: options.signal })) {
        hash.update(piece);
        await file.writeFile(piece);
        received += piece.byteLength;
        options.output.progress(
          `downloading ${name} ${byteSize(received)} of ${byteSize(output.size)}`,
          `downloading ${name}`,
        );
      }
      await file.sync();
    } finally {
      await file.close();
    }
    const sha256 = hash.digest("hex");
    if (sha256 !== output.sha256) {
      throw new CliError(
        "output_damaged",
        `${name} arrived with the sha256 ${sha256}, its record says ${output.sha256}`,
      );
    }
    return await giveName(draft, options.folder, name, options.replace);
  } finally {
    await rm(draft, { force: true });
  }
}

/** Gives the finished file its name in one step. */
async function giveName(draft: string, folder: string, name: string, replace: boolean): Promise<string> {
  if (replace) {
    const path = join(folder, name);
    await rename(draft, path).catch((cause) => {
      throw unwritable(path, cause);
    });
    return resolve(path);
  }
  const ending = extname(name);
  const stem = name.slice(0, name.length - ending.length);
  for (let number = 1; number <= NAMES_TRIED; number += 1) {
    const path = join(folder, number === 1 ? name : `${stem}-${number}${ending}`);
    try {
      // A link, unlike a rename, never replaces.
      await link(draft, path);
      return resolve(path);
    } catch (cause) {
      if (!(cause instanceof Error && "code" in cause && cause.code === "EEXIST")) throw unwritable(path, cause);
    }
  }
  throw new CliError("output_unwritable", `${folder} holds too many files called ${name}`);
}

function unwritable(path: string, cause: unknown): CliError {
  const why = fileReason(cause);
  return new CliError("output_unwritable", `${path} cannot be written: ${why}`, undefined, { cause });
}
