/** From a draft to a manifest: every thing that is not pinned is named, with the way to pin it. */
import {
  BUILD_BYTES_MAX,
  BuildManifest,
  CustomNodeName,
  GitCommit,
  ModelFilename,
  ModelType,
  PipRequirement,
  RepositoryUrl,
} from "#contract/build";
import { Sha256 } from "#contract/job";
import type { FieldError } from "#contract/problems";
import { COMFY_REPOSITORY } from "./addresses.ts";
import {
  type BuildDraft,
  type BuildFault,
  buildFault,
  type DraftCustomNode,
  type DraftModel,
  isRegistryNode,
} from "./draft.ts";
import { packageOf } from "./requirements.ts";

export interface CompleteBuild {
  readonly ok: true;
  readonly manifest: BuildManifest;
  /** What was taken for granted, in sentences. */
  readonly warnings: readonly string[];
}

/** What still has to be filled in before the draft is a build; paths lie in the draft. Empty for a whole one. */
export function gapsOf(draft: BuildDraft): FieldError[] {
  const { environment, pipDependencies } = draft;
  const gaps: FieldError[] = [...comfyGaps(draft)];
  const missing = (path: string, reason: string) => gaps.push({ path, reason });
  if (environment.pythonVersion === null) {
    missing(
      "/environment/pythonVersion",
      "Python's version is not known: such as 3.12; `build scan` asks the interpreter",
    );
  } else if (!/^3\.[0-9]{1,2}(\.[0-9]{1,3})?$/.test(environment.pythonVersion)) {
    missing("/environment/pythonVersion", `${quoted(environment.pythonVersion)} is no version of Python, such as 3.12`);
  }
  if (environment.os === null)
    missing("/environment/os", "the system is not known: linux, for nearly every GPU machine");
  if (environment.arch === null) missing("/environment/arch", "the processor is not known: x64 or arm64");
  if (pipDependencies === null) {
    missing(
      "/pipDependencies",
      "no Python lock is known: give the requirements.txt that `pip freeze` wrote where the workflow runs, or use `build scan`",
    );
  }
  pipDependencies?.forEach((line, index) => {
    if (!PipRequirement.safeParse(line).success) missing(`/pipDependencies/${index}`, pipReason(line));
  });
  draft.customNodes.forEach((node, index) => void gaps.push(...nodeGaps(node, `/customNodes/${index}`)));
  draft.models.forEach((model, index) => void gaps.push(...modelGaps(model, `/models/${index}`)));
  return gaps;
}

/** The manifest of a draft without gaps, else a fault that lists them. */
export function completeBuild(draft: BuildDraft): CompleteBuild | BuildFault {
  const gaps = gapsOf(draft);
  const parsed = BuildManifest.safeParse({
    schema: "distribution-definition/0",
    ...draft,
    launch: draft.launch ?? { flags: [], cache: "default" },
  });
  const known = new Set(gaps.map(({ path }) => path));
  const more = (parsed.error?.issues ?? [])
    .map(({ path, message }) => ({ path: ["", ...path.map(String)].join("/"), reason: message }))
    // A node that lacks a field fits neither of its two shapes; what is said of the field is enough.
    .filter(({ path }) => ![...known].some((gap) => gap === path || gap.startsWith(`${path}/`)));
  const errors = [...gaps, ...more];
  if (errors.length > 0 || !parsed.success) {
    const [first] = errors;
    const others = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
    return buildFault(`The build is not whole: ${first?.reason ?? "it has a wrong shape"}${others}.`, errors);
  }
  const bytes = new TextEncoder().encode(JSON.stringify(parsed.data)).length;
  if (bytes > BUILD_BYTES_MAX) {
    return buildFault(`The build has ${bytes} bytes as JSON; ${BUILD_BYTES_MAX} are the most.`);
  }
  return { ok: true, manifest: parsed.data, warnings: grantedWords(draft) };
}

function comfyGaps({ baseComfyVersion, comfyRepository, comfyCommit }: BuildDraft): FieldError[] {
  const gaps: FieldError[] = [];
  const from = comfyRepository ?? COMFY_REPOSITORY;
  if (comfyCommit === null) {
    const tag = baseComfyVersion === null ? "" : ` refs/tags/v${baseComfyVersion}`;
    const reason = `ComfyUI's commit is not known: \`git ls-remote ${from}${tag}\` prints it, and \`git rev-parse HEAD\` where it is installed`;
    gaps.push({ path: "/comfyCommit", reason });
  } else if (!GitCommit.safeParse(comfyCommit).success) {
    gaps.push({ path: "/comfyCommit", reason: `ComfyUI is at ${notACommit(comfyCommit, from)}` });
  }
  if (comfyRepository === null) {
    gaps.push({ path: "/comfyRepository", reason: `ComfyUI's repository is not known: mostly ${COMFY_REPOSITORY}` });
  } else if (!RepositoryUrl.safeParse(comfyRepository).success) {
    gaps.push({ path: "/comfyRepository", reason: `${quoted(comfyRepository)} is no https:// or file:// address` });
  }
  if (baseComfyVersion === null) {
    const reason = "ComfyUI's version is not known: such as 0.3.64, as comfyui_version.py says at that commit";
    gaps.push({ path: "/baseComfyVersion", reason });
  }
  return gaps;
}

function nodeGaps(node: DraftCustomNode, at: string): FieldError[] {
  const gaps: FieldError[] = [];
  if (!CustomNodeName.safeParse(node.name).success) {
    gaps.push({ path: `${at}/name`, reason: `${quoted(node.name)} cannot be a folder's name below custom_nodes` });
  }
  if (isRegistryNode(node)) {
    if (!CustomNodeName.safeParse(node.id).success) {
      gaps.push({ path: `${at}/id`, reason: `${quoted(node.id)} cannot be the name of a registered pack` });
    }
    if (node.registryVersion !== null && !/^(nightly|latest|unknown)$/i.test(node.registryVersion)) return gaps;
    const said =
      node.registryVersion === null ? "has no version" : `is at ${quoted(node.registryVersion)}, which moves`;
    const reason = `${node.name} ${said}: name one of the versions of ${node.id} in the Comfy registry, or its repository and a commit in place of id and registryVersion`;
    return [...gaps, { path: `${at}/registryVersion`, reason }];
  }
  if (node.repository === null) {
    const reason = `${node.name} comes from no repository that is known: name one that has its commit, push the folder to one, or take the entry out if the workflow does not need it`;
    gaps.push({ path: `${at}/repository`, reason });
  } else if (!RepositoryUrl.safeParse(node.repository).success) {
    gaps.push({
      path: `${at}/repository`,
      reason: `${node.name} comes from ${quoted(node.repository)}: give an https:// address`,
    });
  }
  const from = node.repository ?? "<its repository>";
  if (node.gitRef === null) {
    const reason = `${node.name} is pinned to no commit: \`git ls-remote ${from} HEAD\` prints the newest one`;
    gaps.push({ path: `${at}/gitRef`, reason });
  } else if (!GitCommit.safeParse(node.gitRef).success) {
    gaps.push({ path: `${at}/gitRef`, reason: `${node.name} is at ${notACommit(node.gitRef, from)}` });
  }
  return gaps;
}

function modelGaps({ type, filename, sha256, sizeBytes }: DraftModel, at: string): FieldError[] {
  const gaps: FieldError[] = [];
  const name = type === null ? filename : `${type}/${filename}`;
  if (type === null) {
    gaps.push({ path: `${at}/type`, reason: `${filename} lies in an unknown folder: name the one below models` });
  } else if (!ModelType.safeParse(type).success) {
    gaps.push({ path: `${at}/type`, reason: `${filename} lies in ${quoted(type)}, which is no name of a folder` });
  }
  const wrongName = ModelFilename.safeParse(filename).error?.issues[0]?.message;
  if (wrongName !== undefined)
    gaps.push({ path: `${at}/filename`, reason: `${quoted(filename)} is no path: ${wrongName}` });
  if (sha256 === null) {
    const reason = `the sha256 of ${name} is not known: \`sha256sum\` prints it where the file is, and \`build scan --hash\` finds it there`;
    gaps.push({ path: `${at}/sha256`, reason });
  } else if (!Sha256.safeParse(sha256).success) {
    gaps.push({ path: `${at}/sha256`, reason: `${quoted(sha256)} is no sha256 of ${name}: 64 hexadecimal digits` });
  }
  if (sizeBytes === null) gaps.push({ path: `${at}/sizeBytes`, reason: `the size of ${name} in bytes is not known` });
  return gaps;
}

function notACommit(ref: string, repository: string): string {
  if (/^[0-9a-f]{4,39}$/i.test(ref)) return `${quoted(ref)}, the beginning of a commit: write all its 40 digits`;
  if (/^[0-9A-Fa-f]{40}$/.test(ref)) return `${quoted(ref)}: write it in lower case`;
  return `${quoted(ref)}, which may point elsewhere tomorrow: \`git ls-remote ${repository} ${shown(ref)}\` prints its commit`;
}

function pipReason(line: string): string {
  const name = packageOf(line);
  if (line.startsWith("-e ")) {
    return `${quoted(line)} is a folder of one machine: install it from a wheel or from a commit of its repository`;
  }
  if (/@ *git\+/.test(line))
    return `${name} comes from a repository but from no whole commit: write git+https://…@<40 digits>`;
  return `${quoted(line)} does not say which ${name}: write ${name}==<version>, as \`pip freeze\` prints it`;
}

/** What is no gap, but is worth a look. */
function grantedWords(draft: BuildDraft): string[] {
  const words: string[] = [];
  if (draft.launch === null) words.push("The launch flags are not known; ComfyUI's own defaults are taken.");
  const local = (draft.pipDependencies ?? []).filter((line) => /@ *file:/.test(line)).map(packageOf);
  if (local.length > 0) words.push(`A file of one machine is the only source of ${listed(local)} in the lock.`);
  const tagged = (draft.pipDependencies ?? []).filter((line) => /== *[^ ;]*\+/.test(line));
  if (tagged.length > 0 && draft.pipIndexes.length === 0) {
    words.push(
      `${listed(tagged)} in the lock: versions with a + are only on an index of their own (PyTorch's has one for each CUDA); name the indexes in pipIndexes.`,
    );
  }
  const homeless = draft.models.filter(({ sources }) => sources.length === 0).map(({ filename }) => filename);
  if (homeless.length > 0) {
    words.push(
      `No source is known of ${listed(homeless)}: machines that lack the file look for its hash in the workspace's own models.`,
    );
  }
  return words;
}

const LISTED_MAX = 8;

function listed(names: readonly string[]): string {
  const more = names.length - LISTED_MAX;
  const all = names.slice(0, LISTED_MAX).map(shown).join(", ");
  return more > 0 ? `${all} and ${more} more` : all;
}

const SHOWN_LENGTH_MAX = 120;

function shown(text: string): string {
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text;
}

function quoted(text: string): string {
  return `"${shown(text)}"`;
}
