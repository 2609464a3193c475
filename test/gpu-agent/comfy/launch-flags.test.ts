import { describe, expect, it } from "vitest";
import { launchFlags, supportedFlags } from "#gpu-agent/comfy/launch-flags";

const plan = {
  port: 8200,
  folders: { input: "/s/input", output: "/s/output", temp: "/s/temp" },
  user: "/s/user",
  database: "/s/user/comfyui.db",
  cpuOnly: false,
  metadata: false,
  extra: [],
};
const all = new Set([
  "listen",
  "port",
  "disable-auto-launch",
  "base-directory",
  "output-directory",
  "input-directory",
  "temp-directory",
  "user-directory",
  "database-url",
  "max-upload-size",
  "preview-method",
  "disable-metadata",
  "cpu",
]);

describe("the flags of a ComfyUI of the agent's own", () => {
  it("send what it writes elsewhere, and leave its models and custom nodes where they are", () => {
    const flags = launchFlags(plan, all);
    expect(flags.join(" ")).toContain("--listen 127.0.0.1 --port 8200");
    expect(flags.join(" ")).toContain(
      "--output-directory /s/output --input-directory /s/input --temp-directory /s/temp",
    );
    expect(flags).toContain("--disable-metadata");
    expect(flags).not.toContain("--base-directory");
    expect(flags).not.toContain("--cpu");
  });

  it("are only those that this version knows", () => {
    const flags = launchFlags(plan, new Set(["port", "listen", "output-directory"]));
    expect(flags).toEqual(["--listen", "127.0.0.1", "--port", "8200", "--output-directory", "/s/output"]);
    expect(launchFlags(plan, null)).not.toContain("--database-url");
  });

  it("give way to the operator's own", () => {
    const flags = launchFlags({ ...plan, extra: ["--preview-method", "taesd", "--lowvram"] }, all);
    expect(flags.filter((flag) => flag === "--preview-method")).toHaveLength(1);
    expect(flags.slice(-3)).toEqual(["--preview-method", "taesd", "--lowvram"]);
  });

  it("ask for the CPU where there is nothing else, unless the operator chose a device", () => {
    expect(launchFlags({ ...plan, cpuOnly: true }, all)).toContain("--cpu");
    const chosen = launchFlags({ ...plan, cpuOnly: true, extra: ["--directml"] }, all);
    expect(chosen).not.toContain("--cpu");
  });

  it("leave the workflow in saved files when that is wanted", () => {
    expect(launchFlags({ ...plan, metadata: true }, all)).not.toContain("--disable-metadata");
  });
});

it("reads the names of flags from a help text", () => {
  const help = "usage: main.py [-h] [--port PORT]\n  --fp8_e4m3fn-unet   Store\n  --cache-lru CACHE_LRU\n";
  expect([...supportedFlags(help)]).toEqual(["port", "fp8_e4m3fn-unet", "cache-lru"]);
});
