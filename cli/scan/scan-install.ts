/** Everything that an installation of ComfyUI, running or not, says of the build it is. */
import { join, resolve } from "node:path";
import { CliError } from "#cli/errors";
import { readLocalFile } from "#cli/input-values";
import type { Output } from "#cli/output";
import type { JsonObject } from "#contract/exact-json";
import type { BuildDraft, BuildReading, DraftModel } from "#workflow/build/draft";
import { launchOfArgv } from "#workflow/build/launch-of-argv";
import { readAnyBuildFile } from "#workflow/build/read-any-file";
import { lockedVersion } from "#workflow/build/requirements";
import { dryRun } from "#workflow/sources/dry-run";
import { readSource } from "#workflow/sources/read-source";
import { readComfyInstall } from "./comfyui-install.ts";
import { readCustomNodes } from "./custom-node-folders.ts";
import { hashFiles } from "./hash-models.ts";
import { ModelFolders } from "./model-folders.ts";
import { findInterpreter, readPython } from "./python-environment.ts";
import { furtherFolders, type RunningComfy, readRunningComfy } from "./running-comfyui.ts";

export interface ScanOptions {
  readonly folder: string;
  /** Of the running ComfyUI. */
  readonly url: string | undefined;
  readonly workflow: string | undefined;
  readonly allModels: boolean;
  readonly hash: boolean;
  readonly python: string | undefined;
  readonly pipIndexes: readonly string[];
  readonly hashMemory: string;
  readonly workingDirectory: string;
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
  readonly signal: AbortSignal;
}

export interface Scan extends BuildReading {
  /** What /object_info says of the workflow's classes; null without a workflow or a running ComfyUI. */
  readonly objectInfo: JsonObject | null;
}

/**
 * Looks, and changes nothing.
 * @throws CliError `scan_failed`, `file_unreadable`
 */
export async function scanInstall(options: ScanOptions): Promise<Scan> {
  const { env, signal, output } = options;
  const folder = resolve(options.workingDirectory, options.folder);
  output.progress("ComfyUI and its custom nodes …", "install");
  const install = await readComfyInstall(folder, env, signal);
  const running = options.url === undefined ? undefined : await readRunningComfy(options.url);
  const further = furtherFolders(running?.argv ?? []);
  const base = further.base === undefined ? folder : resolve(folder, further.base);
  const packs = await readCustomNodes(folder, base, env, signal);
  output.progress("The Python environment …", "python");
  const interpreter =
    options.python === undefined ? findInterpreter(folder) : resolvedProgram(options.python, options.workingDirectory);
  const python = interpreter === undefined ? undefined : await readPython(interpreter, env, signal);
  const workflow = await readWorkflow(options, running);
  const configs = [join(folder, "extra_model_paths.yaml"), ...further.modelPaths.map((path) => resolve(folder, path))];
  const folders = await ModelFolders.of(base, [...new Set(configs)]);
  const models = await readModels(options, folders, workflow?.draft.models ?? []);
  const launch = running?.argv == null ? undefined : launchOfArgv(running.argv);
  const lines = python?.lock.lines ?? null;
  const draft: BuildDraft = {
    baseComfyVersion: install.version ?? running?.version ?? null,
    comfyRepository: install.repository,
    comfyCommit: install.commit,
    environment: {
      os: python?.os ?? null,
      arch: python?.arch ?? null,
      pythonVersion: python?.version ?? running?.python ?? null,
      torch: lines === null ? null : lockedVersion(lines, "torch"),
    },
    pipDependencies: lines,
    pipIndexes: [...new Set([...options.pipIndexes, ...(python?.lock.indexes ?? [])])],
    customNodes: packs.customNodes,
    models: models.models,
    launch: launch?.launch ?? null,
  };
  return {
    ok: true,
    draft,
    warnings: [
      ...install.warnings,
      ...differences(install.version, python?.version, running),
      ...packs.warnings,
      ...(python?.lock.warnings ?? []),
      ...(interpreter === undefined
        ? [`No interpreter lies in the usual places beside ${folder}: name ComfyUI's with --python.`]
        : []),
      ...(workflow?.warnings ?? []),
      ...models.warnings,
      ...(launch === undefined || launch.leftOut.length === 0
        ? []
        : [`Flags of this machine alone are left out: ${launch.leftOut.join(", ")}.`]),
      ...(workflow?.unknownClasses ?? []),
    ],
    objectInfo: workflow?.objectInfo ?? null,
  };
}

/** A name is looked up as the shell does; a path is meant from where the person is. */
function resolvedProgram(program: string, workingDirectory: string): string {
  return /[/\\]/.test(program) ? resolve(workingDirectory, program) : program;
}

function differences(version: string | null, python: string | undefined, running: RunningComfy | undefined): string[] {
  const words: string[] = [];
  if (running === undefined) return words;
  if (version !== null && running.version !== null && version !== running.version) {
    words.push(`The running ComfyUI is ${running.version} and the folder's is ${version}: is it the same one?`);
  }
  if (python !== undefined && running.python !== null && python !== running.python) {
    words.push(
      `The running ComfyUI has Python ${running.python} and the interpreter asked is ${python}: --python names another.`,
    );
  }
  return words;
}

async function readWorkflow(options: ScanOptions, running: RunningComfy | undefined) {
  if (options.workflow === undefined) return undefined;
  const bytes = await readLocalFile(options.workflow, options.workingDirectory);
  const read = await readAnyBuildFile(options.workflow, bytes, {
    packsAreKnown: true,
    ...(running === undefined ? {} : { objectInfo: running.objectInfo }),
  });
  const source = await readSource(bytes);
  if (!read.ok || !source.ok) {
    const why = read.ok ? (source.ok ? "" : source.detail) : read.detail;
    throw new CliError("file_unreadable", `${options.workflow} holds no workflow: ${why}`);
  }
  const { draft, warnings } = read;
  if (running === undefined) return { draft, warnings, objectInfo: null, unknownClasses: [] };
  const understood = await dryRun(source, { objectInfo: running.objectInfo });
  if (!understood.ok) {
    const why = `What the running ComfyUI says of the workflow's classes is left out: ${understood.detail}`;
    return { draft, warnings, objectInfo: null, unknownClasses: [why] };
  }
  const objectInfo: JsonObject = Object.create(null);
  const unknown: string[] = [];
  for (const { class: name } of understood.classes) {
    const entry = Object.hasOwn(running.objectInfo, name) ? running.objectInfo[name] : undefined;
    if (entry === undefined) unknown.push(name);
    else objectInfo[name] = entry;
  }
  const unknownClasses =
    unknown.length === 0
      ? []
      : [`The running ComfyUI does not know these classes of the workflow: ${unknown.join(", ")}.`];
  return { draft, warnings, objectInfo, unknownClasses };
}

async function readModels(options: ScanOptions, folders: ModelFolders, used: readonly DraftModel[]) {
  const warnings = [...folders.warnings];
  const missing: DraftModel[] = [];
  const files = [];
  for (const model of used) {
    const file = await folders.find(model.type, model.filename);
    if (file !== undefined) files.push({ ...file, noted: model });
    else {
      missing.push(model);
      warnings.push(`${model.type ?? "(unknown folder)"}/${model.filename} is not in this installation.`);
    }
  }
  if (options.allModels) {
    const known = new Set(files.map(({ path }) => path));
    for (const file of await folders.all()) if (!known.has(file.path)) files.push({ ...file, noted: undefined });
  }
  const hashed = await hashFiles(
    files.map(({ type, filename, path }) => ({ path, name: `${type}/${filename}` })),
    { memory: options.hashMemory, hash: options.hash, output: options.output, signal: options.signal },
  );
  const models = files.map(({ type, filename, noted }, index): DraftModel => {
    const { sha256, sizeBytes } = hashed[index] ?? { sha256: null, sizeBytes: null };
    const said = noted?.sha256 ?? null;
    if (sha256 !== null && said !== null && sha256 !== said) {
      warnings.push(
        `${type}/${filename} is another file here than the workflow says: sha256 ${sha256}, and not ${said}.`,
      );
    }
    // What the workflow's author says of another file is no source of this one.
    const sources = sha256 !== null && said !== null && sha256 !== said ? [] : (noted?.sources ?? []);
    return { type, filename, sha256, sizeBytes, sources };
  });
  return { models: [...models, ...missing], warnings };
}
