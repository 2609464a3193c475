/** What can be said of a manifest before anything is fetched: whether this agent can make it, and how much disk it takes. */
import { type BuildManifest, buildDigest } from "#contract/build";
import { flagsSet } from "../comfy/launch-flags.ts";
import { BuildFailed } from "./build-failed.ts";
import { readLock } from "./lock-lines.ts";

/**
 * Flags with which the agent keeps a ComfyUI to itself: on loopback, in its own folders, away from other installations.
 * A build that set them would reach beyond its folder.
 */
const ISOLATION_FLAGS: readonly string[] = [
  "listen",
  "port",
  "tls-keyfile",
  "tls-certfile",
  "enable-cors-header",
  "base-directory",
  "input-directory",
  "output-directory",
  "temp-directory",
  "user-directory",
  "models-directory",
  "extra-model-paths-config",
  "database-url",
  "multi-user",
  "front-end-root",
  "front-end-version",
  "comfy-api-base",
  "auto-launch",
  "enable-manager",
  "log-stdout",
  // Each slot has its GPU.
  "cuda-device",
  "default-device",
  "directml",
  "oneapi-device-selector",
];

const MIB = 1024 ** 2;
/** A checkout of ComfyUI with its history's tip. */
const COMFYUI_BYTES = 200 * MIB;
const PACK_BYTES = 50 * MIB;
const PACKAGE_BYTES = 20 * MIB;
/** PyTorch with CUDA's libraries, unpacked, with the wheels beside it. */
const TORCH_BYTES = 9 * 1024 * MIB;

const OS_NAMES: Readonly<Record<string, string>> = { linux: "linux", darwin: "macos", win32: "windows" };
const ARCH_NAMES: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };
const SAME_NAME: Readonly<Record<string, string>> = {
  amd64: "x86_64",
  x64: "x86_64",
  arm64: "aarch64",
  darwin: "macos",
  osx: "macos",
  win32: "windows",
};

export interface Machine {
  /** Node's names. */
  readonly platform: string;
  readonly arch: string;
}

/**
 * Refuses what cannot become a build here.
 * @throws BuildFailed manifest_refused, wrong_platform
 */
export async function checkManifest(manifest: BuildManifest, digest: string, machine: Machine): Promise<void> {
  const found = await buildDigest(manifest);
  if (found !== digest) {
    throw new BuildFailed("manifest_refused", `The build is called ${digest}, and its manifest hashes to ${found}.`);
  }
  const { os, arch } = manifest.environment;
  const here = [OS_NAMES[machine.platform] ?? machine.platform, ARCH_NAMES[machine.arch] ?? machine.arch];
  const wanted = [os, arch].map((name) => SAME_NAME[name.toLowerCase()] ?? name.toLowerCase());
  if (wanted.some((name, index) => name !== "any" && name !== here[index])) {
    throw new BuildFailed("wrong_platform", `The build is for ${os} on ${arch}; this machine is ${here.join(" on ")}.`);
  }
  const isolating = flagsSet(manifest.launch.flags, ISOLATION_FLAGS);
  if (isolating.length > 0) {
    throw new BuildFailed("manifest_refused", `launch.flags: --${isolating.join(", --")} is the agent's own to set.`);
  }
  if (manifest.launch.flags[0]?.startsWith("-") === false) {
    throw new BuildFailed("manifest_refused", `launch.flags: ${manifest.launch.flags[0]} belongs to no flag.`);
  }
  readLock(manifest.pipDependencies);
}

/** Bytes that the build takes besides its models, which the models' store counts: an estimate, on the high side. */
export function bytesNeeded(manifest: BuildManifest): number {
  const lock = readLock(manifest.pipDependencies);
  const torch = lock.some(({ name }) => name === "torch") ? TORCH_BYTES : 0;
  return COMFYUI_BYTES + manifest.customNodes.length * PACK_BYTES + lock.length * PACKAGE_BYTES + torch;
}
