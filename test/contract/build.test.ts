import { describe, expect, it } from "vitest";
import { BuildManifest, BuildModel, buildDigest, canonicalBuild } from "#contract/build";

const model = { type: "checkpoints", filename: "a.safetensors", sha256: "a".repeat(64), sizeBytes: 5, sources: [] };
const manifest: BuildManifest = BuildManifest.parse({
  schema: "distribution-definition/0",
  baseComfyVersion: "0.33.0",
  comfyRepository: "https://github.com/Comfy-Org/ComfyUI",
  comfyCommit: "1".repeat(40),
  environment: { os: "linux", arch: "x64", pythonVersion: "3.11", torch: null },
  pipDependencies: ["numpy==2.0.0", "pillow==11.0.0"],
  pipIndexes: [],
  customNodes: [{ name: "one", repository: "https://example.com/one.git", gitRef: "2".repeat(40) }],
  models: [model, { ...model, filename: "b.safetensors" }],
  launch: { flags: ["--lowvram"], cache: "default" },
});

describe("a build's digest", () => {
  it("is the same however the manifest is written down, and wherever the models come from", async () => {
    const other = BuildManifest.parse({
      ...Object.fromEntries(Object.entries(manifest).toReversed()),
      models: manifest.models.toReversed().map((each) => ({ ...each, sources: ["registry:"] })),
      pipDependencies: manifest.pipDependencies.toReversed(),
    });
    expect(canonicalBuild(other)).toBe(canonicalBuild(manifest));
    expect(await buildDigest(other)).toBe(await buildDigest(manifest));
    expect(await buildDigest(manifest)).toMatch(/^[0-9a-f]{64}$/);
  });

  it("changes with what the machine gets", async () => {
    const digest = await buildDigest(manifest);
    const launch = { flags: ["--highvram"], cache: "default" as const };
    expect(await buildDigest({ ...manifest, launch })).not.toBe(digest);
    expect(await buildDigest({ ...manifest, comfyCommit: "3".repeat(40) })).not.toBe(digest);
    expect(await buildDigest({ ...manifest, models: manifest.models.slice(1) })).not.toBe(digest);
  });
});

it.each(["../a", "/a", "a/../b", "a\\b", "C:a", ".hidden", "a/.b", "a ", "", "a\u0000", "a//b"])(
  "a model's file cannot be called %j",
  (filename) => void expect(BuildModel.safeParse({ ...model, filename }).success).toBe(false),
);

it.each(["a.safetensors", "SDXL/base 1.0.safetensors", "模型.safetensors"])(
  "a model's file can be called %j",
  (filename) => void expect(BuildModel.safeParse({ ...model, filename }).success).toBe(true),
);
