/** What the `build` commands print of a build or a draft, and how they end where something is missing. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import type { Call, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { fileReason } from "#cli/file-reason";
import { readLocalFile } from "#cli/input-values";
import { byteSize, textTable } from "#cli/text-table";
import { type BuildManifest, buildDigest } from "#contract/build";
import type { FieldError } from "#contract/problems";
import { completeBuild } from "#workflow/build/complete-build";
import {
  type BuildDraft,
  type BuildFault,
  type BuildReading,
  EMPTY_DRAFT,
  isRegistryNode,
} from "#workflow/build/draft";
import { mergeDrafts, type NamedReading } from "#workflow/build/merge-drafts";
import { readAnyBuildFile } from "#workflow/build/read-any-file";

/** A build or what is known of it, judged. */
export interface JudgedBuild {
  readonly draft: BuildDraft;
  /** Null while something is missing. */
  readonly manifest: BuildManifest | null;
  readonly digest: string | null;
  readonly missing: readonly FieldError[];
  readonly warnings: readonly string[];
}

/** Judges a draft. */
export async function judged({ draft, warnings }: BuildReading): Promise<JudgedBuild> {
  const complete = completeBuild(draft);
  if (!complete.ok) {
    // What has no place is too large as a whole.
    const missing = complete.errors.length > 0 ? complete.errors : [{ path: "", reason: complete.detail }];
    return { draft, manifest: null, digest: null, missing, warnings };
  }
  const { manifest } = complete;
  return {
    draft: manifest,
    manifest,
    digest: await buildDigest(manifest),
    missing: [],
    warnings: [...warnings, ...complete.warnings],
  };
}

/**
 * Reads the files that a command names and puts them together, what `--set` says before all of them.
 * @throws CliError `build_unusable`, `file_unreadable`, `usage`
 */
export async function readBuild(call: Call): Promise<JudgedBuild> {
  const readings: NamedReading[] = setReadings(call);
  for (const path of call.positionals) readings.push(await readOne(call, path));
  return judged(mergeDrafts(readings));
}

/** One file that holds a whole build. @throws CliError `build_incomplete` */
export async function readWholeBuild(call: Call, path: string): Promise<BuildManifest> {
  return wholeBuild(await judged(mergeDrafts([await readOne(call, path)])));
}

/** @throws CliError `build_incomplete` */
export function wholeBuild({ manifest, missing }: JudgedBuild): BuildManifest {
  if (manifest !== null) return manifest;
  const things = missing.length === 1 ? "1 thing is" : `${missing.length} things are`;
  throw new CliError("build_incomplete", `The build is not whole: ${things} not pinned`, "Fill them in in the file.", {
    errors: missing,
  });
}

async function readOne(call: Call, path: string): Promise<NamedReading> {
  const bytes = path === "-" ? await call.readStdin() : await readLocalFile(path, call.workingDirectory);
  const name = path === "-" ? "standard input" : basename(path);
  return { ...usable(name, await readAnyBuildFile(path, bytes)), name };
}

function usable(name: string, read: BuildReading | BuildFault): BuildReading {
  if (read.ok) return read;
  throw new CliError("build_unusable", `${name}: ${read.detail}`, undefined, { errors: read.errors });
}

const SETTABLE = ["baseComfyVersion", "comfyRepository", "comfyCommit", "os", "arch", "pythonVersion"] as const;
export const setOption = { set: { type: "string", multiple: true } } as const;
export const setHelp = { set: `name=value of a single fact, before what files say: ${SETTABLE.join(", ")}` };

/** What `--set` says, as a draft before all others. */
export function setReadings(call: Call): NamedReading[] {
  const given = new Map<string, string>();
  for (const assignment of call.texts("set")) {
    const [, name = "", value = ""] = /^([A-Za-z]+)=(.+)$/.exec(assignment) ?? [];
    if (!SETTABLE.some((each) => each === name)) {
      throw new CliError("usage", `--set takes name=value with one of ${SETTABLE.join(", ")}, not ${assignment}`);
    }
    given.set(name, value);
  }
  if (given.size === 0) return [];
  const said = (name: (typeof SETTABLE)[number]) => given.get(name) ?? null;
  const draft: BuildDraft = {
    ...EMPTY_DRAFT,
    baseComfyVersion: said("baseComfyVersion"),
    comfyRepository: said("comfyRepository"),
    comfyCommit: said("comfyCommit"),
    environment: { os: said("os"), arch: said("arch"), pythonVersion: said("pythonVersion"), torch: null },
  };
  return [{ ok: true, name: "--set", draft, warnings: [] }];
}

/** Files of each kind are at hand in a moment; a half-written one is never there. */
export async function writeWhole(path: string, content: string, workingDirectory: string): Promise<void> {
  const place = resolve(workingDirectory, path);
  const draft = `${place}.${process.pid}.part`;
  try {
    await mkdir(dirname(place), { recursive: true });
    await writeFile(draft, content);
    await rename(draft, place);
  } catch (cause) {
    throw new CliError(
      "output_unwritable",
      `${path} cannot be written: ${fileReason(cause)}`,
      "Choose another place.",
      {
        cause,
      },
    );
  }
}

/** The text of a file that holds the build, or the draft with null for what is missing. */
export function buildText({ draft }: JudgedBuild): string {
  return `${JSON.stringify({ schema: "distribution-definition/0", ...draft }, null, 2)}\n`;
}

/** Missing things listed on the screen; the file and `build show --json` have them all. */
const MISSING_MAX = 100;

/**
 * Ends `import` and `scan`: writes the file, and fails where something is missing unless `--draft` was given.
 * @throws CliError `build_incomplete`
 */
export async function finished(call: Call, build: JudgedBuild, more: Record<string, unknown> = {}): Promise<Outcome> {
  const out = call.text("out");
  if (out !== undefined) await writeWhole(out, buildText(build), call.workingDirectory);
  const { missing, warnings, digest } = build;
  if (missing.length > 0 && !call.flag("draft")) {
    for (const warning of warnings) call.output.note(`warning: ${warning}`);
    if (out !== undefined) call.output.note(`What is known is in ${out}; null stands for what is missing.`);
    const things = missing.length === 1 ? "1 thing is" : `${missing.length} things are`;
    const hint =
      out === undefined
        ? "--out writes what is known to a file, in which they can be filled in; or give another file that says them."
        : undefined;
    throw new CliError("build_incomplete", `The build is not whole: ${things} not pinned`, hint, {
      details: { missing: missing.length, warnings, out: out ?? null },
      errors: missing.slice(0, MISSING_MAX),
    });
  }
  return {
    data: { ...shownData(build), out: out ?? null, ...more },
    ids: digest === null ? [] : [digest],
    text: [...shownText(build), ...(out === undefined ? [] : ["", `Written to ${out}.`])],
  };
}

/** `--json`; the shape is described in docs/builds.md. */
export function shownData({ draft, manifest, digest, missing, warnings }: JudgedBuild) {
  return { schema: "build/1", complete: manifest !== null, digest, build: draft, missing, warnings };
}

const UNKNOWN = "(unknown)";
const SHORT = 12;

export function shownText({ draft, digest, missing, warnings }: JudgedBuild): string[] {
  const { environment, pipDependencies, pipIndexes, launch } = draft;
  const size = draft.models.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0);
  return [
    `build     ${digest ?? "(not whole yet)"}`,
    `ComfyUI   ${draft.baseComfyVersion ?? UNKNOWN} at ${draft.comfyCommit ?? UNKNOWN} of ${draft.comfyRepository ?? UNKNOWN}`,
    `Python    ${environment.pythonVersion ?? UNKNOWN} on ${environment.os ?? UNKNOWN} ${environment.arch ?? UNKNOWN}, torch ${environment.torch ?? "not in the lock"}`,
    `lock      ${pipDependencies === null ? UNKNOWN : `${pipDependencies.length} packages`}${pipIndexes.length === 0 ? "" : ` from ${pipIndexes.join(", ")}`}`,
    `launch    ${launch === null ? UNKNOWN : [`cache ${launch.cache}`, ...launch.flags].join(" ")}`,
    "",
    ...(draft.customNodes.length === 0
      ? ["Custom nodes: none"]
      : textTable(
          ["custom node", "pinned to", "from"],
          draft.customNodes.map((node) =>
            isRegistryNode(node)
              ? [node.name, node.registryVersion ?? UNKNOWN, `registry: ${node.id}`]
              : [node.name, node.gitRef?.slice(0, SHORT) ?? UNKNOWN, node.repository ?? UNKNOWN],
          ),
        )),
    "",
    ...(draft.models.length === 0
      ? ["Models: none"]
      : textTable(
          ["model", "folder", "size", "sha256", "from"],
          draft.models.map(({ filename, type, sizeBytes, sha256, sources }) => [
            filename,
            type ?? UNKNOWN,
            sizeBytes === null ? UNKNOWN : byteSize(sizeBytes),
            sha256?.slice(0, SHORT) ?? UNKNOWN,
            sources[0] ?? "",
          ]),
        )),
    ...(draft.models.length > 1 ? [`${draft.models.length} models, ${byteSize(size)} together`] : []),
    ...(missing.length + warnings.length === 0 ? [] : [""]),
    ...missing.slice(0, MISSING_MAX).map(({ path, reason }) => `missing: ${path}: ${reason}`),
    ...(missing.length > MISSING_MAX ? [`missing: ${missing.length - MISSING_MAX} more; --json lists all`] : []),
    ...warnings.map((warning) => `warning: ${warning}`),
  ];
}
