import { BuildManifest } from "#contract/build";

export const exampleModel = {
  type: "checkpoints",
  filename: "a.safetensors",
  sha256: "a".repeat(64),
  sizeBytes: 5,
  sources: [],
};

/** A build with two models and one custom node. */
export const exampleBuild: BuildManifest = BuildManifest.parse({
  schema: "distribution-definition/0",
  baseComfyVersion: "0.33.0",
  comfyRepository: "https://github.com/Comfy-Org/ComfyUI",
  comfyCommit: "1".repeat(40),
  environment: { os: "linux", arch: "x64", pythonVersion: "3.11", torch: null },
  pipDependencies: ["numpy==2.0.0", "pillow==11.0.0"],
  pipIndexes: [],
  customNodes: [{ name: "one", repository: "https://example.com/one.git", gitRef: "2".repeat(40) }],
  models: [exampleModel, { ...exampleModel, filename: "b.safetensors" }],
  launch: { flags: ["--lowvram"], cache: "default" },
});
