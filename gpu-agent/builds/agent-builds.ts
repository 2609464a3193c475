/** The builds and models of an agent, put together from its settings. */
import { join } from "node:path";
import { SpawnHost, type SpawnHostOptions } from "../comfy/spawn-host.ts";
import { hasOnlyCpu } from "../inventory.ts";
import type { Log } from "../log.ts";
import { ModelStore } from "../models/model-store.ts";
import { serverRegistry } from "../models/server-registry.ts";
import { readModelSettings } from "../models/store-settings.ts";
import type { DiskStores } from "../node-inventory.ts";
import type { AgentSettings, ComfySettings } from "../settings.ts";
import { buildLaunch } from "./build-launch.ts";
import { BuildStore } from "./build-store.ts";
import { modelsFrom } from "./model-source.ts";
import { builtHosts, type ReleaseHosts } from "./release-hosts.ts";

const REGISTRY_URL = "https://api.comfy.org";

export interface AgentBuildsOptions {
  readonly settings: AgentSettings;
  readonly comfy: Extract<ComfySettings, { kind: "builds" }>;
  readonly environment: NodeJS.ProcessEnv;
  readonly gpus: SpawnHostOptions["gpus"];
  /** Holds one folder per slot. */
  readonly slots: string;
  /** The node's credential of the moment: the server has the workspace's own models. */
  readonly session: () => string | null;
  readonly log: Log;
}

export interface AgentBuilds {
  readonly hosts: ReleaseHosts;
  /** What is whole on the disk, for the pod to know. */
  readonly stores: DiskStores;
  close(): void;
}

/**
 * Opens the stores of builds and of models.
 * @throws SettingsError when the environment says of models what cannot be
 */
export async function openAgentBuilds(options: AgentBuildsOptions): Promise<AgentBuilds> {
  const { settings, comfy, environment, gpus, slots, session, log } = options;
  const owners = readModelSettings(environment, settings.stateDirectory);
  const models = await ModelStore.open({
    ...owners,
    allowFiles: owners.allowFiles === true || comfy.allowFiles,
    registry: serverRegistry(settings.url, session),
    onEvict: (sha256, bytes) => log("model_evicted", { sha256, bytes }),
  });
  const store = new BuildStore({
    folder: join(settings.stateDirectory, "builds"),
    sources: {
      models: modelsFrom(models),
      registry: { url: REGISTRY_URL, reach: "public" },
      allowFiles: comfy.allowFiles,
      pythons: comfy.pythons,
    },
    environment,
    freeBytesMin: settings.freeBytesMin,
    log,
  });
  const cpuOnly = hasOnlyCpu(gpus);
  const hosts = builtHosts({
    store,
    launch: (build) => buildLaunch(build, { cpuOnly, metadata: comfy.metadata, environment }),
    hostOf: (launch) => new SpawnHost({ launch, gpus, slots, timings: settings.timings }),
  });
  const stores = {
    builds: () => store.list(),
    models: async () => (await models.list()).toReversed().map(({ sha256 }) => sha256),
  };
  return { hosts, stores, close: () => models.close() };
}
