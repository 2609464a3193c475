/** Checkouts at exact commits: what git fetches is what the manifest names, and nothing that git is told by others runs. */
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { GitCommit, RepositoryUrl } from "#contract/build";
import { BuildFailed } from "./build-failed.ts";
import { type ProgramEnd, runStepProgram, type StepSurroundings } from "./step-program.ts";

/** Submodules inside submodules; packs that have any have one level. */
const SUBMODULE_DEPTH_MAX = 4;
const SUBMODULES_MAX = 50;

export interface Checkout {
  readonly repository: string;
  readonly commit: string;
  readonly folder: string;
}

/**
 * The same for every machine: no configuration of its owner, no hooks, no helpers, two protocols, no prompt. Large files
 * that a repository keeps elsewhere stay pointers: weights are models, and models have hashes.
 */
const SAFE_CONFIG: readonly string[] = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.autocrlf=false",
  "credential.helper=",
  "protocol.allow=never",
  "protocol.https.allow=always",
  "submodule.recurse=false",
  "filter.lfs.smudge=",
  "filter.lfs.process=",
  "filter.lfs.required=false",
  "advice.detachedHead=false",
  "init.defaultBranch=main",
  "gc.auto=0",
  "maintenance.auto=false",
];

/** What git may see of the surroundings, on top of it. */
const SAFE_ENVIRONMENT: NodeJS.ProcessEnv = {
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_TERMINAL_PROMPT: "0",
  GIT_ASKPASS: "",
  SSH_ASKPASS: "",
  GIT_LFS_SKIP_SMUDGE: "1",
  LC_ALL: "C",
};

/**
 * Makes a folder that holds a repository at a commit, submodules at theirs included. What is in the folder goes first.
 * @param allowFiles takes file:// repositories: for tests and machines without a network
 * @throws BuildFailed commit_missing, fetch_failed, program_missing, manifest_refused
 */
export async function checkOut(checkout: Checkout, allowFiles: boolean, around: StepSurroundings): Promise<void> {
  const budget = { submodules: SUBMODULES_MAX };
  await checkOutAt(checkout, { allowFiles, around, budget, depth: 0 });
}

interface Walk {
  readonly allowFiles: boolean;
  readonly around: StepSurroundings;
  readonly budget: { submodules: number };
  readonly depth: number;
}

async function checkOutAt(checkout: Checkout, walk: Walk): Promise<void> {
  const { repository, commit, folder } = checkout;
  const { around } = walk;
  const shown = withoutCredentials(repository);
  if (repository.startsWith("file:") && !walk.allowFiles) {
    throw new BuildFailed(
      "manifest_refused",
      `The repository ${shown} is a file:// address, which this agent is not told to take.`,
    );
  }
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const git = (...args: string[]) => runGit(folder, args, walk);
  await required(git("init", "--quiet"), around, "git cannot make a repository");

  const shallow = await git(
    "fetch",
    "--quiet",
    "--depth=1",
    "--no-tags",
    "--no-recurse-submodules",
    repository,
    commit,
  );
  if (shallow.code !== 0) {
    // Some servers hand out branches and tags alone: then all of them are fetched, and the commit is looked for.
    around.log.line("The server does not give the commit by itself; everything is fetched.");
    const refs = ["+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*"];
    const whole = await git("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", repository, ...refs);
    if (whole.code !== 0) {
      throw new BuildFailed("fetch_failed", `The repository ${shown} cannot be fetched.`, around.log.tail);
    }
  }
  if ((await git("cat-file", "-e", `${commit}^{commit}`)).code !== 0) {
    throw new BuildFailed("commit_missing", `The repository ${shown} has no commit ${commit}.`, around.log.tail);
  }
  await required(git("checkout", "--quiet", "--force", "--detach", commit), around, `${shown} cannot be checked out`);
  const head = await git("rev-parse", "HEAD");
  if (head.answer.trim() !== commit) {
    throw new BuildFailed("fetch_failed", `git checked out ${head.answer.trim()} of ${shown} instead of ${commit}.`);
  }
  await checkOutSubmodules(checkout, walk, git);
}

/** A submodule is pinned by the commit that holds it, so it is part of what the manifest names. */
async function checkOutSubmodules(
  { repository, folder }: Checkout,
  walk: Walk,
  git: (...args: string[]) => Promise<ProgramEnd>,
): Promise<void> {
  if (!existsSync(join(folder, ".gitmodules"))) return;
  const named = await git("config", "--file", ".gitmodules", "--get-regexp", "^submodule\\..*\\.(path|url)$");
  const urls = submoduleUrls(named.answer);
  if (urls.size === 0) return;
  // What is linked and has no address is left empty, as git leaves it.
  const listing = await git("--literal-pathspecs", "ls-files", "--stage", "-z", "--", ...urls.keys());
  for (const { path, commit } of pinnedLinks(listing.answer)) {
    const url = urls.get(path);
    if (url === undefined) continue;
    walk.budget.submodules -= 1;
    if (walk.depth >= SUBMODULE_DEPTH_MAX || walk.budget.submodules < 0) {
      throw new BuildFailed("manifest_refused", `${withoutCredentials(repository)} has submodules without end.`);
    }
    const address = RepositoryUrl.safeParse(resolveUrl(url, repository));
    if (!address.success) {
      throw new BuildFailed(
        "fetch_failed",
        `The submodule ${path} of ${withoutCredentials(repository)} is at ${withoutCredentials(url)}; only https is fetched.`,
      );
    }
    const child = { repository: address.data, commit, folder: join(folder, path) };
    await checkOutAt(child, { ...walk, depth: walk.depth + 1 });
  }
}

/** The links to other repositories among the entries of `git ls-files --stage -z`. */
function pinnedLinks(listing: string): { path: string; commit: string }[] {
  return listing.split("\0").flatMap((entry) => {
    const [, commit, path] = /^\s*160000 ([0-9a-f]{40}) 0\t(.+)$/s.exec(entry) ?? [];
    return commit === undefined || path === undefined || !GitCommit.safeParse(commit).success ? [] : [{ path, commit }];
  });
}

/** Path → address, from the lines of `git config --get-regexp`. */
function submoduleUrls(lines: string): Map<string, string> {
  const byName = new Map<string, { path?: string; url?: string }>();
  for (const line of lines.split("\n")) {
    const [, name, key, value] = /^submodule\.(.*)\.(path|url) (.*)$/.exec(line) ?? [];
    if (name === undefined || key === undefined || value === undefined) continue;
    byName.set(name, { ...byName.get(name), [key]: value });
  }
  const urls = new Map<string, string>();
  for (const { path, url } of byName.values()) if (path !== undefined && url !== undefined) urls.set(path, url);
  return urls;
}

/** Relative addresses (`../other.git`) stand beside the repository that names them. */
function resolveUrl(url: string, base: string): string {
  if (!/^\.{1,2}\//.test(url)) return url;
  return URL.parse(url, base.endsWith("/") ? base : `${base}/`)?.href ?? url;
}

function runGit(folder: string, args: readonly string[], { allowFiles, around }: Walk): Promise<ProgramEnd> {
  const config = [...SAFE_CONFIG, `protocol.file.allow=${allowFiles ? "always" : "never"}`];
  return runStepProgram(
    {
      program: "git",
      args: [...config.flatMap((setting) => ["-c", setting]), "-C", folder, ...args],
      shown: args,
      cwd: folder,
      environment: SAFE_ENVIRONMENT,
    },
    around,
  );
}

async function required(run: Promise<ProgramEnd>, around: StepSurroundings, what: string): Promise<void> {
  if ((await run).code !== 0) throw new BuildFailed("fetch_failed", `${what}.`, around.log.tail);
}

function withoutCredentials(url: string): string {
  return url.replace(/^([a-z]+:\/\/)[^/@\s]+@/i, "$1").replace(/\?.*$/s, "");
}
