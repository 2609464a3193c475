import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BuildManifest, buildDigest } from "#contract/build";
import { completeBuild } from "#workflow/build/complete-build";
import type { BuildDraft } from "#workflow/build/draft";
import { EXPORT_FORMATS, type ExportFormat, exportBuild } from "#workflow/build/export-build";
import { mergeDrafts } from "#workflow/build/merge-drafts";
import { readBuildFile } from "#workflow/build/read-build-file";
import { anyBuild, BUILD } from "./builds.ts";

function readBack(manifest: BuildManifest, format: ExportFormat): BuildDraft {
  const readings = exportBuild(manifest, format, "a build").files.map(({ name, content }) => {
    const read = readBuildFile(name, content);
    if (!read.ok) throw new Error(`${name}: ${read.detail}`);
    return { ...read, name };
  });
  const merged = mergeDrafts(readings);
  expect(merged.warnings).toEqual([]);
  return merged.draft;
}

/** Every value that is not null, with its place. */
function facts(value: unknown, at = ""): string[] {
  if (value === null || value === undefined) return [];
  if (typeof value !== "object") return [`${at}=${value}`];
  return Object.entries(value).flatMap(([key, item]) => facts(item, `${at}/${key}`));
}

describe.each(EXPORT_FORMATS)("%s", (format) => {
  it("says nothing, read back, that the build does not say", () => {
    fc.assert(
      fc.property(anyBuild, (manifest) => {
        const sorted = (build: BuildDraft): BuildDraft => ({
          ...build,
          pipDependencies: build.pipDependencies?.toSorted() ?? null,
          // A format that has two lists of packs puts one before the other.
          customNodes: build.customNodes.toSorted((one, other) => (one.name < other.name ? -1 : 1)),
        });
        const torch = manifest.pipDependencies.some((line) => /^torch==/i.test(line));
        fc.pre(!torch);
        const nodesOf = (build: BuildDraft) =>
          build.customNodes.map((node) => JSON.stringify(node, Object.keys(node).sort()));
        const before = sorted(manifest);
        const after = sorted(readBack(manifest, format));
        expect(nodesOf(before)).toEqual(expect.arrayContaining(nodesOf(after)));
        const { customNodes: _, ...rest } = after;
        expect(facts(before)).toEqual(expect.arrayContaining(facts(rest)));
      }),
    );
  });

  it("with what it lost, is the same build again", async () => {
    await fc.assert(
      fc.asyncProperty(anyBuild, async (manifest) => {
        const exported = exportBuild(manifest, format, "a build");
        const back = { ok: true, name: "back", draft: readBack(manifest, format), warnings: [] } as const;
        const merged = mergeDrafts([back, { ok: true, name: "rest", draft: manifest, warnings: [] }]);
        const complete = completeBuild({ ...merged.draft, environment: manifest.environment });
        expect(complete).toMatchObject({ ok: true });
        if (complete.ok) expect(await buildDigest(complete.manifest)).toBe(await buildDigest(manifest));
        expect(exported.lost.length).toBeGreaterThan(0);
      }),
    );
  });

  it("keeps every pinned pack, or says that it is lost", () => {
    fc.assert(
      fc.property(anyBuild, (manifest) => {
        const { lost } = exportBuild(manifest, format, "a build");
        const kept = new Set(readBack(manifest, format).customNodes.map(({ name }) => name));
        for (const { name } of manifest.customNodes) {
          expect(kept.has(name) || lost.some((words) => words.includes(name))).toBe(true);
        }
      }),
    );
  });
});

it("keeps versions that YAML would take for numbers", () => {
  const draft = readBack(BUILD, "comfy-build");
  expect(draft.environment.pythonVersion).toBe("3.10");
  expect(draft.customNodes[1]).toMatchObject({ registryVersion: "1.10" });
  expect(readBack(BUILD, "manager-snapshot-yaml").customNodes[1]).toMatchObject({ registryVersion: "1.10" });
});

it("reads its own manifests back word for word", () => {
  fc.assert(
    fc.property(anyBuild, (manifest) => {
      const read = readBuildFile("build.json", JSON.stringify(manifest, null, 2));
      if (!read.ok) throw new Error(read.detail);
      const complete = completeBuild(read.draft);
      const torch = complete.ok ? complete.manifest.environment.torch : null;
      const { environment } = manifest;
      expect(complete).toMatchObject({ ok: true, manifest: { ...manifest, environment: { ...environment, torch } } });
    }),
  );
});

it.each([
  ["manager-snapshot", ["the models", "ComfyUI's version"]],
  ["comfy-pack", ["the pack comfyui-plain 1.10", "the launch flags"]],
  ["comfy-build", ["ComfyUI's version", "the launch flags"]],
] as const)("%s says what it has no place for", (format, lost) => {
  const words = exportBuild(BUILD, format, "a build").lost.join("; ");
  for (const each of lost) expect(words).toContain(each);
});

it("says which names, second copies, hashes and sources are lost", () => {
  const node = { name: "one", repository: "https://example.com/pack.git", gitRef: "3".repeat(40) };
  const manifest: BuildManifest = {
    ...BUILD,
    comfyRepository: "https://example.com/fork",
    pipIndexes: ["https://example.com/simple"],
    pipDependencies: [`numpy==2.0.0 --hash=sha256:${"0".repeat(64)}`],
    customNodes: [node, { ...node, name: "two" }, { name: "folder", id: "plain", registryVersion: "1.0.0" }],
    models: BUILD.models.map((model) => ({ ...model, sources: ["registry:", "civitai:1", "civitai:2"] })),
  };
  const snapshot = exportBuild(manifest, "manager-snapshot", "x").lost.join("; ");
  expect(snapshot).toContain("the folder's name one of https://example.com/pack.git");
  expect(snapshot).toContain("a second copy of https://example.com/pack.git");
  expect(snapshot).toContain("the folder's name folder of the pack plain");
  expect(snapshot).toContain("markers and hashes of the line numpy==2.0.0");
  expect(snapshot).toContain("https://example.com/fork");
  expect(snapshot).toContain("the package indexes");
  const pack = exportBuild(manifest, "comfy-pack", "x");
  expect(pack.lost.join("; ")).toContain("further sources of checkpoints/SD/base.safetensors");
  expect(pack.files[1]?.content).toMatch(/^--index-url https:\/\/example\.com\/simple\nnumpy==2\.0\.0 --hash=/);
  const none = { ...manifest, models: BUILD.models.map((model) => ({ ...model, sources: ["registry:"] })) };
  expect(exportBuild(none, "comfy-build", "x").lost.join("; ")).toContain(
    "a source of checkpoints/SD/base.safetensors",
  );
});
