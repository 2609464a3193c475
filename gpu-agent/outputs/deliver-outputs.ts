/** From the history of a finished prompt to the manifest of what is stored: find, hash, upload. */
import { ManifestEntry } from "#contract/agent";
import { INLINE_TEXT_BYTES_MAX, OUTPUTS_PER_JOB_MAX } from "#contract/limits";
import type { OutputSpec } from "#contract/workflow";
import type { PromptResult } from "../comfy/drive-prompt.ts";
import { JobFailure } from "../comfy/job-failure.ts";
import type { AgentCalls, LeaseProof } from "../control/agent-calls.ts";
import { ControlError, isGone } from "../control/control-error.ts";
import { type UploadLimits, uploadOutput } from "../control/uploads.ts";
import { collectOutputs, type Found, outputNames, shortFilename } from "./collect-outputs.ts";
import { fileType } from "./content-types.ts";
import type { EarlyOutput, EarlyOutputs } from "./early-outputs.ts";
import { sha256OfBlob } from "./hash-file.ts";
import { nodeFolder } from "./job-prefix.ts";
import { type OutputSource, type ReadyFile, readyFile, scanOutputs } from "./output-files.ts";

/** Enough to fill a link with small pictures, few enough for a small link's buffers. */
const UPLOADS_AT_ONCE = 4;

/** The manifest stays far below the largest body even if every text in it is as long as it may be. */
const INLINE_TEXTS_MAX = 100;

export interface DeliverOptions {
  readonly calls: AgentCalls;
  readonly lease: LeaseProof;
  readonly source: OutputSource;
  /** What has been sent ahead. */
  readonly early?: EarlyOutputs;
  readonly limits: UploadLimits;
  /** Small outputs may still be on their way when this is done, and be missing in the end. */
  readonly mayBeOnItsWay: boolean;
  readonly specs: readonly OutputSpec[];
  /** The attempt's own folder below the output folder; below it is one for each node. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

/**
 * Uploads every output of a prompt. Those that were sent ahead count as stored.
 * @returns the manifest, in order
 * @throws JobFailure output_failed; ControlError when the lease is lost
 */
export async function deliverOutputs(result: PromptResult, options: DeliverOptions): Promise<ManifestEntry[]> {
  const found = await withUnreported(collectOutputs(result.outputs, result.meta, options.specs), options);
  if (found.length > OUTPUTS_PER_JOB_MAX) {
    throw new JobFailure(
      "output_failed",
      `The job saved ${found.length} files; at most ${OUTPUTS_PER_JOB_MAX} are kept.`,
    );
  }
  const filenames = found.map(filenameOf);
  const names = outputNames(found.map((each, index) => ({ output: each.output, filename: filenames[index] ?? "" })));
  const manifest: ManifestEntry[] = [];
  let next = options.early?.begun ?? 0;
  // The same each time: what is stored under a number is not replaced.
  const indexes = found.map((each) => (each.type === "file" ? options.early?.numberOf(each.file) : null) ?? next++);
  await eachAtOnce(found, UPLOADS_AT_ONCE, async (each, place) => {
    const early = each.type === "file" ? ((await options.early?.take(each.file)) ?? null) : null;
    const index = indexes[place] ?? place;
    const named = { index, name: names[place] ?? "", filename: filenames[place] ?? "" };
    manifest[place] = await deliver(each, named, early, place < INLINE_TEXTS_MAX, options);
  });
  return manifest;
}

/** Some nodes save files and say nothing. Each saves in a folder of its own, which is looked at when it shows no file. */
async function withUnreported(found: readonly Found[], options: DeliverOptions): Promise<readonly Found[]> {
  const { folders } = options.source;
  if (folders === null) return found;
  const reported = new Set(found.map((each) => each.output));
  const silent = options.specs.filter((spec) => !spec.temporary && spec.kind !== "text" && !reported.has(spec.name));
  const known = new Set(
    found.map((each) => (each.type === "file" ? key(each.file.subfolder, each.file.filename) : "")),
  );
  const saved: Found[] = [];
  const look = async (output: string, node: string, below: string) => {
    for (const file of await scanOutputs(folders, below)) {
      if (!known.has(key(file.subfolder, file.filename))) saved.push({ type: "file", output, node, file });
    }
  };
  for (const spec of silent) await look(spec.name, spec.node, `${options.folder}/${nodeFolder(spec.node)}`);
  // Without any output so far, whatever the job saved is one.
  if (found.length + saved.length === 0) await look("output", "", options.folder);
  return [...found, ...saved];
}

function key(subfolder: string, filename: string): string {
  return `${subfolder.replaceAll("\\", "/")}/${filename}`;
}

function filenameOf(found: Found): string {
  return found.type === "text" ? `${found.output}.txt` : shortFilename(found.file.filename);
}

async function deliver(
  found: Found,
  named: { readonly index: number; readonly name: string; readonly filename: string },
  early: EarlyOutput | null,
  mayShow: boolean,
  options: DeliverOptions,
): Promise<ManifestEntry> {
  const { source, signal } = options;
  const { index, name, filename } = named;
  const file =
    early?.file ?? (await (found.type === "text" ? readyText(found.text) : readyFile(source, found.file, signal)));
  try {
    if (early?.isStored !== true) await storeOutput(options, index, filename, file, signal);
    const { contentType, kind } = fileType(filename);
    const isShown = found.type === "text" && file.size <= INLINE_TEXT_BYTES_MAX && mayShow;
    const inline = isShown ? { text: found.text } : {};
    const { size, sha256 } = file;
    return ManifestEntry.parse({
      index,
      name,
      output: found.output,
      kind,
      filename,
      content_type: contentType,
      size,
      sha256,
      ...inline,
    });
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof ControlError) || isGone(error)) throw error;
    throw new JobFailure("output_failed", `${filename} could not be stored: ${error.message}`, { cause: error });
  } finally {
    await file.discard();
  }
}

/** Uploads a file under a number of its lease. @throws ControlError when it cannot be stored */
export function storeOutput(
  { calls, lease, limits, mayBeOnItsWay }: Pick<DeliverOptions, "calls" | "lease" | "limits" | "mayBeOnItsWay">,
  index: number,
  filename: string,
  file: ReadyFile,
  signal: AbortSignal,
): Promise<void> {
  const { contentType } = fileType(shortFilename(filename));
  const upload = { index, size: file.size, sha256: file.sha256, contentType, body: file.body };
  return uploadOutput({ calls, lease, upload, limits, mayBeOnItsWay, sha256Of: sha256OfBlob, signal });
}

async function readyText(text: string): Promise<ReadyFile> {
  const body = new Blob([text]);
  return { body, size: body.size, sha256: await sha256OfBlob(body), discard: () => Promise.resolve() };
}

/** Runs `work` for every item, a few at once, and stops at the first failure. */
async function eachAtOnce<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const queue = items.entries();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) {
      if (failed) return;
      try {
        await work(item, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
