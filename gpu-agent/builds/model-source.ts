/** What a build needs of the machine's store of models. gpu-agent/models is one; tests have smaller ones. */
import type { BuildModel } from "#contract/build";
import type { ModelStore } from "../models/model-store.ts";
import type { OnModelProgress } from "../models/progress-meter.ts";

export interface EnsureModelOptions {
  /** The digest of the build that needs it: until `settled`, the store keeps it. */
  readonly build: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnModelProgress;
}

export interface ModelSource {
  /**
   * Resolves when the model is on this machine and its hash has been verified. Several may ask for one at a time.
   * @throws Error whose message says why it is not; the signal's reason
   */
  ensureModel(model: BuildModel, options: EnsureModelOptions): Promise<void>;
  /**
   * Puts a model that is here at `<folder>/models/<type>/<filename>`, as a hard link, or as a copy where links do not
   * reach. While it is linked, the store keeps it.
   */
  linkModel(folder: string, model: BuildModel): Promise<void>;
  /** A build's models are linked, or it is given up: what nobody links may go when the disk is full. */
  settled(build: string): Promise<void>;
}

/** The models of the machine's own store, which all of its builds share. */
export function modelsFrom(store: Pick<ModelStore, "ensure" | "link" | "unpin">): ModelSource {
  return {
    ensureModel: async (model, { build, signal, onProgress }) => {
      await store.ensure(model, { signal, onProgress, pin: build });
    },
    linkModel: async (folder, model) => {
      await store.link(folder, model);
    },
    settled: (build) => store.unpin(build),
  };
}
