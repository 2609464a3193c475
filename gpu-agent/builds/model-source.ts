/** What a build needs of the machine's store of models. gpu-agent/models is one; tests have smaller ones. */
import type { BuildModel } from "#contract/build";

export interface ModelProgress {
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface ModelSource {
  /**
   * Resolves when the model is on this machine and its hash has been verified. Several may ask for one at a time.
   * @throws Error whose message names the model and the reason; the signal's reason
   */
  ensureModel(model: BuildModel, signal: AbortSignal, onProgress: (progress: ModelProgress) => void): Promise<void>;
  /**
   * Puts a model that is here at `<folder>/models/<type>/<filename>`, as a hard link, or as a copy where links do not
   * reach. What is there is replaced. While it is linked, the store keeps it.
   */
  linkModel(folder: string, model: BuildModel): Promise<void>;
}

/** For agents without a store: builds with models are refused in words. */
export const noModels: ModelSource = {
  ensureModel: (model) =>
    Promise.reject(new Error(`this agent keeps no models, and the build needs ${model.filename}`)),
  linkModel: () => Promise.resolve(),
};
