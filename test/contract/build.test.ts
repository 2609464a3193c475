import { describe, expect, it } from "vitest";
import {
  BuildManifest,
  BuildModel,
  buildDigest,
  canonicalBuild,
  ModelSource,
  PipRequirement,
  RepositoryUrl,
} from "#contract/build";
import { exampleBuild, exampleModel } from "#test/contract/example-build";

const model = exampleModel;
const manifest = exampleBuild;

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

it.each([
  "numpy==2.0.0",
  "torch==2.7.0+cu128",
  "a.b-c_d[x, y]==1!2.0.post1 ; python_version < '3.12'",
  "wheel @ https://example.com/wheel-1.0-py3-none-any.whl#sha256=00",
  "wheel @ file:///srv/wheels/wheel-1.0-py3-none-any.whl",
  `pack @ git+https://example.com/a/pack.git@${"1".repeat(40)}#subdirectory=x`,
  `numpy==2.0.0 --hash=sha256:${"0".repeat(64)} --hash=sha256:${"1".repeat(64)}`,
])("the lock takes %j", (line) => void expect(PipRequirement.safeParse(line).success).toBe(true));

it.each([
  "numpy",
  "numpy>=2",
  "numpy==2.*",
  "numpy==2,>1",
  "-r /etc/passwd",
  "--index-url https://example.com",
  "numpy==2.0.0 ; x --index-url https://example.com",
  "numpy==2.0.0\n--index-url https://example.com",
  "pack @ git+https://example.com/a/pack.git@main",
  "pack @ http://example.com/pack.whl",
  "pack @ https://me:secret@example.com/pack.whl",
  `pack @ git+https://me:secret@example.com/a/pack.git@${"1".repeat(40)}`,
  "../pack",
  `pack @ https://example.com/\${HOME}/pack.whl`,
  "",
])("the lock does not take %j", (line) => void expect(PipRequirement.safeParse(line).success).toBe(false));

it.each([`pack @ https://${";".repeat(9_000)}\n`, `pack==1 ;${" ".repeat(9_000)}\n`, `${"a.".repeat(5_000)}==`])(
  "the lock refuses a long line without trying every way to read it, %#",
  (line) => void expect(PipRequirement.safeParse(line).success).toBe(false),
);

it("holds no password in an address", () => {
  expect(RepositoryUrl.safeParse("https://someone:secret@example.com/one.git").success).toBe(false);
  expect(ModelSource.safeParse("https://secret@example.com/a.safetensors").success).toBe(false);
  expect(BuildManifest.safeParse({ ...manifest, pipIndexes: ["https://a:b@example.com/simple"] }).success).toBe(false);
  expect(ModelSource.safeParse("https://example.com/@someone/a.safetensors").success).toBe(true);
});

it("puts nothing in another thing's place", () => {
  const [node] = manifest.customNodes;
  const twice = { ...manifest, customNodes: [node, { name: "ONE", id: "one", registryVersion: "1.0.0" }] };
  expect(BuildManifest.safeParse(twice).error?.issues[0]).toMatchObject({ path: ["customNodes", 1, "name"] });
  const again = { ...manifest, models: [model, { ...model, sha256: "b".repeat(64) }] };
  expect(BuildManifest.safeParse(again).error?.issues[0]).toMatchObject({ path: ["models", 1, "filename"] });
});
