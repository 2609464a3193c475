/** Which ComfyUI lies in a folder. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CliError } from "#cli/errors";
import { cleanRepository } from "#workflow/build/addresses";
import { type Checkout, readCheckout } from "./git-checkout.ts";
import { tomlTexts } from "./toml-texts.ts";

export interface ComfyInstall {
  readonly version: string | null;
  readonly repository: string | null;
  readonly commit: string | null;
  readonly warnings: readonly string[];
}

/**
 * Reads version, repository and commit of an installation.
 * @throws CliError `scan_failed` where the folder holds none
 */
export async function readComfyInstall(
  folder: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<ComfyInstall> {
  if (!existsSync(join(folder, "main.py")) || !existsSync(join(folder, "nodes.py"))) {
    const reason = existsSync(folder) ? "it holds no main.py and nodes.py" : "there is no such folder";
    throw new CliError(
      "scan_failed",
      `${folder} is no installation of ComfyUI: ${reason}`,
      "--comfyui-dir names the folder of its main.py; in a portable package it is the folder ComfyUI inside.",
    );
  }
  const checkout = await readCheckout(folder, env, signal);
  const remote = checkout?.remote == null ? null : cleanRepository(checkout.remote).address;
  return {
    version: await versionOf(folder),
    repository: remote,
    commit: checkout?.commit ?? null,
    warnings: checkoutWarnings("ComfyUI", checkout),
  };
}

async function versionOf(folder: string): Promise<string | null> {
  const module = await readFile(join(folder, "comfyui_version.py"), "utf8").catch(() => "");
  const found = /^__version__\s*=\s*["']([^"']{1,100})["']/m.exec(module)?.[1];
  if (found !== undefined) return found;
  const project = tomlTexts(await readFile(join(folder, "pyproject.toml"), "utf8").catch(() => ""), "project");
  return project.get("version") ?? null;
}

const FILES_NAMED_MAX = 5;

/** What a pinned commit would not bring to another machine. */
export function checkoutWarnings(name: string, checkout: Checkout | undefined): string[] {
  if (checkout === undefined) return [];
  const { changed, published, commit, remote } = checkout;
  const warnings: string[] = [];
  if (changed.length > 0) {
    const more = changed.length - FILES_NAMED_MAX;
    const files = `${changed.slice(0, FILES_NAMED_MAX).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
    warnings.push(
      `${name} has changes that its commit does not hold (${files}): commit and push them, or they are not in the build.`,
    );
  }
  if (commit !== null && remote !== null && !published) {
    warnings.push(
      `${name} is at a commit that no branch of its remote is known to hold: push it, or other machines cannot fetch it.`,
    );
  }
  return warnings;
}
