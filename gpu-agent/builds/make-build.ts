/**
 * The steps that make a build, one after the other. Each leaves a log and a line in the journal; one that was cut off is
 * done again from clean, one that ended is not.
 */
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { BuildManifest } from "#contract/build";
import { modelDoing } from "../amounts.ts";
import { messageOf } from "../log.ts";
import { isCode } from "../state-directory.ts";
import { BuildFailed, type BuildStep } from "./build-failed.ts";
import { BuildJournal, type FinishedStep } from "./build-journal.ts";
import { checkOut } from "./git-checkout.ts";
import type { ModelSource } from "./model-source.ts";
import { makeEnvironment } from "./python-environment.ts";
import { type PackRegistrySettings, unpackFromRegistry } from "./registry-pack.ts";
import { StepLog } from "./step-log.ts";
import { endLeftover, type StepSurroundings } from "./step-program.ts";

const STEPS: readonly BuildStep[] = ["comfyui", "nodes", "python", "models"];
const DISK_FULL = /No space left on device|Errno 28|ENOSPC|Disk quota exceeded/i;

export interface BuildSources {
  readonly models: ModelSource;
  readonly registry: PackRegistrySettings;
  /** Takes file:// repositories, wheels and indexes. */
  readonly allowFiles: boolean;
  /** Interpreters the owner names, looked at before the usual ones. */
  readonly pythons: readonly string[];
}

export interface BuildListener {
  readonly onStep: (step: BuildStep) => void;
  /** A line of a step's log, redacted. */
  readonly onLine?: (step: BuildStep, line: string) => void;
  /** What the step is at, in words; of a download, how far it is. */
  readonly onDoing?: (doing: string) => void;
}

export interface MakeBuildOptions {
  readonly digest: string;
  readonly manifest: BuildManifest;
  /** Where it is made. */
  readonly folder: string;
  /** What it will be called when it is whole. */
  readonly finalFolder: string;
  readonly cache: string;
  readonly sources: BuildSources;
  readonly environment: NodeJS.ProcessEnv;
  /** Names for folders in logs. */
  readonly folders: Readonly<Record<string, string>>;
  readonly listener: BuildListener;
  readonly signal: AbortSignal;
}

export interface MadeBuild {
  readonly steps: readonly FinishedStep[];
  readonly facts: BuildJournal["facts"];
}

/**
 * Makes what is missing of a build.
 * @throws BuildFailed with the last lines of the step's log; the signal's reason
 */
export async function makeBuild(options: MakeBuildOptions): Promise<MadeBuild> {
  const { folder, listener, signal } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const childFile = join(folder, "child.json");
  // A program of an agent that was killed may still write here.
  await endLeftover(childFile);
  const journal = await BuildJournal.open(folder);
  for (const step of STEPS) {
    if (journal.has(step)) continue;
    signal.throwIfAborted();
    listener.onStep(step);
    await journal.begin(step);
    const log = new StepLog(join(folder, "log", `${step}.log`), options.folders, (line) =>
      listener.onLine?.(step, line),
    );
    const around: StepSurroundings = { environment: options.environment, log, childFile, signal };
    const startedAt = performance.now();
    try {
      const facts = await runStep(step, options, journal, around);
      await journal.finish(step, performance.now() - startedAt, facts);
    } catch (error) {
      signal.throwIfAborted();
      log.line(messageOf(error));
      throw await explained(step, error, log, folder);
    } finally {
      log.close();
    }
  }
  return { steps: journal.finished, facts: journal.facts };
}

type Facts = Readonly<Record<string, string | string[]>>;

async function runStep(
  step: BuildStep,
  options: MakeBuildOptions,
  journal: BuildJournal,
  around: StepSurroundings,
): Promise<Facts> {
  const { manifest, folder, sources } = options;
  const comfyui = join(folder, "comfyui");
  switch (step) {
    case "comfyui": {
      const { comfyRepository: repository, comfyCommit: commit } = manifest;
      options.listener.onDoing?.("fetching ComfyUI");
      await checkOut({ repository, commit, folder: comfyui }, sources.allowFiles, around);
      if (!existsSync(join(comfyui, "main.py"))) {
        throw new BuildFailed("manifest_refused", `The repository ${repository} is no ComfyUI: it has no main.py.`);
      }
      return {};
    }
    case "nodes":
      return bringPacks(options, journal, around);
    case "python": {
      options.listener.onDoing?.(installing(manifest.pipDependencies.length));
      const environment = await makeEnvironment(
        {
          manifest,
          folder: join(folder, "venv"),
          finalFolder: join(options.finalFolder, "venv"),
          cache: options.cache,
          pythons: sources.pythons,
          allowFiles: sources.allowFiles,
        },
        around,
      );
      return { python: environment.python, installer: environment.installer, packages: [...environment.installed] };
    }
    case "models":
      try {
        await bringModels(options, comfyui, around);
      } finally {
        await sources.models.settled(options.digest);
      }
      return {};
    default:
      throw new Error(`unhandled: ${String(step satisfies never)}`);
  }
}

function installing(packages: number): string {
  if (packages === 0) return "making the Python environment";
  return packages === 1 ? "installing 1 package" : `installing ${packages} packages`;
}

/** Packs that have ended are not fetched again: with twenty of them, the last one often fails first. */
async function bringPacks(options: MakeBuildOptions, journal: BuildJournal, around: StepSurroundings): Promise<Facts> {
  const { manifest, folder, sources, listener } = options;
  const count = manifest.customNodes.length;
  for (const [index, pack] of manifest.customNodes.entries()) {
    const part = `nodes/${pack.name}`;
    if (journal.has(part)) continue;
    const verb = "repository" in pack ? "cloning" : "fetching";
    listener.onDoing?.(`${verb} ${pack.name}${count > 1 ? `, ${index + 1} of ${count}` : ""}`);
    const startedAt = performance.now();
    const target = join(folder, "comfyui", "custom_nodes", pack.name);
    if ("repository" in pack) {
      const { repository, gitRef: commit } = pack;
      await checkOut({ repository, commit, folder: target }, sources.allowFiles, around);
      await journal.finish(part, performance.now() - startedAt);
    } else {
      around.log.line(`registry: ${pack.id} ${pack.registryVersion}`);
      const sha256 = await unpackFromRegistry(pack, target, sources.registry, around.signal);
      await journal.finish(part, performance.now() - startedAt, { [`archive/${pack.name}`]: sha256 });
    }
  }
  return {};
}

/** Models lie where ComfyUI and every pack looks for them: below its own `models`. */
async function bringModels(options: MakeBuildOptions, comfyui: string, around: StepSurroundings): Promise<void> {
  const { manifest, sources, listener } = options;
  for (const model of manifest.models) {
    const name = `${model.type}/${model.filename}`;
    around.log.line(name);
    try {
      await sources.models.ensureModel(model, {
        build: options.digest,
        signal: around.signal,
        onProgress: (progress) => listener.onDoing?.(modelDoing(basename(model.filename), progress)),
      });
      await sources.models.linkModel(comfyui, model);
    } catch (error) {
      around.signal.throwIfAborted();
      throw new BuildFailed("model_failed", `The model ${name} is not here: ${messageOf(error)}`, "", error);
    }
  }
}

/** A full disk has many voices, and is freed of what the step left half-done: the machine has other work. */
async function explained(step: BuildStep, error: unknown, log: StepLog, folder: string): Promise<Error> {
  const isFull =
    isDiskFull(error) ||
    (error instanceof BuildFailed && error.fault !== "manifest_refused" && DISK_FULL.test(error.message));
  if (isFull) {
    if (step === "python") await rm(join(folder, "venv"), { recursive: true, force: true });
    if (step === "comfyui") await rm(join(folder, "comfyui"), { recursive: true, force: true });
    return new BuildFailed(
      "disk_full",
      `The disk is full: the step ${step} of the build did not end.`,
      log.tail,
      error,
    );
  }
  if (error instanceof BuildFailed) return error;
  return new BuildFailed(
    "install_failed",
    `The step ${step} of the build failed: ${messageOf(error)}`,
    log.tail,
    error,
  );
}

function isDiskFull(error: unknown): boolean {
  return isCode(error, "ENOSPC") || isCode(error, "EDQUOT") || (error instanceof Error && isDiskFull(error.cause));
}
