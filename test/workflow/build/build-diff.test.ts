import { expect, it } from "vitest";
import { BuildManifest } from "#contract/build";
import { exampleBuild } from "#test/contract/example-build";
import { buildDiff } from "#workflow/build/build-diff";

const first = { digest: "a".repeat(64), manifest: exampleBuild };

it("is nothing between the same build, and between none and none", () => {
  expect(buildDiff(first, { ...first })).toBeNull();
  expect(buildDiff(null, null)).toBeNull();
});

it("tells what changed, what came and what went", () => {
  const [node] = exampleBuild.customNodes;
  const [kept, changed] = exampleBuild.models;
  if (node === undefined || kept === undefined || changed === undefined) throw new Error("the example is too small");
  const manifest: BuildManifest = BuildManifest.parse({
    ...exampleBuild,
    comfyCommit: "9".repeat(40),
    customNodes: [{ ...node, gitRef: "8".repeat(40) }],
    pipDependencies: ["numpy==2.0.0", "scipy==1.0.0"],
    models: [kept, { ...changed, sha256: "7".repeat(64) }],
    launch: { flags: ["--lowvram", "--fast"], cache: "default" },
  });
  const diff = buildDiff(first, { digest: "b".repeat(64), manifest });
  expect(diff).toMatchObject({
    from: first.digest,
    to: "b".repeat(64),
    fields: [
      { field: "comfyCommit", from: exampleBuild.comfyCommit, to: "9".repeat(40) },
      { field: "launch.flags", from: ["--lowvram"], to: ["--lowvram", "--fast"] },
    ],
    packages: { added: ["scipy==1.0.0"], removed: ["pillow==11.0.0"] },
    models: {
      added: [`checkpoints/b.safetensors ${"7".repeat(64)}`],
      removed: [`checkpoints/b.safetensors ${"a".repeat(64)}`],
    },
  });
  expect(diff?.custom_nodes.added).toEqual([`one@${"8".repeat(40)} https://example.com/one.git`]);
  expect(diff?.custom_nodes.removed).toHaveLength(1);
});

it("shows everything of a release's first build", () => {
  const diff = buildDiff(null, first);
  expect(diff?.from).toBeNull();
  expect(diff?.models.added).toHaveLength(exampleBuild.models.length);
  expect(diff?.fields.find(({ field }) => field === "baseComfyVersion")).toEqual({
    field: "baseComfyVersion",
    to: exampleBuild.baseComfyVersion,
  });
});
