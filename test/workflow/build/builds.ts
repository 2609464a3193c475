/** Builds for tests: one that is whole, and any that a manifest allows. */
import fc from "fast-check";
import { BuildManifest } from "#contract/build";

export const COMMIT = "1".repeat(40);

export const BUILD: BuildManifest = BuildManifest.parse({
  schema: "distribution-definition/0",
  baseComfyVersion: "0.3.64",
  comfyRepository: "https://github.com/Comfy-Org/ComfyUI",
  comfyCommit: COMMIT,
  environment: { os: "linux", arch: "x64", pythonVersion: "3.10", torch: "2.7.0" },
  pipDependencies: ["numpy==2.0.0", "torch==2.7.0"],
  pipIndexes: [],
  customNodes: [
    { name: "ComfyUI-Fancy", repository: "https://github.com/someone/ComfyUI-Fancy", gitRef: "2".repeat(40) },
    { name: "comfyui-plain", id: "comfyui-plain", registryVersion: "1.10" },
  ],
  models: [
    {
      type: "checkpoints",
      filename: "SD/base.safetensors",
      sha256: "a".repeat(64),
      sizeBytes: 7_000_000_000,
      sources: ["hf:someone/models@main/SD/base.safetensors"],
    },
  ],
  launch: { flags: ["--lowvram"], cache: "classic" },
});

const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9._-]{0,12}$/).filter((text) => !/\.git$/.test(text));
const version = fc.stringMatching(/^[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?$/);
/** Parts of files' names, such as would be taken for something else: numbers, words of YAML, spaces. */
const filePart = fc.oneof(
  fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/),
  fc.constantFrom("3.10", "null", "true", "1e5", "a b (1).safetensors", "__proto__", "模型.safetensors", "#x", "a: b"),
);
const filename = fc
  .array(filePart, { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/"))
  .filter((text) => !text.includes(":"));
const source = fc.oneof(
  fc.tuple(name, name, hex(40), name).map(([owner, repo, commit, file]) => `hf:${owner}/${repo}@${commit}/${file}`),
  fc.integer({ min: 1, max: 1e9 }).map((id) => `civitai:${id}`),
  fc.tuple(hex(6), hex(6)).map(([folder, file]) => `https://files.example.com/${folder}/${file}.safetensors`),
);
const pipLine = fc.oneof(
  fc.tuple(name, version).map(([one, other]) => `${one.replace(/[._-]+$/, "")}==${other}`),
  name.map((one) => `${one.replace(/[._-]+$/, "")} @ https://wheels.example.com/${one}-1.0-py3-none-any.whl#sha256=00`),
);

/** Any manifest whose folders are called as git would call them, so that formats without names lose none. */
export const anyBuild: fc.Arbitrary<BuildManifest> = fc
  .record({
    baseComfyVersion: version,
    comfyCommit: hex(40),
    python: fc.constantFrom("3.9", "3.10", "3.11.7"),
    os: fc.constantFrom("linux", "win32", "darwin"),
    arch: fc.constantFrom("x64", "arm64"),
    pip: fc.uniqueArray(pipLine, { maxLength: 6, selector: (line) => line.split(/[=@ ]/)[0]?.toLowerCase() ?? "" }),
    nodes: fc.uniqueArray(
      fc.oneof(
        fc.tuple(name, name, hex(40)).map(([owner, repo, gitRef]) => ({
          name: repo,
          repository: `https://github.com/${owner}/${repo}`,
          gitRef,
        })),
        fc.tuple(name, version).map(([id, registryVersion]) => ({ name: id, id, registryVersion })),
      ),
      { maxLength: 5, selector: (node) => node.name.toLowerCase() },
    ),
    models: fc.uniqueArray(
      fc.record({
        type: name.map((text) => text.replaceAll(".", "_")),
        filename,
        sha256: hex(64),
        sizeBytes: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
        sources: fc.array(source, { maxLength: 1 }),
      }),
      { maxLength: 5, selector: (model) => `${model.type}/${model.filename}` },
    ),
    flags: fc.array(fc.constantFrom("--lowvram", "--fast", "--reserve-vram", "1"), { maxLength: 3 }),
  })
  .map(({ baseComfyVersion, comfyCommit, python, os, arch, pip, nodes, models, flags }) =>
    BuildManifest.parse({
      schema: "distribution-definition/0",
      baseComfyVersion,
      comfyRepository: "https://github.com/Comfy-Org/ComfyUI",
      comfyCommit,
      environment: { os, arch, pythonVersion: python, torch: null },
      pipDependencies: pip,
      pipIndexes: [],
      customNodes: nodes,
      models,
      launch: { flags, cache: "default" },
    }),
  );
