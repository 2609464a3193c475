/** Addresses as other tools write them, and as a build keeps them: https or file, and never with a password. */
import { ModelSource } from "#contract/build";

/** ComfyUI's own repository: what every format means that names a commit of ComfyUI and no repository. */
export const COMFY_REPOSITORY = "https://github.com/Comfy-Org/ComfyUI";

export interface CleanAddress {
  readonly address: string;
  /** What was changed, in words; null when nothing was. */
  readonly change: string | null;
}

/** A repository's address: ssh, git and http forms become https, which needs no key; a password is taken out. */
export function cleanRepository(given: string): CleanAddress {
  const scp = /^[\w.-]+@([\w.-]+):(?!\/)(\S+)$/.exec(given);
  if (scp !== null) return { address: `https://${scp[1]}/${scp[2]}`, change: "is read over https instead of ssh" };
  const other = /^(ssh|git|http|git\+https|git\+ssh):\/\/(?:[^@/]*@)?([^/:]+)(?::[0-9]+)?\/(\S*)$/.exec(given);
  if (other !== null) {
    return { address: `https://${other[2]}/${other[3]}`, change: `is read over https instead of ${other[1]}` };
  }
  const clean = withoutPassword(given);
  if (clean !== given)
    return { address: clean, change: "had a user name or password in its address, which is left out" };
  if (/^https:\/\/github\.com\/comfyanonymous\/ComfyUI(\.git)?\/?$/i.test(given)) {
    return { address: COMFY_REPOSITORY, change: null };
  }
  return { address: given, change: null };
}

export function withoutPassword(address: string): string {
  return address.replace(/^([a-z+]+:\/\/)[^/?#\s]*@/i, "$1");
}

/** The folder that git, and ComfyUI's Manager with it, makes of a repository's address. */
export function folderOfRepository(address: string): string {
  const path = address.replace(/[?#].*$/, "").replace(/\/+$/, "");
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.git$/, "");
}

/** Query fields in which download links carry secrets. */
const SECRET_FIELDS = /^(token|api_?key|access_token|key|signature|sig|x-amz-.*|x-goog-.*)$/i;

/**
 * A download link as a source of a build; undefined where it is none. Links to files of Hugging Face and Civitai become
 * the names that the agent fetches with its own token.
 */
export function sourceOfUrl(given: string): { readonly source: string; readonly change: string | null } | undefined {
  if (/^(hf|civitai|registry|file):/.test(given)) return asSource(given, null);
  const url = URL.parse(given);
  if (url === null || url.protocol !== "https:") return undefined;
  const hub = /^\/([^/]+)\/([^/]+)\/(?:resolve|blob)\/([^/]+)\/(.+)$/.exec(url.pathname);
  if (hub !== null && (url.hostname === "huggingface.co" || url.hostname === "hf.co")) {
    const [, owner, name, revision, path] = hub;
    // Other characters would have to be escaped by one rule on both sides; an https link says them itself.
    if (/^[\w./-]+$/.test(`${owner}${name}${revision}${path}`)) {
      return asSource(`hf:${owner}/${name}@${revision}/${path}`, null);
    }
  }
  const version = /^\/api\/download\/models\/([0-9]+)\/?$/.exec(url.pathname);
  if (version !== null && /^(www\.)?civitai\.com$/.test(url.hostname)) return asSource(`civitai:${version[1]}`, null);
  const before = url.href;
  url.username = "";
  url.password = "";
  for (const field of [...url.searchParams.keys()]) if (SECRET_FIELDS.test(field)) url.searchParams.delete(field);
  return asSource(url.href, url.href === before ? null : "had a secret in its link, which is left out");
}

function asSource(source: string, change: string | null) {
  return ModelSource.safeParse(source).success ? { source, change } : undefined;
}

/** Where people can look at a source and programs can download it; undefined for the workspace's own store. */
export function urlOfSource(source: string): string | undefined {
  const hub = /^hf:([^@]+)@([^/]+)\/(.+)$/.exec(source);
  if (hub !== null) return `https://huggingface.co/${hub[1]}/resolve/${hub[2]}/${hub[3]}`;
  const version = /^civitai:([0-9]+)$/.exec(source);
  if (version !== null) return `https://civitai.com/api/download/models/${version[1]}`;
  return source.startsWith("https:") ? source : undefined;
}
