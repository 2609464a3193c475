/** What git knows of a folder: where it came from, at which commit it is, and what was changed in it since. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CliError } from "#cli/errors";
import { runProgram } from "./run-program.ts";

export interface Checkout {
  readonly commit: string | null;
  /** As git has it; it may hold a password. */
  readonly remote: string | null;
  /** Tracked files with changes, and new Python files that nothing ignores. */
  readonly changed: readonly string[];
  /** A branch or tag that came from the remote holds the commit: others can fetch it. */
  readonly published: boolean;
}

/** A repository on a slow disk takes seconds to compare. */
const GIT_MS_MAX = 60_000;

/**
 * Reads a checkout without changing it and without running its hooks.
 * @returns undefined where the folder itself is none, though one around it may be
 * @throws CliError `scan_failed` where git is missing
 */
export async function readCheckout(
  folder: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Checkout | undefined> {
  if (!existsSync(join(folder, ".git"))) return undefined;
  const git = (...args: string[]) => runGit(folder, args, env, signal);
  const commit = await git("rev-parse", "--verify", "HEAD");
  const remotes = (await git("remote"))?.split("\n").filter((name) => name !== "") ?? [];
  const named = remotes.includes("origin") ? "origin" : remotes[0];
  const remote = named === undefined ? null : ((await git("remote", "get-url", named)) ?? null);
  const changed = await git("diff", "--name-only", "HEAD");
  const added = await git("ls-files", "--others", "--exclude-standard", "--", "*.py");
  const holders =
    commit === undefined
      ? undefined
      : await git("for-each-ref", "--count=1", `--contains=${commit}`, "refs/remotes", "refs/tags");
  return {
    commit: commit !== undefined && /^[0-9a-f]{40}$/.test(commit) ? commit : null,
    remote: remote === "" ? null : remote,
    changed: [changed ?? "", added ?? ""]
      .join("\n")
      .split("\n")
      .filter((name) => name !== ""),
    published: holders !== undefined && holders !== "",
  };
}

/** True for a file that the repository around it holds. */
export async function isTracked(
  folder: string,
  file: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<boolean> {
  return (await runGit(folder, ["ls-files", "--error-unmatch", "--", file], env, signal)) !== undefined;
}

async function runGit(
  folder: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<string | undefined> {
  // What surrounds this program (a hook, another repository) must not be taken for the folder's own.
  const { GIT_DIR: _, GIT_WORK_TREE: __, GIT_INDEX_FILE: ___, ...rest } = env;
  const settings = ["safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null"];
  const options = [...settings.flatMap((setting) => ["-c", setting]), "-C", folder];
  const result = await runProgram("git", [...options, ...args], {
    env: { ...rest, GIT_OPTIONAL_LOCKS: "0", GIT_TERMINAL_PROMPT: "0", LC_ALL: "C" },
    timeoutMs: GIT_MS_MAX,
    signal,
  });
  if (result === undefined) {
    throw new CliError("scan_failed", "git cannot be run", "Install it: commits and remotes are read with it.");
  }
  return result.code === 0 ? result.stdout.trim() : undefined;
}
