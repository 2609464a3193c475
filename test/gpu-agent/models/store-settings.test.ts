import { describe, expect, it } from "vitest";
import { MODELS_USAGE, readModelSettings } from "#gpu-agent/models/store-settings";
import { SettingsError } from "#gpu-agent/settings";

describe("settings about models", () => {
  it("are safe when nothing is said", () => {
    expect(readModelSettings({}, "/state")).toEqual({
      folder: "/state/models",
      allowUnsafe: [],
      reach: "public",
      allowFiles: false,
    });
  });

  it("come from the environment", () => {
    const environment = {
      PILOTLIGHT_MODELS_DIRECTORY: "/disk/models",
      PILOTLIGHT_MODELS_RESERVE_GB: "0.5",
      PILOTLIGHT_MODELS_ALLOW_UNSAFE: "ckpt, .PTH",
      PILOTLIGHT_MODELS_ALLOW_PRIVATE: "yes",
      PILOTLIGHT_MODELS_ALLOW_FILES: "1",
      HF_TOKEN: "hf_x",
      HF_ENDPOINT: "https://mirror.example.org",
      CIVITAI_TOKEN: "c",
    };
    expect(readModelSettings(environment, "/state")).toEqual({
      folder: "/disk/models",
      reserveBytes: 512 * 1024 ** 2,
      allowUnsafe: ["ckpt", "pth"],
      reach: "private",
      allowFiles: true,
      huggingFaceToken: "hf_x",
      huggingFaceUrl: "https://mirror.example.org",
      civitaiToken: "c",
    });
    for (const name of Object.keys(environment)) expect(MODELS_USAGE).toContain(name);
  });

  it.each([
    ["PILOTLIGHT_MODELS_RESERVE_GB", "much"],
    ["PILOTLIGHT_MODELS_RESERVE_GB", "-1"],
    ["PILOTLIGHT_MODELS_ALLOW_UNSAFE", "*"],
    ["PILOTLIGHT_MODELS_ALLOW_UNSAFE", "ckpt;pth"],
    ["PILOTLIGHT_MODELS_ALLOW_FILES", "perhaps"],
    ["PILOTLIGHT_MODELS_ALLOW_PRIVATE", "2"],
    ["HF_ENDPOINT", "huggingface.co"],
  ])("that cannot be read are named: %s=%s", (name, value) => {
    const read = () => readModelSettings({ [name]: value }, "/state");
    expect(read).toThrow(SettingsError);
    expect(read).toThrow(name);
  });
});
