/** The packs in an installation's custom_nodes folder, each with where it came from. */
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { CliError } from "#cli/errors";
import { cleanRepository } from "#workflow/build/addresses";
import type { DraftCustomNode } from "#workflow/build/draft";
import { DRAFT_NODES_MAX } from "#workflow/build/draft-limits";
import { checkoutWarnings } from "./comfyui-install.ts";
import { isTracked, readCheckout } from "./git-checkout.ts";
import { tomlTexts } from "./toml-texts.ts";

export interface FoundPacks {
  readonly customNodes: readonly DraftCustomNode[];
  readonly warnings: readonly string[];
}

/**
 * Reads every pack that ComfyUI would load. One without a known origin is listed with nothing pinned, so that the build is
 * not whole until somebody says where it comes from.
 * @param base the folder that holds `custom_nodes`, mostly ComfyUI's own
 * @throws CliError `scan_failed` for more packs than a build may have
 */
export async function readCustomNodes(
  comfyFolder: string,
  base: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<FoundPacks> {
  const folder = join(base, "custom_nodes");
  const names = existsSync(folder) ? (await readdir(folder)).toSorted() : [];
  const customNodes: DraftCustomNode[] = [];
  const warnings: string[] = [];
  for (const name of names) {
    if (/^[._]|\.disabled$|\.example$/.test(name)) continue;
    const path = join(folder, name);
    const kind = await stat(path).catch(() => undefined);
    if (kind?.isDirectory() === true) {
      const found = await readPack(path, name, env, signal);
      customNodes.push(found.node);
      warnings.push(...found.warnings);
    } else if (
      kind?.isFile() === true &&
      name.endsWith(".py") &&
      !(await comesWithComfy(comfyFolder, name, env, signal))
    ) {
      warnings.push(
        `custom_nodes/${name} is a single file without an origin and is left out: put it into a repository if the workflow needs it.`,
      );
    }
  }
  if (customNodes.length > DRAFT_NODES_MAX) {
    throw new CliError(
      "scan_failed",
      `custom_nodes holds ${customNodes.length} packs; a build has at most ${DRAFT_NODES_MAX}`,
      "Disable those that the workflow does not need: a folder's name that ends in .disabled is passed over.",
    );
  }
  return { customNodes, warnings };
}

/** ComfyUI ships single files there, which its own commit holds. */
async function comesWithComfy(
  comfyFolder: string,
  name: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<boolean> {
  return existsSync(join(comfyFolder, ".git")) && (await isTracked(comfyFolder, `custom_nodes/${name}`, env, signal));
}

async function readPack(
  path: string,
  name: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<{ node: DraftCustomNode; warnings: string[] }> {
  const checkout = await readCheckout(path, env, signal);
  if (checkout !== undefined) {
    const { address, change } =
      checkout.remote === null ? { address: null, change: null } : cleanRepository(checkout.remote);
    const warnings = checkoutWarnings(name, checkout);
    if (change !== null) warnings.push(`${name} ${change}.`);
    return { node: { name, repository: address, gitRef: checkout.commit }, warnings };
  }
  const toml = await readFile(join(path, "pyproject.toml"), "utf8").catch(() => "");
  const project = tomlTexts(toml, "project");
  const [id, registryVersion] = [project.get("name"), project.get("version")];
  if (id === undefined || registryVersion === undefined) {
    return { node: { name, repository: null, gitRef: null }, warnings: [] };
  }
  // Manager leaves this file in what it unpacked from the registry.
  const unpacked = existsSync(join(path, ".tracking"));
  const doubt = `${name} is no checkout of git, and is taken for version ${registryVersion} of ${id} in the Comfy registry, as its pyproject.toml says.`;
  return { node: { name, id: id.toLowerCase(), registryVersion }, warnings: unpacked ? [] : [doubt] };
}
