/**
 * A build's source of a model (contract/build.ts), as the request that asks for it. Tokens are bound to the host they are
 * for: whoever follows a redirect asks `headersFor` again and gets none for any other.
 */
import { fileURLToPath } from "node:url";
import { guardUrl } from "#contract/public-url";
import { ModelFailure } from "./model-failure.ts";
import type { Reach } from "./public-address.ts";

/** Where the workspace's own store has a model. Its origin is the server the agent works for, so it is not judged. */
export interface RegistryPlace {
  readonly url: string;
  /** Sent to that URL's origin only; asked for each request, since a session may be renewed during a download. */
  readonly headers: () => Readonly<Record<string, string>>;
}
/** @throws when the registry has no such model, or does not answer */
export type FindInRegistry = (sha256: string, signal: AbortSignal) => Promise<RegistryPlace>;

export interface SourceSettings {
  readonly reach: Reach;
  /** Files of the machine itself: for tests, and for an owner's own disks. */
  readonly allowFiles: boolean;
  /** Left out: the build's `registry:` sources are refused. */
  readonly registry?: FindInRegistry;
  /** Such as https://huggingface.co; a mirror of it has the same paths. */
  readonly huggingFaceUrl: string;
  readonly huggingFaceToken?: string;
  readonly civitaiUrl: string;
  readonly civitaiToken?: string;
}

export interface HttpSource {
  readonly kind: "http";
  readonly url: URL;
  /** What progress and errors say of it. */
  readonly host: string;
  /** Credentials for a URL: those of the source's own origin, and of no other. */
  readonly headersFor: (url: URL) => Readonly<Record<string, string>>;
  /** Whether a URL may be asked at all. @throws ModelFailure source_refused */
  readonly judge: (url: URL) => void;
  /** Whether the addresses behind a URL are judged: all but the registry's own. */
  readonly isTrusted: (url: URL) => boolean;
}
export interface FileSource {
  readonly kind: "file";
  readonly path: string;
  readonly host: string;
}
export type ResolvedSource = HttpSource | FileSource;

/**
 * @param source one of a build's, in its notation
 * @param sha256 the model's, which is all that the registry needs
 * @throws ModelFailure source_refused, source_unreachable
 */
export async function resolveSource(
  source: string,
  sha256: string,
  settings: SourceSettings,
  signal: AbortSignal,
): Promise<ResolvedSource> {
  const kind = /^[a-z]+/i.exec(source)?.[0].toLowerCase() ?? "";
  const rest = source.slice(kind.length + 1);
  switch (kind) {
    case "hf": {
      const found = /^([^\s@/]+\/[^\s@/]+)@([^\s/]+)\/(\S+)$/.exec(rest);
      if (found === null) throw refused("hf: sources are written hf:owner/name@revision/path");
      const [, repository = "", revision = "", path = ""] = found;
      const parts = [...repository.split("/"), "resolve", revision, ...path.split("/")];
      return guarded(joined(settings.huggingFaceUrl, parts), settings, settings.huggingFaceToken);
    }
    case "civitai":
      if (!/^[0-9]+$/.test(rest)) throw refused("civitai: sources are written civitai:<number of the version>");
      return guarded(joined(settings.civitaiUrl, ["api", "download", "models", rest]), settings, settings.civitaiToken);
    case "registry":
      return fromRegistry(sha256, settings, signal);
    case "file":
      if (!settings.allowFiles) throw refused("file: sources are not allowed on this machine");
      return { kind: "file", path: pathOf(source), host: "this machine" };
    case "https":
    case "http":
      return guarded(source, settings, undefined);
    default:
      throw refused("its kind is not known; there are https:, hf:, civitai:, registry: and file:");
  }
}

async function fromRegistry(sha256: string, settings: SourceSettings, signal: AbortSignal): Promise<HttpSource> {
  if (settings.registry === undefined) throw refused("this machine knows no registry of models");
  let place: RegistryPlace;
  try {
    place = await settings.registry(sha256, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ModelFailure) throw error;
    throw new ModelFailure("source_unreachable", "The workspace's registry did not say where the model is.", {
      cause: error,
    });
  }
  const url = new URL(place.url);
  const isOwn = (other: URL) => other.origin === url.origin;
  return {
    kind: "http",
    url,
    host: url.host,
    headersFor: (other) => (isOwn(other) ? place.headers() : {}),
    judge: (other) => {
      if (!isOwn(other)) judgeUrl(other, settings.reach);
    },
    isTrusted: isOwn,
  };
}

function guarded(text: string, settings: SourceSettings, token: string | undefined): HttpSource {
  const url = URL.parse(text);
  if (url === null) throw refused("its address cannot be read");
  judgeText(text, settings.reach);
  const { origin } = url;
  return {
    kind: "http",
    url,
    host: url.host,
    headersFor: (other) => (token === undefined || other.origin !== origin ? {} : { authorization: `Bearer ${token}` }),
    judge: (other) => judgeUrl(other, settings.reach),
    isTrusted: () => false,
  };
}

/** A redirect's target: its fragment means nothing to a server. */
function judgeUrl(url: URL, reach: Reach): void {
  const bare = new URL(url);
  bare.hash = "";
  judgeText(bare.href, reach);
}

function judgeText(text: string, reach: Reach): void {
  if (reach === "private") {
    const url = URL.parse(text);
    if (url !== null && (url.protocol === "https:" || url.protocol === "http:") && url.username === "") return;
    throw refused("its address must start with https:// or http:// and hold no user name");
  }
  const verdict = guardUrl(text, { allowLoopback: reach === "loopback", ownHosts: [] });
  if (!verdict.ok) throw refused(`its address is not taken. ${verdict.reason}`);
}

function joined(base: string, parts: readonly string[]): string {
  // A part of dots would leave the place that the source names.
  if (parts.some((part) => /^\.{1,2}$/.test(part))) throw refused("its path must not hold . or .. as a part");
  return `${base.replace(/\/+$/, "")}/${parts.map(encodeURIComponent).join("/")}`;
}

function pathOf(source: string): string {
  try {
    return fileURLToPath(source);
  } catch {
    throw refused("file: sources are written file:///path/of/the/file");
  }
}

/** @param reason a clause that follows the word source */
function refused(reason: string): ModelFailure {
  return new ModelFailure("source_refused", `The source is refused: ${reason.replace(/\.$/, "")}.`);
}
