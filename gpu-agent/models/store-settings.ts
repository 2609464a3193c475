/** What the machine's owner says about models, by the environment. */
import { join, resolve } from "node:path";
import { SettingsError } from "../settings.ts";
import { formatOf } from "./model-format.ts";
import type { ModelStoreOptions } from "./model-store.ts";

export const MODELS_USAGE = `Models (environment):
  PILOTLIGHT_MODELS_DIRECTORY     where they are kept (models in the state directory)
  PILOTLIGHT_MODELS_RESERVE_GB    disk that stays free beside them (2)
  PILOTLIGHT_MODELS_ALLOW_UNSAFE  formats beside safetensors, such as ckpt,pth;
                                  loading one may run code that is in it
  PILOTLIGHT_MODELS_ALLOW_PRIVATE 1: sources may be in private networks
  PILOTLIGHT_MODELS_ALLOW_FILES   1: sources may be files of this machine
  HF_TOKEN, HF_ENDPOINT           for Hugging Face, or a mirror of it
  CIVITAI_TOKEN                   for Civitai
`;

/** Those of the store's options that the owner may set. */
export type OwnersModelOptions = Pick<
  ModelStoreOptions,
  | "folder"
  | "reserveBytes"
  | "allowUnsafe"
  | "reach"
  | "allowFiles"
  | "huggingFaceToken"
  | "huggingFaceUrl"
  | "civitaiToken"
>;

/**
 * @param stateDirectory the agent's own folder
 * @throws SettingsError with a sentence that says what to change
 */
export function readModelSettings(
  environment: Readonly<Record<string, string | undefined>>,
  stateDirectory: string,
): OwnersModelOptions {
  const text = (name: string): string | undefined => {
    const value = environment[name]?.trim();
    return value === undefined || value === "" ? undefined : value;
  };
  const yes = (name: string): boolean => {
    const value = text(name)?.toLowerCase() ?? "0";
    if (["1", "true", "yes"].includes(value)) return true;
    if (["0", "false", "no"].includes(value)) return false;
    throw new SettingsError(`${name} must be 1 or 0, not ${value}`);
  };
  const huggingFaceToken = text("HF_TOKEN");
  const huggingFaceUrl = text("HF_ENDPOINT");
  const civitaiToken = text("CIVITAI_TOKEN");
  const reserve = text("PILOTLIGHT_MODELS_RESERVE_GB");
  if (huggingFaceUrl !== undefined && !/^https?:\/\/[^\s/?#]+/.test(huggingFaceUrl)) {
    throw new SettingsError(`HF_ENDPOINT must be an http or https address, not ${huggingFaceUrl}`);
  }
  return {
    folder: resolve(text("PILOTLIGHT_MODELS_DIRECTORY") ?? join(stateDirectory, "models")),
    allowUnsafe: formats(text("PILOTLIGHT_MODELS_ALLOW_UNSAFE")),
    reach: yes("PILOTLIGHT_MODELS_ALLOW_PRIVATE") ? "private" : "public",
    allowFiles: yes("PILOTLIGHT_MODELS_ALLOW_FILES"),
    ...(reserve === undefined ? {} : { reserveBytes: gigabytes("PILOTLIGHT_MODELS_RESERVE_GB", reserve) }),
    ...(huggingFaceToken === undefined ? {} : { huggingFaceToken }),
    ...(huggingFaceUrl === undefined ? {} : { huggingFaceUrl }),
    ...(civitaiToken === undefined ? {} : { civitaiToken }),
  };
}

/** Endings with or without a dot, separated by commas. */
function formats(text: string | undefined): string[] {
  const all = (text ?? "").split(",").map((each) => each.trim());
  return all
    .filter((each) => each !== "")
    .map((each) => {
      const format = formatOf(`.${each.replace(/^\./, "")}`);
      if (/^[a-z0-9]+$/.test(format)) return format;
      throw new SettingsError(`PILOTLIGHT_MODELS_ALLOW_UNSAFE must list formats such as ckpt,pth, not ${each}`);
    });
}

function gigabytes(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return Math.round(value * 1024 ** 3);
  throw new SettingsError(`${name} must be a number of gigabytes, not ${text}`);
}
