/** The way to a ComfyUI for a release: what the machine's owner installed, or the release's own build. */
import type { ReleaseForAgent } from "#contract/agent";
import { type ComfyHost, StartFailed } from "../comfy/comfy-server.ts";
import type { Launch } from "../comfy/spawn-host.ts";
import type { BuildStore, HeldBuild } from "./build-store.ts";
import type { BuildListener } from "./make-build.ts";

export interface PreparedHost {
  readonly host: ComfyHost;
  /** The one build whose releases it runs; null: it runs what there is, whatever a release asks for. */
  readonly build: string | null;
  /** No ComfyUI of it runs any more: its build may be removed when the disk is full. */
  release(): void;
}

export interface PrepareHostOptions extends BuildListener {
  readonly signal: AbortSignal;
}

export interface ReleaseHosts {
  /** For people, as ComfyHost's. */
  readonly description: string;
  /**
   * Makes the release's build, if it needs one. A replica calls it before it boots.
   * @throws BuildFailed, StartFailed; the signal's reason
   */
  prepareHost(release: ReleaseForAgent | null, options: PrepareHostOptions): Promise<PreparedHost>;
}

/** What is installed serves every release; whether it can, `verifyRelease` says after the boot. It is never changed. */
export function adoptedHosts(host: ComfyHost): ReleaseHosts {
  return {
    get description() {
      return host.description;
    },
    prepareHost: () => Promise.resolve({ host, build: null, release: () => undefined }),
  };
}

export interface BuiltHostsOptions {
  readonly store: BuildStore;
  readonly launch: (build: HeldBuild) => Launch;
  readonly hostOf: (launch: Launch) => ComfyHost;
}

/** Builds are made as releases ask for them, and each has a host of its own, which knows its ComfyUI's flags. */
export function builtHosts({ store, launch, hostOf }: BuiltHostsOptions): ReleaseHosts {
  const hosts = new Map<string, ComfyHost>();
  return {
    description: "builds",
    async prepareHost(release, options) {
      if (release === null) throw new StartFailed("The server does not say which release this replica is to run.");
      if (release.build == null) {
        throw new StartFailed(
          "This machine runs builds, and the release has none: deploy it with one, or give the machine a ComfyUI.",
        );
      }
      const { digest, manifest } = release.build;
      const build = await store.prepare(digest, manifest, options);
      const host = hosts.get(digest) ?? hostOf(launch(build));
      hosts.set(digest, host);
      return { host, build: digest, release: () => build.release() };
    },
  };
}
